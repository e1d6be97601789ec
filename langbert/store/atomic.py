"""A file is either the old one or the new one, never half of each: write whole, fsync, rename, fsync the folder.

What a killed process leaves half written has a name that says so, and is swept away when nobody can be at work on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["UNFINISHED", "is_leftover", "replacing", "sweep", "sync_folder"]

UNFINISHED = ".unfinished-"
"""How the name of a folder begins in which something is being made."""

_ABANDONED = 600  # seconds without a write after which nobody is at work any more


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` when the block ends, and vanishes if it raises.

    Raises:
        OSError: the disk is full or cannot be written; ``path`` is then as it was.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if os.name != "nt":  # as readable as the folder lets it be, which mkstemp does not ask
                os.fchmod(file.fileno(), path.parent.stat().st_mode & 0o666)
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes what was renamed or linked last; Windows cannot open folders and does this on its own."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_leftover(path: Path) -> bool:
    """Whether it is something half made: by a process at work, or by one that was killed."""
    name = path.name
    return name.startswith(UNFINISHED) or (name.startswith(".") and name.endswith(".tmp"))


def sweep(folder: Path) -> None:
    """Removes what killed processes left half made in ``folder``. Never raises: it can stay."""
    before = time.time() - _ABANDONED
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if is_leftover(path)]:
            with contextlib.suppress(OSError):
                if path.lstat().st_mtime > before:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
