"""``LangBertEmbeddings``: :class:`langbert.Embedder` as LangChain ``Embeddings``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, PrivateAttr

if TYPE_CHECKING:
    from langbert import Embedder

__all__ = ["LangBertEmbeddings"]


class LangBertEmbeddings(BaseModel, Embeddings):
    """Text to vectors with a BERT encoder on this machine.

    ``embed_documents`` and ``embed_query`` use the two roles of the model: where its configuration (or
    ``query_prompt`` / ``document_prompt``) names a prompt for one, it is put before the text. The async methods run in
    a worker thread.

    Example:
        >>> from langchain_langbert import LangBertEmbeddings
        >>> embeddings = LangBertEmbeddings(model="minilm", pooling="mean")  # doctest: +SKIP
        >>> len(embeddings.embed_query("Which tasks is BERT pre-trained on?"))  # doctest: +SKIP
        384

    Attributes:
        model: a catalogue name, a hub id or a folder.
        pooling: ``"cls"``, ``"mean"``, ``"max"`` …; None = what the checkpoint was trained with.
        normalize: unit-length vectors; None = what the checkpoint says.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` …
        threads: CPU threads; None = all that help.
        max_length: tokens the encoder reads at once; None = the checkpoint's limit.
        on_overflow: what happens to longer texts: embedded in pieces, cut, or a ``TextTooLong`` error.
        dimensions: keep the first so many dimensions (Matryoshka models).
        query_prompt: put before questions; None = what the checkpoint says.
        document_prompt: put before documents; None = what the checkpoint says.
        offline: True never touches the network.
        trust_remote_code: let transformers run the code a checkpoint brings along. Read that code first.

    Raises:
        ModelNotFound: no such model; the message lists near names.
        CheckpointError: the checkpoint does not fit.
    """

    model: str | Path = "minilm"
    pooling: str | None = None
    normalize: bool | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    threads: int | None = None
    max_length: int | None = None
    on_overflow: Literal["split", "truncate", "error"] = "split"
    dimensions: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    offline: bool | None = None
    trust_remote_code: bool = False

    model_config = ConfigDict(extra="forbid", frozen=True)
    _embedder: Embedder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        # Loaded here, so that a misspelt model name is an error where it was typed.
        from langbert import Embedder

        self._embedder = Embedder(**dict(self))

    @property
    def embedder(self) -> Embedder:
        """The core object, for what LangChain's interface has no name for."""
        return self._embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of ``embedder.dimension`` floats a text."""
        vectors: list[list[float]] = self._embedder.embed(texts, "document").tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        vector: list[float] = self._embedder.embed([text], "query")[0].tolist()
        return vector
