"""What a reader is told of the file it reads, beside its bytes, and what it has to say about it: an encoding that was
guessed, bytes that were damaged.

Readers nest (a mail holds a page, a book holds chapters), so a remark goes to the file being read rather than through
every return value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import DocumentError

_DEEPEST = 8  # files within files: archives in archives, mails in mails

_remarks: ContextVar[list[str] | None] = ContextVar("remarks", default=None)
_encoding: ContextVar[str | None] = ContextVar("encoding", default=None)
_path: ContextVar[Path | None] = ContextVar("path", default=None)
_ocr: ContextVar[bool] = ContextVar("ocr", default=False)
_names: ContextVar[tuple[str, ...]] = ContextVar("names", default=())


@contextmanager
def reading(encoding: str | None = None, *, path: Path | None = None, ocr: bool = False) -> Iterator[list[str]]:
    """While a file is read: the remarks on it, as they come.

    Args:
        encoding: of texts that are not UTF-8 and name none themselves.
        path: of the file; those beside it tell what a few letters are in.
        ocr: recognise text in pictures.
    """
    remarks: list[str] = []
    tokens = _remarks.set(remarks), _encoding.set(encoding), _ocr.set(ocr), _path.set(path)
    try:
        yield remarks
    finally:
        _remarks.reset(tokens[0])
        _encoding.reset(tokens[1])
        _ocr.reset(tokens[2])
        _path.reset(tokens[3])


@contextmanager
def named(name: str) -> Iterator[None]:
    """While a file of that name is read, perhaps within another.

    Raises:
        DocumentError: it is within so many others that somebody made it to do harm.
    """
    names = _names.get()
    if len(names) >= _DEEPEST:
        raise DocumentError(f"it is a file within {len(names)} others; take it out")
    token = _names.set((*names, name))
    try:
        yield
    finally:
        _names.reset(token)


def file_name() -> str:
    """Of the innermost file being read."""
    return _names.get()[-1] if _names.get() else ""


def remark(text: str) -> None:
    """Note something about the file being read, once."""
    remarks = _remarks.get()
    if remarks is not None and text not in remarks:
        remarks.append(text)


def preferred_encoding() -> str | None:
    """What the user said texts are in, unless they say something else themselves."""
    return _encoding.get()


def path_read() -> Path | None:
    """Of the file being read, where it is one on disk."""
    return _path.get()


def wants_ocr() -> bool:
    """Whether text in pictures is to be recognised."""
    return _ocr.get()
