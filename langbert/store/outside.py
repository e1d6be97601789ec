"""A store whose rows lie in an engine outside: the promises of the embedded one, kept over whatever holds them.

An engine gives states (:class:`OutsideReading`) and transactions (:class:`OutsideWriting`) of rows that it finds by
filter, by vector and by word. Everything else (what is embedded again, what a hit's score is, which passages say the
same, whose vectors may be compared) is the embedded store's own code.
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Candidate, Chunk, EmbedderLike, EmbeddingSpace
from ..text.terms import ANALYSIS_VERSION
from .base import BaseStore, described
from .encoding import (
    CHUNK_COLUMNS,
    DOCUMENT_COLUMNS,
    ChunkRow,
    DocumentRow,
    Vector,
    chunk_from,
    encode_chunk,
    encode_document,
    stored_chunk,
    stored_document,
    vector_from,
    vector_to,
)
from .engine import DatabaseLike, Reading, Writing, delete_emptied
from .filters import RANGES, Condition, Group, Not, Test, Where, kind_of, narrowed, parse_where
from .ingest import ChunkerLike, chunking_key
from .postings import Rows, fields_in
from .ranking import Query, find
from .relevance import Calibration
from .snapshot import ChunkState, FileRecord, LedgerEntry, StoredChunk, StoredDocument, StoredText
from .space import SpaceCheck
from .words import MOST_WEIGHT, N_WORDS, chunk_words, idf, numbered, question_words, word_weights

__all__ = [
    "CHUNK_COLUMNS",
    "DOCUMENT_COLUMNS",
    "FIRST_META",
    "MOST_WEIGHT",
    "N_WORDS",
    "RANGES",
    "Allowed",
    "ChunkRow",
    "ChunkState",
    "ChunkerLike",
    "Condition",
    "DocumentRow",
    "Found",
    "Group",
    "Not",
    "OutsideDatabase",
    "OutsideReading",
    "OutsideStore",
    "OutsideWriting",
    "Rows",
    "StoredChunk",
    "StoredDocument",
    "Test",
    "Vector",
    "chunk_row",
    "chunk_words",
    "chunking_key",
    "fields_in",
    "idf",
    "kind_of",
    "narrowed",
    "numbered",
    "question_words",
    "stored_chunk",
    "stored_document",
    "vector_from",
    "vector_to",
    "word_weights",
]

Allowed = Condition | Rows | None
"""Which rows may be found: those that satisfy a condition, those listed, or all."""

Found = tuple[Rows, NDArray[np.float64]]
"""Rows and their scores."""

FIRST_META = {"format": "1", "analysis": str(ANALYSIS_VERSION), "chunks": "0", "documents": "0"}
"""What an engine remembers of a store that has just been made."""

_PAGE = 500
_FULL = 24.0  # a BM25 score; ten is half relevant, as the score of a lexical search has it
_TIED = 4096  # candidates among which equal ones are put in order


class OutsideReading(Reading):
    """One state of an engine, as far as the engine can hold one still."""

    # --- what an engine gives besides ---------------------------------------------------------------------------------

    @abstractmethod
    def nearest(self, vector: NDArray[np.float32], k: int, allowed: Allowed) -> Found:
        """At least the ``k`` rows with the highest cosines, if so many are allowed, in any order."""

    @abstractmethod
    def cosines(self, vector: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
        """Of ``rows``, in their order."""

    @abstractmethod
    def worded(self, question: str, k: int, allowed: Allowed) -> Found:
        """The ``k`` best rows by BM25 that share a word with the question (see :mod:`.words`), in any order."""

    @abstractmethod
    def matching(self, condition: Condition) -> Rows:
        """All rows that satisfy ``condition``, ascending."""

    @abstractmethod
    def chunks_after(self, row: int, limit: int) -> list[tuple[int, ChunkRow, Vector | None]]:
        """The next ``limit`` chunks in the order of their rows, with their vectors."""

    @abstractmethod
    def records(self, kind: str, keys: Sequence[str] | None = None, after: str = "", limit: int = 0) -> dict[str, str]:
        """What is remembered under ``keys``, or the next ``limit`` (0: all) keys after ``after`` in their order."""

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def n_chunks(self) -> int:
        return int(self.meta("chunks") or 0)

    @property
    def n_documents(self) -> int:
        return int(self.meta("documents") or 0)

    @property
    def dimension(self) -> int | None:
        return None if (value := self.meta("dimension")) is None else int(value)

    @property
    def space(self) -> EmbeddingSpace | None:
        return None if (text := self.meta("space")) is None else EmbeddingSpace(**json.loads(text))

    def allowed(self, where: Where | None) -> Allowed:
        """What ``where`` lets through; a function is asked about every chunk.

        Raises:
            FilterError: it cannot be understood.
        """
        if callable(where):
            return np.array([row for row, chunk in self._all_chunks() if where(chunk)], dtype=np.int64)
        return parse_where(where) if where else None

    def _all_chunks(self) -> Iterator[tuple[int, Chunk]]:
        for row, stored, _ in self._pages():
            yield row, chunk_from(stored.columns)

    def _pages(self) -> Iterator[tuple[int, ChunkRow, Vector | None]]:
        last = -1
        while page := self.chunks_after(last, _PAGE):
            yield from page
            last = page[-1][0]

    def document_ids(self) -> Iterator[str]:
        last = ""
        while page := self.documents_after(last, _PAGE):
            yield from (row.id for row in page)
            last = page[-1].id

    def stored_chunks(self) -> Iterator[StoredChunk]:
        return ((chunk, vector) for _, chunk, vector in self._pages())

    def stored_documents(self) -> Iterator[StoredText]:
        last = ""
        while page := self.documents_after(last, _PAGE):
            for row in page:
                if document := self.document(row.id):
                    yield encode_document(document), row.chunking
            last = page[-1].id

    def ledger_entries(self) -> Iterator[LedgerEntry]:
        for namespace in self.records("ledgers"):
            for key, value in self.records(f"ledger:{namespace}").items():
                group, at = json.loads(value)
                yield namespace, key, group, at

    def ledger_latest(self, namespace: str) -> float | None:
        last = self.records("ledgers", [namespace]).get(namespace)
        return None if last is None else float(last)

    def ledger_known(self, namespace: str, keys: Sequence[str]) -> set[str]:
        return set(self.records(f"ledger:{namespace}", keys))

    def ledger_keys(
        self,
        namespace: str,
        before: float | None,
        after: float | None,
        groups: Sequence[str] | None,
        limit: int | None,
    ) -> list[str]:
        found = [(key, *json.loads(value)) for key, value in self.records(f"ledger:{namespace}").items()]
        wanted = [
            (at, key)
            for key, group, at in found
            if (before is None or at < before) and (after is None or at > after) and (groups is None or group in groups)
        ]
        return [key for _, key in sorted(wanted)[:limit]]

    def files_after(self, path: str, limit: int) -> tuple[list[FileRecord], str | None]:
        page = self.records("file", after=path, limit=limit)
        return [FileRecord(**json.loads(value)) for value in page.values()], max(page) if len(page) == limit else None

    def vectors_since(self, change: int) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        dimension, last = self.dimension or 0, change - 1
        while page := self.chunks_after(last, _PAGE):
            vectors = [vector[0] for _, _, vector in page if vector is not None]
            rows = np.array([row for row, _, vector in page if vector is not None], dtype=np.int64)
            yield rows, vector_from(vectors, dimension)
            last = page[-1][0]

    def sample_rows(self, n: int, chance: random.Random) -> list[int]:
        """Where rows are hashes of ids, those next to each other are any."""
        start = chance.randrange(2**63)
        found = [row for row, _, _ in (*self.chunks_after(start, n), *self.chunks_after(-1, n))]
        return list(dict.fromkeys(found))[:n]


class OutsideWriting(OutsideReading, Writing):
    """Changes that become one commit, where the engine has such a thing."""

    @abstractmethod
    def set_meta(self, key: str, value: str | None) -> None:
        """None forgets it."""

    @abstractmethod
    def put_records(self, kind: str, records: Mapping[str, str]) -> None: ...

    @abstractmethod
    def delete_records(self, kind: str, keys: Sequence[str]) -> None: ...

    @abstractmethod
    def delete_documents(self, ids: Iterable[str]) -> None: ...

    def set_space(self, dimension: int | None, space: EmbeddingSpace | None) -> None:
        self.set_meta("dimension", None if dimension is None else str(dimension))
        self.set_meta("space", None if space is None else json.dumps(asdict(space)))

    def put_ledger(self, entries: Iterable[LedgerEntry]) -> None:
        namespaces: dict[str, dict[str, tuple[str | None, float]]] = {}
        for namespace, key, group, at in entries:
            namespaces.setdefault(namespace, {})[key] = group, at
        for namespace, given in namespaces.items():
            kind = f"ledger:{namespace}"
            groups = {key: json.loads(value)[0] for key, value in self.records(kind, list(given)).items()}
            rows = {key: [groups.get(key) if group is None else group, at] for key, (group, at) in given.items()}
            self.put_records(kind, {key: json.dumps(row) for key, row in rows.items()})
            latest = max(self.ledger_latest(namespace) or 0.0, *(at for _, at in given.values()))
            self.put_records("ledgers", {namespace: repr(latest)})

    def delete_from_ledger(self, namespace: str, keys: Sequence[str]) -> None:
        self.delete_records(f"ledger:{namespace}", keys)

    def put_files(self, records: Sequence[FileRecord]) -> None:
        self.put_records("file", {one.path: json.dumps(asdict(one), ensure_ascii=False) for one in records})

    def delete_files(self, paths: Sequence[str]) -> None:
        self.delete_records("file", paths)

    def delete(self, ids: Sequence[str] | None, where: Where | None) -> int:
        """See :meth:`langbert.store.transaction.Transaction.delete`."""
        rows = self._meant(ids, where)
        parents: set[str] = set()
        for start in range(0, len(rows), _PAGE):
            chunks = self.chunks(rows[start : start + _PAGE]).values()
            parents.update(chunk.document_id for chunk in chunks)
            for namespace in self.records("ledgers"):
                self.delete_records(f"ledger:{namespace}", [chunk.id for chunk in chunks])
        parents = set(self.document_states(parents))
        self.delete_chunks(rows)
        delete_emptied(self, parents, ids, where)
        return len(rows)

    def _meant(self, ids: Sequence[str] | None, where: Where | None) -> list[int]:
        named: set[int] | None = None
        if ids is not None:
            named = set(self.rows_of(ids).values())
            for id in ids:
                named.update(state.row_id for state in self.states_of_document(id).values())
        if where is None:
            return sorted(named or ())
        allowed = self.allowed(where)
        if allowed is None:
            rows = [row for row, _, _ in self._pages()]
        else:
            rows = (allowed if isinstance(allowed, np.ndarray) else self.matching(allowed)).tolist()
        return rows if named is None else sorted(named.intersection(rows))


class OutsideDatabase(DatabaseLike):
    """An engine: where states and transactions come from."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[OutsideReading]: ...

    @abstractmethod
    def writing(self) -> AbstractContextManager[OutsideWriting]: ...

    def describe(self) -> dict[str, Any]:
        """About the engine, as JSON values."""
        return {}


class OutsideStore(BaseStore):
    """A store in an engine outside; made by :func:`langbert.open_store`.

    Args:
        database: the engine, laid out already.
        embedder, chunker, late_chunking: as for :meth:`langbert.Store.open`.

    Raises:
        StoreError: it was made by another version that sees words otherwise.
        StoreMismatch: its vectors were made in another embedding space.
    """

    _database: OutsideDatabase
    path: Path | None = None

    def __init__(
        self,
        database: OutsideDatabase,
        *,
        embedder: EmbedderLike | None = None,
        chunker: ChunkerLike | None = None,
        late_chunking: bool | None = None,
    ) -> None:
        try:
            with database.reading() as state:
                made_by = {key: state.meta(key) for key in ("format", "analysis")}
                if not made_by.items() <= FIRST_META.items():
                    raise StoreError(
                        f"{database.name} has format {made_by['format']} and words of analysis {made_by['analysis']}; "
                        "this version has others: index anew, or use the version that made it"
                    )
                space = SpaceCheck(database.name, embedder, late_chunking, state)
        except BaseException:
            database.close()
            raise
        super().__init__(database, space, embedder=embedder, chunker=chunker)
        self._calibration = Calibration()

    def __repr__(self) -> str:
        return f"OutsideStore({self._database.name!r})"

    def close(self) -> None:
        self._database.close()

    def _found(self, query: Query, k: int, where: Where | None) -> list[Candidate]:
        with self._database.reading() as state:
            if query.vector is not None:
                self._space.check(state, len(query.vector))
            ranked = _Ranked(state)
            most = min(k, max(state.n_chunks, 1))
            nearness = self._calibration.of(state, query.text)
            hits = find(query, ranked, _Worded(state), most, state.allowed(where), state, nearness)
            chunks = state.chunks(hit.row for hit in hits)
        return [
            Candidate(chunks[hit.row], hit.score, hit.parts, relevance=hit.relevance)
            for hit in hits
            if hit.row in chunks
        ]

    def info(self) -> dict[str, Any]:
        """What the store holds and where, as JSON values."""
        with self._database.reading() as state:
            about = {"path": self._database.name, "format": int(state.meta("format"))}
            return {**about, **described(state), **self._database.describe()}


class _Ranked:
    """The dense side of a state, as :func:`.ranking.find` asks for it."""

    def __init__(self, state: OutsideReading) -> None:
        self._state = state

    def search(self, query: NDArray[np.float32], k: int, rows: Allowed, *, snapshot: Any) -> Found:
        return _best(lambda wide: self._state.nearest(query, wide, rows), k, decimals=6)

    def cosines(self, query: NDArray[np.float32], rows: Rows, *, snapshot: Any) -> NDArray[np.float64]:
        return np.round(self._state.cosines(query, rows), 6)


class _Worded:
    """The lexical side."""

    def __init__(self, state: OutsideReading) -> None:
        self._state = state

    def search(self, question: str, k: int, rows: Allowed = None) -> Found:
        return _best(lambda wide: self._state.worded(question, wide, rows), k, decimals=5)

    def full_score(self, question: str) -> float:
        """An engine does not tell how many passages hold a word: the same for every question."""
        return _FULL


def _best(find: Callable[[int], Found], k: int, *, decimals: int) -> Found:
    """The best ``k``, equal ones by row, so that a longer list begins with the shorter: where the last one found is as
    good as the ``k``-th, there may be more like it. The order of summing decides about further decimals."""
    wide = k + 1
    while True:
        rows, scores = find(wide)
        scores = np.round(scores, decimals)
        order = np.lexsort((rows, -scores))
        if len(rows) < wide or scores[order[-1]] < scores[order[k - 1]] or wide >= max(_TIED, k + 1):
            return rows[order[:k]], scores[order[:k]]
        wide *= 4


def chunk_row(columns: Sequence[Any], embedded_hash: bytes) -> ChunkRow:
    """A stored chunk from its :data:`~.encoding.CHUNK_COLUMNS`."""
    return replace(encode_chunk(chunk_from(columns)), embedded_hash=embedded_hash)
