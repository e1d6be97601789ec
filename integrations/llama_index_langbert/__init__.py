"""langbert for LlamaIndex: the encoder as a ``BaseEmbedding``."""

from __future__ import annotations

import asyncio
from typing import Any

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
except ImportError as error:
    raise ImportError("llama_index_langbert needs LlamaIndex: pip install 'langbert[llama-index]'") from error
from pydantic import PrivateAttr

from langbert import Embedder

__all__ = ["LangBertEmbedding"]


class LangBertEmbedding(BaseEmbedding):
    """Text to vectors with a BERT encoder on this machine, questions and documents each with the model's own prompt.

    Args:
        model_name: a catalogue name, a hub id or a folder.
        **options: ``callback_manager``, ``embed_batch_size``, ``num_workers`` … go to LlamaIndex.
        embedder: one that is loaded already, with any options of :class:`langbert.Embedder`, instead of a name.

    Example:
        >>> from llama_index_langbert import LangBertEmbedding  # doctest: +SKIP
        >>> len(LangBertEmbedding().get_query_embedding("What do bees make?"))  # doctest: +SKIP
        384
    """

    _embedder: Embedder = PrivateAttr()

    def __init__(self, model_name: str = "e5-small", *, embedder: Embedder | None = None, **options: Any) -> None:
        loaded = embedder if embedder is not None else Embedder(model_name)
        name = model_name if embedder is None else loaded.space.model
        super().__init__(model_name=name, **{"embed_batch_size": 128, **options})
        self._embedder = loaded

    @classmethod
    def class_name(cls) -> str:
        return "LangBertEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._embedder.embed([query], "query")[0].tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._embedder.embed(texts, "document").tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
