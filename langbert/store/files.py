"""What became of the files that a store was made from: read, refused and why, and how to tell that they are the same.

It lies in the store's own file, like the :mod:`.ledger` of outside sources. What it says of a file that was read counts
only while the store has its document, so that it never hides a file whose document is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal

from .database import Database
from .schema import FILES

FileState = Literal["done", "failed", "skipped"]
"""Its document is stored; it could not be read; nothing reads files of its format."""

_PAGE = 1_000


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


_NAMES = ", ".join(field.name for field in fields(FileRecord))
_PLACES = ", ".join("?" for _ in fields(FileRecord))


def _is_whole(row: Sequence[object]) -> bool:
    """Whether every value is of the kind that was written: a file that nothing is known of is read again."""
    kinds = (str, str, int, int, int, str, str, str, str, str, int | float)
    return all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True))


class Files:
    """The files of one store. Made by :attr:`langbert.Store.files`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __iter__(self) -> Iterator[FileRecord]:
        """By path; without those that were read and whose document is gone."""
        last = ""
        while True:
            with self._database.reading() as snapshot:
                if not snapshot.has_table("files"):
                    return
                rows = snapshot.sql.execute(
                    f"SELECT {_NAMES} FROM files WHERE path > ? AND "  # noqa: S608
                    "(state != 'done' OR document_id IN (SELECT id FROM documents)) ORDER BY path LIMIT ?",
                    (last, _PAGE),
                ).fetchall()
            yield from (FileRecord(*row) for row in rows if _is_whole(row))
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def record(self, records: Iterable[FileRecord]) -> None:
        """Enters them in one commit, each in the place of what was known of its path."""
        rows = [astuple(record) for record in records]
        if not rows:
            return
        with self._database.writing() as transaction:
            transaction.sql.execute(FILES)
            transaction.sql.executemany(f"INSERT OR REPLACE INTO files ({_NAMES}) VALUES ({_PLACES})", rows)  # noqa: S608

    def forget(self, paths: Iterable[str]) -> None:
        """Strikes out what is known of ``paths``; those that are not there are no error."""
        with self._database.writing() as transaction:
            if transaction.has_table("files"):
                gone = json.dumps(list(paths), ensure_ascii=False)
                transaction.sql.execute("DELETE FROM files WHERE path IN (SELECT value FROM json_each(?))", (gone,))
