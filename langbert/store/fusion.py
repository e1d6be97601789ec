"""Two rankings → one. Each source says how good a candidate is; a weight in [0, 1] says how much dense counts.

``"scores"`` (the default) adds the sources' scores after bringing each to [0, 1] over the candidates (convex
combination; Bruch, Gai & Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval", §4). ``"rrf"`` adds
reciprocal ranks (Cormack, Clarke & Büttcher 2009): blind to how much better the first is than the second, hence robust
to odd scores.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Fusion = Literal["scores", "rrf"]

_RRF_K = 60
_FEW_WORDS = 1.0  # BM25; a word that half of the passages hold gives 0.7


def relative_scores(
    dense: NDArray[np.float64], lexical: NDArray[np.float64], dense_weight: float
) -> NDArray[np.float64]:
    """Fused scores in [0, 1] of candidates all of whose scores are known.

    Args:
        dense: ``(n,)`` cosines.
        lexical: ``(n,)`` BM25 scores, 0 where no word matches. Where the highest is below 1 all the question's words
            stand in nearly every passage: then it is no more than it is.
    """
    nearness = _stretched(dense, float(dense.min(initial=np.inf)))
    return dense_weight * nearness + (1 - dense_weight) * _stretched(lexical, 0.0, _FEW_WORDS)


def _stretched(scores: NDArray[np.float64], lowest: float, span: float = 0.0) -> NDArray[np.float64]:
    """``lowest`` … the highest score, or ``span`` above it, onto 0 … 1."""
    span = max(span, float(scores.max(initial=-np.inf)) - lowest)
    if not span > 0:
        return np.zeros_like(scores)
    return np.clip((scores - lowest) / span, 0.0, 1.0)


def reciprocal_ranks(
    dense: NDArray[np.int64], lexical: NDArray[np.int64], dense_weight: float, k: int = _RRF_K
) -> NDArray[np.float64]:
    """Weighted reciprocal ranks, scaled so that first in both is 1.

    Args:
        dense: ``(n,)`` ranks from 0; negative where the source did not return the candidate.
        lexical: the same of the other source.
    """
    parts = [
        weight * np.where(ranks >= 0, (k + 1) / (k + 1 + np.maximum(ranks, 0)), 0.0)
        for ranks, weight in ((dense, dense_weight), (lexical, 1 - dense_weight))
    ]
    return np.asarray(parts[0] + parts[1], dtype=np.float64)
