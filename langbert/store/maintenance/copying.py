"""Whole stores as streams of checked rows: what export, import, migration and rescue have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import StoreError
from ...files import replacing
from ..encoding import CHUNK_COLUMNS, DOCUMENT_COLUMNS, ChunkRow, DocumentRow, chunk_from, encode_chunk
from ..schema import LEDGER
from ..snapshot import Snapshot
from ..store import Store
from ..transaction import Transaction

__all__ = [
    "StoredChunk",
    "StoredText",
    "Watch",
    "blocks_of",
    "chunk_blocks",
    "document_rows",
    "ledger_rows",
    "new_store",
    "put_chunks",
    "put_documents",
    "put_ledger",
]

BLOCK = 1024
"""Rows read or written at a time; what bounds memory and the length of a commit."""

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

StoredText = tuple[DocumentRow, str]
"""A document and how it was cut."""

LedgerRow = tuple[str, str, str | None, float]
"""Namespace, key, group and time."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as it is stored, with the blob and checksum of its vector if it has one."""

    row: ChunkRow
    vector: tuple[bytes, int] | None


def chunk_blocks(snapshot: Snapshot) -> Iterator[list[StoredChunk]]:
    """All chunks in the order in which they came."""
    cursor = snapshot.sql.execute(
        f"SELECT {CHUNK_COLUMNS}, embedded_hash, vector, checksum "  # noqa: S608
        "FROM chunks LEFT JOIN vectors USING (row_id) ORDER BY row_id"
    )
    while block := cursor.fetchmany(BLOCK):
        yield [_stored_chunk(columns) for columns in block]


def _stored_chunk(columns: Sequence[Any]) -> StoredChunk:
    *fields, embedded_hash, blob, checksum = columns
    row = replace(encode_chunk(chunk_from(fields)), embedded_hash=embedded_hash)
    return StoredChunk(row, None if blob is None else (blob, checksum))


def document_rows(snapshot: Snapshot) -> Iterator[StoredText]:
    """All documents by id."""
    found = snapshot.sql.execute(f"SELECT {DOCUMENT_COLUMNS}, content_hash, chunking FROM documents ORDER BY id")  # noqa: S608
    for *columns, content_hash, chunking in found:
        yield DocumentRow(columns[0], tuple(columns), content_hash), chunking


def ledger_rows(snapshot: Snapshot) -> Iterator[LedgerRow]:
    """What is indexed of outside sources (see ledger.py)."""
    if snapshot.has_ledger:
        yield from snapshot.sql.execute("SELECT namespace, key, group_id, updated_at FROM ledger")


def put_chunks(transaction: Transaction, chunks: Sequence[StoredChunk]) -> None:
    """Into a store that has none of them."""
    transaction.insert_chunks([(chunk.row, chunk.vector) for chunk in chunks])


def put_documents(transaction: Transaction, documents: Iterable[StoredText]) -> None:
    for row, chunking in documents:
        transaction.put_document(row, chunking)


def put_ledger(transaction: Transaction, rows: Sequence[LedgerRow]) -> None:
    if rows:
        transaction.sql.execute(LEDGER)
        transaction.sql.executemany("INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?)", rows)


def blocks_of(items: Iterable[Any], size: int = BLOCK) -> Iterator[list[Any]]:
    block: list[Any] = []
    for item in items:
        block.append(item)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


@contextmanager
def new_store(folder: Path) -> Iterator[Store]:
    """A store to fill, which appears at ``folder``, whole and with its indexes, when the block ends; nothing appears if
    it raises.

    Raises:
        StoreError: there is something at ``folder`` already, or it cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreError(f"{folder} is not empty, and nothing is ever written over: give another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # nobody can see it before it is whole and on the disk, so no commit need wait for the disk
        with replacing(folder, overwrite=False) as fresh, Store.open(fresh, durability="normal") as store:
            yield store
    except OSError as error:
        raise StoreError(f"cannot make a store at {folder}: {error.strerror or error}") from error
