"""Question → Candidates: the store's search, then (if given) a reranker over its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .records import Candidate, SearchMode
from .text.question import checked_question

if TYPE_CHECKING:
    from .reranking import Reranker
    from .store import Store

__all__ = ["Retriever"]

_DEEPEST = 64  # times as many candidates as are wanted, at most, are looked at for some that differ
_FAITH = 0.2  # a reranker whose scores sum to less believes in none of the passages, and has so much less to say


class Retriever:
    """Finds the chunks that should hold the answer; of those with the same words, the best one only.

    Args:
        store: where to look.
        mode: ``"hybrid"`` (dense and lexical fused), ``"dense"`` or ``"lexical"``.
        reranker: reorders the first ``depth`` candidates; None keeps the store's order.
        depth: how many candidates the reranker reads.
        weight: of the reranker's opinion; the search's own score has the rest. The opinion is a passage's share of all
            the reranker's scores: where it finds the one that answers it decides, and where it likes all of them
            (a subject it was not trained on) it leaves the order to the search.
    """

    def __init__(
        self,
        store: Store,
        *,
        mode: SearchMode = "hybrid",
        reranker: Reranker | None = None,
        depth: int = 20,
        weight: float = 0.4,
    ) -> None:
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be in [0, 1], got {weight}")
        self.store = store
        self.mode: SearchMode = mode
        self.reranker = reranker
        self.depth = depth
        self.weight = weight

    def retrieve(self, question: str, k: int = 5, *, where: Mapping[str, Any] | None = None) -> list[Candidate]:
        """The best ``k`` candidates, best first; fewer only if fewer chunks that differ match ``where``.

        With a reranker ``scores`` also holds ``"reranker"`` and ``"search"``, the parts of ``score``.
        """
        question = checked_question(question)
        if self.reranker is None:
            return self._different(question, k, where)
        pool = self._different(question, max(k, self.depth), where)
        scores = self.reranker.score(question, [candidate.chunk.contextual_text for candidate in pool]).tolist()
        return self.blended(pool, scores, self.weight)[:k]

    def _different(self, question: str, n: int, where: Mapping[str, Any] | None) -> list[Candidate]:
        """The best ``n`` of the search, looking deeper where the same words come again: a paragraph that stands in
        every file, or copies of a file, would take all places."""
        depth = n
        while True:
            found = self.store.search(question, depth, mode=self.mode, where=where)
            first: dict[str, Candidate] = {}
            for candidate in found:
                first.setdefault(" ".join(candidate.text.split()).casefold(), candidate)
            if len(first) >= n or len(found) < depth or depth >= _DEEPEST * n:
                return list(first.values())[:n]
            depth *= 4

    @staticmethod
    def blended(candidates: Sequence[Candidate], scores: Sequence[float], weight: float = 0.4) -> list[Candidate]:
        """Candidates of a search, best first by what a reranker says of them, in [0, 1], and by the search's own score.

        Their ``scores`` hold both, as ``"reranker"`` and ``"search"``.
        """
        total = max(sum(scores), _FAITH)
        blended = [
            replace(
                candidate,
                score=weight * score / total + (1 - weight) * candidate.score,
                scores={**candidate.scores, "reranker": score, "search": candidate.score},
            )
            for candidate, score in zip(candidates, scores, strict=True)
        ]
        return sorted(blended, key=lambda candidate: -candidate.score)
