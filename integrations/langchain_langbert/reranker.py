"""``LangBertReranker``: :class:`langbert.Reranker` as a LangChain document compressor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import run_in_executor
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, model_validator

from ._fields import check_fields

if TYPE_CHECKING:
    from langbert import Reranker


class LangBertReranker(BaseDocumentCompressor):
    """Orders documents by how well they answer the question, with a BERT cross-encoder.

    Returns copies with the score, in [0, 1], under ``metadata["relevance_score"]``; the documents given are never
    changed. Passages over the model's limit are read in overlapping windows, and the best window counts. Works inside
    ``ContextualCompressionRetriever`` and as ``reranker=`` of ``create_rag_chain``.

    Attributes:
        model: a catalogue name, a hub id or a folder with any Hugging Face cross-encoder; another LangBertReranker
            lends its model. ``model_name`` is the same.
        top_n: how many documents to keep; None = all.
        min_score: drop documents that score lower.
        max_length: tokens of question and passage together; None = the checkpoint's limit.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` …
        threads: CPU threads; None = all that help.
        offline: True never touches the network.
        trust_remote_code: let transformers run the code a checkpoint brings along. Read that code first.
    """

    model: str | Path | LangBertReranker = Field(
        default="minilm-reranker", validation_alias=AliasChoices("model", "model_name")
    )
    top_n: int | None = Field(default=5, ge=1)
    min_score: float | None = Field(default=None, ge=0.0, le=1.0)
    max_length: int | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    threads: int | None = None
    offline: bool | None = None
    trust_remote_code: bool = False

    model_config = ConfigDict(extra="forbid")
    _reranker: Reranker = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, values: Any) -> Any:
        return check_fields(cls, values)

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(self.model, LangBertReranker):
            self._reranker = self.model.reranker
            return
        from langbert import Reranker

        options = self.model_dump(exclude={"model", "top_n", "min_score"})
        self._reranker = Reranker(self.model, **options)

    @property
    def reranker(self) -> Reranker:
        """The core object, for what LangChain's interface has no name for."""
        return self._reranker

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best ``top_n`` documents, best first; equal scores keep their order."""
        return self._compress(documents, query, Event())

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """:meth:`compress_documents` in a worker thread, which stops when the caller is cancelled."""
        left = Event()
        try:
            return await run_in_executor(None, self._compress, documents, query, left)
        finally:
            left.set()

    def _compress(self, documents: Sequence[Document], query: str, left: Event) -> list[Document]:
        documents = list(documents)
        if not documents:
            return []

        def progress(done: int) -> None:
            if left.is_set():
                raise RuntimeError("reranking was cancelled")  # unwinds the worker; its reader is gone

        texts = [document.page_content for document in documents]
        scores = self._reranker.score(query, texts, progress=progress).tolist()
        ranked = sorted(zip(documents, scores, strict=True), key=lambda pair: -pair[1])
        if self.min_score is not None:
            ranked = [pair for pair in ranked if pair[1] >= self.min_score]
        return [
            document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
            for document, score in ranked[: self.top_n]
        ]
