"""A file with a checksum for every block, so that gigabytes open in a moment and are verified where they are used."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

BLOCK = 128 << 10
"""Bytes for which there is one checksum."""

_PAGE = 4096
_MAPPED_FROM = 32 << 20  # bytes from which on a file is mapped, not read


class Damaged(RuntimeError):
    """The file does not hold what was written."""


def block_checksums(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Of ``(n,)`` bytes, for each block: CRC-32 of the sums of the 64-bit words in every 4 KB, zeros after the end.

    Any wrong word changes its sum; a CRC of everything would take six times as long, most of a first search.
    """
    whole = len(data) // _PAGE * _PAGE
    rest = np.zeros(_PAGE if whole < len(data) else 0, dtype=np.uint8)
    rest[: len(data) - whole] = data[whole:]
    sums = [part.view("<u8").reshape(-1, _PAGE // 8).sum(axis=1) for part in (data[:whole], rest)]
    pages, step = np.concatenate(sums).astype("<u8"), BLOCK // _PAGE
    return np.array([zlib.crc32(pages[i : i + step].data) for i in range(0, len(pages), step)], dtype=np.uint32)


class SummingWriter:
    """Writes to ``file`` and takes the checksums of what it writes.

    Attributes:
        size: bytes written.
        error: what the last write failed with, for callers that lose exceptions.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self.error: OSError | None = None
        self._file = file
        self._rest = b""
        self._checksums: list[NDArray[np.uint32]] = []

    def write(self, data: bytes) -> int:
        """How many bytes were written: all, or none if that fails."""
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            return 0
        self.size += len(data)
        data = self._rest + data
        whole = len(data) // BLOCK * BLOCK
        self._checksums.append(block_checksums(np.frombuffer(data, dtype=np.uint8, count=whole)))
        self._rest = data[whole:]
        return len(data)

    def checksums(self) -> NDArray[np.uint32]:
        """``(blocks,)``."""
        return np.concatenate([*self._checksums, block_checksums(np.frombuffer(self._rest, dtype=np.uint8))])


class CheckedFile:
    """The bytes of a file, ``data`` ``(size,)`` uint8, mapped where they are many.

    Args:
        checksums: ``(blocks,)``.

    Raises:
        OSError: it cannot be read.
        Damaged: it has another size.
    """

    def __init__(self, path: Path, size: int, checksums: NDArray[np.uint32]) -> None:
        with path.open("rb") as file:
            if path.stat().st_size != size or len(checksums) != -(-size // BLOCK):
                raise Damaged(f"{path.name} has not the size that was recorded")
            if size < _MAPPED_FROM:
                self.data: NDArray[np.uint8] = np.frombuffer(file.read(), dtype=np.uint8)
            else:
                self.data = np.memmap(file, dtype=np.uint8, mode="r")
        if len(self.data) != size:
            raise Damaged(f"{path.name} has not the size that was recorded")
        self._name = path.name
        self._checksums = checksums
        self._unverified = np.ones(len(checksums), dtype=np.bool_)

    def verify(self, start: int, end: int) -> None:
        """The bytes ``[start, end)``, where that has not been done.

        Raises:
            Damaged: they are not what was written.
        """
        blocks = slice(start // BLOCK, -(-end // BLOCK))
        if not self._unverified[blocks].any():
            return
        found = block_checksums(self.data[blocks.start * BLOCK : blocks.stop * BLOCK])
        if wrong := np.flatnonzero(found != self._checksums[blocks]).tolist():
            raise Damaged(f"block {blocks.start + wrong[0]} of {self._name} fails its checksum")
        self._unverified[blocks] = False
