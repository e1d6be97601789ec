"""One file → one Document; many paths → Documents, the unreadable ones skipped and named."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import cast

from ..errors import DocumentError
from ..records import Document
from .extract import Extract
from .files import OnSkip, find_files, log_skip, printable
from .formats import MAX_BYTES, format_of
from .remarks import reading

__all__ = ["read_document", "read_documents"]

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def read_document(
    path: str | Path, *, source: str | None = None, max_bytes: int = MAX_BYTES, encoding: str | None = None
) -> Document:
    """Read one file.

    ``metadata`` holds ``path`` (absolute), ``format``, ``modified`` (ISO 8601, UTC) and, where known, ``title`` and
    ``remarks``: what was guessed or could not be read, such as an encoding.

    Args:
        source: what the document is called in citations; the file's name by default.
        max_bytes: larger files are refused.
        encoding: of texts that are not UTF-8 and do not name theirs; by default it is guessed.

    Raises:
        DocumentError: the file is missing, not readable, too large, empty, broken, encrypted or of a format that is
            not read. The message names the file, the reason and the way out. Or ``encoding`` is unknown.
    """
    _require_known(encoding)
    file = Path(os.path.abspath(path))
    try:
        entry = format_of(file)
        data, modified = _load(file, max_bytes)
        with reading(encoding) as remarks:
            extract = _parse(data, entry.module, entry.name)
    except DocumentError as error:
        raise DocumentError(f"{printable(path)}: {error}") from error
    title = extract.title or next((heading.text for heading in extract.headings if heading.level == 1), "")
    metadata = {
        "path": printable(file),
        "format": entry.name,
        "modified": datetime.fromtimestamp(modified, timezone.utc).isoformat(timespec="seconds"),
        **extract.metadata,
    }
    if title:
        metadata["title"] = title
    if remarks:
        metadata["remarks"] = "; ".join(remarks)
    return Document(
        id=hashlib.sha256(os.fsencode(file)).hexdigest()[:16],
        text=extract.text,
        source=printable(file.name) if source is None else source,
        metadata=metadata,
        page_starts=extract.page_starts,
        headings=extract.headings,
    )


def read_documents(
    paths: str | Path | Iterable[str | Path],
    *,
    on_skip: OnSkip | None = None,
    max_bytes: int = MAX_BYTES,
    encoding: str | None = None,
) -> Iterator[Document]:
    """Read files and folders, one document at a time.

    Args:
        paths: files and folders; see :func:`find_files`.
        on_skip: called with each file that cannot be read and its error, and the rest goes on; by default a warning
            is logged. Raise in it to stop at the first.
        max_bytes, encoding: as for :func:`read_document`.

    Raises:
        DocumentError: at once, if a named path does not exist or ``encoding`` is unknown.
    """
    _require_known(encoding)
    skip = on_skip or log_skip
    files = find_files(paths, on_skip=skip)

    def documents() -> Iterator[Document]:
        for file, source in files:
            try:
                document = read_document(file, source=source, max_bytes=max_bytes, encoding=encoding)
            except DocumentError as error:  # noqa: PERF203
                skip(file, error)
            else:
                yield document

    return documents()


def _require_known(encoding: str | None) -> None:
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise DocumentError(
            f"{encoding!r} is no encoding that Python knows; common ones are gb18030, big5, shift_jis, cp1252, cp1251"
        ) from None


def _load(file: Path, max_bytes: int) -> tuple[bytes, float]:
    """The bytes and the time of the last change, in seconds since 1970."""
    try:
        stat = file.stat()
        if file.is_dir():
            raise DocumentError("it is a folder; use read_documents to read the files in it")
        if not file.is_file():  # a pipe or a device would be read for ever
            raise DocumentError("it is not a regular file")
        if stat.st_size > max_bytes:
            raise DocumentError(
                f"it has {stat.st_size:,} bytes, over the limit of {max_bytes:,}; split it, or raise max_bytes"
            )
        return file.read_bytes(), stat.st_mtime
    except FileNotFoundError:
        raise DocumentError("there is no such file; check the spelling") from None
    except PermissionError as error:
        raise DocumentError("no permission to read it; change its permissions (chmod u+r)") from error
    except OSError as error:
        raise DocumentError(f"it cannot be read ({error.strerror or error})") from error


def parse_as(data: bytes, name: str) -> Extract:
    """The content of a file of that name.

    Raises:
        DocumentError: as for :func:`read_document`.
    """
    entry = format_of(Path(name))
    return _parse(data, entry.module, entry.name)


def _parse(data: bytes, module: str, name: str) -> Extract:
    if not data.strip():
        raise DocumentError("it is empty")
    read = cast(Callable[[bytes], Extract], import_module(f".{module}", __package__).read)
    try:
        extract = read(data)
    except DocumentError:
        raise
    except Exception as error:  # a parser tripping over one file must not end the work on the others
        raise DocumentError(
            f"it cannot be parsed as {name} ({type(error).__name__}: {error}); is it damaged?"
        ) from error
    if not extract.text or extract.text.isspace():
        raise DocumentError("it is empty: there is no text in it")
    return _sanitised(extract)


def _sanitised(extract: Extract) -> Extract:
    """Characters that databases, tokenizers or JSON refuse (NUL, lone surrogates) become U+FFFD: offsets stay."""
    text = _UNSTORABLE.sub("\ufffd", extract.text)
    return extract if text == extract.text else replace(extract, text=text)
