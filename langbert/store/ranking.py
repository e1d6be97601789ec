"""What each search mode finds: rows with their score in [0, 1] and the raw scores it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dense import DenseIndex, cosines
from .fusion import Fusion, reciprocal_ranks, relative_scores
from .lexical import LexicalIndex
from .snapshot import Rows, Snapshot

__all__ = ["Hit", "dense_hits", "hybrid_hits", "lexical_hits"]

_DEPTH = 50  # candidates of each source that are fused, at least
_LEXICAL_HALF = 10.0  # the BM25 score that counts as 0.5


class Hit(NamedTuple):
    """One row found."""

    row: int
    score: float
    parts: Mapping[str, float]


def dense_hits(
    dense: DenseIndex, query: NDArray[np.float32], k: int, rows: Rows | None, snapshot: Snapshot
) -> list[Hit]:
    """By cosine; the score is ``(1 + cosine) / 2``."""
    found, values = dense.search(query, k, rows, snapshot=snapshot)
    return [
        Hit(row, min(max((1 + cosine) / 2, 0.0), 1.0), {"dense": cosine})
        for row, cosine in zip(found.tolist(), values.tolist(), strict=True)
    ]


def lexical_hits(lexical: LexicalIndex, question: str, k: int, rows: Rows | None) -> list[Hit]:
    """By BM25; the score is ``bm25 / (bm25 + 10)``."""
    found, scores = lexical.search(question, k, rows)
    return [
        Hit(row, score / (score + _LEXICAL_HALF), {"lexical": score})
        for row, score in zip(found.tolist(), scores.tolist(), strict=True)
    ]


def hybrid_hits(
    dense: DenseIndex,
    lexical: LexicalIndex,
    question: str,
    query: NDArray[np.float32],
    k: int,
    rows: Rows | None,
    snapshot: Snapshot,
    fusion: Fusion,
    dense_weight: float,
) -> list[Hit]:
    """By both: the heads of the two rankings together, every candidate scored by both."""
    depth = max(k, _DEPTH)
    near, _ = dense.search(query, depth, rows, snapshot=snapshot)
    worded, _ = lexical.search(question, depth, rows)
    candidates = np.union1d(near, worded)
    if len(candidates) == 0:
        return []
    meant = np.nan_to_num(cosines(snapshot, query, candidates)).astype(np.float64)
    words = np.zeros(len(candidates))
    matching, bm25 = lexical.search(question, len(candidates), candidates)
    words[np.searchsorted(candidates, matching)] = bm25
    if fusion == "rrf":
        fused = reciprocal_ranks(_ranks(candidates, near), _ranks(candidates, worded), dense_weight)
    else:
        fused = relative_scores(meant, words, dense_weight)
    order = np.lexsort((candidates, -fused))[:k]
    return [
        Hit(int(candidates[i]), float(fused[i]), {"dense": float(meant[i]), "lexical": float(words[i])})
        for i in order.tolist()
    ]


def _ranks(candidates: Rows, ranking: Rows) -> NDArray[np.int64]:
    """From 0, of each candidate in ``ranking``; -1 where it is not in it."""
    ranks = np.full(len(candidates), -1, dtype=np.int64)
    ranks[np.searchsorted(candidates, ranking)] = np.arange(len(ranking))
    return ranks
