"""``LangBertReranker``: :class:`langbert.Reranker` as a LangChain document compressor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr

if TYPE_CHECKING:
    from langbert import Reranker

__all__ = ["LangBertReranker"]


class LangBertReranker(BaseDocumentCompressor):
    """Orders documents by how well they answer the question, with a BERT cross-encoder.

    Returns copies with the score, in [0, 1], under ``metadata["relevance_score"]``; the documents given are never
    changed. Works inside ``ContextualCompressionRetriever`` and as ``reranker=`` of ``create_rag_chain``.

    Attributes:
        model: a catalogue name, a hub id or a folder with any Hugging Face cross-encoder.
        top_n: how many documents to keep; None = all.
        min_score: drop documents that score lower.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` …
        threads: CPU threads; None = all that help.
        offline: True never touches the network.
    """

    model: str | Path = "minilm-reranker"
    top_n: int | None = Field(default=5, ge=1)
    min_score: float | None = Field(default=None, ge=0.0, le=1.0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    threads: int | None = None
    offline: bool | None = None

    model_config = ConfigDict(extra="forbid")
    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        from langbert import Reranker

        self._reranker = Reranker(
            self.model, precision=self.precision, device=self.device, threads=self.threads, offline=self.offline
        )

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best ``top_n`` documents, best first; equal scores keep their order."""
        if not documents:
            return []
        scores = self._reranker.score(query, [document.page_content for document in documents]).tolist()
        ranked = sorted(zip(documents, scores, strict=True), key=lambda pair: -pair[1])
        if self.min_score is not None:
            ranked = [pair for pair in ranked if pair[1] >= self.min_score]
        return [
            document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
            for document, score in ranked[: self.top_n]
        ]
