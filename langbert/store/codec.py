"""How the dense index holds its vectors: whole, or in fewer bits, and how each form is compared with a query.

Fewer bits make the index smaller and its scans quicker; the order they give is only a first one, for the vectors
themselves stay in the truth and settle it (see :meth:`langbert.store.dense.DenseIndex.search`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

__all__ = ["Codec", "IndexPrecision", "one_thread", "unit"]

_FAISS: Any = faiss  # its annotations describe C++, not the Python classes it wraps around them

IndexPrecision = Literal["float32", "float16", "int8"]
"""``"float32"``: 4 bytes a dimension. ``"float16"``: 2. ``"int8"``: 1, and 4 for the length of a step."""

_BLOCK = 4096  # vectors decoded at a time
_SHORTEST, _LONGEST = 1e-15, 1e18  # vectors whose squares float32 holds well


class Codec:
    """Unit vectors as rows of codes, ``(n, width)`` of ``dtype``."""

    def __init__(self, precision: IndexPrecision, dimension: int) -> None:
        self.precision = precision
        self.dimension = dimension
        self.lossless = precision == "float32"
        self.dtype = np.dtype({"float32": "<f4", "float16": "<f2", "int8": "i1"}[precision])
        self.width = dimension + 4 * (precision == "int8")
        self.code_size = self.width * self.dtype.itemsize  # bytes a vector
        self._halves = _FAISS.ScalarQuantizer(dimension, _FAISS.ScalarQuantizer.QT_fp16)

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """``(n, dim)`` unit vectors → ``(n, width)``."""
        if self.precision != "int8":
            return np.ascontiguousarray(vectors, dtype=self.dtype)
        step = np.maximum(np.abs(vectors).max(axis=1, keepdims=True, initial=0), 1e-30).astype("<f4") / 127
        codes = np.empty((len(vectors), self.width), dtype=np.int8)
        codes[:, : self.dimension] = np.rint(vectors / step)
        codes[:, self.dimension :] = step.astype("<f4").view(np.int8)
        return codes

    def decode(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, width)`` → ``(n, dim)``."""
        if self.precision == "float16":
            raw = np.ascontiguousarray(codes).view(np.uint8)
            return np.asarray(self._halves.decode(raw), dtype=np.float32)
        if self.precision == "int8":
            return self._steps(codes) * codes[:, : self.dimension].astype(np.float32)
        return np.asarray(codes, dtype=np.float32)

    def _steps(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """``(n, 1)``: what one of each vector's steps is worth."""
        return np.ascontiguousarray(codes[:, self.dimension :]).view("<f4").astype(np.float32, copy=False)

    def scores(self, codes: NDArray[Any], query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products of ``(dim,)`` with each of ``(n, width)`` contiguous codes: ``(n,)``."""
        found = np.empty(len(codes), dtype=np.float32)
        if self.lossless and len(codes):
            out, one, many = map(faiss.swig_ptr, (found, query, codes))
            _FAISS.fvec_inner_products_ny(out, one, many, self.dimension, len(codes))
            return found
        for start in range(0, len(codes), _BLOCK):
            found[start : start + _BLOCK] = self._decoded_scores(codes[start : start + _BLOCK], query)
        return found

    def scores_at(
        self, codes: NDArray[Any], positions: NDArray[np.int64], query: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The same of ``codes[positions]``; the positions must be in range."""
        found = np.empty(len(positions), dtype=np.float32)
        if self.lossless and len(positions):
            places = np.ascontiguousarray(positions, dtype=np.int64)
            pointers = map(faiss.swig_ptr, (found, query, codes, places))
            _FAISS.fvec_inner_products_by_idx(*pointers, self.dimension, 1, len(places))
            return found
        for start in range(0, len(positions), _BLOCK):
            some = codes[positions[start : start + _BLOCK]]
            found[start : start + _BLOCK] = self._decoded_scores(some, query)
        return found

    def _decoded_scores(self, codes: NDArray[Any], query: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.precision == "int8":
            products = codes[:, : self.dimension].astype(np.float32) @ query
            return np.asarray(products * self._steps(codes)[:, 0], dtype=np.float32)
        return np.asarray(self.decode(codes) @ query, dtype=np.float32)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, dim)`` vectors at length 1; a vector of zeros stays."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    extreme = np.flatnonzero(~((lengths > _SHORTEST) & (lengths < _LONGEST)))
    if len(extreme):  # their squares leave the range of float32
        steps = np.abs(vectors[extreme]).max(axis=1, keepdims=True, initial=0)
        vectors = vectors.copy()
        vectors[extreme] /= np.where(steps > 0, steps, 1)
        lengths[extreme] = np.linalg.norm(vectors[extreme], axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """FAISS with one thread: several make a single query slower. OpenMP keeps the setting per calling thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
