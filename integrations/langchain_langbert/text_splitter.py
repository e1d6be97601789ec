"""``LangBertTextSplitter``: :class:`langbert.Chunker` as a LangChain document transformer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.documents import BaseDocumentTransformer, Document

from langbert import Chunker
from langbert import Document as CoreDocument

from .embeddings import LangBertEmbeddings

__all__ = ["LangBertTextSplitter"]


class LangBertTextSplitter(BaseDocumentTransformer):
    """Cuts documents into passages that the encoder reads whole, measured in its own tokens.

    Cuts fall at headings, paragraphs and sentences where they can (Chinese and Japanese ones too). The text is never
    altered: ``text[start_index : start_index + len(passage)] == passage``.

    Args:
        embeddings: whose tokens count; by default ``LangBertEmbeddings()``.
        chunk_size: tokens at most; None = as many as the encoder takes.
        chunk_overlap: tokens at most that neighbouring passages share.

    Example:
        >>> from langchain_langbert import LangBertTextSplitter
        >>> splitter = LangBertTextSplitter(chunk_size=64)  # doctest: +SKIP
        >>> splitter.split_documents(documents)  # doctest: +SKIP
    """

    def __init__(
        self, embeddings: LangBertEmbeddings | None = None, *, chunk_size: int | None = None, chunk_overlap: int = 0
    ) -> None:
        embedder = (embeddings or LangBertEmbeddings()).embedder
        self._chunker = Chunker.for_embedder(embedder, max_tokens=chunk_size, overlap=chunk_overlap)

    def split_text(self, text: str) -> list[str]:
        """The passages of one text, in order."""
        return [passage.page_content for passage in self.create_documents([text])]

    def create_documents(
        self, texts: Sequence[str], metadatas: Sequence[dict[str, Any]] | None = None
    ) -> list[Document]:
        """The passages of all texts, each with its text's metadata."""
        given = metadatas if metadatas is not None else [{} for _ in texts]
        if len(given) != len(texts):
            raise ValueError(f"{len(given)} metadatas came for {len(texts)} texts: give one a text, or none")
        return self.split_documents(
            [Document(page_content=text, metadata=metadata) for text, metadata in zip(texts, given, strict=True)]
        )

    def split_documents(self, documents: Iterable[Document]) -> list[Document]:
        """The passages of all documents.

        Each has a copy of its document's metadata with ``start_index``, the offset in that document's text, and, if
        the document has an id, an id that stays the same for as long as its text does.
        """
        return [
            Document(
                id=chunk.id if document.id else None,
                page_content=chunk.text,
                metadata={**document.metadata, "start_index": chunk.start},
            )
            for document in documents
            for chunk in self._chunker.split(CoreDocument(id=document.id or "", text=document.page_content))
        ]

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """The same as :meth:`split_documents`, under the name of LangChain's interface."""
        return self.split_documents(documents)
