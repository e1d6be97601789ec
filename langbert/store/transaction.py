"""What can be done in one commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from typing import Any

from ..records import EmbeddingSpace
from . import postings
from .encoding import CHUNK_COLUMNS, DOCUMENT_COLUMNS, ChunkRow, DocumentRow
from .engine import delete_emptied
from .filters import Where
from .postings import fields_in
from .schema import FILES, LEDGER, PICTURES
from .snapshot import (
    FILE_COLUMNS,
    FileRecord,
    LedgerEntry,
    Mark,
    Snapshot,
    StoredChunk,
    as_json,
    singles,
    texts_as_json,
)

_BLOCK = 16_384  # rows taken out of the index of the metadata at a time
_PAGE, _SOURCE, _METADATA = (CHUNK_COLUMNS.split(", ").index(name) for name in ("page", "source", "metadata"))


class Transaction(Snapshot):
    """Changes that become one commit. Nothing is seen outside before :meth:`finish`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._change = self.mark.change
        self._started_at = self.mark.change
        self._changed = False

    def _next_change(self) -> int:
        self._change += 1
        return self._change

    def finish(self, token: int) -> None:
        """Records the commit, if anything changed."""
        if self._change == self._started_at and not self._changed:
            return
        if self._change == self._started_at:
            self._next_change()  # only metadata changed, still another commit
        self.sql.execute("INSERT INTO commits VALUES (?, ?)", (self._change, token))
        self.mark = Mark(self._change, token)

    def set_meta(self, key: str, value: Any) -> None:
        self.sql.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
        )

    def set_space(self, dimension: int | None, space: EmbeddingSpace | None) -> None:
        """What all vectors have in common; None where nobody said, or there are none."""
        for key, value in (("dimension", dimension), ("space", space and json.dumps(asdict(space)))):
            if value is None:
                self.sql.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                self.set_meta(key, value)

    def put_ledger(self, entries: Iterable[LedgerEntry]) -> None:
        """Enters them, in the place of those of the same namespace and key, which keep their group if none is given."""
        if rows := list(entries):
            self.sql.execute(LEDGER)
            self.sql.executemany(
                "INSERT INTO ledger (namespace, key, group_id, updated_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET updated_at = excluded.updated_at, "
                "group_id = coalesce(excluded.group_id, group_id)",
                rows,
            )

    def delete_from_ledger(self, namespace: str, keys: Sequence[str]) -> None:
        if self.has_ledger:
            gone = ((namespace, key) for key in keys)
            self.sql.executemany("DELETE FROM ledger WHERE namespace = ? AND key = ?", gone)

    def put_files(self, records: Sequence[FileRecord]) -> None:
        """Each in the place of what was known of its path."""
        self.sql.execute(FILES)
        places = ", ".join("?" * len(fields(FileRecord)))
        query = f"INSERT OR REPLACE INTO files ({FILE_COLUMNS}) VALUES ({places})"  # noqa: S608
        self.sql.executemany(query, map(astuple, records))

    def delete_files(self, paths: Sequence[str]) -> None:
        if self.has_table("files"):
            self.sql.executemany("DELETE FROM files WHERE path = ?", singles(paths))

    def put_pictures(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Id, document, PNG, caption, its start and end, page, vector and checksum of each; those go whose documents
        are gone or others now."""
        self.sql.execute(PICTURES)
        self.sql.executemany(
            "INSERT OR REPLACE INTO pictures SELECT ?1, ?2, content_hash, ?3, ?4, ?5, ?6, ?7, ?8, ?9 "
            "FROM documents WHERE id = ?2",
            rows,
        )
        self.drop_pictures()
        self._changed = True

    def set_picture_vectors(self, rows: Iterable[tuple[bytes, int, str]]) -> None:
        """Vector, checksum and id of each."""
        if self.has_table("pictures"):
            self.sql.executemany("UPDATE pictures SET vector = ?, checksum = ? WHERE id = ?", rows)
        self._changed = True

    def drop_pictures(self) -> None:
        """Those whose documents are gone or others now."""
        if self.has_table("pictures"):
            self.sql.execute(
                "DELETE FROM pictures WHERE NOT EXISTS (SELECT 1 FROM documents "
                "WHERE id = pictures.document_id AND content_hash = pictures.content_hash)"
            )

    def strike_from_ledger(self, ids: Iterable[str]) -> None:
        """In every namespace, those of chunks that are deleted for good."""
        if self.has_ledger:
            keys = texts_as_json(id for id in ids if "\0" not in id)  # where SQLite's JSON would end a text
            self.sql.execute("DELETE FROM ledger WHERE key IN (SELECT value FROM json_each(?))", (keys,))

    def _count(self, key: str, by: int) -> None:
        if by:
            self.sql.execute("UPDATE meta SET value = value + ? WHERE key = ?", (by, key))

    def forget_before(self, mark: Mark) -> int:
        """What was recorded for indexes that have not seen ``mark`` yet: they will be unknown, and begin anew."""
        before = self.sql.total_changes
        self.sql.execute("DELETE FROM tombstones WHERE change <= ?", (mark.change,))
        self.sql.execute("DELETE FROM commits WHERE change < ?", (mark.change,))
        return self.sql.total_changes - before

    # --- chunks ------------------------------------------------------------------------------------------------------

    def insert_chunks(self, chunks: Sequence[StoredChunk]) -> None:
        """New rows with their vectors, if they have any; no chunk of the same id may be there."""
        if not chunks:
            return
        rows = [self._next_change() for _ in chunks]
        self.sql.executemany(
            f"INSERT INTO chunks (row_id, {CHUNK_COLUMNS}, record_hash, index_hash, embedded_hash) "  # noqa: S608
            f"VALUES ({', '.join('?' * 12)})",
            (
                (row, *chunk.columns, chunk.record_hash, chunk.index_hash, chunk.embedded_hash)
                for row, (chunk, _) in zip(rows, chunks, strict=True)
            ),
        )
        self.sql.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?)",
            ((row, *vector) for row, (_, vector) in zip(rows, chunks, strict=True) if vector is not None),
        )
        postings.post(self.sql, ((row, _fields(chunk)) for row, (chunk, _) in zip(rows, chunks, strict=True)))
        self._count("chunks", len(rows))

    def update_chunk(self, row: int, chunk: ChunkRow) -> None:
        """Changes what no derived index reads: place, page, metadata, document."""
        postings.unpost(self.sql, self._fields_of([row]))
        names = ", ".join(f"{name} = ?" for name in CHUNK_COLUMNS.split(", "))
        self.sql.execute(
            f"UPDATE chunks SET {names}, record_hash = ? WHERE row_id = ?",  # noqa: S608
            (*chunk.columns, chunk.record_hash, row),
        )
        postings.post(self.sql, [(row, _fields(chunk))])
        self._changed = True

    def delete_chunks(self, rows: Sequence[int]) -> None:
        """Rows that are there, each leaving a tombstone."""
        if not rows:
            return
        for start in range(0, len(rows), _BLOCK):
            postings.unpost(self.sql, self._fields_of(rows[start : start + _BLOCK]))
        self.sql.executemany("DELETE FROM chunks WHERE row_id = ?", singles(rows))
        self.sql.executemany("DELETE FROM vectors WHERE row_id = ?", singles(rows))
        self.sql.executemany("INSERT INTO tombstones VALUES (?, ?)", ((self._next_change(), row) for row in rows))
        self._count("chunks", -len(rows))

    def _fields_of(self, rows: Sequence[int]) -> list[tuple[int, dict[str, Any]]]:
        found = self.sql.execute(
            "SELECT row_id, source, page, metadata FROM chunks WHERE row_id IN (SELECT value FROM json_each(?))",
            (as_json(rows),),
        )
        return [(row, fields_in(*columns)) for row, *columns in found]

    def parents(self, rows: Sequence[int]) -> set[str]:
        """The stored documents these rows belong to."""
        found = self.sql.execute(
            "SELECT DISTINCT document_id FROM chunks WHERE row_id IN (SELECT value FROM json_each(?)) "
            "AND document_id IN (SELECT id FROM documents)",
            (as_json(rows),),
        )
        return {id for (id,) in found}

    def delete(self, ids: Sequence[str] | None, where: Where | None) -> int:
        """Removes for good the chunks of ``ids`` (of chunks, or of documents with all their chunks) that match
        ``where``, and documents whose last chunk goes. None asks for no ids, or for all.

        Returns:
            How many chunks were removed.
        """
        rows = self.meant(ids, where)
        parents = self.parents(rows)
        if self.has_ledger:
            self.strike_from_ledger(self.ids_of(rows))
        self.delete_chunks(rows)
        delete_emptied(self, parents, ids, where)
        return len(rows)

    def meant(self, ids: Sequence[str] | None, where: Where | None) -> list[int]:
        """The rows that a deletion is to remove."""
        matching = None if where is None else self.matching(where).tolist()
        if ids is None:
            return matching or []
        named = set(self.rows_of(ids).values())
        for id in ids:
            named.update(state.row_id for state in self.states_of_document(id).values())
        return sorted(named if matching is None else named.intersection(matching))

    # --- documents ---------------------------------------------------------------------------------------------------

    def put_document(self, document: DocumentRow, chunking: str) -> None:
        there = self.sql.execute("SELECT 1 FROM documents WHERE id = ?", (document.id,)).fetchone()
        self.sql.execute(
            f"INSERT OR REPLACE INTO documents ({DOCUMENT_COLUMNS}, content_hash, chunking) "  # noqa: S608
            f"VALUES ({', '.join('?' * 8)})",
            (*document.columns, document.content_hash, chunking),
        )
        self._count("documents", 0 if there else 1)
        self._changed = True

    def delete_documents(self, ids: Iterable[str]) -> int:
        """How many were there; their chunks are the caller's."""
        before = self.sql.total_changes
        self.sql.executemany("DELETE FROM documents WHERE id = ?", singles(ids))
        gone = self.sql.total_changes - before
        self._count("documents", -gone)
        self._changed = self._changed or gone > 0
        return gone

    def forget_chunking(self, ids: Iterable[str]) -> None:
        """These documents' chunks are no longer what their text gives: adding them again must cut them again."""
        self.sql.executemany("UPDATE documents SET chunking = '' WHERE id = ?", singles(ids))


def _fields(chunk: ChunkRow) -> dict[str, Any]:
    return fields_in(chunk.columns[_SOURCE], chunk.columns[_PAGE], chunk.columns[_METADATA])
