"""Files and a store kept alike: what changed on disk is read, cut, embedded and stored, and nothing else is.

A file's bytes tell whether it has to be read; what then changes in the store, :meth:`Store.add` decides. They also tell
that a file was moved, or is reached by another way: it stays the document it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..documents.workers import Limits
from ..records import Progress
from ..store import Store, StoreLike
from .changes import Batch, Changes
from .options import SyncOptions
from .report import SyncReport
from .sources import SourceFile

__all__ = ["Batch", "Changes", "Limits", "SourceFile", "SyncOptions", "SyncReport", "sync"]


def sync(
    paths: str | Path | Iterable[str | Path],
    store: StoreLike,
    *,
    prune: bool = False,
    force: bool = False,
    retry_failed: bool = False,
    encoding: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    metadata: Mapping[str, Any] | None = None,
    metadata_from_path: Sequence[str] = (),
    ocr: bool | None = None,
    workers: int | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring ``store`` up to date with files and folders: only what changed is read and embedded.

    What is done is kept, so a sync that was stopped, or killed, is simply called again. ``store.files`` tells what
    became of each file; one that could not be read is tried again when it, or what reads it, has changed.

    Args:
        paths: files and folders; see :func:`langbert.documents.find_files`.
        store: opened with its embedder. Its own folder is passed over.
        prune: also remove documents of these folders whose files are gone, or left out now.
        force: read every file again, changed or not.
        retry_failed: try again what could not be read, changed or not.
        encoding: of texts that are not UTF-8 and do not name theirs; by default it is guessed.
        include, exclude: patterns as in ``.gitignore`` of the files that are meant in folders; so are those that a file
            ``.langbertignore`` in them leaves out.
        follow_links: also symbolic links that lead out of the folders; else the report names them.
        metadata: what every document is to have besides what its file says.
        metadata_from_path: patterns such as ``"{department}/{year}/*"``, which find metadata in the path of a file
            below the folder that was given.
        ocr: recognise pictures and pages that are one; by default where ``langbert[ocr]`` is installed.
        workers: processes that read files, while this one embeds; 0 reads them here. By default as many as there is
            use for. What a file costs one of them is limited, by ``limits``; a file that hangs, crashes or swells is
            named in the report.
        progress: told how many more of the files that changed are done.

    Raises:
        DocumentError: a path does not exist, or a pattern cannot be understood. A file that cannot be read is named in
            the report, and the rest goes on.
        MissingExtra: ``ocr=True``, and ``langbert[ocr]`` is not installed.
        StoreError: see :meth:`Store.add`.
    """
    options = SyncOptions(
        force=force,
        retry_failed=retry_failed,
        encoding=encoding,
        include=tuple(include),
        exclude=tuple(exclude),
        follow_links=follow_links,
        metadata=metadata or {},
        metadata_from_path=tuple(metadata_from_path),
        ocr=ocr,
        workers=workers,
        limits=limits or Limits(),
        pictures=isinstance(store, Store) and store.pictures.embedder is not None,
    )
    with Changes(paths, store, options) as changes:
        for batch in changes.batches():
            changes.add(batch, store)
            if progress is not None:
                progress(len(batch.files))
        if prune:
            changes.prune(store)
    return changes.report
