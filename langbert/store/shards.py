"""A store in shards: several stores in folders behind one, each with its own database, writer and indexes.

A document with all its chunks lies in the shard that its id says, so it changes in one commit, and processes that write
to different shards do not wait for each other. The first shard keeps the accounts besides: the embedding space, the
files, the ledger, the calibration. Row ``r`` of shard ``s`` of ``n`` is row ``r * n + s`` of the whole.

A search asks every shard and merges what it finds before anything is fused. Words weigh what all shards together say of
their rarity; lengths are measured by each shard's own average.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Chunk, Document, EmbeddingSpace
from .encoding import ChunkRow, DocumentRow, vector_to
from .engine import DatabaseLike, Reading, Writing
from .faiss_index import Floats
from .filters import Where
from .postings import Rows
from .snapshot import ChunkState, FileRecord, LedgerEntry, Mark, Snapshot, StoredChunk, StoredDocument, StoredText
from .store import Store
from .transaction import Transaction
from .words import Held

T = TypeVar("T")


def shard_of(document_id: str, n_shards: int) -> int:
    """Where a document lies, in [0, n_shards)."""
    digest = hashlib.blake2b(document_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n_shards


def grouped(items: Iterable[T], home: Callable[[T], int]) -> dict[int, list[T]]:
    """Shard → those that belong there, in their order; shards ascending."""
    found: dict[int, list[T]] = {}
    for item in items:
        found.setdefault(home(item), []).append(item)
    return dict(sorted(found.items()))


class ShardedReading(Reading):
    """A commit of each shard, all taken at about the same moment."""

    def __init__(self, parts: Sequence[Snapshot]) -> None:
        self.parts = list(parts)

    def home(self, document_id: str) -> int:
        return shard_of(document_id, len(self.parts))

    def split(self, rows: Iterable[int]) -> dict[int, list[int]]:
        """Shard → its own rows."""
        n = len(self.parts)
        return {shard: [row // n for row in own] for shard, own in grouped(map(int, rows), lambda row: row % n).items()}

    def _whole(self, row: int, shard: int) -> int:
        return row * len(self.parts) + shard

    # --- about the whole ----------------------------------------------------------------------------------------------

    @property
    def mark(self) -> tuple[Mark, ...]:
        return tuple(part.mark for part in self.parts)

    @property
    def n_chunks(self) -> int:
        return sum(part.n_chunks for part in self.parts)

    @property
    def n_documents(self) -> int:
        return sum(part.n_documents for part in self.parts)

    @property
    def dimension(self) -> int | None:
        return self.parts[0].dimension

    @property
    def space(self) -> EmbeddingSpace | None:
        return self.parts[0].space

    @property
    def format(self) -> int:
        return self.parts[0].format

    def meta(self, key: str) -> Any:
        return self.parts[0].meta(key)

    # --- chunks and documents -----------------------------------------------------------------------------------------

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]:
        return {
            self._whole(row, shard): chunk
            for shard, own in self.split(rows).items()
            for row, chunk in self.parts[shard].chunks(own).items()
        }

    def chunks_by_id(self, ids: Iterable[str]) -> dict[str, Chunk]:
        names = list(ids)
        return {id: chunk for part in self.parts for id, chunk in part.chunks_by_id(names).items()}

    def document(self, id: str) -> Document | None:
        return self.parts[self.home(id)].document(id)

    def documents_after(self, id: str, limit: int) -> list[StoredDocument]:
        pages = (part.documents_after(id, limit) for part in self.parts)
        return list(islice(heapq.merge(*pages, key=lambda row: row.id), limit))

    def document_states(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        at_home = grouped(ids, self.home)
        return {
            id: state for shard, own in at_home.items() for id, state in self.parts[shard].document_states(own).items()
        }

    def states(self, ids: Iterable[str]) -> dict[str, ChunkState]:
        names = list(ids)
        found = (self._states(part.states(names), shard) for shard, part in enumerate(self.parts))
        return {id: state for some in found for id, state in some.items()}

    def states_of_document(self, document_id: str) -> dict[str, ChunkState]:
        home = self.home(document_id)
        return self._states(self.parts[home].states_of_document(document_id), home)

    def _states(self, states: Mapping[str, ChunkState], shard: int) -> dict[str, ChunkState]:
        return {id: replace(state, row_id=self._whole(state.row_id, shard)) for id, state in states.items()}

    def matching(self, where: Where) -> Rows:
        n = len(self.parts)
        return np.sort(np.concatenate([part.matching(where) * n + shard for shard, part in enumerate(self.parts)]))

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        found = {
            self._whole(row, shard): vector
            for shard, own in self.split(rows).items()
            for row, vector in zip(own, self.parts[shard].vectors(own), strict=True)
        }
        return np.array([found[row] for row in rows], dtype=np.float32).reshape(len(rows), self.dimension or 0)

    def vectors_since(self, change: int) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        for shard, part in enumerate(self.parts):
            for rows, vectors in part.vectors_since(change):
                yield rows * len(self.parts) + shard, vectors

    def sample_rows(self, n: int, chance: random.Random) -> list[int]:
        found = [self._whole(row, s) for s, part in enumerate(self.parts) for row in part.sample_rows(n, chance)]
        return chance.sample(found, min(n, len(found)))

    def stored_chunks(self) -> Iterator[StoredChunk]:
        return chain.from_iterable(part.stored_chunks() for part in self.parts)

    def stored_documents(self) -> Iterator[StoredText]:
        return heapq.merge(*(part.stored_documents() for part in self.parts), key=lambda pair: pair[0].id)

    # --- the accounts -------------------------------------------------------------------------------------------------

    def ledger_entries(self) -> Iterator[LedgerEntry]:
        return self.parts[0].ledger_entries()

    def ledger_latest(self, namespace: str) -> float | None:
        return self.parts[0].ledger_latest(namespace)

    def ledger_known(self, namespace: str, keys: Sequence[str]) -> set[str]:
        return self.parts[0].ledger_known(namespace, keys)

    def ledger_keys(
        self,
        namespace: str,
        before: float | None,
        after: float | None,
        groups: Sequence[str] | None,
        limit: int | None,
    ) -> list[str]:
        return self.parts[0].ledger_keys(namespace, before, after, groups, limit)

    def files_after(self, path: str, limit: int) -> tuple[list[FileRecord], str | None]:
        return self.parts[0].files_after(path, limit)


class ShardedWriting(ShardedReading, Writing):
    """Changes that become a commit of each shard that they touch, the first shard's last.

    A shard is locked when it is first written to. Whoever writes to several locks them in their order (:meth:`lock`),
    so that nobody waits for one who waits for him.
    """

    def __init__(self, parts: Sequence[Snapshot], begin: Callable[[int], Transaction]) -> None:
        super().__init__(parts)
        self._begin = begin
        self._open: dict[int, Transaction] = {}

    def lock(self, shards: Iterable[int]) -> None:
        for shard in sorted(shards):
            self._at(shard)

    def _at(self, shard: int) -> Transaction:
        if shard not in self._open:
            self._open[shard] = self.parts[shard] = self._begin(shard)
        return self._open[shard]

    def set_meta(self, key: str, value: Any) -> None:
        self._at(0).set_meta(key, value)

    def set_space(self, dimension: int | None, space: EmbeddingSpace | None) -> None:
        """In every shard; what counts is the first one's."""
        for shard in range(len(self.parts)):
            self._at(shard).set_space(dimension, space)

    def insert_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        for shard, own in grouped(chunks, lambda pair: self.home(pair[0].document_id)).items():
            self._at(shard).insert_chunks(own)

    def update_chunk(self, row: int, chunk: ChunkRow) -> None:
        own, shard = divmod(row, len(self.parts))
        if self.home(chunk.document_id) == shard:
            self._at(shard).update_chunk(own, chunk)
            return
        vector = None if self.dimension is None else vector_to(self.vectors([row])[0])
        self.delete_chunks([row])
        self.insert_chunks([(chunk, vector)])

    def delete_chunks(self, rows: Sequence[int]) -> None:
        for shard, own in self.split(rows).items():
            self._at(shard).delete_chunks(own)

    def delete(self, ids: Sequence[str] | None, where: Where | None) -> int:
        """See :meth:`langbert.store.transaction.Transaction.delete`."""
        self.lock(range(len(self.parts)))
        first, *others = self._open.values()
        if first.has_ledger:
            for part in others:
                first.strike_from_ledger(part.ids_of(part.meant(ids, where)))
        return sum(part.delete(ids, where) for part in self._open.values())

    def document_ids(self) -> Iterable[str]:
        return chain.from_iterable(part.document_ids() for part in self.parts)

    def delete_documents(self, ids: Iterable[str]) -> None:
        for shard, own in grouped(ids, self.home).items():
            self._at(shard).delete_documents(own)

    def put_document(self, document: DocumentRow, chunking: str) -> None:
        self._at(self.home(document.id)).put_document(document, chunking)

    def forget_chunking(self, ids: Iterable[str]) -> None:
        for shard, own in grouped(ids, self.home).items():
            self._at(shard).forget_chunking(own)

    def put_ledger(self, entries: Iterable[LedgerEntry]) -> None:
        self._at(0).put_ledger(entries)

    def delete_from_ledger(self, namespace: str, keys: Sequence[str]) -> None:
        self._at(0).delete_from_ledger(namespace, keys)

    def put_files(self, records: Sequence[FileRecord]) -> None:
        self._at(0).put_files(records)

    def delete_files(self, paths: Sequence[str]) -> None:
        self._at(0).delete_files(paths)


class ShardedDatabase(DatabaseLike):
    """The databases of all shards."""

    def __init__(self, name: str, shards: Sequence[Store]) -> None:
        self.name = name
        self.read_only = shards[0].read_only
        self.shards = shards

    @contextmanager
    def reading(self) -> Iterator[ShardedReading]:
        with ExitStack() as stack:
            yield ShardedReading([stack.enter_context(shard.snapshot()) for shard in self.shards])

    @contextmanager
    def writing(self) -> Iterator[ShardedWriting]:
        if self.read_only:
            raise StoreError(f"{self.name} was opened with read_only=True: open it without to change it")
        with ExitStack() as stack:
            yield ShardedWriting(
                [stack.enter_context(shard.snapshot()) for shard in self.shards],
                lambda shard: stack.enter_context(self.shards[shard].transaction()),
            )

    def close(self) -> None:
        for shard in self.shards:
            shard.close()


class _Sharded:
    """An index of each shard, of one kind."""

    def __init__(self, indexes: Sequence[Any]) -> None:
        self._indexes = indexes

    @property
    def mark(self) -> tuple[Mark, ...]:
        return tuple(index.mark for index in self._indexes)

    def refresh(self, snapshot: ShardedReading) -> None:
        for index, part in zip(self._indexes, snapshot.parts, strict=True):
            index.refresh(part)


class ShardedDense(_Sharded):
    """The dense indexes of all shards: the nearest of the nearest."""

    def __init__(self, shards: Sequence[Store]) -> None:
        super().__init__([shard.indexes.dense for shard in shards])

    def search(self, query: Floats, k: int, rows: Rows | None, *, snapshot: ShardedReading) -> tuple[Rows, Floats]:
        n = len(self._indexes)
        each = enumerate(zip(self._indexes, snapshot.parts, strict=True))
        return _merged([ix.search(query, k, _own(rows, shard, n), snapshot=part) for shard, (ix, part) in each], k)

    def cosines(self, query: Floats, rows: Rows, *, snapshot: ShardedReading) -> Floats:
        n = len(self._indexes)
        values = np.zeros(len(rows), dtype=np.float32)
        for shard, (index, part) in enumerate(zip(self._indexes, snapshot.parts, strict=True)):
            values[rows % n == shard] = index.cosines(query, _own(rows, shard, n), snapshot=part)
        return values


class ShardedLexical(_Sharded):
    """The lexical indexes of all shards: a word is as rare as it is in all of them together."""

    def __init__(self, shards: Sequence[Store]) -> None:
        super().__init__([shard.indexes.lexical for shard in shards])

    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Rows, NDArray[np.float64]]:
        n, held = len(self._indexes), self._held(question)
        return _merged(
            [ix.search(question, k, _own(rows, shard, n), held) for shard, ix in enumerate(self._indexes)], k
        )

    def full_score(self, question: str) -> float:
        return self._held(question).full_score(question)

    def _held(self, question: str) -> Held:
        """One marker is counted, as in one index, not one of each that was ever written."""
        each = [held for index in self._indexes if (held := index.held(question)).n_chunks]
        chunks = Counter[tuple[str, str]]()
        for held in each:
            chunks.update(held.chunks)
        return Held(sum(held.n_chunks - 1 for held in each) + bool(each), chunks)


def _own(rows: Rows | None, shard: int, n_shards: int) -> Rows | None:
    """Those of a shard, as it numbers them, in their order."""
    return None if rows is None else rows[rows % n_shards == shard] // n_shards


def _merged(found: Sequence[tuple[Rows, NDArray[Any]]], k: int) -> tuple[Rows, NDArray[Any]]:
    """The best ``k`` of what each shard found, equal ones by row."""
    n = len(found)
    rows = np.concatenate([own * n + shard for shard, (own, _) in enumerate(found)])
    scores = np.concatenate([values for _, values in found])
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
