"""``LangBertRetriever``: a LangChain retriever over a ``LangBertVectorStore``, hybrid by default."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import Field

from langbert import Candidate

from .vectorstores import LangBertVectorStore, where_of

__all__ = ["LangBertRetriever"]


class LangBertRetriever(VectorStoreRetriever):
    """Finds the passages for a question.

    Attributes:
        vectorstore: where to look.
        k: how many documents to return.
        search_type: ``"hybrid"`` (meaning and words fused), ``"similarity"``, ``"lexical"``, ``"mmr"`` or
            ``"similarity_score_threshold"``.
        filter: only documents whose metadata match, as a dict or a function of the metadata.
        search_kwargs: anything else the search takes (``fetch_k``, ``lambda_mult``, ``score_threshold`` …); also
            accepts ``k`` and ``filter``, as LangChain's own retrievers do.

    ``invoke(question, k=3, filter={…})`` overrides them for one call.
    """

    vectorstore: LangBertVectorStore
    k: int = Field(default=4, ge=1)
    search_type: str = "hybrid"
    filter: dict[str, Any] | Callable[[dict[str, Any]], bool] | None = None

    allowed_search_types: ClassVar[Collection[str]] = (
        "hybrid",
        "similarity",
        "lexical",
        "mmr",
        "similarity_score_threshold",
    )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        options = {"k": self.k, "filter": self.filter} | self.search_kwargs | kwargs
        return self.vectorstore.search(query, self.search_type, **options)

    def candidates(self, question: str) -> list[Candidate]:
        """What a hybrid search finds, with all its scores, as the core gives it."""
        options = {"k": self.k, "filter": self.filter} | self.search_kwargs
        return self.vectorstore.store.search(question, options["k"], where=where_of(options["filter"]))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **kwargs
        )
