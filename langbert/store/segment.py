"""The settled part of the dense index: vectors in the order of their cells, and the file they are mapped from.

The file is plain arrays, little-endian; reading it parses one small JSON header and runs nothing::

    magic, length of the header (u32), header (JSON)
    rows      int64   (n,)            the row id at each position
    by_row    int64   (n,)            the positions in the order of their row ids
    offsets   int64   (lists + 1,)    where each list begins: a cell, or so many vectors where there are no cells
    checksums uint32  (lists,)        CRC-32 of each list's codes, summed up: see checksum_of
    centroids float32 (lists, dim)    only where there are cells
    checksum  uint32                  CRC-32 of everything above
    codes     (n, width)              from the next multiple of 64

It is written whole, synced and renamed, so what can befall it later is a failing disk or another program. Everything
but the codes is verified when the file is opened, and so are the codes if there are few; otherwise each list of codes
is, before its first use. Damage found then raises :class:`Damaged`, and the index is made again from the truth.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from .codec import Codec, IndexPrecision
from .partition import Partition
from .snapshot import Mark, Rows

__all__ = [
    "LIST",
    "Damaged",
    "Positions",
    "Segment",
    "checksum_of",
    "in_memory",
    "located",
    "open_segment",
    "write_segment",
]

LIST = 4096
"""Vectors in a list where there are no cells."""

_MAGIC = b"LANGBERT-DENSE-3\n"
_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 4096
_ALIGNED = 64
_VERIFIED_AT_ONCE = 128 << 20  # bytes of codes up to which all are verified at opening: 0.03 s
_MAPPED_FROM = 32 << 20  # bytes of codes from which on they are mapped, not read
_GROUP = 16 << 20  # bytes of codes gathered at a time
_SUMMED = 512  # words of 64 bits: 4 KB

Positions = NDArray[np.int64]


class Damaged(RuntimeError):
    """The file does not hold what was written."""


@dataclass(slots=True)
class Segment:
    """``n`` vectors that no longer change.

    Attributes:
        rows: ``(n,)`` the row id at each position.
        by_row: ``(n,)`` positions, in the order of their row ids.
        sorted_rows: ``(n,)`` the row ids, ascending.
        offsets: ``(lists + 1,)`` where each list begins.
        codes: ``(n, width)``.
        partition: the cells that the lists are, if they are.
        checksums: ``(lists,)`` of the lists not verified yet; None where nothing is left to verify.
    """

    rows: Rows
    by_row: Positions
    sorted_rows: Rows
    offsets: Positions
    codes: NDArray[Any]
    partition: Partition | None = None
    checksums: NDArray[np.uint32] | None = None
    unverified: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def empty(cls, codec: Codec) -> Segment:
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, none, np.zeros(1, np.int64), np.empty((0, codec.width), codec.dtype))

    def locate(self, rows: Rows) -> Positions:
        """The position of each of ``rows``; -1 where it is not here."""
        return located(self.sorted_rows, rows, self.by_row)

    def lists_of(self, positions: Positions) -> Positions:
        return np.searchsorted(self.offsets, positions, side="right") - 1

    def verify(self, lists: Positions | None = None) -> None:
        """Compares lists (all by default) that have not been looked at with their checksums.

        Raises:
            Damaged: one is not what was written.
        """
        unverified = self.unverified
        if unverified is None or self.checksums is None:
            return
        wanted = np.flatnonzero(unverified) if lists is None else lists[unverified[lists]]
        for number in np.unique(wanted).tolist():
            start, end = self.offsets[number], self.offsets[number + 1]
            if checksum_of(self.codes[start:end]) != self.checksums[number]:
                raise Damaged(f"list {number} of the dense index fails its checksum")
            unverified[number] = False
        if not unverified.any():
            self.unverified = None


def checksum_of(codes: NDArray[Any]) -> int:
    """CRC-32 of the sums of the 64-bit words in every 4 KB, and of the bytes left over.

    Any wrong word changes its sum; a CRC of everything would take six times as long, most of a first search.
    """
    raw = codes.reshape(-1).view(np.uint8)
    blocks = len(raw) // (8 * _SUMMED)
    sums = np.add.reduce(raw[: 8 * _SUMMED * blocks].view("<u8").reshape(blocks, _SUMMED), axis=1)
    return zlib.crc32(raw[8 * _SUMMED * blocks :].data, zlib.crc32(sums.astype("<u8").data))


def located(sorted_rows: Rows, rows: Rows, positions: Positions | None = None) -> Positions:
    """Where each of ``rows`` is in ``sorted_rows`` (or in ``positions``, which go with them); -1 where it is not."""
    if len(sorted_rows) == 0 or len(rows) == 0:
        return np.full(len(rows), -1, dtype=np.int64)
    first, last = sorted_rows[0], sorted_rows[-1]
    if last - first + 1 == len(sorted_rows):  # none is missing between them: no need to search
        places = np.clip(rows, first, last) - first
    else:
        places = np.minimum(np.searchsorted(sorted_rows, rows), len(sorted_rows) - 1)
    return np.where(sorted_rows[places] == rows, places if positions is None else positions[places], -1)


Gather = Callable[[Positions], NDArray[Any]]
"""Codes of new positions, from wherever they are now."""


def groups(offsets: Positions, code_size: int) -> Iterator[tuple[int, int]]:
    """Consecutive lists ``[first, last)`` of which the codes fit into memory together."""
    first = 0
    while first < len(offsets) - 1:
        limit = offsets[first] + max(1, _GROUP // code_size)
        last = max(first + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        yield first, last
        first = last


def write_segment(
    file: BinaryIO,
    mark: Mark,
    codec: Codec,
    rows: Rows,
    offsets: Positions,
    partition: Partition | None,
    gather: Gather,
) -> None:
    """Writes a segment of ``rows`` in the order they are given, its codes as they are gathered."""
    lists = len(offsets) - 1
    header: dict[str, Any] = {
        "change": mark.change,
        "token": mark.token,
        "n": len(rows),
        "dimension": codec.dimension,
        "precision": codec.precision,
        "lists": lists,
    }
    if partition is not None:
        header |= {"trained_on": partition.trained_on, "probes": partition.probes, "recall": partition.recall}
    encoded = json.dumps(header).encode()
    start = _MAGIC + _LENGTH.pack(len(encoded)) + encoded
    head = [rows.astype("<i8"), np.argsort(rows, kind="stable").astype("<i8"), offsets.astype("<i8")]
    centroids = b"" if partition is None else partition.centroids.astype("<f4").tobytes()
    size = len(start) + sum(part.nbytes for part in head) + 4 * lists + len(centroids) + _LENGTH.size
    at_checksums = len(start) + sum(part.nbytes for part in head)
    checksums = np.zeros(lists, dtype="<u4")
    file.seek(-(-size // _ALIGNED) * _ALIGNED)
    for first, last in groups(offsets, codec.code_size):
        codes = np.ascontiguousarray(gather(np.arange(offsets[first], offsets[last])))
        begin = offsets[first]
        for number in range(first, last):
            checksums[number] = checksum_of(codes[offsets[number] - begin : offsets[number + 1] - begin])
        file.write(codes.data)
    file.seek(0)
    checksum = 0
    for part in (start, *(array.tobytes() for array in head), checksums.tobytes(), centroids):
        checksum = zlib.crc32(part, checksum)
        file.write(part)
    if file.tell() != at_checksums + 4 * lists + len(centroids):
        raise ValueError("the parts of the index do not add up")
    file.write(_LENGTH.pack(checksum))
    file.truncate(-(-size // _ALIGNED) * _ALIGNED + len(rows) * codec.code_size)


def open_segment(path: Path, dimension: int) -> tuple[Segment, Codec, Mark]:
    """Maps a file into memory.

    Raises:
        FileNotFoundError: there is none.
        ValueError, KeyError, TypeError, struct.error, OSError: it cannot be trusted.
    """
    with path.open("rb") as file:
        start = file.read(len(_MAGIC) + _LENGTH.size)
        if start[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not this version's format")
        (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
        if length > _LONGEST_HEADER:
            raise ValueError("the header is too long")
        encoded = file.read(length)
        header = _checked_header(json.loads(encoded), dimension)
        n, lists, partitioned = header["n"], header["lists"], "probes" in header
        codec = Codec(header["precision"], dimension)
        body = 16 * n + 8 * (lists + 1) + 4 * lists + 4 * lists * dimension * partitioned
        first = -(-(len(start) + length + body + _LENGTH.size) // _ALIGNED) * _ALIGNED
        if path.stat().st_size != first + n * codec.code_size:
            raise ValueError("its size is not what its header says")
        content = file.read(body)
        checksum = zlib.crc32(content, zlib.crc32(encoded, zlib.crc32(start)))
        if _LENGTH.unpack(file.read(_LENGTH.size)) != (checksum,):
            raise ValueError("its checksum is wrong")
        if n * codec.code_size < _MAPPED_FROM:
            file.seek(first)
            codes = np.frombuffer(file.read(n * codec.code_size), codec.dtype, n * codec.width)
        else:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            codes = np.frombuffer(mapped, codec.dtype, n * codec.width, first)
        codes = codes.reshape(n, codec.width)
    rows = np.frombuffer(content, "<i8", n).astype(np.int64, copy=False)
    by_row = np.frombuffer(content, "<i8", n, 8 * n).astype(np.int64, copy=False)
    offsets = np.frombuffer(content, "<i8", lists + 1, 16 * n).astype(np.int64, copy=False)
    at = 16 * n + 8 * (lists + 1)
    checksums = np.frombuffer(content, "<u4", lists, at).astype(np.uint32, copy=False)
    partition = None
    if partitioned:
        centroids = np.frombuffer(content, "<f4", lists * dimension, at + 4 * lists).reshape(lists, dimension)
        probes, recall = header["probes"], header["recall"]
        partition = Partition(centroids.astype(np.float32), header["trained_on"], tuple(probes), tuple(recall))
    sorted_rows = _checked_order(rows, by_row, offsets)
    segment = Segment(rows, by_row, sorted_rows, offsets, codes, partition, checksums, np.ones(lists, np.bool_))
    if codes.nbytes <= _VERIFIED_AT_ONCE:
        try:
            segment.verify()
        except Damaged as error:
            raise ValueError(str(error)) from error
    return segment, codec, Mark(header["change"], header["token"])


def _checked_header(header: Any, dimension: int) -> dict[str, Any]:
    """The types and ranges of everything in it, for the file may be somebody else's."""
    if not isinstance(header, dict):
        raise ValueError("the header is not in order")
    counts = [header[name] for name in ("change", "token", "n", "lists")]
    partition = "probes" in header
    if partition:
        counts += [header["trained_on"], *header["probes"]]
    if any(isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**63 for count in counts):
        raise ValueError("the header is not in order")
    if header["dimension"] != dimension or header["precision"] not in get_args(IndexPrecision):
        raise ValueError("it holds other vectors")
    if header["n"] > 2**40 or header["lists"] > 2**32:
        raise ValueError("the header is not in order")
    if partition:
        probes, recall = header["probes"], header["recall"]
        if len(probes) != 2 or len(recall) != 2 or not all(isinstance(value, int | float) for value in recall):
            raise ValueError("the header is not in order")
        if header["lists"] < 1 or not all(1 <= probe <= header["lists"] for probe in probes):
            raise ValueError("the header is not in order")
    return header


def _checked_order(rows: Rows, by_row: Positions, offsets: Positions) -> Rows:
    """The rows ascending, if ``by_row`` sorts them and ``offsets`` divides them: both lead into memory."""
    if offsets[0] != 0 or offsets[-1] != len(rows) or (np.diff(offsets) < 0).any():
        raise ValueError("its lists are not in order")
    if len(rows) and (by_row.min() < 0 or by_row.max() >= len(rows)):
        raise ValueError("its order leads out of it")
    found = np.asarray(rows[by_row], dtype=np.int64)
    if (np.diff(found) <= 0).any():
        raise ValueError("its rows are not in order")
    return found


def in_memory(codec: Codec, rows: Rows, offsets: Positions, partition: Partition | None, gather: Gather) -> Segment:
    """The same without a file."""
    codes = np.empty((len(rows), codec.width), dtype=codec.dtype)
    for first, last in groups(offsets, codec.code_size):
        places = np.arange(offsets[first], offsets[last])
        codes[offsets[first] : offsets[last]] = gather(places)
    by_row = np.argsort(rows, kind="stable")
    return Segment(rows, by_row, rows[by_row], offsets, codes, partition)
