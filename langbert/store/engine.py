"""What a store asks of whatever keeps its rows: SQLite in a folder, or an engine outside.

``database``, ``snapshot`` and ``transaction`` are the embedded one. What adding, deleting, looking up and searching
mean stands above it, once for all (``ingest``, ``space``, ``contents``, ``base``).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..records import Chunk, Document, EmbeddingSpace
from .encoding import ChunkRow, DocumentRow
from .filters import Where
from .postings import Rows
from .snapshot import ChunkState, FileRecord, LedgerEntry, StoredChunk, StoredDocument, StoredText


class Reading(Protocol):
    """One state of what is stored: see :class:`langbert.store.snapshot.Snapshot`."""

    @property
    def n_chunks(self) -> int: ...

    @property
    def n_documents(self) -> int: ...

    @property
    def dimension(self) -> int | None: ...

    @property
    def space(self) -> EmbeddingSpace | None: ...

    def meta(self, key: str) -> Any: ...

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]: ...

    def chunks_by_id(self, ids: Iterable[str]) -> dict[str, Chunk]: ...

    def document(self, id: str) -> Document | None: ...

    def documents_after(self, id: str, limit: int) -> list[StoredDocument]: ...

    def document_states(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]: ...

    def states(self, ids: Iterable[str]) -> dict[str, ChunkState]: ...

    def states_of_document(self, document_id: str) -> dict[str, ChunkState]: ...

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        return {id: state.row_id for id, state in self.states(ids).items()}

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]: ...

    def vectors_since(self, change: int) -> Iterator[tuple[Rows, NDArray[np.float32]]]: ...

    def sample_rows(self, n: int, chance: random.Random) -> list[int]: ...

    def stored_chunks(self) -> Iterator[StoredChunk]: ...

    def stored_documents(self) -> Iterator[StoredText]: ...

    def ledger_entries(self) -> Iterator[LedgerEntry]: ...

    def ledger_latest(self, namespace: str) -> float | None: ...

    def ledger_known(self, namespace: str, keys: Sequence[str]) -> set[str]: ...

    def ledger_keys(
        self,
        namespace: str,
        before: float | None,
        after: float | None,
        groups: Sequence[str] | None,
        limit: int | None,
    ) -> list[str]: ...

    def files_after(self, path: str, limit: int) -> tuple[list[FileRecord], str | None]: ...


class Writing(Reading, Protocol):
    """Changes that become one commit: see :class:`langbert.store.transaction.Transaction`."""

    def set_meta(self, key: str, value: str) -> None: ...

    def set_space(self, dimension: int | None, space: EmbeddingSpace | None) -> None: ...

    def insert_chunks(self, chunks: Sequence[StoredChunk]) -> None: ...

    def update_chunk(self, row: int, chunk: ChunkRow) -> None: ...

    def delete_chunks(self, rows: Sequence[int]) -> None: ...

    def delete(self, ids: Sequence[str] | None, where: Where | None) -> int: ...

    def document_ids(self) -> Iterable[str]: ...

    def delete_documents(self, ids: Iterable[str]) -> Any: ...

    def put_document(self, document: DocumentRow, chunking: str) -> None: ...

    def forget_chunking(self, ids: Iterable[str]) -> None: ...

    def put_ledger(self, entries: Iterable[LedgerEntry]) -> None: ...

    def delete_from_ledger(self, namespace: str, keys: Sequence[str]) -> None: ...

    def put_files(self, records: Sequence[FileRecord]) -> None: ...

    def delete_files(self, paths: Sequence[str]) -> None: ...


def delete_emptied(state: Writing, parents: set[str], ids: Iterable[str] | None, where: Where | None) -> None:
    """Deletes the documents that a deletion of chunks by ``ids`` and ``where`` has left without any.

    Args:
        parents: the stored documents whose chunks went.
    """
    gone = {name for name in parents if not state.states_of_document(name)}
    state.forget_chunking(parents - gone)
    if not where:  # documents without a chunk match no filter, but can be named
        gone.update(state.document_ids() if ids is None else ids)
    state.delete_documents(gone)


class DatabaseLike(Protocol):
    """Hands out states and transactions: see :class:`langbert.store.database.Database`."""

    name: str
    read_only: bool

    def reading(self) -> AbstractContextManager[Reading]: ...

    def writing(self) -> AbstractContextManager[Writing]: ...

    def close(self) -> None: ...
