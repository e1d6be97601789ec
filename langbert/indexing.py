"""Files and a store kept alike: what changed on disk is read, cut, embedded and stored, and nothing else is.

A file's bytes tell whether it has to be read; what then changes in the store, :meth:`Store.add` decides. They also tell
that a file was moved, or is reached by another way: it stays the document it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from .documents import find_files, read_document
from .documents.files import printable
from .errors import DocumentError
from .files import sha256_of
from .records import Document, Progress
from .store import Store
from .store.snapshot import StoredDocument

__all__ = ["Batch", "Changes", "SourceFile", "SyncReport", "sync"]

_BATCH_CHARACTERS = 100_000  # about 250 passages: a few seconds of embedding, one transaction

Item = TypeVar("Item")


def sync(
    paths: str | Path | Iterable[str | Path],
    store: Store,
    *,
    prune: bool = False,
    force: bool = False,
    encoding: str | None = None,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring ``store`` up to date with files and folders: only what changed is read and embedded.

    What is done is kept, so a sync that was stopped is simply called again.

    Args:
        paths: files and folders; see :func:`langbert.documents.find_files`.
        store: opened with its embedder. Its own folder is passed over.
        prune: also remove documents of these folders whose files are gone.
        force: read every file again, changed or not.
        encoding: of texts that are not UTF-8 and do not name theirs; by default it is guessed.
        progress: told how many more of the files that changed are done.

    Raises:
        DocumentError: a path does not exist. A file that cannot be read is named in the report, and the rest goes on.
        StoreError: see :meth:`Store.add`.
    """
    changes = Changes(paths, store, force=force, encoding=encoding)
    for batch in changes.batches():
        changes.add(batch, store)
        if progress is not None:
            progress(len(batch.files))
    if prune:
        changes.prune(store)
    return changes.report


@dataclass(slots=True)
class SyncReport:
    """What a sync did, in documents.

    Attributes:
        skipped: the files and folders that cannot be read, as citations would name them, each with the reason.
        remarks: the files that were read, but with something guessed or damaged, each with what that was.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
            "remarks": [{"file": file, "remark": remark} for file, remark in self.remarks],
        }


class SourceFile(NamedTuple):
    """A file on disk: its absolute path, its name in citations, and its size in bytes."""

    path: Path
    source: str
    size: int


class Batch(NamedTuple):
    """Files that are stored together, and the documents in those that can be read."""

    files: list[SourceFile]
    documents: list[Document]


class Changes:
    """The files that are not in a store as they are on disk, and the work of putting them there.

    Args:
        paths, force, encoding: as for :func:`sync`.
        store: only read here; it needs no embedder. None stands for one that is yet to be made.
        folder: of a store that is yet to be made.
        progress: told how many more files were compared.

    Attributes:
        files: every file under the paths.
        report: what was done so far.

    Raises:
        DocumentError: a path does not exist.
    """

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        store: Store | None,
        *,
        folder: Path | None = None,
        force: bool = False,
        encoding: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.report = SyncReport()
        self._encoding = encoding
        self._paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        self._stored: dict[str, StoredDocument] = {}
        if store is not None:
            folder = store.path
            self._stored = {row.metadata["path"]: row for row in store.documents() if "path" in row.metadata}
        self._ids = {row.id: path for path, row in self._stored.items()}
        self._moved: dict[Path, StoredDocument] = {}
        self._unseen: dict[str, list[str]] = {}  # by digest, the paths in the store that may have become others
        own = None if folder is None else Path(os.path.abspath(folder))
        found = find_files(self._paths, on_skip=self._skip)
        self.files = [SourceFile(path, source, _size(path)) for path, source in found if own not in path.parents]
        self._digests: dict[Path, str] = {}
        present = {printable(file.path) for file in self.files}
        for path, row in self._stored.items():
            if path not in present and "sha256" in row.metadata:
                self._unseen.setdefault(row.metadata["sha256"], []).append(path)
        for file in self.files:
            self._compare(file, force=force)
            if progress is not None:
                progress(1)
        self.report.unchanged = len(self.files) - len(self._digests)
        self._batches = self._read()
        self._first: Batch | None = None

    @property
    def changed(self) -> list[SourceFile]:
        """The files that have to be read."""
        return [file for file in self.files if file.path in self._digests]

    def has_documents(self) -> bool:
        """Whether there is anything to embed: reads the first files, up to a batch of them."""
        self._first = self._first or next(self._batches, None)
        return self._first is not None and bool(self._first.documents)

    def batches(self) -> Iterator[Batch]:
        """The files that have to be read, so many at a time that a batch is a few seconds of work.

        The next batch is read in a thread of its own while this one is embedded.
        """
        if self._first is not None:
            yield self._first
        yield from _ahead(self._batches)

    def add(self, batch: Batch, store: Store) -> None:
        """Cut, embed and store one batch: it is kept, whatever happens to the next."""
        if batch.documents:
            store.add(batch.documents)
        updated = sum(document.id in self._ids for document in batch.documents)
        self.report.updated += updated
        self.report.added += len(batch.documents) - updated

    def prune(self, store: Store) -> None:
        """Remove what came from the given folders and is gone from disk: nothing else, and nothing unreadable."""
        folders = [os.path.join(printable(os.path.abspath(path)), "") for path in self._paths if path.is_dir()]
        present = {printable(file.path) for file in self.files}
        moved = {row.id for row in self._moved.values()}
        gone = [
            row.id
            for path, row in self._stored.items()
            if path not in present and row.id not in moved and path.startswith(tuple(folders)) and _is_gone(path)
        ]
        if gone and store.delete(gone):
            self.report.removed += len(gone)

    def _compare(self, file: SourceFile, *, force: bool) -> None:
        """Note a file whose bytes, or whose name in citations, are not those in the store; only bytes are read."""
        row, digest = self._stored.get(printable(file.path)), _digest(file.path)
        same = row is not None and row.metadata.get("sha256") == digest and row.source == file.source
        if row is None and (path := self._former_path(file, digest)):
            if not _is_gone(path):  # a link, or another mount point, leads to it
                return
            self._moved[file.path] = self._stored[path]
        if force or not digest or not same:
            self._digests[file.path] = digest

    def _former_path(self, file: SourceFile, digest: str) -> str | None:
        """Where the store has a file that is this one: the same on disk, or one that is gone and had its bytes."""
        paths = self._unseen.get(digest, [])
        for path in sorted(paths, key=lambda path: self._stored[path].source != file.source):
            if _is_gone(path) or _is_same(path, file.path):
                paths.remove(path)
                return path
        return None

    def _id(self, file: SourceFile, given: str) -> str:
        """What a document is called in the store: as before, wherever it is now."""
        row = self._moved.get(file.path) or self._stored.get(printable(file.path))
        if row is not None:
            return row.id
        taken = self._ids.get(given)  # by one that was moved away
        return given if taken is None else f"{given}#{self._digests[file.path][:12]}"

    def _read(self) -> Iterator[Batch]:
        batch, characters = Batch([], []), 0
        for file in self.changed:
            batch.files.append(file)
            try:
                document = read_document(file.path, source=file.source, encoding=self._encoding)
            except DocumentError as error:
                self._skip(file.path, error, file.source)
                continue
            if "remarks" in document.metadata:
                self.report.remarks.append((file.source, document.metadata["remarks"]))
            batch.documents.append(
                replace(
                    document,
                    id=self._id(file, document.id),
                    metadata={**document.metadata, "sha256": self._digests[file.path]},
                )
            )
            characters += len(document.text)
            if characters >= _BATCH_CHARACTERS:
                yield batch
                batch, characters = Batch([], []), 0
        if batch.files:
            yield batch

    def _skip(self, path: Path, error: DocumentError, source: str | None = None) -> None:
        """Note the reason without the file's name, which stands beside it."""
        self.report.skipped.append((source or str(path), str(error).removeprefix(f"{printable(path)}: ")))


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone or forbidden since it was listed: reading it will say so
        return 0


def _digest(path: Path) -> str:
    """SHA-256 of a file's bytes; empty if it cannot be read (reading it will say why)."""
    try:
        return sha256_of(path) if path.is_file() else ""
    except OSError:
        return ""


def _is_same(path: str, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _is_gone(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a folder that may not be entered hides its files, it does not delete them
        return False
    return False
