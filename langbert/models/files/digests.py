"""Digests of large files, worked out once: a store asks for them whenever it is opened."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from ...files import replacing
from .cache import cache_dir

__all__ = ["remembered", "state_of"]


def remembered(what: str, folder: Path, compute: Callable[[], str]) -> str:
    """``compute()``, or what it gave for the same ``what`` while the files of ``folder`` were as they are now.

    Kept in the cache folder, where it can be written.
    """
    note = cache_dir() / "digests" / state_of(what, folder)
    with contextlib.suppress(OSError, ValueError):
        known = note.read_text(encoding="ascii")
        if len(known) == hashlib.sha256().digest_size * 2:
            return known
    digest = compute()
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with replacing(note) as fresh:
            fresh.write_text(digest, encoding="ascii")
    return digest


def state_of(what: str, *folders: Path) -> str:
    """A key for what depends on ``what`` and on files, as long as these stay as they are.

    A file is as it was if its number, size and times of change are.
    """
    states: list[object] = []
    for folder in folders:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        states += [str(folder.resolve()), [(str(file.relative_to(folder)), _state(file)) for file in files]]
    return hashlib.sha256(json.dumps([what, *states]).encode()).hexdigest()


def _state(file: Path) -> tuple[int, int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
