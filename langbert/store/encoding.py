"""Records ↔ columns: JSON, hashes, vector blobs, and the checks that keep nonsense out of the database."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import Illustration
from ..errors import StoreCorrupt, StoreError
from ..records import Chunk, Document, Heading
from .metadata import to_json

_DAMAGED = "`langbert doctor` says what else is damaged, and saves the rest"

Vector = tuple[bytes, int]
"""A vector's blob, little-endian float32, and its CRC-32."""

CHUNK_COLUMNS = "id, document_id, text, start, page, headings, source, metadata"
DOCUMENT_COLUMNS = "id, source, text, metadata, page_starts, headings"


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A checked chunk as it will be stored."""

    id: str
    document_id: str
    columns: tuple[Any, ...]  # in the order of CHUNK_COLUMNS
    record_hash: bytes
    index_hash: bytes
    embedded_hash: bytes
    embedded_text: str

    @property
    def span(self) -> tuple[int, int]:
        """Its place in its document, in characters."""
        _, _, text, start, *_ = self.columns
        return start, start + len(text)


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A checked document as it will be stored."""

    id: str
    columns: tuple[Any, ...]  # in the order of DOCUMENT_COLUMNS
    content_hash: bytes


def encode_chunk(chunk: Chunk) -> ChunkRow:
    """Checks and encodes.

    Raises:
        StoreError: a field has the wrong type, is not valid Unicode, or metadata is not JSON.
    """
    name = f"chunk {chunk.id!r}"
    _check_texts(name, id=chunk.id, document_id=chunk.document_id, text=chunk.text, source=chunk.source)
    if not chunk.id:
        raise StoreError(f"a chunk of document {chunk.document_id!r} has an empty id: ids must be non-empty")
    if chunk.page is not None and (isinstance(chunk.page, bool) or not isinstance(chunk.page, int)):
        raise StoreError(f"{name}: page must be an int or None, got {chunk.page!r}")
    headings = _json(name, "headings", list(chunk.headings)) if chunk.headings else "[]"
    metadata = _metadata(name, chunk.metadata)
    context = chunk.contextual_text
    embedded_hash = _hash(context)
    index_hash = _hash(embedded_hash.hex(), headings, chunk.source)
    return ChunkRow(
        id=chunk.id,
        document_id=chunk.document_id,
        columns=(chunk.id, chunk.document_id, chunk.text, chunk.start, chunk.page, headings, chunk.source, metadata),
        record_hash=_hash(index_hash.hex(), chunk.id, chunk.document_id, f"{chunk.start} {chunk.page}", metadata),
        index_hash=index_hash,
        embedded_hash=embedded_hash,
        embedded_text=context,
    )


def encode_document(document: Document) -> DocumentRow:
    """Checks and encodes.

    Raises:
        StoreError: a field has the wrong type, is not valid Unicode, or metadata is not JSON.
    """
    name = f"document {document.id!r}"
    _check_texts(name, id=document.id, text=document.text, source=document.source)
    if not document.id:
        raise StoreError(f"the document from {document.source!r} has an empty id: ids must be non-empty")
    columns = (
        document.id,
        document.source,
        document.text,
        _metadata(name, document.metadata),
        _pages(name, document),
        _json(name, "headings", [[heading.start, heading.level, heading.text] for heading in document.headings]),
    )
    return DocumentRow(document.id, columns, _hash(*columns))


def in_context(chunks: Iterable[ChunkRow], document: Document) -> list[ChunkRow]:
    """The rows of a document's chunks whose vectors depend on all of its text.

    Raises:
        StoreError: one is not a stretch of that text.
    """
    rows = list(chunks)
    text_hash = _hash(document.text).hex()
    for row in rows:
        start, end = row.span
        if document.text[start:end] != row.columns[2]:
            raise StoreError(
                f"late chunking needs chunks that are stretches of their document: the text of chunk {row.id!r} is not "
                f"characters {start} to {end} of {document.id!r}; take another chunker, or open without late_chunking"
            )
    return [replace(row, embedded_hash=_hash(text_hash, f"{row.span}")) for row in rows]


def stored_chunk(columns: Sequence[Any], record_hash: object) -> Chunk:
    """A chunk from its :data:`CHUNK_COLUMNS`, if it is still what was stored.

    Raises:
        StoreCorrupt: it is not.
    """
    try:
        chunk = chunk_from(columns)
        headings, source, metadata = columns[5:]
        index_hash = _hash(_hash(chunk.contextual_text).hex(), headings, source)
        found = _hash(index_hash.hex(), chunk.id, chunk.document_id, f"{chunk.start} {chunk.page}", metadata)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreCorrupt(f"chunk {columns[0]!r:.80} is unreadable ({error}): {_DAMAGED}") from error
    if found != record_hash:
        raise StoreCorrupt(f"chunk {columns[0]!r:.80} has changed since it was stored: {_DAMAGED}")
    return chunk


def stored_document(columns: Sequence[Any], content_hash: object) -> Document:
    """A document from its :data:`DOCUMENT_COLUMNS`, if it is still what was stored.

    Raises:
        StoreCorrupt: it is not.
    """
    try:
        document, found = document_from(columns), _hash(*columns)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise StoreCorrupt(f"document {columns[0]!r:.80} is unreadable ({error}): {_DAMAGED}") from error
    if found != content_hash:
        raise StoreCorrupt(f"document {columns[0]!r:.80} has changed since it was stored: {_DAMAGED}")
    return document


def chunk_from(columns: Sequence[Any]) -> Chunk:
    """A chunk from its :data:`CHUNK_COLUMNS`."""
    id, document_id, text, start, page, headings, source, metadata = columns
    return Chunk(
        id=id,
        document_id=document_id,
        text=text,
        start=start,
        end=start + len(text),
        page=page,
        headings=tuple(_from_json(headings)),
        source=source,
        metadata=_from_json(metadata),
    )


def document_from(columns: Sequence[Any]) -> Document:
    """A document from its :data:`DOCUMENT_COLUMNS`."""
    id, source, text, metadata, pages, headings = columns
    page_starts, line_boxes, illustrations = _pages_from(pages)
    return Document(
        id=id,
        text=text,
        source=source,
        metadata=_from_json(metadata),
        page_starts=page_starts,
        headings=tuple(Heading(*heading) for heading in _from_json(headings)),
        line_boxes=line_boxes,
        illustrations=illustrations,
    )


def _pages(name: str, document: Document) -> str:
    """The column ``page_starts``: a list, or an object of it, the boxes of the lines and the pictures, where there are
    such."""
    pages: dict[str, Any] = {"starts": list(document.page_starts)}
    if document.line_boxes or document.illustrations:
        _check_texts(name, line_boxes=document.line_boxes)
        pages["line_boxes"] = document.line_boxes
    if document.illustrations:
        pages["illustrations"] = [astuple(one) for one in document.illustrations]
    return _json(name, "page_starts", pages if len(pages) > 1 else pages["starts"])


def _pages_from(column: object) -> tuple[tuple[int, ...], str, tuple[Illustration, ...]]:
    pages = _from_json(column)
    if not isinstance(pages, dict):
        return tuple(pages), "", ()
    return (
        tuple(pages["starts"]),
        pages["line_boxes"],
        tuple(Illustration(*one) for one in pages.get("illustrations", ())),
    )


def _from_json(text: object) -> Any:
    """JSON out of a column. A flipped bit can make a text bytes, which ``json`` would read all the same."""
    if not isinstance(text, str):
        raise TypeError(f"expected text, found {type(text).__name__}")
    return json.loads(text)


def vector_to(vector: NDArray[np.float32]) -> Vector:
    """A ``(dim,)`` vector as it is stored."""
    blob = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return blob, zlib.crc32(blob)


def vector_from(blobs: Iterable[bytes], dimension: int) -> NDArray[np.float32]:
    """``(n, dimension)`` float32 from blobs.

    Raises:
        StoreCorrupt: a blob has another size.
    """
    joined = list(blobs)
    if any(not isinstance(blob, bytes) or len(blob) != 4 * dimension for blob in joined):
        raise StoreCorrupt(f"a stored vector does not have {dimension} dimensions: restore the store from a backup")
    matrix = np.frombuffer(b"".join(joined), dtype="<f4").astype(np.float32, copy=False)
    return matrix.reshape(len(joined), dimension)


def _check_texts(name: str, **fields: object) -> None:
    for field, value in fields.items():
        if not isinstance(value, str):
            raise StoreError(f"{name}: {field} must be a str, got {type(value).__name__} {value!r:.60}")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise StoreError(
                    f"{name}: {field} is not valid Unicode at character {error.start} ({error.reason}): "
                    "decode the file with the right encoding, or with errors='replace'"
                ) from error


def _metadata(name: str, metadata: object) -> str:
    if metadata == {}:
        return "{}"
    if not isinstance(metadata, Mapping):
        raise StoreError(f"{name}: metadata must be a mapping, got {type(metadata).__name__}")
    for key in metadata:
        if not isinstance(key, str):
            raise StoreError(f"{name}: metadata keys must be str, got {key!r} ({type(key).__name__})")
    return _json(name, "metadata", dict(metadata))


def _json(name: str, field: str, value: Any) -> str:
    try:
        return to_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{name}: {field} must be JSON (str, int, finite float, bool, None, list, dict) or become it "
            f"(dates, numpy's scalars, NaN, sets, paths, UUIDs): {error}; convert other values with str()"
        ) from error


def _hash(*parts: str) -> bytes:
    """128 bits over the parts; their lengths keep ``("ab", "c")`` from ``("a", "bc")``."""
    framed = f"{[len(part) for part in parts]}{''.join(parts)}"
    return hashlib.blake2b(framed.encode(), digest_size=16).digest()
