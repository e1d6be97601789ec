"""The folder fetched models are kept in, and the one way anything gets into it.

A model is put together in a private folder beside its final place, synced to disk and renamed: what stands under a
model's name is whole, at every moment, whoever is killed. One process fetches a model, the others wait for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...files import private_folder, sweep
from .catalogue import CatalogueEntry

__all__ = ["cache_dir", "cached", "entry_folder", "staging", "trim"]

log = logging.getLogger("langbert")


def cache_dir() -> Path:
    """``$LANGBERT_CACHE``, or the platform's cache folder for langbert."""
    chosen = os.environ.get("LANGBERT_CACHE")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    from platformdirs import user_cache_path

    return user_cache_path("langbert", appauthor=False)


def entry_folder(entry: CatalogueEntry) -> Path:
    """Where the entry's files are kept, there or not."""
    return cache_dir() / "models" / f"{entry.name}-{entry.digest}"


def cached(entry: CatalogueEntry) -> Path | None:
    """The entry's folder if every file of it is here at its full size.

    Digests were checked before the folder got its name; the sizes catch what a full disk, a careless hand or a broken
    copy did to it since, at the cost of a few ``stat`` calls.
    """
    folder = entry_folder(entry)
    try:
        whole = all((folder / file.path).stat().st_size == file.size for file in entry.files)
    except OSError:
        return None
    return folder if whole else None


def trim(folder: Path, most: int) -> None:
    """Keep of the files in ``folder`` those that were touched last, ``most`` bytes of them, and the last one anyway.

    Never raises: what cannot be removed, or is being used where that keeps it, stays.
    """
    sweep(folder)
    with contextlib.suppress(OSError):
        found = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in folder.iterdir() if file.is_file()]
        kept = 0
        for number, (_, size, file) in enumerate(sorted(found, reverse=True)):
            kept += size
            if number and kept > most:
                with contextlib.suppress(OSError):
                    file.unlink()


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A private empty folder beside ``target``, under the target's lock; gone when the block ends.

    Folders that killed processes left behind are swept first: whoever holds the lock knows they have no owner.
    """
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is fetching %s: waiting for it", target.name)
        lock.acquire()
    try:
        sweep(target.parent, of=target.name, idle=0)
        with private_folder(target) as folder:
            yield folder
    finally:
        lock.release()
