"""The files of a Tantivy index: whether they are whole, what a killed writer left, and letting go of them."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOOTER = struct.Struct("<II")
_FOOTER_MAGIC = 1337
_SEGMENT_FILES = ("idx", "pos", "term", "fast", "fieldnorm", "store")


class Unusable(Exception):
    """The files cannot be trusted or do not belong here; the message says why."""


def check_segments(folder: Path) -> None:
    """Compares every file that ``meta.json`` names with the CRC-32 in its footer.

    Raises:
        Unusable: one is missing, cut off or changed.
    """
    try:
        segments = json.loads((folder / "meta.json").read_bytes())["segments"]
        for segment in segments:
            if not segment["max_doc"] > 0:  # Tantivy would panic
                raise Unusable("it has a part without passages")
            name = segment["segment_id"].replace("-", "")
            for ending in _SEGMENT_FILES:
                _check_footer(folder / f"{name}.{ending}")
            if segment["deletes"]:
                _check_footer(folder / f"{name}.{segment['deletes']['opstamp']}.del")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise Unusable(str(error)) from error


def sweep_deletions(folder: Path) -> None:
    """Removes the lists of deletions that a killed writer left without committing them: Tantivy would give the next
    writer's the same name, and refuse. Under the lock, so nobody is writing one."""
    try:
        segments = json.loads((folder / "meta.json").read_bytes())["segments"]
    except FileNotFoundError:  # nothing has been committed yet
        return
    deletes = [(segment["segment_id"].replace("-", ""), segment["deletes"]) for segment in segments]
    committed = {f"{name}.{found['opstamp']}.del" for name, found in deletes if found}
    for file in folder.glob("*.del"):
        if file.name not in committed:
            file.unlink()


def _check_footer(file: Path) -> None:
    """Tantivy's layout: content, JSON with its CRC-32, length of the JSON, magic."""
    content = memoryview(file.read_bytes())
    length, magic = _FOOTER.unpack(content[-_FOOTER.size :])
    end = len(content) - _FOOTER.size - length
    if magic != _FOOTER_MAGIC or end < 0:
        raise Unusable(f"{file.name} is cut off")
    if zlib.crc32(content[:end]) != json.loads(bytes(content[end : -_FOOTER.size]))["crc"]:
        raise Unusable(f"{file.name} fails its checksum")


@contextmanager
def held_open(folder: Path) -> Iterator[None]:
    """Takes the slow part of letting go of files away from other threads.

    A searcher maps its files, which the next commit deletes; the file system frees them when the mapping goes, which
    can take a tenth of a second, and Python drops a searcher with every other thread at a stand. While the files are
    open here too, it is closing them that frees them, and that stops nobody.
    """
    handles: list[int] = []
    try:
        if os.name == "posix":  # elsewhere an open file cannot be deleted
            # somebody deletes them at this moment, or there is no folder yet
            with suppress(OSError), os.scandir(folder) as files:
                for file in files:
                    handles.append(os.open(file.path, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 - kept if one fails
        yield
    finally:
        for handle in handles:
            os.close(handle)
