"""Any LangChain ``Embeddings`` as the embedder of a langbert Store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from langbert.records import EmbedderLike, EmbeddingSpace, Progress, Role

from .embeddings import LangBertEmbeddings

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
_ROOM = 256  # words; a usual passage, for embedders that do not say what they take


def embedder_of(embedding: Embeddings) -> EmbedderLike:
    """The core embedder of ours; an adapter around anybody else's."""
    if isinstance(embedding, LangBertEmbeddings):
        return embedding.embedder
    return ForeignEmbedder(embedding)


class ForeignEmbedder:
    """Adapts LangChain ``Embeddings`` to what the store asks of an embedder.

    Vectors are brought to unit length, so that the store's scores are cosines whoever made them. The embedding space
    is told apart by the class, its model name and the dimension: all that can be known from outside.
    """

    def __init__(self, embedding: Embeddings) -> None:
        self._embedding = embedding

    @cached_property
    def dimension(self) -> int:
        """Found out by embedding one word, the first time somebody asks."""
        return len(self._embedding.embed_query("dimension"))

    @cached_property
    def space(self) -> EmbeddingSpace:
        kind = type(self._embedding)
        names = (getattr(self._embedding, name, None) for name in ("model", "model_name", "model_id", "deployment"))
        label = ":".join([f"{kind.__module__}.{kind.__qualname__}", *(name for name in names if isinstance(name, str))])
        return EmbeddingSpace(
            model=label, weights=label, tokenizer="words", pooling="", normalize=True, dimension=self.dimension
        )

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Unit vectors of shape ``(n, dimension)``, float32."""
        if role == "query":
            rows = [self._embedding.embed_query(text) for text in texts]
        else:
            rows = self._embedding.embed_documents(list(texts))
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(texts), -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if progress is not None:
            progress(len(texts))
        return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Words, single Chinese or Japanese characters, and punctuation marks."""
        return [match.span() for match in _TOKEN.finditer(text)]

    def room(self, role: Role = "document") -> int:
        return _ROOM
