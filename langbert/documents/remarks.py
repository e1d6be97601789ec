"""What a reader has to say about a file it could read: an encoding that was guessed, bytes that were damaged.

Readers nest (a mail holds a page, a book holds chapters), so a remark goes to the file being read rather than through
every return value.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["preferred_encoding", "reading", "remark"]

_remarks: ContextVar[list[str] | None] = ContextVar("remarks", default=None)
_encoding: ContextVar[str | None] = ContextVar("encoding", default=None)


@contextmanager
def reading(encoding: str | None = None) -> Iterator[list[str]]:
    """While a file is read: the remarks on it, as they come.

    Args:
        encoding: of texts that are not UTF-8 and name none themselves.
    """
    remarks: list[str] = []
    tokens = _remarks.set(remarks), _encoding.set(encoding)
    try:
        yield remarks
    finally:
        _remarks.reset(tokens[0])
        _encoding.reset(tokens[1])


def remark(text: str) -> None:
    """Note something about the file being read, once."""
    remarks = _remarks.get()
    if remarks is not None and text not in remarks:
        remarks.append(text)


def preferred_encoding() -> str | None:
    """What the user said texts are in, unless they say something else themselves."""
    return _encoding.get()
