"""What can be asked of one commit."""

from __future__ import annotations

import json
import random
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreCorrupt
from ..records import Chunk, Document, EmbeddingSpace
from . import postings, schema
from .encoding import (
    CHUNK_COLUMNS,
    DOCUMENT_COLUMNS,
    ChunkRow,
    DocumentRow,
    Vector,
    chunk_from,
    encode_chunk,
    stored_chunk,
    stored_document,
    vector_from,
)
from .filters import Where, fields_of, parse_where
from .postings import Rows

_MOST_DIMENSIONS = 1 << 16
_BLOCK = 2048  # rows read at a time where all are wanted
_AMONG = "IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Mark:
    """A point in the store's history: a change number and its random token. ``Mark()`` is before the first."""

    change: int = 0
    token: int = 0


@dataclass(frozen=True, slots=True)
class ChunkState:
    """What the store holds under a chunk's id."""

    row_id: int
    document_id: str
    record_hash: bytes
    index_hash: bytes
    embedded_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document without its text.

    Attributes:
        content_hash: of text, source, metadata, pages and headings, as hex.
        chunks: how many chunks it has.
        chunking: how it was cut; empty once its chunks were changed one by one.
    """

    id: str
    source: str
    metadata: Mapping[str, Any]
    content_hash: str
    chunks: int
    chunking: str = ""


StoredChunk = tuple[ChunkRow, Vector | None]
"""A chunk, and its vector if it has one."""

StoredText = tuple[DocumentRow, str]
"""A document, and how it was cut."""

LedgerEntry = tuple[str, str, str | None, float]
"""Namespace, key, group and time."""

FileState = Literal["done", "failed", "skipped"]
"""Its document is stored; it could not be read; nothing reads files of its format."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What became of a file.

    Attributes:
        path: absolute.
        source: its name in citations.
        size: in bytes.
        modified: when its content changed last, in ns since 1970; 0 where it could not be asked.
        changed: when anything about it did (``st_ctime_ns``).
        digest: SHA-256 of the bytes that were read, as hex; empty where none were.
        reason: why it was not read.
        document_id: of its document; empty where there has never been one.
        reading: how it was read: format, version of its reader, options.
        at: when, in seconds since 1970.
    """

    path: str
    source: str
    size: int
    modified: int
    changed: int
    digest: str
    state: FileState
    reason: str
    document_id: str
    reading: str
    at: float


FILE_COLUMNS = ", ".join(field.name for field in fields(FileRecord))
_FILE_KINDS = (str, str, int, int, int, str, str, str, str, str, int | float)


class Snapshot:
    """One commit, read through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.sql = connection
        self.mark = self._last_commit()

    def _last_commit(self) -> Mark:
        row = self.sql.execute("SELECT change, token FROM commits ORDER BY change DESC LIMIT 1").fetchone()
        if row is None:
            return Mark()
        return Mark(_whole(row[0], "the last change"), _whole(row[1], "the token of the last commit"))

    @property
    def has_ledger(self) -> bool:
        """Whether anybody has recorded anything (see ledger.py)."""
        return self.has_table("ledger")

    def has_table(self, name: str) -> bool:
        """Whether there is one of those that are made when they are first needed."""
        return self.sql.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None

    def knows(self, mark: Mark) -> bool:
        """Whether ``mark`` is a point of this store's own past."""
        if mark == Mark():
            return True
        found = self.sql.execute("SELECT token FROM commits WHERE change = ?", (mark.change,)).fetchone()
        return found is not None and found[0] == mark.token

    # --- about the store ---------------------------------------------------------------------------------------------

    @property
    def format(self) -> int:
        (version,) = self.sql.execute("PRAGMA user_version").fetchone()
        return int(version)

    def meta(self, key: str) -> Any:
        row = self.sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    @property
    def n_chunks(self) -> int:
        return _whole(self.meta("chunks"), "the number of chunks")

    @property
    def n_documents(self) -> int:
        return _whole(self.meta("documents"), "the number of documents")

    @property
    def dimension(self) -> int | None:
        """Of the vectors; None before the first one."""
        return None if (value := self.meta("dimension")) is None else _whole(value, "the dimension", _MOST_DIMENSIONS)

    @property
    def space(self) -> EmbeddingSpace | None:
        """What made the vectors; None where nobody said."""
        return self.space_called("space")

    def space_called(self, key: str) -> EmbeddingSpace | None:
        if (text := self.meta(key)) is None:
            return None
        try:
            return EmbeddingSpace(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreCorrupt(f"the stored embedding space is unreadable: {error}") from error

    # --- chunks and documents ----------------------------------------------------------------------------------------

    def matching(self, where: Where) -> Rows:
        """The rows that satisfy ``where``, ascending.

        Raises:
            FilterError: ``where`` cannot be understood.
        """
        if callable(where):
            return self._passing(where)
        condition = parse_where(where)
        if self.format < schema.INDEXED_METADATA:  # an older store, opened for reading only
            return self._passing(lambda chunk: condition.holds(fields_of(chunk)))
        return postings.lookup(self.sql, condition)

    def _passing(self, test: Callable[[Chunk], bool]) -> Rows:
        stored = self.sql.execute(f"SELECT row_id, {CHUNK_COLUMNS} FROM chunks ORDER BY row_id")  # noqa: S608
        return np.array([row for row, *columns in stored if test(chunk_from(columns))], dtype=np.int64)

    def sample_rows(self, n: int, chance: random.Random) -> list[int]:
        """At most ``n`` different rows in no order, without reading more than that."""
        first, last = self.sql.execute("SELECT min(row_id), max(row_id) FROM chunks").fetchone()
        rows: dict[int, None] = {}
        for _ in range(4 * n if first is not None else 0):
            guess = chance.randint(first, last)
            (row,) = self.sql.execute("SELECT min(row_id) FROM chunks WHERE row_id >= ?", (guess,)).fetchone()
            rows[row] = None
            if len(rows) == n:
                break
        return list(rows)

    def chunks(self, rows: Iterable[int]) -> dict[int, Chunk]:
        """The chunks of ``rows`` that are there."""
        found = self.sql.execute(
            f"SELECT row_id, {CHUNK_COLUMNS}, record_hash FROM chunks "  # noqa: S608
            "WHERE row_id IN (SELECT value FROM json_each(?))",
            (as_json(rows),),
        )
        return {row: stored_chunk(columns, record_hash) for row, *columns, record_hash in found}

    def chunks_by_id(self, ids: Iterable[str]) -> dict[str, Chunk]:
        found: dict[str, Chunk] = {}
        for (id,) in singles(ids):
            query = f"SELECT {CHUNK_COLUMNS}, record_hash FROM chunks WHERE id = ?"  # noqa: S608
            columns = self.sql.execute(query, (id,)).fetchone()
            if columns:
                found[id] = stored_chunk(columns[:-1], columns[-1])
        return found

    def document(self, id: str) -> Document | None:
        query = f"SELECT {DOCUMENT_COLUMNS}, content_hash FROM documents WHERE id = ?"  # noqa: S608
        row = self.sql.execute(query, (id,)).fetchone()
        return stored_document(row[:-1], row[-1]) if row else None

    def document_ids(self) -> list[str]:
        return [id for (id,) in self.sql.execute("SELECT id FROM documents")]

    def documents_after(self, id: str, limit: int) -> list[StoredDocument]:
        """The next ``limit`` documents in the order of their ids."""
        found = self.sql.execute(
            "SELECT id, source, metadata, content_hash, "
            "(SELECT count(*) FROM chunks WHERE document_id = documents.id), chunking "
            "FROM documents WHERE id > ? ORDER BY id LIMIT ?",
            (id, limit),
        )
        return [
            StoredDocument(id, source, json.loads(meta), hash.hex(), n, chunking)
            for id, source, meta, hash, n, chunking in found
        ]

    def document_states(self, ids: Iterable[str]) -> dict[str, tuple[bytes, str]]:
        """Id → content hash and chunking, of the documents that are there."""
        found = {}
        for (id,) in singles(ids):
            row = self.sql.execute("SELECT content_hash, chunking FROM documents WHERE id = ?", (id,)).fetchone()
            if row:
                found[id] = row
        return found

    def states(self, ids: Iterable[str]) -> dict[str, ChunkState]:
        """Id → state, of the chunks that are there."""
        found = {}
        for (id,) in singles(ids):
            row = self.sql.execute(
                "SELECT row_id, document_id, record_hash, index_hash, embedded_hash FROM chunks WHERE id = ?", (id,)
            ).fetchone()
            if row:
                found[id] = ChunkState(*row)
        return found

    def states_of_document(self, document_id: str) -> dict[str, ChunkState]:
        found = self.sql.execute(
            "SELECT id, row_id, document_id, record_hash, index_hash, embedded_hash FROM chunks WHERE document_id = ?",
            (document_id,),
        )
        return {row[0]: ChunkState(*row[1:]) for row in found}

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Chunk id → row, of those that are there."""
        return {id: state.row_id for id, state in self.states(ids).items()}

    def ids_of(self, rows: Iterable[int]) -> list[str]:
        """Of the chunks in ``rows`` that are there."""
        query = "SELECT id FROM chunks WHERE row_id IN (SELECT value FROM json_each(?))"
        return [id for (id,) in self.sql.execute(query, (as_json(rows),))]

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """``(n, dim)`` float32 in the order of ``rows``, as they were given to the store.

        Raises:
            StoreCorrupt: one is missing or its checksum is wrong.
        """
        found = {}
        for (row,) in singles(rows):
            stored = self.sql.execute("SELECT vector, checksum FROM vectors WHERE row_id = ?", (row,)).fetchone()
            if stored is None or not isinstance(stored[0], bytes) or zlib.crc32(stored[0]) != stored[1]:
                what = "is missing" if stored is None else "fails its checksum"
                raise StoreCorrupt(f"the vector of row {row} {what}: restore the store from a backup, or index again")
            found[row] = stored[0]
        return vector_from((found[row] for row in rows), self.dimension or 0)

    def vectors_there(self, rows: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors of those of ``rows`` that are there, whatever their checksums say."""
        dimension = self.dimension or 0
        found: dict[int, NDArray[np.float32]] = {}
        for (row,) in singles(rows):
            stored = self.sql.execute("SELECT vector FROM vectors WHERE row_id = ?", (row,)).fetchone()
            if stored is not None:
                found[row] = vector_from([stored[0]], dimension)[0]
        return found

    # --- everything, as it is stored ---------------------------------------------------------------------------------

    def stored_chunks(self) -> Iterator[StoredChunk]:
        """All chunks with their vectors, in the order in which they came."""
        found = self.sql.execute(
            f"SELECT {CHUNK_COLUMNS}, embedded_hash, vector, checksum "  # noqa: S608
            "FROM chunks LEFT JOIN vectors USING (row_id) ORDER BY row_id"
        )
        for *columns, embedded_hash, blob, checksum in found:
            row = replace(encode_chunk(chunk_from(columns)), embedded_hash=embedded_hash)
            yield row, None if blob is None else (blob, checksum)

    def stored_documents(self) -> Iterator[StoredText]:
        """All documents with their texts, by id."""
        found = self.sql.execute(f"SELECT {DOCUMENT_COLUMNS}, content_hash, chunking FROM documents ORDER BY id")  # noqa: S608
        for *columns, content_hash, chunking in found:
            yield DocumentRow(columns[0], tuple(columns), content_hash), chunking

    def ledger_entries(self) -> Iterator[LedgerEntry]:
        """What is indexed of outside sources, in all namespaces."""
        if self.has_ledger:
            yield from self.sql.execute("SELECT namespace, key, group_id, updated_at FROM ledger")

    # --- outside sources, and files ----------------------------------------------------------------------------------

    def ledger_latest(self, namespace: str) -> float | None:
        """When the last key was recorded."""
        return self._of_ledger(namespace, "max(updated_at)")[0] if self.has_ledger else None

    def ledger_known(self, namespace: str, keys: Sequence[str]) -> set[str]:
        """Those of ``keys`` that are recorded."""
        return set(self._of_ledger(namespace, "key", [("key", _AMONG, texts_as_json(keys))]))

    def ledger_keys(
        self,
        namespace: str,
        before: float | None,
        after: float | None,
        groups: Sequence[str] | None,
        limit: int | None,
    ) -> list[str]:
        """The oldest first; None asks for no limit."""
        among = None if groups is None else texts_as_json(groups)
        asked = [("updated_at", "< ?", before), ("updated_at", "> ?", after), ("group_id", _AMONG, among)]
        return self._of_ledger(namespace, "key", asked, -1 if limit is None else limit)

    def _of_ledger(
        self, namespace: str, what: str, asked: Sequence[tuple[str, str, Any]] = (), limit: int = -1
    ) -> list[Any]:
        if not self.has_ledger:
            return []
        given = [(f"{column} {test}", value) for column, test, value in asked if value is not None]
        conditions = " AND ".join(["namespace = ?", *(condition for condition, _ in given)])
        query = f"SELECT {what} FROM ledger WHERE {conditions} ORDER BY updated_at, key LIMIT ?"  # noqa: S608
        return [row[0] for row in self.sql.execute(query, (namespace, *(value for _, value in given), limit))]

    def files_after(self, path: str, limit: int) -> tuple[list[FileRecord], str | None]:
        """The next ``limit`` in the order of their paths, but for damaged ones: what is not known is read again. And
        the last path; None at the end."""
        if not self.has_table("files"):
            return [], None
        query = f"SELECT {FILE_COLUMNS} FROM files WHERE path > ? ORDER BY path LIMIT ?"  # noqa: S608
        rows = self.sql.execute(query, (path, limit)).fetchall()
        whole = [row for row in rows if all(map(isinstance, row, _FILE_KINDS))]
        return [FileRecord(*row) for row in whole], rows[-1][0] if len(rows) == limit else None

    # --- what a derived index has not seen yet -----------------------------------------------------------------------

    def removed_since(self, change: int) -> Rows:
        """Rows that died after ``change``; some may have been born after it too."""
        found = self.sql.execute("SELECT row_id FROM tombstones WHERE change > ?", (change,))
        return np.fromiter((_whole(row, "a row that was deleted", 2**63) for (row,) in found), dtype=np.int64)

    def vectors_since(self, change: int) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        """Blocks of rows born after ``change``, ascending, with their vectors ``(n, dim)`` float32."""
        dimension = self.dimension or 0
        query = "SELECT row_id, vector, checksum FROM vectors WHERE row_id > ? ORDER BY row_id"
        cursor = self.sql.execute(query, (change,))
        while block := cursor.fetchmany(_BLOCK):
            matrix = vector_from((vector for _, vector, _ in block), dimension)
            bad = next((row for row, vector, checksum in block if zlib.crc32(vector) != checksum), None)
            if bad is not None:
                raise StoreCorrupt(f"the vector of row {bad} fails its checksum: `langbert doctor` says more")
            yield np.array([row for row, _, _ in block], dtype=np.int64), matrix

    def texts_since(self, change: int) -> Iterator[tuple[int, str, str, str]]:
        """Row, text, headings (one a line) and source of the rows born after ``change``, ascending."""
        cursor = self.sql.execute(
            "SELECT row_id, text, headings, source FROM chunks WHERE row_id > ? ORDER BY row_id", (change,)
        )
        for row, text, headings, source in cursor:
            if not (isinstance(text, str) and isinstance(headings, str) and isinstance(source, str)):
                raise StoreCorrupt(f"the chunk in row {row} is unreadable: `langbert doctor` says more")
            yield row, text, "\n".join(json.loads(headings)) if headings != "[]" else "", source

    def born_since(self, change: int) -> int:
        """How many rows were born after ``change``."""
        (born,) = self.sql.execute("SELECT count(*) FROM chunks WHERE row_id > ?", (change,)).fetchone()
        return int(born)

    def count_since(self, change: int) -> int:
        """How many rows were born or died after ``change``."""
        (died,) = self.sql.execute("SELECT count(*) FROM tombstones WHERE change > ?", (change,)).fetchone()
        return self.born_since(change) + int(died)


def _whole(value: object, what: str, most: int = 2**62) -> int:
    """A number that the file gives, which may be somebody else's."""
    if not isinstance(value, int) or not 0 <= value <= most:
        raise StoreCorrupt(f"{what} is {value!r:.40} in the store: `langbert doctor` says what is damaged")
    return value


def singles(values: Iterable[Any]) -> list[tuple[Any]]:
    """Ids or rows as the parameters of so many statements."""
    return [(value if isinstance(value, str) else int(value),) for value in values]


def as_json(rows: Iterable[int]) -> str:
    """One JSON parameter, however many rows: SQLite limits the number of parameters."""
    return json.dumps([int(row) for row in rows])


def texts_as_json(texts: Iterable[str]) -> str:
    """The same of texts."""
    return json.dumps(list(texts), ensure_ascii=False)
