"""Question → Candidates: the store's search, then (if given) a reranker over its head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import QuestionError
from .records import Candidate, SearchMode

if TYPE_CHECKING:
    from .reranking import Reranker
    from .store import Store

__all__ = ["Retriever", "checked_question"]


def checked_question(question: object) -> str:
    """The question without surrounding blanks.

    Raises:
        QuestionError: it is not text, or there is nothing in it.
    """
    if not isinstance(question, str):
        raise QuestionError(f"a question must be a str, got {type(question).__name__}")
    stripped = question.strip()
    if not stripped:
        raise QuestionError(f"the question is empty (got {question!r}): type a few words of what you want to know")
    return stripped


class Retriever:
    """Finds the chunks that should hold the answer.

    Args:
        store: where to look.
        mode: ``"hybrid"`` (dense and lexical fused), ``"dense"`` or ``"lexical"``.
        reranker: reorders the first ``depth`` candidates; None keeps the store's order.
        depth: how many candidates the reranker reads.
    """

    def __init__(
        self, store: Store, *, mode: SearchMode = "hybrid", reranker: Reranker | None = None, depth: int = 20
    ) -> None:
        self.store = store
        self.mode: SearchMode = mode
        self.reranker = reranker
        self.depth = depth

    def retrieve(self, question: str, k: int = 5, *, where: Mapping[str, Any] | None = None) -> list[Candidate]:
        """The best ``k`` candidates, best first; fewer only if fewer chunks match ``where``."""
        question = checked_question(question)
        if self.reranker is None:
            return self.store.search(question, k, mode=self.mode, where=where)
        pool = self.store.search(question, max(k, self.depth), mode=self.mode, where=where)
        return self.reranker.rerank(question, pool, top_n=k)
