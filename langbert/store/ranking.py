"""What each search mode finds: rows with their score in [0, 1], the raw scores it came from, and their relevance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..records import SearchMode
from .fusion import Fusion, reciprocal_ranks, relative_scores
from .postings import Rows
from .relevance import Curve, of_words

_DEPTH = 50  # candidates of each source that are fused, at least
_LEXICAL_HALF = 10.0  # the BM25 score that counts as 0.5


class Hit(NamedTuple):
    """One row found."""

    row: int
    score: float
    parts: Mapping[str, float]
    relevance: float


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked.

    Attributes:
        text: not needed by ``"dense"``.
        vector: ``(dim,)`` float32; not needed by ``"lexical"``.
        fusion: of ``"hybrid"``.
        dense_weight: of ``"hybrid"``, in [0, 1]: how much dense counts against lexical.
    """

    mode: SearchMode
    text: str = ""
    vector: NDArray[np.float32] | None = None
    fusion: Fusion = "scores"
    dense_weight: float = 0.5


class DenseLike(Protocol):
    """What finds rows by vector: :class:`.dense.DenseIndex` is one."""

    def search(
        self, query: NDArray[np.float32], k: int, rows: Any, *, snapshot: Any
    ) -> tuple[Rows, NDArray[np.floating]]: ...

    def cosines(self, query: NDArray[np.float32], rows: Rows, *, snapshot: Any) -> NDArray[np.floating]: ...


class LexicalLike(Protocol):
    """What finds rows by word: :class:`.lexical.LexicalIndex` is one."""

    def search(self, question: str, k: int, rows: Any = None) -> tuple[Rows, NDArray[np.float64]]: ...

    def full_score(self, question: str) -> float: ...


def find(
    query: Query, dense: DenseLike, lexical: LexicalLike, k: int, rows: Any, snapshot: Any, nearness: Curve
) -> list[Hit]:
    """The ``k`` best rows, best first.

    Args:
        rows: which may be found, as both sources take it; an array of rows, ascending, or None for all, by any.
        snapshot: what is searched.
        nearness: what a cosine tells of relevance.
    """
    if query.vector is None:
        return _lexical_hits(lexical, query.text, k, rows)
    if query.mode == "dense":
        return _dense_hits(dense, query.vector, k, rows, snapshot, nearness)
    return _hybrid_hits(query, query.vector, dense, lexical, k, rows, snapshot, nearness)


def _dense_hits(
    dense: DenseLike, query: NDArray[np.float32], k: int, rows: Any, snapshot: Any, nearness: Curve
) -> list[Hit]:
    """By cosine; the score is the relevance."""
    found, cosines = dense.search(query, k, rows, snapshot=snapshot)
    return [
        Hit(row, relevance, {"dense": cosine}, relevance)
        for row, cosine, relevance in zip(found.tolist(), cosines.tolist(), nearness(cosines).tolist(), strict=True)
    ]


def _lexical_hits(lexical: LexicalLike, question: str, k: int, rows: Any) -> list[Hit]:
    """By BM25; the score is ``bm25 / (bm25 + 10)``."""
    found, scores = lexical.search(question, k, rows)
    relevances = of_words(scores, lexical.full_score(question))
    return [
        Hit(row, score / (score + _LEXICAL_HALF), {"lexical": score}, relevance)
        for row, score, relevance in zip(found.tolist(), scores.tolist(), relevances.tolist(), strict=True)
    ]


def _hybrid_hits(
    query: Query,
    vector: NDArray[np.float32],
    dense: DenseLike,
    lexical: LexicalLike,
    k: int,
    rows: Any,
    snapshot: Any,
    nearness: Curve,
) -> list[Hit]:
    """By both: the heads of the two rankings together, every candidate scored by both; the relevance is the higher."""
    depth = max(k, _DEPTH)
    near, _ = dense.search(vector, depth, rows, snapshot=snapshot)
    worded, _ = lexical.search(query.text, depth, rows)
    candidates = np.union1d(near, worded)
    if len(candidates) == 0:
        return []
    cosines = dense.cosines(vector, candidates, snapshot=snapshot).astype(np.float64)
    words = np.zeros(len(candidates))
    matching, bm25 = lexical.search(query.text, len(candidates), candidates)
    words[np.searchsorted(candidates, matching)] = bm25
    if query.fusion == "rrf":
        fused = reciprocal_ranks(_ranks(candidates, near), _ranks(candidates, worded), query.dense_weight)
    else:
        fused = relative_scores(cosines, words, query.dense_weight)
    relevances = np.maximum(nearness(cosines), of_words(words, lexical.full_score(query.text)))
    order = np.lexsort((candidates, -fused))[:k]
    return [
        Hit(
            int(candidates[i]),
            float(fused[i]),
            {"dense": float(cosines[i]), "lexical": float(words[i])},
            float(relevances[i]),
        )
        for i in order.tolist()
    ]


def _ranks(candidates: Rows, ranking: Rows) -> NDArray[np.int64]:
    """From 0, of each candidate in ``ranking``; -1 where it is not in it."""
    ranks = np.full(len(candidates), -1, dtype=np.int64)
    ranks[np.searchsorted(candidates, ranking)] = np.arange(len(ranking))
    return ranks
