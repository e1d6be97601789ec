"""Question → Candidates: the store's search, then (if given) a reranker over its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .records import Candidate, SearchMode
from .text.question import checked_question

if TYPE_CHECKING:
    from .reranking import Reranker
    from .store import StoreLike

_FAITH = 0.2  # a reranker whose scores sum to less believes in none of the passages, and has so much less to say


class Retriever:
    """Finds the chunks that should hold the answer; of those that say the same, the best one.

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
        store: StoreLike,
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
            return self.store.search(question, k, mode=self.mode, where=where)
        pool = self.store.search(question, max(k, self.depth), mode=self.mode, where=where)
        scores = self.reranker.score(question, [candidate.chunk.contextual_text for candidate in pool]).tolist()
        return self.blended(pool, scores, self.weight)[:k]

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
