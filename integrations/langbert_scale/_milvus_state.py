"""What can be asked of a store in Milvus, and done in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langbert.errors import StoreError
from langbert.records import Chunk, Document
from langbert.store.outside import (
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
    chunk_words,
    numbered,
    question_words,
    stored_chunk,
    stored_document,
    vector_from,
    vector_to,
)

from ._client import ClientReading, ClientWriting
from ._tokens import a_number, by_number, fields_of_row, numbers_of, row_of, tokens_of, wanted_tokens

if TYPE_CHECKING:
    from .milvus import MilvusDatabase

MOST_BYTES = 65_535
"""Of a text in Milvus."""

_PAGE = 256
_PART = 16_000  # characters of a value in one piece, of four bytes at most
_MOST_WORDS = 7_000  # of a chunk, that are looked up
_RANGE = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_ALL, _NONE = "row >= 0", "row < 0"
_WITHOUT_VECTOR, _WITH_VECTOR = ["row", "columns"], ["row", "columns", "embedding"]


class MilvusReading(ClientReading):
    """The collections as they are."""

    def __init__(self, database: MilvusDatabase) -> None:
        self._database = database
        self._client = database.client
        self._has_chunks = self._client.has_collection(database.chunks)

    def _scroll(
        self, collection: str, where: str, fields: list[str], after: int = -1, limit: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows in the order of their numbers, from the one after ``after``."""
        if collection == self._database.chunks and not self._has_chunks:
            return
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            page = self._page(collection, f"row > {after} and ({where})", fields, size)
            yield from page
            if len(page) < size:
                return
            after, left = page[-1]["row"], None if left is None else left - len(page)

    def _page(self, collection: str, where: str, fields: list[str], size: int) -> list[dict[str, Any]]:
        if self._database.local:  # Milvus Lite has no order
            rows = sorted(row["row"] for row in self._client.query(collection, filter=where, output_fields=["row"]))
            found = self._named(collection, rows[:size], fields)
        else:  # a server has one for iterators
            pages = self._client.query_iterator(collection, batch_size=size, filter=where, output_fields=fields)
            found = pages.next()
            pages.close()
        return sorted(found, key=lambda row: row["row"])

    def _named(self, collection: str, rows: Iterable[int], fields: list[str]) -> list[dict[str, Any]]:
        """Those of ``rows`` that are there, in any order."""
        wanted, found = sorted(map(int, rows)), list[dict[str, Any]]()
        if collection == self._database.chunks and not self._has_chunks:
            return found
        for start in range(0, len(wanted), _PAGE):
            where = _among(wanted[start : start + _PAGE])
            found += self._client.query(collection, filter=where, output_fields=fields)
        return found

    def _chunks(self, rows: Iterable[int], fields: list[str]) -> list[dict[str, Any]]:
        return self._named(self._database.chunks, rows, fields)

    def _count(self, collection: str, where: str) -> int:
        return int(self._client.query(collection, filter=where, output_fields=["count(*)"])[0]["count(*)"])

    # --- looking up ---------------------------------------------------------------------------------------------------

    @property
    def n_chunks(self) -> int:
        return self._count(self._database.chunks, _ALL) if self._has_chunks else 0

    @property
    def n_documents(self) -> int:
        return self._count(self._database.records, 'kind == "document" and part < 0')

    def states(self, ids: Iterable[str]) -> dict[str, ChunkState]:
        named = set(ids)
        found = map(_state, self._chunks({row_of("chunk", id) for id in named}, _WITHOUT_VECTOR))
        return {id: state for id, state in found if id in named}

    def states_of_document(self, document_id: str) -> dict[str, ChunkState]:
        where = f"document == {row_of('document', document_id)}"
        return dict(map(_state, self._scroll(self._database.chunks, where, _WITHOUT_VECTOR)))

    def document_states(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        found = {id: json.loads(value) for id, value in self.records("document", list(ids)).items()}
        return {id: (bytes.fromhex(content_hash), chunking) for id, (*_, content_hash, chunking) in found.items()}

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]:
        return {row["row"]: _chunk(row) for row in self._chunks(rows, _WITHOUT_VECTOR)}

    def document(self, id: str) -> Document | None:
        text, state = self.records("text", [id]).get(id), self.records("document", [id]).get(id)
        if text is None or state is None:
            return None
        return stored_document(json.loads(text), bytes.fromhex(json.loads(state)[2]))

    def documents_after(self, id: str, limit: int) -> list[StoredDocument]:
        """In the order of their numbers."""
        after = row_of("document", id) if id else -1
        where = 'kind == "document" and part < 0'
        ids = [row["key"] for row in self._scroll(self._database.records, where, ["row", "key"], after, limit)]
        values = self.records("document", ids)
        found = []
        for name in ids:
            source, metadata, content_hash, chunking = json.loads(values[name])
            n = self._count(self._database.chunks, f"document == {row_of('document', name)}") if self._has_chunks else 0
            found.append(StoredDocument(name, source, json.loads(metadata), content_hash, n, chunking))
        return found

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        found = {row["row"]: _vector(row) for row in self._chunks(set(rows), _WITH_VECTOR)}
        return vector_from((vector_to(found[int(row)])[0] for row in rows), self.dimension or 0)

    def chunks_after(self, row: int, limit: int) -> list[tuple[int, ChunkRow, Vector | None]]:
        fields = _WITHOUT_VECTOR if self.dimension is None else _WITH_VECTOR
        return [
            (row["row"], _chunk_row(row), vector_to(_vector(row)) if "embedding" in row else None)
            for row in self._scroll(self._database.chunks, _ALL, fields, row, limit)
        ]

    def records(self, kind: str, keys: Sequence[str] | None = None, after: str = "", limit: int = 0) -> dict[str, str]:
        records, fields = self._database.records, ["row", "key", "part", "value"]
        if keys is not None:
            first = self._named(records, {_record(kind, key, 0) for key in keys}, fields)
        else:
            first = list(self._scroll(records, f"kind == {_quoted(kind)} and part < 0", fields))
        first = sorted((row for row in first if row["key"] > after), key=lambda row: row["key"])[: limit or None]
        rest = {_record(kind, row["key"], part): "" for row in first for part in range(1, -row["part"])}
        rest |= {row["row"]: row["value"] for row in self._named(records, rest, fields)}

        def whole(row: Mapping[str, Any]) -> str:
            parts = (rest[_record(kind, row["key"], part)] for part in range(1, -row["part"]))
            return "".join([row["value"], *parts])

        return {row["key"]: whole(row) for row in first}

    # --- searching ----------------------------------------------------------------------------------------------------

    def nearest(self, vector: NDArray[np.float32], k: int, allowed: Allowed) -> Found:
        if self.dimension is None or not self._has_chunks:
            return _found([])
        return _found(self._search(vector.tolist(), "embedding", k, allowed))

    def _search(self, query: Any, field: str, k: int, allowed: Allowed) -> list[dict[str, Any]]:
        where = self._expression(allowed)
        found = self._client.search(
            self._database.chunks, [query], anns_field=field, limit=min(k, 16_384), filter=where, output_fields=["row"]
        )
        return list(found[0])

    def cosines(self, vector: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
        known = {row["row"]: _cosine(_vector(row), vector) for row in self._chunks(rows.tolist(), _WITH_VECTOR)}
        return np.array([known[row] for row in rows.tolist()], dtype=np.float64)

    def worded(self, question: str, k: int, allowed: Allowed) -> Found:
        """A word that counts twice stands there twice: fields weigh halves and wholes."""
        asked = numbered(question_words(question))
        if not asked or not self._has_chunks:
            return _found([])
        words = [word for number, weight in asked.items() for word in [_word(number)] * max(1, round(2 * weight))]
        rows, scores = _found(self._search(" ".join(words), "words", k, allowed))
        return rows, np.abs(scores) / 2  # Milvus Lite gives distances, a server similarities

    def matching(self, condition: Condition) -> Rows:
        found = self._scroll(self._database.chunks, self._condition(condition), ["row"])
        return np.array([row["row"] for row in found], dtype=np.int64)

    def _expression(self, allowed: Allowed) -> str:
        if allowed is None:
            return ""
        return _among(allowed.tolist()) if isinstance(allowed, np.ndarray) else self._condition(allowed)

    def _condition(self, condition: Condition) -> str:
        match condition:
            case Group(word, parts):
                inner = [self._condition(part) for part in parts]
                return f"({f' {word.lower()} '.join(inner)})" if inner else _ALL if word == "AND" else _NONE
            case Not(part):
                return f"(not ({self._condition(part)}))"
            case Test(operator="range"):
                return self._in_range(condition)
        return _any_token(wanted_tokens(condition))

    def _in_range(self, test: Test) -> str:
        """Numbers by Milvus; what it has no ranges of, by reading all fields."""
        if (known := by_number(test)) is not None:
            field, bounds = known
            each = [f'numbers["{field}"] {_RANGE[bound]} {value!r}' for bound, value in bounds]
            return f"({' and '.join([_any_token([a_number(test)]), *each])})"
        found = self._scroll(self._database.chunks, _ALL, _WITHOUT_VECTOR)
        return _among(row["row"] for row in found if test.holds(fields_of_row(_chunk_row(row))))


class MilvusWriting(MilvusReading, ClientWriting):
    """Changes, each at once."""

    def make_chunks(self, dimension: int | None) -> None:
        self._database.make_chunks(dimension)
        self._has_chunks = True

    def insert_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        if not chunks:
            return
        if not self._has_chunks:
            self.make_chunks(None)
        self.forget_chunking({chunk.document_id for chunk, _ in chunks})
        rows = [_row(chunk) | ({} if vector is None else {"embedding": _floats(vector)}) for chunk, vector in chunks]
        for start in range(0, len(rows), _PAGE):
            self._client.upsert(self._database.chunks, rows[start : start + _PAGE])

    def update_chunk(self, row: int, chunk: ChunkRow) -> None:
        fields = _WITHOUT_VECTOR if self.dimension is None else _WITH_VECTOR
        for stored in self._chunks([row], fields):
            vector = {"embedding": stored["embedding"]} if "embedding" in stored else {}
            self._client.upsert(self._database.chunks, [_row(chunk) | vector])

    def delete_chunks(self, rows: Sequence[int]) -> None:
        if rows:
            self.forget_chunking({chunk.document_id for chunk in self.chunks(rows).values()})
            self._client.delete(self._database.chunks, filter=_among(rows))

    def put_document(self, document: DocumentRow, chunking: str) -> None:
        _, source, _, metadata, *_ = document.columns
        self.put_records("text", {document.id: json.dumps(document.columns)})
        state = [source, metadata, document.content_hash.hex(), chunking]
        self.put_records("document", {document.id: json.dumps(state)})

    def delete_documents(self, ids: Iterable[str]) -> None:
        names = list(ids)
        for kind in ("document", "text"):
            self.delete_records(kind, names)

    def forget_chunking(self, ids: Iterable[str]) -> None:
        found = {id: json.loads(value) for id, value in self.records("document", list(ids)).items()}
        self.put_records("document", {id: json.dumps([*state[:3], ""]) for id, state in found.items()})

    def put_records(self, kind: str, records: Mapping[str, str]) -> None:
        rows = []
        for key, value in records.items():
            pieces = _pieces(value)
            for part, piece in enumerate(pieces):  # the first says how many there are
                row = {"row": _record(kind, key, part), "kind": kind, "key": key, "value": piece, "none": [0, 0]}
                rows.append(row | {"part": part or -len(pieces)})
        for start in range(0, len(rows), _PAGE):
            self._client.upsert(self._database.records, rows[start : start + _PAGE])

    def delete_records(self, kind: str, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _PAGE):
            named = ", ".join(map(_quoted, keys[start : start + _PAGE]))
            where = f"kind == {_quoted(kind)} and key in [{named}]"
            self._client.delete(self._database.records, filter=where)


def _among(rows: Iterable[int]) -> str:
    listed = ", ".join(map(str, sorted(map(int, rows))))
    return f"row in [{listed}]" if listed else _NONE


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _any_token(tokens: Sequence[str]) -> str:
    return f"array_contains_any(tokens, {json.dumps(list(tokens))})" if tokens else _NONE


def _record(kind: str, key: str, part: int) -> int:
    return row_of("document", key) if kind == "document" and part < 0 else row_of("record", kind, key, str(part))


def _pieces(value: str) -> list[str]:
    return [value[start : start + _PART] for start in range(0, len(value), _PART)] or [""]


def _word(number: int) -> str:
    """A number in letters, which every analyser takes for one word."""
    letters = "w"
    while number:
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return letters


def _row(chunk: ChunkRow) -> dict[str, Any]:
    fields = fields_of_row(chunk)
    hashes = [getattr(chunk, f"{name}_hash").hex() for name in ("record", "index", "embedded")]
    columns = json.dumps([*chunk.columns, *hashes], ensure_ascii=False)
    tokens = tokens_of(fields)
    if len(columns.encode()) > MOST_BYTES or len(tokens) > 4096:
        raise StoreError(f"chunk {chunk.id!r} is too long for Milvus, which holds {MOST_BYTES:,} bytes: cut it smaller")
    _, _, text, _, _, headings, source, _ = chunk.columns
    counts = chunk_words(text, "\n".join(json.loads(headings)), source)
    words = [word for number, n in numbered(counts).items() for word in [_word(number)] * int(n)]
    return {
        "row": row_of("chunk", chunk.id),
        "document": row_of("document", chunk.document_id),
        "columns": columns,
        "tokens": tokens,
        "numbers": numbers_of(fields),
        "terms": " ".join(words[:_MOST_WORDS]),
    }


def _state(row: Mapping[str, Any]) -> tuple[str, ChunkState]:
    id, document_id, *_, record, index, embedded = json.loads(row["columns"])
    return id, ChunkState(row["row"], document_id, *map(bytes.fromhex, (record, index, embedded)))


def _chunk(row: Mapping[str, Any]) -> Chunk:
    *columns, record, _, _ = json.loads(row["columns"])
    return stored_chunk(columns, bytes.fromhex(record))


def _chunk_row(row: Mapping[str, Any]) -> ChunkRow:
    *columns, _, _, embedded = json.loads(row["columns"])
    return chunk_row(columns, bytes.fromhex(embedded))


def _vector(row: Mapping[str, Any]) -> NDArray[np.float32]:
    return np.asarray(row["embedding"], dtype=np.float32)


def _floats(vector: Vector) -> list[float]:
    return [float(value) for value in np.frombuffer(vector[0], dtype="<f4")]


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(one.astype(np.float64)) * np.linalg.norm(other.astype(np.float64)))
    return float(one.astype(np.float64) @ other) / lengths if lengths else 0.0


def _found(rows: Sequence[Mapping[str, Any]]) -> Found:
    found = [row["row"] for row in rows], [row["distance"] for row in rows]
    return np.array(found[0], dtype=np.int64), np.nan_to_num(np.array(found[1], dtype=np.float64))
