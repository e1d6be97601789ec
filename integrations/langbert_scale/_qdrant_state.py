"""What can be asked of a store in Qdrant, and done in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from langbert.records import Chunk, Document
from langbert.store.outside import (
    CHUNK_COLUMNS,
    DOCUMENT_COLUMNS,
    Allowed,
    ChunkRow,
    ChunkState,
    Condition,
    DocumentRow,
    Found,
    Group,
    Not,
    Rows,
    StoredChunk,
    StoredDocument,
    Test,
    Vector,
    chunk_row,
    numbered,
    question_words,
    stored_chunk,
    stored_document,
    vector_from,
    vector_to,
)

from ._client import ClientReading, ClientWriting
from ._tokens import by_number, fields_of_row, numbers_of, row_of, tokens_of, wanted_tokens, weights_of

if TYPE_CHECKING:
    from .qdrant import QdrantDatabase

_DENSE, _WORDS = "dense", "words"
_PAGE = 256
_COLUMNS = CHUNK_COLUMNS.split(", ")
_RANGE = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


class QdrantReading(ClientReading):
    def __init__(self, database: QdrantDatabase) -> None:
        self._database = database
        self._client = database.client
        self._chunks, self._documents, self._records = (
            f"{database.collection}{part}" for part in ("", "-documents", "-records")
        )
        self._has_chunks = self._client.collection_exists(self._chunks)

    def _scroll(
        self,
        collection: str,
        where: models.Filter | None = None,
        after: int = -1,
        limit: int | None = None,
        **what: Any,
    ) -> Iterator[Any]:
        """Points in the order of their numbers, from the one after ``after``."""
        offset: Any = after + 1
        left = limit
        while offset is not None and left != 0 and (collection != self._chunks or self._has_chunks):
            size = _PAGE if left is None else min(_PAGE, left)
            page, offset = self._client.scroll(collection, where, size, offset=offset, **what)
            yield from page
            left = None if left is None else left - len(page)

    def _points(self, rows: Iterable[int], collection: str = "", **what: Any) -> list[Any]:
        wanted, collection = [int(row) for row in rows], collection or self._chunks
        if not wanted or (collection == self._chunks and not self._has_chunks):
            return []
        return self._client.retrieve(collection, wanted, **what)

    # --- looking up ---------------------------------------------------------------------------------------------------

    @property
    def n_chunks(self) -> int:
        return self._client.count(self._chunks).count if self._has_chunks else 0

    @property
    def n_documents(self) -> int:
        return self._client.count(self._documents).count

    def states(self, ids: Iterable[str]) -> dict[str, ChunkState]:
        named = set(ids)
        found = (_state(point) for point in self._points({row_of("chunk", id) for id in named}))
        return {id: state for id, state in found if id in named}

    def states_of_document(self, document_id: str) -> dict[str, ChunkState]:
        return dict(map(_state, self._scroll(self._chunks, _is("document_id", document_id))))

    def document_states(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        found = self._points({row_of("document", id) for id in ids}, self._documents)
        return {
            point.payload["id"]: (bytes.fromhex(point.payload["content_hash"]), point.payload["chunking"])
            for point in found
        }

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]:
        return {point.id: _chunk(point) for point in self._points(rows)}

    def document(self, id: str) -> Document | None:
        for point in self._points([row_of("document", id)], self._documents):
            columns = [point.payload[name] for name in DOCUMENT_COLUMNS.split(", ")]
            return stored_document(columns, bytes.fromhex(point.payload["content_hash"]))
        return None

    def documents_after(self, id: str, limit: int) -> list[StoredDocument]:
        """In the order of their numbers."""
        after = row_of("document", id) if id else -1
        return [
            StoredDocument(
                point.payload["id"],
                point.payload["source"],
                json.loads(point.payload["metadata"]),
                point.payload["content_hash"],
                self._client.count(self._chunks, _is("document_id", point.payload["id"])).count
                if self._has_chunks
                else 0,
                point.payload["chunking"],
            )
            for point in self._scroll(self._documents, None, after, limit)
        ]

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        found = {point.id: _vector(point) for point in self._points(set(rows), with_vectors=[_DENSE])}
        return vector_from((vector_to(found[int(row)])[0] for row in rows), self.dimension or 0)

    def chunks_after(self, row: int, limit: int) -> list[tuple[int, ChunkRow, Vector | None]]:
        vectors = self.dimension is not None
        return [
            (
                point.id,
                chunk_row(_columns(point), bytes.fromhex(point.payload["embedded_hash"])),
                vector_to(_vector(point)) if vectors else None,
            )
            for point in self._scroll(self._chunks, None, row, limit, with_vectors=[_DENSE] if vectors else False)
        ]

    def records(self, kind: str, keys: Sequence[str] | None = None, after: str = "", limit: int = 0) -> dict[str, str]:
        if keys is not None:
            points: Iterable[Any] = self._points({row_of("record", kind, key) for key in keys}, self._records)
        else:
            points = self._scroll(self._records, _is("kind", kind))
        found = sorted((point.payload["key"], point.payload["value"]) for point in points)
        return dict([pair for pair in found if pair[0] > after][: limit or None] if keys is None else found)

    # --- searching ----------------------------------------------------------------------------------------------------

    def nearest(self, vector: NDArray[np.float32], k: int, allowed: Allowed) -> Found:
        if self.dimension is None:
            return _found([])
        query = _unit(vector).tolist()
        found = self._query(query, _DENSE, k, allowed)
        if len(found) < min(k, self.n_chunks) and not self._database.local:
            found = self._query(query, _DENSE, k, allowed, search_params=models.SearchParams(exact=True))
        return _found(found)

    def _query(self, query: Any, using: str, k: int, allowed: Allowed, **options: Any) -> list[Any]:
        if not self._has_chunks:
            return []
        where = self._filter(allowed)
        return self._client.query_points(
            self._chunks, query, using=using, query_filter=where, limit=k, with_payload=False, **options
        ).points

    def cosines(self, vector: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
        known = {point.id: _unit(_vector(point)) @ _unit(vector) for point in self._points(rows, with_vectors=[_DENSE])}
        return np.array([known[row] for row in rows.tolist()], dtype=np.float64)

    def worded(self, question: str, k: int, allowed: Allowed) -> Found:
        asked = numbered(question_words(question))
        if not asked:
            return _found([])
        query = models.SparseVector(indices=list(asked), values=list(asked.values()))
        return _found([point for point in self._query(query, _WORDS, k, allowed) if point.score > 0])

    def matching(self, condition: Condition) -> Rows:
        found = self._scroll(self._chunks, self._filter(condition), with_payload=False)
        return np.array(sorted(point.id for point in found), dtype=np.int64)

    def _filter(self, allowed: Allowed) -> models.Filter | None:
        if allowed is None:
            return None
        if isinstance(allowed, np.ndarray):
            return models.Filter(must=[models.HasIdCondition(has_id=allowed.tolist())])
        return models.Filter(must=[self._condition(allowed)])

    def _condition(self, condition: Condition) -> Any:
        match condition:
            case Group(word, parts):
                inner = [self._condition(part) for part in parts]
                if word == "OR" and not inner:
                    return models.HasIdCondition(has_id=[])
                return models.Filter(must=inner) if word == "AND" else models.Filter(should=inner)
            case Not(part):
                return models.Filter(must_not=[self._condition(part)])
            case Test(operator="range"):
                return self._in_range(condition)
        wanted = wanted_tokens(condition)
        if not wanted:
            return models.HasIdCondition(has_id=[])
        return models.FieldCondition(key="tokens", match=models.MatchAny(any=wanted))

    def _in_range(self, test: Test) -> Any:
        """Numbers by Qdrant; what it has no ranges of, by reading all fields."""
        if (known := by_number(test)) is not None:
            field, bounds = known
            each = [models.Range(**{_RANGE[bound]: value}) for bound, value in bounds]
            return models.Filter(must=[models.FieldCondition(key=f"numbers.{field}", range=one) for one in each])
        rows = (
            point.id
            for point in self._scroll(self._chunks)
            if test.holds(fields_of_row(chunk_row(_columns(point), b"")))
        )
        return models.HasIdCondition(has_id=list(rows))


class QdrantWriting(QdrantReading, ClientWriting):
    def make_chunks(self, dimension: int | None) -> None:
        """Vectors are of unit length, so that their products are cosines."""
        if self._has_chunks:
            self._client.delete_collection(self._chunks)
        dense = {} if dimension is None else {_DENSE: models.VectorParams(size=dimension, distance=models.Distance.DOT)}
        words = {_WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)}
        self._database.make("", vectors_config=dense, sparse_vectors_config=words)
        self._has_chunks = True

    def insert_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        if not chunks:
            return
        if not self._has_chunks:
            self.make_chunks(None)
        self.forget_chunking({chunk.document_id for chunk, _ in chunks})
        points = [_point(chunk, vector) for chunk, vector in chunks]
        for start in range(0, len(points), _PAGE):
            self._client.upsert(self._chunks, points[start : start + _PAGE])

    def update_chunk(self, row: int, chunk: ChunkRow) -> None:
        self._client.set_payload(self._chunks, _payload(chunk), [row])

    def delete_chunks(self, rows: Sequence[int]) -> None:
        if rows:
            self.forget_chunking({point.payload["document_id"] for point in self._points(rows)})
            self._delete(self._chunks, rows)

    def put_document(self, document: DocumentRow, chunking: str) -> None:
        payload = dict(zip(DOCUMENT_COLUMNS.split(", "), document.columns, strict=True))
        payload |= {"content_hash": document.content_hash.hex(), "chunking": chunking}
        point = models.PointStruct(id=row_of("document", document.id), vector={}, payload=payload)
        self._client.upsert(self._documents, [point])

    def delete_documents(self, ids: Iterable[str]) -> None:
        self._delete(self._documents, [row_of("document", id) for id in ids])

    def _delete(self, collection: str, rows: Iterable[int]) -> None:
        if points := list[Any](map(int, rows)):
            self._client.delete(collection, models.PointIdsList(points=points))

    def forget_chunking(self, ids: Iterable[str]) -> None:
        rows: list[Any] = [row_of("document", id) for id in self.document_states(ids)]
        if rows:
            self._client.set_payload(self._documents, {"chunking": ""}, rows)

    def put_records(self, kind: str, records: Mapping[str, str]) -> None:
        points = [
            models.PointStruct(
                id=row_of("record", kind, key), vector={}, payload={"kind": kind, "key": key, "value": value}
            )
            for key, value in records.items()
        ]
        if points:
            self._client.upsert(self._records, points)

    def delete_records(self, kind: str, keys: Sequence[str]) -> None:
        self._delete(self._records, [row_of("record", kind, key) for key in keys])


def _is(field: str, value: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=field, match=models.MatchValue(value=value))])


def _state(point: Any) -> tuple[str, ChunkState]:
    hashes = (bytes.fromhex(point.payload[f"{name}_hash"]) for name in ("record", "index", "embedded"))
    return point.payload["id"], ChunkState(point.id, point.payload["document_id"], *hashes)


def _columns(point: Any) -> list[Any]:
    """Qdrant leaves out what is None: a page."""
    return [point.payload.get(name) for name in _COLUMNS]


def _chunk(point: Any) -> Chunk:
    return stored_chunk(_columns(point), bytes.fromhex(point.payload["record_hash"]))


def _payload(chunk: ChunkRow) -> dict[str, Any]:
    fields = fields_of_row(chunk)
    hashes = {f"{name}_hash": getattr(chunk, f"{name}_hash").hex() for name in ("record", "index", "embedded")}
    columns = dict(zip(_COLUMNS, chunk.columns, strict=True))
    return {**columns, **hashes, "tokens": tokens_of(fields), "numbers": numbers_of(fields)}


def _point(chunk: ChunkRow, vector: Vector | None) -> models.PointStruct:
    weights, payload = weights_of(chunk), _payload(chunk)
    vectors: dict[str, Any] = {_WORDS: models.SparseVector(indices=list(weights), values=list(weights.values()))}
    if vector is not None:
        given = np.frombuffer(vector[0], dtype="<f4")
        vectors[_DENSE] = _unit(given).tolist()
        if not np.array_equal(given, _unit(given)):
            payload["vector"] = base64.b64encode(vector[0]).decode()
    return models.PointStruct(id=row_of("chunk", chunk.id), vector=vectors, payload=payload)


def _vector(point: Any) -> NDArray[np.float32]:
    """As it was given."""
    if given := point.payload.get("vector"):
        return np.frombuffer(base64.b64decode(given), dtype="<f4").astype(np.float32)
    return np.asarray(point.vector[_DENSE], dtype=np.float32)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of length 1, or of zeros; what is as good as that stays as it is."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return vector if length == 0 or abs(length - 1) < 1e-6 else (vector / length).astype(np.float32)


def _found(points: Sequence[Any]) -> Found:
    rows, scores = [point.id for point in points], [point.score for point in points]
    return np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float64)
