"""Vectors in fewer bits: one byte a dimension, or one bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Encoding = Literal["float32", "int8", "binary"]
"""What a dimension is kept in: four bytes, one byte (:func:`int8`) or one bit (:func:`binary`)."""

_LEVELS = 127
_LENGTH_ERROR = 1e-3


def int8(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Each value times 127, rounded half to even: ``(n, dim)`` float32 of unit length → ``(n, dim)`` int8.

    The scale is fixed, so that vectors made on different days compare, and a vector needs no company to be encoded;
    scales fitted to a collection (``quantize_embeddings`` of sentence-transformers) are finer and belong to that
    collection. A value is off by at most 1/254, a vector by at most √dim/254. The inner product of two int8 vectors
    is about 127² times the cosine; their cosine is about the cosine itself.

    Raises:
        ValueError: a vector is neither of length 1 nor zero; the fixed scale would cut or waste its values.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero((np.abs(lengths - 1) > _LENGTH_ERROR) & (lengths > 0))
    if len(wrong):
        raise ValueError(
            f"vector {wrong[0]} has length {lengths[wrong[0]]:.4g}, int8 needs length 1: normalise the vectors first"
        )
    return np.asarray(np.rint(vectors * _LEVELS).clip(-_LEVELS, _LEVELS), dtype=np.int8)


def binary(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """The signs, eight to a byte: ``(n, dim)`` float32 → ``(n, ceil(dim / 8))`` int8.

    A bit is 1 where the value is above 0, the first dimension is the highest bit, missing bits at the end are 0, and
    128 is subtracted from each byte: the ``"binary"`` of sentence-transformers. Compare by Hamming distance
    (``faiss.IndexBinaryFlat`` wants the bytes with 128 added back); cosines of such bytes mean nothing.
    """
    bytes_ = np.packbits(vectors > 0, axis=-1)
    return np.asarray(bytes_.astype(np.int16) - 128, dtype=np.int8)
