"""Files and folders that are the old one or the new one, never half of each; and their digests.

What is new is made in a private folder beside its place, synced to the disk and renamed, and then the folder it lies
in is synced. What a killed process leaves half made has a name that says so (:func:`is_leftover`) and is swept away
when nobody can be at work on it any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .records import Progress

__all__ = ["install", "is_leftover", "private_folder", "replacing", "sha256_of", "sweep", "sync_folder"]

_LEFTOVER = re.compile(r"\.(?P<of>.+)-[a-z0-9_]+\.tmp")
_ABANDONED = 600  # seconds without a write after which nobody is at work any more
_BLOCK = 1 << 20


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Where to make the file or folder that takes the place of ``path`` when the block ends; gone if it raises::

        with replacing(path) as fresh, fresh.open("wb") as file:
            file.write(…)

    A file becomes as readable as the folder it lies in.

    Args:
        overwrite: False leaves alone what is there by the end, but for an empty folder.

    Raises:
        OSError: it cannot be written; ``path`` is then as it was.
        FileExistsError: there is something at ``path``, which should not be overwritten.
    """
    with private_folder(path) as folder:
        fresh = folder / path.name
        yield fresh
        if fresh.is_file() and os.name != "nt":
            fresh.chmod(path.parent.stat().st_mode & 0o666)
        if not overwrite and path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise FileExistsError(f"{path} exists already")
        install(fresh, path)


@contextlib.contextmanager
def private_folder(beside: Path) -> Iterator[Path]:
    """An empty folder in that of ``beside``, for its owner only and gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix=f".{beside.name}-", suffix=".tmp", dir=beside.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(fresh: Path, target: Path) -> None:
    """Moves a finished file or folder to its place on the same disk, for good; replaces what is there.

    A folder that is not empty has to make room first: a process killed between these two renames leaves nothing there.
    """
    if fresh.is_dir():
        for folder, _, names in os.walk(fresh):
            for name in names:
                _sync(Path(folder) / name)
            sync_folder(Path(folder))
    else:
        _sync(fresh)
    if fresh.is_dir() and target.exists():
        with private_folder(target) as old:
            target.rename(old / target.name)
            fresh.rename(target)
    else:
        fresh.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes what was renamed or linked last; Windows cannot open folders and does this on its own."""
    if os.name != "nt":
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_leftover(path: Path, of: str | None = None) -> bool:
    """Whether it is something half made (for the place named ``of``), by a process at work or by a killed one."""
    match = _LEFTOVER.fullmatch(path.name)
    return match is not None and of in (None, match["of"])


def sweep(folder: Path, of: str | None = None, *, idle: float = _ABANDONED) -> None:
    """Removes what killed processes left half made in ``folder`` (for the place named ``of``), where nothing has been
    written for ``idle`` seconds. Never raises: it can stay."""
    before = time.time() - idle
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if is_leftover(path, of)]:
            with contextlib.suppress(OSError):
                if path.is_symlink() or not path.is_dir():
                    if path.lstat().st_mtime <= before:
                        path.unlink()
                elif all(found.lstat().st_mtime <= before for found in (path, *path.rglob("*"))):
                    shutil.rmtree(path, ignore_errors=True)


def sha256_of(source: Path | BinaryIO, progress: Progress | None = None) -> str:
    """The SHA-256 of a file, or of the rest of an open one, as hex.

    Args:
        progress: told how many more bytes are read.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return sha256_of(file, progress)
    digest = hashlib.sha256()
    while block := source.read(_BLOCK):
        digest.update(block)
        if progress is not None:
            progress(len(block))
    return digest.hexdigest()
