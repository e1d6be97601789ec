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
from .files import OnSkip, find_files, log_skip, printable, told_apart
from .formats import MAX_BYTES, Format, format_of
from .limits import unfolding
from .loading import Loaded, load
from .ocr import require_ocr
from .remarks import named, reading

TOO_LARGE = "reading it takes more memory than there is for it; split it, or raise the limit"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def read_document(
    path: str | Path,
    *,
    source: str | None = None,
    max_bytes: int = MAX_BYTES,
    max_unfolded: int | None = None,
    encoding: str | None = None,
    ocr: bool | None = None,
) -> Document:
    """Read one file.

    ``metadata`` holds ``path`` (absolute), ``format``, ``modified`` (ISO 8601; of the file, if it does not say) and
    what the file says of itself (:mod:`.properties`): ``title``, ``authors``, ``created``, ``language`` … ``remarks``
    tell what was guessed or could not be read, such as an encoding.

    Args:
        source: what the document is called in citations; the file's name by default.
        max_bytes: larger files are refused.
        max_unfolded: what a file may become, in bytes unpacked and characters of text; by default 1 GiB, and no more
            than 200 times its size (or 32 MiB, if that is more).
        encoding: of texts that are not UTF-8 and do not name theirs; by default it is guessed.
        ocr: recognise pictures and pages that are one; by default where ``langbert[ocr]`` is installed.

    Raises:
        MissingExtra: ``ocr=True``, and it is not installed.
        DocumentError: the file is missing, not readable, too large, empty, broken, encrypted or of a format that is
            not read. The message names the file, the reason and the way out. Or ``encoding`` is unknown.
    """
    require_encoding(encoding)
    ocr = require_ocr(ocr)
    file = Path(os.path.abspath(path))
    try:
        format_of(file)  # before a file that is not read anyway is loaded
        loaded = load(file, max_bytes)
        return document_of(file, loaded, source=source, encoding=encoding, max_unfolded=max_unfolded, ocr=ocr)
    except DocumentError as error:
        raise DocumentError(f"{printable(path)}: {error}") from error


def document_of(
    file: Path,
    loaded: Loaded,
    *,
    source: str | None = None,
    encoding: str | None = None,
    max_unfolded: int | None = None,
    ocr: bool = False,
) -> Document:
    """What was loaded of a file, by its absolute path, as a document; see :func:`read_document`.

    Raises:
        DocumentError: the message does not name the file.
    """
    entry = format_of(file)
    with reading(encoding, path=file, ocr=ocr) as remarks, unfolding(len(loaded.data), max_unfolded):
        extract = _parse(loaded.data, entry, file.name)
    title = extract.title or next((heading.text for heading in extract.headings if heading.level == 1), "")
    metadata = {
        "path": printable(file),
        "format": entry.name,
        "modified": datetime.fromtimestamp(loaded.stamp.modified // 10**9, timezone.utc).isoformat(timespec="seconds"),
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
        line_boxes=extract.line_boxes,
        illustrations=extract.illustrations,
    )


def read_documents(
    paths: str | Path | Iterable[str | Path],
    *,
    on_skip: OnSkip | None = None,
    max_bytes: int = MAX_BYTES,
    max_unfolded: int | None = None,
    encoding: str | None = None,
    ocr: bool | None = None,
) -> Iterator[Document]:
    """Read files and folders, one document at a time.

    Args:
        paths: files and folders; see :func:`find_files`.
        on_skip: called with each file that cannot be read and its error, and the rest goes on; by default a warning
            is logged. Raise in it to stop at the first.
        max_bytes, max_unfolded, encoding, ocr: as for :func:`read_document`.

    Raises:
        MissingExtra: at once, as there.
        DocumentError: at once, if a named path does not exist or ``encoding`` is unknown.
    """
    require_encoding(encoding)
    ocr = require_ocr(ocr)
    skip = on_skip or log_skip
    files = find_files(paths, on_skip=skip)

    def documents() -> Iterator[Document]:
        for (file, _), source in zip(files, told_apart(files), strict=True):
            try:
                document = read_document(
                    file, source=source, max_bytes=max_bytes, max_unfolded=max_unfolded, encoding=encoding, ocr=ocr
                )
            except DocumentError as error:  # noqa: PERF203
                skip(file, error)
            else:
                yield document

    return documents()


def require_encoding(encoding: str | None) -> None:
    """
    Raises:
        DocumentError: there is no such encoding.
    """
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise DocumentError(
            f"{encoding!r} is no encoding that Python knows; common ones are gb18030, big5, shift_jis, cp1252, cp1251"
        ) from None


def parse_as(data: bytes, name: str) -> Extract:
    """The content of a file of that name.

    Raises:
        DocumentError: as for :func:`read_document`.
    """
    return _parse(data, format_of(Path(name)), name)


def _parse(data: bytes, format: Format, name: str) -> Extract:
    if not data.strip():
        raise DocumentError("it is empty")
    read = cast(Callable[[bytes], Extract], import_module(f".{format.module}", __package__).read)
    try:
        with named(name):
            extract = read(data)
    except DocumentError:
        raise
    except MemoryError as error:
        raise DocumentError(TOO_LARGE) from error
    except RecursionError as error:
        raise DocumentError("what it holds nests deeper than can be read; nothing that people write does") from error
    except Exception as error:  # a parser tripping over one file must not end the work on the others
        raise DocumentError(
            f"it cannot be parsed as {format.name} ({type(error).__name__}: {error}); is it damaged?"
        ) from error
    if not extract.text or extract.text.isspace():
        raise DocumentError("it is empty: there is no text in it")
    return _sanitised(extract)


def _sanitised(extract: Extract) -> Extract:
    """Characters that databases, tokenizers or JSON refuse (NUL, lone surrogates) become U+FFFD: offsets stay."""
    text = _UNSTORABLE.sub("\ufffd", extract.text)
    return extract if text == extract.text else replace(extract, text=text)
