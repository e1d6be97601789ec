"""The dense index: FAISS over unit vectors, derived from the truth, exact.

Vectors are brought to unit length here, so an inner product is the cosine whatever was given to the store. Positions in
FAISS are ours to map: ``rows[position]`` is the row id, ascending because rows are only ever appended; a dead row stays
behind as a tombstone until a quarter of the index is dead. The file holds the living rows and vectors of one moment
(a :class:`Mark`) under a checksum, as plain arrays: loading it parses nothing and runs nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from .atomic import replacing
from .snapshot import Mark, Rows, Snapshot

__all__ = ["DenseIndex", "unit"]

_LOG = logging.getLogger("langbert")
_FAISS: Any = faiss  # its annotations describe C++, not the Python classes it wraps around them
_MAGIC = b"LANGBERT-DENSE-1\n"
_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 4096
_BLOCK = 8192  # vectors read or written at a time
_GATHER = 4096  # allowed vectors up to which they are scored one by one, not by a scan with a selector


class DenseIndex:
    """Exact nearest neighbours by cosine.

    Thread-safe: one call at a time.

    Args:
        file: where to keep a copy that opens quickly; None keeps none.
        read_only: never write the file.
    """

    def __init__(self, file: Path | None, *, read_only: bool = False) -> None:
        self.mark = Mark()
        self._file = file
        self._read_only = read_only or file is None
        self._lock = threading.RLock()
        self._loaded = False
        self._unsaved = 0
        self._reset(None)

    def _reset(self, dimension: int | None) -> None:
        self.mark = Mark()
        self._dimension = dimension
        self._index: Any = None if dimension is None else faiss.IndexFlatIP(dimension)
        self._rows: Rows = np.empty(0, dtype=np.int64)
        self._alive: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)

    def __len__(self) -> int:
        return int(self._alive.sum())

    # --- keeping up --------------------------------------------------------------------------------------------------

    def refresh(self, snapshot: Snapshot) -> None:
        """Absorbs what ``snapshot`` has and this has not; what is ahead of it stays."""
        with self._lock:
            if not self._loaded:
                self._loaded = True
                self._load(snapshot)
            if self.mark.change >= snapshot.mark.change:
                return
            if self._dimension is None and snapshot.dimension is not None:
                self._reset(snapshot.dimension)
            if self._index is not None:
                self._absorb(snapshot)
            self.mark = snapshot.mark

    def _absorb(self, snapshot: Snapshot) -> None:
        removed = snapshot.removed_since(self.mark.change)
        positions = self._positions(removed)
        self._alive[positions] = False
        blocks = []
        for rows, vectors in snapshot.vectors_since(self.mark.change):
            self._index.add(unit(vectors))
            blocks.append(rows)
        self._rows = np.concatenate([self._rows, *blocks])
        added = len(self._rows) - len(self._alive)
        self._alive = np.concatenate([self._alive, np.ones(added, dtype=np.bool_)])
        self._unsaved += added + len(positions)
        dead = len(self._alive) - len(self)
        if dead > 1024 and dead * 4 > len(self._alive):
            self._compact()

    def _compact(self) -> None:
        index = faiss.IndexFlatIP(self._index.d)
        vectors, living = self._vectors(), np.flatnonzero(self._alive)
        for start in range(0, len(living), _BLOCK):
            index.add(vectors[living[start : start + _BLOCK]])
        self._rows = self._rows[living]
        self._alive = np.ones(len(living), dtype=np.bool_)
        self._index = index

    def _vectors(self) -> NDArray[np.float32]:
        """FAISS's own memory as ``(n, dim)``; valid until the next ``add``."""
        n, dimension = self._index.ntotal, self._index.d
        if n == 0:
            return np.empty((0, dimension), dtype=np.float32)
        view: NDArray[np.float32] = faiss.rev_swig_ptr(self._index.get_xb(), n * dimension)
        return view.reshape(n, dimension)

    def _positions(self, rows: Rows) -> NDArray[np.int64]:
        """Where the living among ``rows`` are."""
        if len(self._rows) == 0 or len(rows) == 0:
            return np.empty(0, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        return np.asarray(places[(self._rows[places] == rows) & self._alive[places]], dtype=np.int64)

    # --- searching ---------------------------------------------------------------------------------------------------

    def search(
        self, queries: NDArray[np.float32], k: int, rows: Rows | None = None
    ) -> list[tuple[Rows, NDArray[np.float32]]]:
        """The ``k`` nearest rows of each query, best first, equal cosines by row.

        Args:
            queries: ``(n, dim)`` float32, any length.
            rows: only these; as many come back as there are, up to ``k``.

        Returns:
            For each query the row ids and their cosines.
        """
        with self._lock:
            if self._index is None or len(queries) == 0:
                return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
            queries = unit(queries)
            if rows is not None:
                allowed = self._positions(rows)
                if len(allowed) <= _GATHER:
                    vectors = self._vectors()[allowed]
                    return [_best(self._rows[allowed], vectors @ query, k) for query in queries]
            parameters = None
            if rows is not None or len(self) < len(self._alive):
                mask = self._alive
                if rows is not None:
                    mask = np.zeros(len(self._alive), dtype=np.bool_)
                    mask[allowed] = True
                selector = _FAISS.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
                parameters = _FAISS.SearchParameters(sel=selector)
            wanted = min(k, self._index.ntotal)
            if wanted == 0:
                return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
            with _threads(1 if len(queries) == 1 else None):
                cosines, positions = self._index.search(queries, wanted, params=parameters)
            found = []
            for places, values in zip(positions, cosines, strict=True):
                real = places >= 0
                found.append(_best(self._rows[places[real]], values[real], k))
            return found

    def cosines(self, query: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """The cosine of ``query`` ``(dim,)`` with each of ``rows``; 0 where a row is not there."""
        with self._lock:
            values = np.zeros(len(rows), dtype=np.float32)
            if self._index is None or len(self._rows) == 0:
                return values
            places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
            there = (self._rows[places] == rows) & self._alive[places]
            values[there] = self._vectors()[places[there]] @ unit(query[None])[0]
            return values

    # --- the file ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the file where that will save the next opening more than it costs now. Never raises for want of
        space: the truth is elsewhere."""
        with self._lock:
            small = len(self) <= 20_000
            if self._read_only or self._file is None or self._index is None or self._unsaved == 0:
                return
            if not small and self._unsaved * 10 < len(self):
                return
            try:
                self._file.parent.mkdir(exist_ok=True)
                with replacing(self._file) as file:
                    self._write(file)
                self._unsaved = 0
            except OSError as error:
                _LOG.warning("could not write %s (%s); it will be rebuilt when needed", self._file, error)

    def _write(self, file: BinaryIO) -> None:
        living = np.flatnonzero(self._alive)
        header = {"change": self.mark.change, "token": self.mark.token, "n": len(living), "dimension": self._dimension}
        encoded = json.dumps(header).encode()
        checksum = 0
        parts = [_MAGIC, _LENGTH.pack(len(encoded)), encoded, self._rows[living].astype("<i8").tobytes()]
        for part in parts:
            checksum = zlib.crc32(part, checksum)
            file.write(part)
        vectors = self._vectors()
        for start in range(0, len(living), _BLOCK):
            block = np.ascontiguousarray(vectors[living[start : start + _BLOCK]], dtype="<f4").tobytes()
            checksum = zlib.crc32(block, checksum)
            file.write(block)
        file.write(_LENGTH.pack(checksum))

    def _load(self, snapshot: Snapshot) -> None:
        """Takes the file if it is whole and of this store's past; otherwise starts from nothing."""
        if self._file is None or snapshot.dimension is None:
            return
        try:
            with self._file.open("rb") as file:
                self._read(file, self._file.stat().st_size, snapshot)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            _LOG.info("%s is of no use (%s); rebuilding it from the store", self._file, error)
            self._reset(snapshot.dimension)

    def _read(self, file: BinaryIO, size: int, snapshot: Snapshot) -> None:
        start = file.read(len(_MAGIC) + _LENGTH.size)
        if start[: len(_MAGIC)] != _MAGIC:
            raise ValueError("not this version's format")
        (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
        if length > _LONGEST_HEADER:
            raise ValueError("the header is too long")
        encoded = file.read(length)
        header = json.loads(encoded)
        mark, n, dimension = Mark(header["change"], header["token"]), header["n"], header["dimension"]
        if not (isinstance(n, int) and isinstance(mark.change, int) and isinstance(mark.token, int) and n >= 0):
            raise ValueError("the header is not in order")
        if dimension != snapshot.dimension or size != len(start) + length + n * (8 + 4 * dimension) + _LENGTH.size:
            raise ValueError("its size is not what its header says")
        if not snapshot.knows(mark):
            raise ValueError("it belongs to another history")
        self._reset(dimension)
        block = file.read(8 * n)
        checksum = zlib.crc32(block, zlib.crc32(encoded, zlib.crc32(start)))
        rows = np.frombuffer(block, dtype="<i8").astype(np.int64)
        for first in range(0, n, _BLOCK):
            block = file.read(4 * dimension * min(_BLOCK, n - first))
            checksum = zlib.crc32(block, checksum)
            self._index.add(np.frombuffer(block, dtype="<f4").reshape(-1, dimension))
        if _LENGTH.unpack(file.read(_LENGTH.size)) != (checksum,):
            raise ValueError("its checksum is wrong")
        self._rows, self._alive, self.mark = rows, np.ones(n, dtype=np.bool_), mark


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, dim)`` vectors at length 1; a vector of zeros stays."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _best(rows: Rows, scores: NDArray[np.float32], k: int) -> tuple[Rows, NDArray[np.float32]]:
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """FAISS with so many threads: several make a single query slower. OpenMP keeps the setting per calling thread."""
    if count is None:
        yield
        return
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
