"""Reading tables that may be damaged: every row that can still be had, where there was none, and which are sound."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import StoreError
from ...records import Chunk
from ..encoding import chunk_from, document_from, encode_chunk, encode_document

UNREADABLE = (StoreError, ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError)
"""What decoding a damaged row may raise."""
_CHANGED = "changed since they were stored (their hashes differ)"
_MOST_PROBES = 20_000_000  # row ids tried one by one between two damaged places


class Table:
    """One table of a damaged database.

    Args:
        columns: what to read of each row, beside its row id.
        most: no row id is higher, as far as is known.

    Attributes:
        problems: what could not be read, in words; complete once :meth:`rows` has come to its end.
    """

    def __init__(self, sql: sqlite3.Connection, name: str, columns: str, most: int = 0) -> None:
        self._sql = sql
        self._select = f"SELECT rowid, {columns} FROM {name}"  # noqa: S608
        self._most = most
        self.name = name
        self.problems: list[str] = []

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """``(row id, *columns)`` by row id: from the front as far as it goes, then row by row up to what can be reached
        from the end. SQLite finds a row through the branches above it, so that a damaged leaf costs its own rows only.
        """
        last = 0
        try:
            for row in self._sql.execute(f"{self._select} ORDER BY rowid"):
                yield row
                last = row[0]
            return
        except sqlite3.Error as error:
            said = str(error)
        behind = self._readable_from_the_end(last)
        end = behind if behind is not None else max(self._most, last) + 1
        saved = 0
        for row_id in range(last + 1, min(end, last + _MOST_PROBES)):
            row = self._single(row_id)
            if row is not None:
                saved += 1
                yield row
        where = f"between rows {last} and {end}" if behind is not None else f"behind row {last}"
        self.problems.append(f"damaged {where} ({said})" + (f"; {saved} rows there can still be read" if saved else ""))
        if behind is not None:
            try:
                yield from self._sql.execute(f"{self._select} WHERE rowid >= ? ORDER BY rowid", (behind,))
            except sqlite3.Error as error:
                self.problems.append(f"damaged behind row {behind} ({error})")

    def _readable_from_the_end(self, last: int) -> int | None:
        """The lowest row id that an unbroken scan from the end comes to; None if it comes to none above ``last``."""
        lowest = None
        try:
            for row in self._sql.execute(f"{self._select} WHERE rowid > ? ORDER BY rowid DESC", (last,)):
                lowest = row[0]
        except sqlite3.Error:
            pass
        return lowest

    def _single(self, row_id: int) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._sql.execute(f"{self._select} WHERE rowid = ?", (row_id,)).fetchone()
        except sqlite3.Error:
            return None
        return row


def sound_chunk(columns: Sequence[Any]) -> tuple[Chunk | None, str]:
    """A chunk from its ``CHUNK_COLUMNS``, record hash and index hash; None, and why, if it is not what was stored."""
    *fields, record_hash, index_hash = columns
    try:
        chunk = chunk_from(fields)
        row = encode_chunk(chunk)
    except UNREADABLE as error:
        return None, f"unreadable: {error}"
    same = (row.record_hash, row.index_hash) == (record_hash, index_hash)
    return (chunk, "") if same else (None, _CHANGED)


def sound_document(columns: Sequence[Any]) -> str:
    """Why a document's ``DOCUMENT_COLUMNS`` and content hash are not what was stored; empty if they are."""
    *fields, content_hash = columns
    try:
        row = encode_document(document_from(fields))
    except UNREADABLE as error:
        return f"unreadable: {error}"
    return "" if row.content_hash == content_hash else _CHANGED


def is_sound_vector(blob: object, checksum: object) -> bool:
    """Whether a vector is what was stored."""
    return isinstance(blob, bytes) and zlib.crc32(blob) == checksum


def label(id: object, row: int) -> str:
    """What a row is called: by its id, where that can be read."""
    return id.encode("utf-8", "backslashreplace").decode() if isinstance(id, str) and id else f"row {row}"
