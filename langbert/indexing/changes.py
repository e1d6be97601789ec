"""The files that are not in a store as they are on disk, and the work of putting them there."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..documents import Cutting, Picture, find_files
from ..documents.files import printable
from ..documents.formats import format_of
from ..documents.loading import stamp_of
from ..documents.reading import Reading, Task
from ..documents.workers import Workers, read_in_order, workers_for
from ..errors import DocumentError
from ..records import Document, Progress
from ..store import Store, StoreLike
from ..store.checks import is_store
from ..store.snapshot import FileRecord, FileState
from .options import SyncOptions
from .report import SyncReport
from .sources import Known, Memory, SourceFile, is_gone, is_same_as_then

if TYPE_CHECKING:
    from typing_extensions import Self

_BATCH_CHARACTERS = 100_000  # about 250 passages: a few seconds of embedding, one transaction
_BATCH_FILES = 256

_LOG = logging.getLogger("langbert")

Item = TypeVar("Item")

ReadElsewhere = Callable[[list[Task]], Iterator[tuple[int, Reading]]]
"""Files to read → which of them, and what became of it, in any order."""


@dataclass(slots=True)
class Batch:
    """Files that are stored together.

    Attributes:
        documents: of those that can be read and have changed.
        records: what became of each.
        moved: paths that are others now.
    """

    files: list[SourceFile] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    records: list[FileRecord] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


class Changes:
    """The files that are not in a store as they are on disk, and the work of putting them there. Close it after use.

    Args:
        paths, options: as for :func:`sync`.
        store: only read here; it needs no embedder. None stands for one that is yet to be made.
        folder: of a store that is yet to be made.
        progress: told how many more files were compared.

    Attributes:
        files: every file under the paths.
        changed: those that have to be read.
        report: what was done so far.
        elsewhere: what reads the files in the place of this machine's processes, if anything does.

    Raises:
        DocumentError: a path does not exist.
    """

    elsewhere: ReadElsewhere | None = None

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        store: StoreLike | None,
        options: SyncOptions | None = None,
        *,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.report = SyncReport()
        self._passed_over: list[Path] = []  # folders that cannot be listed, links that lead out
        self._options = options or SyncOptions()
        self._began = time.time()
        self._paths = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
        folder = folder if store is None else store.path
        self._own = None if folder is None else os.path.realpath(folder)
        found = find_files(
            self._paths,
            on_skip=self._pass_over,
            selection=self._options.selection,
            follow_links=self._options.follow_links,
            leave_out=self._is_of_a_store,
        )
        files = [SourceFile(path, source, stamp_of(path), source) for path, source in found]
        self._memory = Memory(store, files)
        self.files = self._memory.told_apart(files)
        self._taken = set(self._memory.ids)  # ids that a further document cannot have
        self._moved: set[str] = set()  # ids of documents whose files are elsewhere now
        self._refused: list[FileRecord] = []
        self.changed: list[SourceFile] = []
        for file in self.files:
            if self._has_to_be_read(file):
                self.changed.append(file)
            if progress is not None:
                progress(1)
        self._workers: Workers | None = None
        self._batches = self._read()
        self._ahead: list[Batch] = []

    def close(self) -> None:
        """Ends the processes that read, whatever they are at."""
        if self._workers is not None:
            self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def has_documents(self) -> bool:
        """Whether there is anything to embed: reads files up to the first batch that has a document."""
        while not (self._ahead and self._ahead[-1].documents):
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._ahead.append(batch)
        return True

    def batches(self) -> Iterator[Batch]:
        """The files that have to be read, so many at a time that a batch is a few seconds of work.

        The next batch is read in a thread of its own, and by the workers, while this one is embedded.
        """
        yield from self._ahead
        yield from _ahead(self._batches, self.close)

    def add(self, batch: Batch, store: StoreLike) -> None:
        """Cut, embed and store one batch: it is kept, whatever happens to the next."""
        added = {document.id for document in batch.documents}
        if added:
            kept = store.pictures if self._options.pictures and isinstance(store, Store) else None
            records = [record for record in batch.records if record.document_id in added]
            store.add(batch.documents, files=records if kept is None else [])
            if kept is not None:
                for document in batch.documents:  # each by itself, so that memory holds those of one
                    if pictures := self._pictures(document):
                        kept.add(pictures)
                store.files.record(records)  # not before: whoever is killed here goes on here
        store.files.record(record for record in batch.records if record.document_id not in added)
        if batch.moved:
            store.files.forget(batch.moved)
        updated = sum(document.id in self._memory.ids for document in batch.documents)
        self.report.updated += updated
        self.report.added += len(batch.documents) - updated

    def prune(self, store: StoreLike) -> None:
        """Remove what came from the given folders and is gone from disk, or left out now: nothing else, and nothing in
        a folder that cannot be read."""
        folders = tuple(os.path.join(printable(os.path.abspath(path)), "") for path in self._paths if path.is_dir())
        present = {printable(file.path) for file in self.files}
        reached = {row.path for file in self.files if (row := self._memory.document_of(file))}  # by another way
        unseen = tuple(os.path.join(printable(folder), "") for folder in self._passed_over)

        def is_missing(path: str) -> bool:
            if path in present or not path.startswith(folders):
                return False
            return is_gone(path) or not (path in reached or os.path.join(path, "").startswith(unseen))

        rows = [row for row in self._memory.documents.values() if row.id not in self._moved and is_missing(row.path)]
        if rows and store.delete([row.id for row in rows]):
            self.report.removed += len(rows)
        if gone := [path for path in self._memory.records if is_missing(path)]:
            store.files.forget(gone)

    # --- comparing ---------------------------------------------------------------------------------------------------

    def _has_to_be_read(self, file: SourceFile) -> bool:
        try:
            kind = format_of(file.path)
        except DocumentError as error:
            self._refuse(file, str(error), "skipped")
            return False
        if self._options.force:
            return True
        row = self._memory.document_of(file)
        record = self._memory.records.get(printable(file.path) if row is None else row.path)
        if record is None or not is_same_as_then(record, file.stamp):
            return True
        if not self._options.is_reading(record.reading, kind, file.inside):
            return True
        if record.state == "failed" and not self._options.retry_failed:
            self.report.skipped.append((file.source, record.reason))
            return False
        if record.state == "done" and row is not None and self._is_as_stored(file, row):
            self.report.unchanged += 1
            return False
        return True

    def _is_as_stored(self, file: SourceFile, row: Known) -> bool:
        """Whether the same bytes make the same document."""
        return row.is_cut_alike and (row.source == file.source or row.path != printable(file.path))

    def _known_digest(self, file: SourceFile) -> str:
        """That of the bytes that make the document the store has; empty where any bytes make another."""
        row = self._memory.document_of(file)
        if row is None or self._options.force or not self._is_as_stored(file, row):
            return ""
        record = self._memory.records.get(row.path)
        if record is None or not self._options.is_reading(record.reading, format_of(file.path), file.inside):
            return ""
        return row.digest

    def _pass_over(self, folder: Path, error: DocumentError) -> None:
        self._passed_over.append(folder)
        self.report.skipped.append((printable(folder), str(error).removeprefix(f"{printable(folder)}: ")))

    def _is_of_a_store(self, folder: Path) -> bool:
        """Whether a folder is a store, whose files are no documents; of another than this one the report says so."""
        if os.path.realpath(folder) == self._own:
            return True
        if found := is_store(folder):
            self.report.skipped.append((printable(folder), "it is a store of langbert, whose files are no documents"))
        return found

    def _refuse(self, file: SourceFile, reason: str, state: FileState) -> None:
        """Note what is not even opened; the store hears of it where it does not know it yet."""
        self.report.skipped.append((file.source, reason))
        record = self._record(file, Reading(None, reason, "", file.stamp), state, "", "")
        known = self._memory.records.get(record.path)
        if known is None or replace(known, at=record.at) != record:
            self._refused.append(record)

    def _record(self, file: SourceFile, reading: Reading, state: FileState, id: str, how: str) -> FileRecord:
        size, modified, changed = reading.stamp or (file.size, 0, 0)  # no times: it is tried again
        return FileRecord(
            path=printable(file.path),
            source=file.source,
            size=size,
            modified=modified,
            changed=changed,
            digest=reading.digest,
            state=state,
            reason=reading.reason,
            document_id=id,
            reading=how,
            at=self._began,
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self) -> Iterator[Batch]:
        batch, characters = Batch(records=self._refused), 0
        for file, reading in self._readings():
            self._take(file, reading, batch)
            characters += len(batch.documents[-1].text) if reading.document is not None else 0
            if characters >= _BATCH_CHARACTERS or len(batch.files) >= _BATCH_FILES:
                yield batch
                batch, characters = Batch(), 0
        if batch.records:
            yield batch

    def _readings(self) -> Iterator[tuple[SourceFile, Reading]]:
        if self.elsewhere is not None:
            for i, reading in self.elsewhere([self._task(file) for file in self.changed]):
                yield self.changed[i], reading
            return
        tasks = ((self._task(file), file.size) for file in self.changed)
        n = self._options.workers
        if n := workers_for(len(self.changed)) if n is None else n:
            self._start_workers(n)
        yield from zip(self.changed, read_in_order(tasks, self._workers), strict=True)

    def _task(self, file: SourceFile) -> Task:
        return Task(
            str(file.path),
            file.source,
            encoding=self._options.encoding,
            known=self._known_digest(file),
            max_unfolded=self._options.limits.unfolded,
            ocr=self._options.ocr,
        )

    def _pictures(self, document: Document) -> Sequence[Picture]:
        """Cut out where files are read: by the workers, if there are any."""
        if (job := Cutting.of(document, self._options.limits.unfolded)) is None:
            return ()
        if self.elsewhere is not None and self._workers is None:
            self._start_workers(1)
        cut = job.done() if self._workers is None else self._workers.submit(job).result()
        if cut.reason:
            self.report.remarks.append((document.source, f"of its pictures: {cut.reason}"))
        return cut.pictures

    def _start_workers(self, n: int) -> None:
        workers = self._workers = Workers(n, self._options.limits)
        try:
            workers.start()
        except DocumentError as error:
            if self._options.workers is not None:
                raise
            _LOG.warning("%s. They are read in this process", error)
            workers.close()
            self._workers = None

    def _take(self, file: SourceFile, reading: Reading, batch: Batch) -> None:
        """Put what became of a file into ``batch``."""
        batch.files.append(file)
        how = self._options.reading(format_of(file.path), file.inside)
        row = self._memory.document_of(file)
        if reading.reason:
            self.report.skipped.append((file.source, reading.reason))
            batch.records.append(self._record(file, reading, "failed", row.id if row else "", how))
        elif reading.document is None:
            self.report.unchanged += 1
            record = self._record(file, reading, "done", row.id if row else "", how)
            if row is not None:  # its pictures, too, are what they were
                how = self._memory.records[row.path].reading
                record = replace(record, path=row.path, source=row.source, reading=how)
            batch.records.append(record)
        else:
            row = row or self._memory.former(file.source, reading.digest)
            if row is not None and row.path != printable(file.path):
                self._moved.add(row.id)
                batch.moved.append(row.path)
            document = self._document(file, reading.document, reading.digest, row)
            batch.documents.append(document)
            batch.records.append(self._record(file, reading, "done", document.id, how))
            if "remarks" in document.metadata:
                self.report.remarks.append((file.source, document.metadata["remarks"]))

    def _document(self, file: SourceFile, document: Document, digest: str, row: Known | None) -> Document:
        """As it is stored: under the id it had before, wherever it is now."""
        id = row.id if row is not None else document.id
        if row is None and id in self._taken:  # by one that was moved away
            id = f"{id}#{digest[:12]}"
        self._taken.add(id)
        more = self._options.metadata_of(file.inside)
        return replace(document, id=id, metadata={**document.metadata, **more, "sha256": digest})


def _ahead(items: Iterator[Item], stop: Callable[[], None] = lambda: None) -> Iterator[Item]:
    """The same items, each made in a thread while the one before it is in use; ``stop`` makes the making end."""
    with ThreadPoolExecutor(1) as pool:
        try:
            coming = pool.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            stop()
