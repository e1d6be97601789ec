"""States and transactions of a store in PostgreSQL."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import SparseVector

from langbert.records import Chunk, Document, EmbeddingSpace
from langbert.store.outside import (
    CHUNK_COLUMNS,
    DOCUMENT_COLUMNS,
    MOST_WEIGHT,
    N_WORDS,
    Allowed,
    ChunkRow,
    ChunkState,
    Condition,
    DocumentRow,
    Found,
    OutsideReading,
    OutsideWriting,
    Rows,
    StoredChunk,
    StoredDocument,
    Vector,
    chunk_row,
    fields_in,
    idf,
    numbered,
    question_words,
    stored_chunk,
    stored_document,
    vector_from,
    vector_to,
    word_weights,
)

from ._sql import Clause, clause, hnsw_index, json_of, vector_column

_DEEP, _SHARE = 4, 20  # chunks that are scored at first: at least so many times those wanted, or this part of all
_ROUNDED = 1 - 1e-4  # scores are sums of float32
_EF_SEARCH = (100, 1000)  # how many neighbours HNSW keeps in view: no fewer, and no more
_STATE = "id, row_id, document_id, record_hash, index_hash, embedded_hash"
_ALL = "TRUE"


class PostgresReading(OutsideReading):
    """One snapshot."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._meta: dict[str, str] | None = None  # read when first asked for

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, parameters).fetchall()

    # --- looking up ---------------------------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        if self._meta is None:
            self._meta = dict(self._rows("SELECT key, value FROM meta"))
        return self._meta.get(key)

    def states(self, ids: Iterable[str]) -> dict[str, ChunkState]:
        found = self._rows(f"SELECT {_STATE} FROM chunks WHERE id = ANY(%s)", [list(ids)])  # noqa: S608
        return {id: ChunkState(*state) for id, *state in found}

    def states_of_document(self, document_id: str) -> dict[str, ChunkState]:
        found = self._rows(f"SELECT {_STATE} FROM chunks WHERE document_id = %s", [document_id])  # noqa: S608
        return {id: ChunkState(*state) for id, *state in found}

    def document_states(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        query = "SELECT id, content_hash, chunking FROM documents WHERE id = ANY(%s)"
        return {id: (content_hash, chunking) for id, content_hash, chunking in self._rows(query, [list(ids)])}

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]:
        query = f"SELECT row_id, {CHUNK_COLUMNS}, record_hash FROM chunks WHERE row_id = ANY(%s)"  # noqa: S608
        return {row: stored_chunk(rest[:-1], rest[-1]) for row, *rest in self._rows(query, [list(map(int, rows))])}

    def chunks_by_id(self, ids: Iterable[str]) -> dict[str, Chunk]:
        query = f"SELECT {CHUNK_COLUMNS}, record_hash FROM chunks WHERE id = ANY(%s)"  # noqa: S608
        return {row[0]: stored_chunk(row[:-1], row[-1]) for row in self._rows(query, [list(ids)])}

    def document(self, id: str) -> Document | None:
        query = f"SELECT {DOCUMENT_COLUMNS}, content_hash FROM documents WHERE id = %s"  # noqa: S608
        found = self._rows(query, [id])
        return stored_document(found[0][:-1], found[0][-1]) if found else None

    def documents_after(self, id: str, limit: int) -> list[StoredDocument]:
        found = self._rows(
            "SELECT id, source, metadata, content_hash, "
            "(SELECT count(*) FROM chunks WHERE document_id = documents.id), chunking "
            "FROM documents WHERE id > %s ORDER BY id LIMIT %s",
            [id, limit],
        )
        return [
            StoredDocument(id, source, json.loads(metadata), content_hash.hex(), n, chunking)
            for id, source, metadata, content_hash, n, chunking in found
        ]

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        found = dict(self._rows("SELECT row_id, embedding FROM chunks WHERE row_id = ANY(%s)", [list(map(int, rows))]))
        return vector_from((vector_to(_array(found[row]))[0] for row in rows), self.dimension or 0)

    def chunks_after(self, row: int, limit: int) -> list[tuple[int, ChunkRow, Vector | None]]:
        embedding = "embedding" if self.dimension is not None else "NULL"
        query = (
            f"SELECT row_id, {CHUNK_COLUMNS}, embedded_hash, {embedding} FROM chunks "  # noqa: S608
            "WHERE row_id > %s ORDER BY row_id LIMIT %s"
        )
        return [
            (row, chunk_row(columns, embedded_hash), None if vector is None else vector_to(_array(vector)))
            for row, *columns, embedded_hash, vector in self._rows(query, [row, limit])
        ]

    def sample_rows(self, n: int, chance: random.Random) -> list[int]:
        last = self._rows("SELECT coalesce(max(row_id), 0) FROM chunks")[0][0]
        found = self._rows(
            "SELECT DISTINCT (SELECT row_id FROM chunks WHERE row_id >= guess ORDER BY row_id LIMIT 1) "
            "FROM unnest(%s::bigint[]) AS guess",
            [[chance.randint(1, last) for _ in range(4 * n if last else 0)]],
        )
        rows = sorted(row for (row,) in found)
        return chance.sample(rows, min(n, len(rows)))

    def records(self, kind: str, keys: Sequence[str] | None = None, after: str = "", limit: int = 0) -> dict[str, str]:
        given: list[Any]
        if keys is not None:
            query, given = "key = ANY(%s)", [list(keys)]
        else:
            query, given = "key > %s ORDER BY key LIMIT %s", [after, limit or None]
        return dict(self._rows(f"SELECT key, value FROM records WHERE kind = %s AND {query}", [kind, *given]))  # noqa: S608

    # --- searching ----------------------------------------------------------------------------------------------------

    def nearest(self, vector: NDArray[np.float32], k: int, allowed: Allowed) -> Found:
        """By the index, as far as it goes; where it gives up before ``k`` rows, by comparing all."""
        if self.dimension is None:
            return _found([])
        condition, parameters = _condition(allowed)
        query = (
            f"SELECT row_id, 1 - (embedding <=> %s) FROM chunks WHERE {condition} "  # noqa: S608
            "ORDER BY embedding <=> %s LIMIT %s"
        )
        given = [vector, *parameters, vector, k]
        ef_search = min(max(2 * k, _EF_SEARCH[0]), _EF_SEARCH[1])
        self._set({"hnsw.ef_search": str(ef_search), "hnsw.iterative_scan": "strict_order"})
        found = self._rows(query, given)
        if len(found) < min(k, self.n_chunks) and self.has_index():
            self._set({"enable_indexscan": "off"})
            found = self._rows(query, given)
            self._set({"enable_indexscan": "on"})
        return _found(found)

    def has_index(self) -> bool:
        return self._rows("SELECT to_regclass('chunks_hnsw')")[0][0] is not None

    def _set(self, settings: Mapping[str, str]) -> None:
        """For this transaction."""
        each = ", ".join(["set_config(%s, %s, TRUE)"] * len(settings))
        self._rows(f"SELECT {each}", [part for pair in settings.items() for part in pair])

    def cosines(self, vector: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
        if self.dimension is None:
            return np.zeros(len(rows))
        query = "SELECT row_id, 1 - (embedding <=> %s) FROM chunks WHERE row_id = ANY(%s)"
        known = dict(zip(*_found(self._rows(query, [vector, rows.tolist()])), strict=True))
        return np.array([known[row] for row in rows.tolist()], dtype=np.float64)

    def worded(self, question: str, k: int, allowed: Allowed) -> Found:
        asked = numbered(question_words(question))
        if not asked:
            return _found([])
        holding = dict(self._rows("SELECT word, chunks FROM word_counts WHERE word = ANY(%s)", [list(asked)]))
        by_rarity = sorted(asked, key=lambda word: holding.get(word, 0))
        rarity = idf(self.n_chunks, [holding.get(word, 0) for word in by_rarity])
        weights = {word: asked[word] * each for word, each in zip(by_rarity, rarity, strict=True)}
        vector = SparseVector(weights, N_WORDS)
        condition, parameters = _condition(allowed)

        def best(words: Sequence[int]) -> list[tuple[int, float]]:
            query = (
                f"SELECT row_id, -(words <#> %s) AS score FROM chunks WHERE word_ids && %s AND {condition} "  # noqa: S608
                "ORDER BY score DESC, row_id LIMIT %s"
            )
            return self._rows(query, [vector, list(words), *parameters, k])

        so_far = accumulate((holding.get(word, 0) for word in by_rarity), initial=0)
        n_rare = sum(less < _DEEP * k or more <= self.n_chunks // _SHARE for less, more in pairwise(so_far))
        if n_rare == len(by_rarity) or isinstance(allowed, np.ndarray):
            return _found(best(by_rarity))
        rare = by_rarity[:n_rare]
        found = best(rare)
        needed = needed_words(weights, found[-1][1] if len(found) == k else 0.0)
        return _found(found if len(needed) <= len(rare) else best(needed))

    def matching(self, condition: Condition) -> Rows:
        where, parameters = clause(condition)
        found = self._rows(f"SELECT row_id FROM chunks WHERE {where} ORDER BY row_id", parameters)  # noqa: S608
        return np.array([row for (row,) in found], dtype=np.int64)


def needed_words(weights: Mapping[int, float], least: float) -> list[int]:
    """Which words to look up: a chunk that has none of them, and any of the others, has less than the score ``least``
    (MaxScore: Turtle & Flood 1995, "Query Evaluation: Strategies and Optimizations", §4.1).

    Args:
        weights: what each word of the question counts, the rarest first.
    """
    words, others = list(weights), 0.0
    while words and (others := others + MOST_WEIGHT * weights[words[-1]]) < least * _ROUNDED:
        words.pop()
    return words


class PostgresWriting(PostgresReading, OutsideWriting):
    """One transaction, which has the store to itself."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection)
        self._count = {"chunks": 0, "documents": 0}

    def _do(self, query: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(query, parameters).rowcount

    def _do_many(self, query: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(query, list(rows))

    def finish(self, index_from: int) -> None:
        """Counts, and makes the index where the store has become so large."""
        self._meta = None
        for key, by in self._count.items():
            if by:
                self._do("UPDATE meta SET value = (value::bigint + %s)::text WHERE key = %s", [by, key])
        if self._count["chunks"] > 0 and self.n_chunks >= index_from and self.dimension is not None:
            create = hnsw_index(self.dimension)
            if create and not self.has_index():
                self._do(create)

    def set_meta(self, key: str, value: str | None) -> None:
        self._meta = None
        self._do("DELETE FROM meta WHERE key = %s", [key])
        if value is not None:
            self._do("INSERT INTO meta VALUES (%s, %s)", [key, value])

    def set_space(self, dimension: int | None, space: EmbeddingSpace | None) -> None:
        if dimension is not None and self.dimension is None:
            self._do(vector_column(dimension))
        super().set_space(dimension, space)

    # --- chunks -------------------------------------------------------------------------------------------------------

    def insert_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        if not chunks:
            return
        dimension = self.dimension
        names = f"{CHUNK_COLUMNS}, record_hash, index_hash, embedded_hash, fields, word_ids, words"
        rows, counts = [], dict[int, int]()
        for chunk, vector in chunks:
            weights = _word_weights(chunk)
            for word in weights:
                counts[word] = counts.get(word, 0) + 1
            row = [*chunk.columns, chunk.record_hash, chunk.index_hash, chunk.embedded_hash, _fields(chunk)]
            row += [list(weights), SparseVector(weights, N_WORDS)]
            if dimension is not None:
                row.append(None if vector is None else vector_from([vector[0]], dimension)[0])
            rows.append(row)
        names += ", embedding" if dimension is not None else ""
        self._do_many(f"INSERT INTO chunks ({names}) VALUES ({', '.join(['%s'] * len(rows[0]))})", rows)  # noqa: S608
        self._do(
            "INSERT INTO word_counts SELECT * FROM unnest(%s::int[], %s::bigint[]) "
            "ON CONFLICT (word) DO UPDATE SET chunks = word_counts.chunks + excluded.chunks",
            [list(counts), list(counts.values())],
        )
        self._count["chunks"] += len(rows)

    def update_chunk(self, row: int, chunk: ChunkRow) -> None:
        names = ", ".join(f"{name} = %s" for name in CHUNK_COLUMNS.split(", "))
        self._do(
            f"UPDATE chunks SET {names}, record_hash = %s, fields = %s WHERE row_id = %s",  # noqa: S608
            [*chunk.columns, chunk.record_hash, _fields(chunk), row],
        )

    def delete_chunks(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        self._do(
            "WITH gone AS (SELECT word, count(*) AS n FROM chunks, unnest(word_ids) AS word WHERE row_id = ANY(%s) "
            "GROUP BY word) UPDATE word_counts SET chunks = chunks - n FROM gone WHERE word_counts.word = gone.word",
            [list(rows)],
        )
        self._count["chunks"] -= self._do("DELETE FROM chunks WHERE row_id = ANY(%s)", [list(rows)])

    # --- documents and records ----------------------------------------------------------------------------------------

    def put_document(self, document: DocumentRow, chunking: str) -> None:
        there = self._do("DELETE FROM documents WHERE id = %s", [document.id])
        id, source, _, metadata, *_ = document.columns
        self._do(
            f"INSERT INTO documents ({DOCUMENT_COLUMNS}, content_hash, chunking, fields) "  # noqa: S608
            f"VALUES ({', '.join(['%s'] * 9)})",
            [
                *document.columns,
                document.content_hash,
                chunking,
                json_of({**fields_in(source, None, metadata), "id": id, "document_id": id}),
            ],
        )
        self._count["documents"] += 1 - there

    def delete_documents(self, ids: Iterable[str]) -> None:
        self._count["documents"] -= self._do("DELETE FROM documents WHERE id = ANY(%s)", [list(ids)])

    def forget_chunking(self, ids: Iterable[str]) -> None:
        self._do("UPDATE documents SET chunking = '' WHERE id = ANY(%s)", [list(ids)])

    def put_records(self, kind: str, records: Mapping[str, str]) -> None:
        self._do(
            "INSERT INTO records SELECT %s, * FROM unnest(%s::text[], %s::text[]) "
            "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
            [kind, list(records), list(records.values())],
        )

    def delete_records(self, kind: str, keys: Sequence[str]) -> None:
        self._do("DELETE FROM records WHERE kind = %s AND key = ANY(%s)", [kind, list(keys)])


def _condition(allowed: Allowed) -> Clause:
    if allowed is None:
        return _ALL, []
    if isinstance(allowed, np.ndarray):
        return "row_id = ANY(%s)", [allowed.tolist()]
    return clause(allowed)


def _found(rows: Sequence[tuple[int, float]]) -> Found:
    """A vector of zeros, whose cosine pgvector has no number for, is at right angles to all."""
    scores = [0.0 if score is None or math.isnan(score) else score for _, score in rows]
    return np.array([row for row, _ in rows], dtype=np.int64), np.array(scores, dtype=np.float64)


def _array(vector: Any) -> NDArray[np.float32]:
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, dtype=np.float32)


def _word_weights(chunk: ChunkRow) -> dict[int, float]:
    _, _, text, _, _, headings, source, _ = chunk.columns
    return word_weights(text, "\n".join(json.loads(headings)), source)


def _fields(chunk: ChunkRow) -> str:
    id, document_id, _, _, page, _, source, metadata = chunk.columns
    return json_of({**fields_in(source, page, metadata), "id": id, "document_id": document_id})
