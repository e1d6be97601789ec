"""What became of the files that a store was made from: read, refused and why, and how to tell that they are the same.

It lies in the store itself, like the :mod:`.ledger` of outside sources. What it says of a file that was read counts
only while the store has its document, so that it never hides a file whose document is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .engine import DatabaseLike
from .snapshot import FileRecord

_PAGE = 1_000


class Files:
    """The files of one store. Made by :attr:`langbert.Store.files`."""

    def __init__(self, database: DatabaseLike) -> None:
        self._database = database

    def __iter__(self) -> Iterator[FileRecord]:
        """By path; without those that were read and whose document is gone."""
        last: str | None = ""
        while last is not None:
            with self._database.reading() as state:
                page, last = state.files_after(last, _PAGE)
                there = state.document_states(record.document_id for record in page if record.state == "done")
            yield from (record for record in page if record.state != "done" or record.document_id in there)

    def record(self, records: Iterable[FileRecord]) -> None:
        """Enters them in one commit, each in the place of what was known of its path."""
        if rows := list(records):
            with self._database.writing() as transaction:
                transaction.put_files(rows)

    def forget(self, paths: Iterable[str]) -> None:
        """Strikes out what is known of ``paths``; those that are not there are no error."""
        with self._database.writing() as transaction:
            transaction.delete_files(list(paths))
