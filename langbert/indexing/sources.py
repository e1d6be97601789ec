"""Files on disk beside what a store remembers of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..documents.files import printable, told_apart
from ..documents.loading import Stamp
from ..errors import StoreError
from ..store import StoreLike
from ..store.ingest import chunking_key
from ..store.snapshot import FileRecord

_TICK = 2 * 10**9  # ns: file systems that know no finer times may not show a second change


class SourceFile(NamedTuple):
    """A file on disk: its absolute path, its name in citations, what the file system says of it, if it does, and its
    path in the folder that was named."""

    path: Path
    source: str
    stamp: Stamp | None
    inside: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stamp.size if self.stamp is not None else 0


class Known(NamedTuple):
    """A document that a store has of a file."""

    id: str
    path: str
    source: str
    digest: str
    is_cut_alike: bool


class Memory:
    """What a store remembers of files, and which of them has become which.

    Args:
        store: None stands for one that is yet to be made.
        files: those that are there now.

    Attributes:
        documents: by path.
        records: what became of files, by path.
        ids: of all documents that came from files.
    """

    def __init__(self, store: StoreLike | None, files: Iterable[SourceFile]) -> None:
        self.documents: dict[str, Known] = {}
        self.records: dict[str, FileRecord] = {}
        if store is not None:
            self._remember(store)
        self.ids = {row.id for row in self.documents.values()}
        self._unseen: dict[str, list[Known]] = {}  # by digest: what may have become another file
        self._linked: dict[tuple[int, int], Known] = {}  # by device and inode: what may be reached by another way
        present = {printable(file.path) for file in files}
        for path, row in self.documents.items():
            if path not in present:
                if row.digest:
                    self._unseen.setdefault(row.digest, []).append(row)
                if identity := _identity(path):
                    self._linked[identity] = row

    def _remember(self, store: StoreLike) -> None:
        try:
            chunking = chunking_key(store.chunker)
        except StoreError:  # neither a chunker nor an embedder: it may not be asked how it would cut
            chunking = None
        for row in store.documents():
            if path := row.metadata.get("path"):
                alike = chunking is None or row.chunking in ("", chunking)
                self.documents[path] = Known(row.id, path, row.source, row.metadata.get("sha256", ""), alike)
        self.records = {record.path: record for record in store.files}

    def document_of(self, file: SourceFile) -> Known | None:
        """The document of a file, under this path or one that leads to the same file."""
        row = self.documents.get(printable(file.path))
        if row is None and self._linked and (identity := _identity(file.path)):
            return self._linked.get(identity)
        return row

    def told_apart(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """``files``, each of whose sources names one file, also of those that are elsewhere and not looked at now."""
        sources = {file.source for file in files}
        here = {row.path for file in files if (row := self.document_of(file))}
        others = {
            row.source
            for row in self.documents.values()
            if row.source in sources and row.path not in here and not is_gone(row.path)
        }
        told = told_apart([(file.path, file.source) for file in files], others)
        return [file._replace(source=source) for file, source in zip(files, told, strict=True)]

    def former(self, source: str, digest: str) -> Known | None:
        """What is gone from its place and had these bytes: it was moved. Each is given once."""
        rows = self._unseen.get(digest, [])
        for row in sorted(rows, key=lambda row: row.source != source):
            if is_gone(row.path):
                rows.remove(row)
                return row
        return None


def is_same_as_then(record: FileRecord, stamp: Stamp | None) -> bool:
    """Whether the file system rules out that a file has changed since it was read."""
    if stamp is None or stamp != (record.size, record.modified, record.changed):
        return False
    return record.at * 1e9 > max(stamp.modified, stamp.changed) + _TICK


def is_gone(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a folder that may not be entered hides its files, it does not delete them
        return False
    return False


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino) if stat.st_ino else None
