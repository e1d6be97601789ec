"""``LangBertTextSplitter``: :class:`langbert.Chunker` as a LangChain ``TextSplitter``."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from langchain_core.documents import Document
from langchain_text_splitters import TextSplitter

from langbert import Chunker
from langbert import Document as CoreDocument

from ._convert import document_of
from .embeddings import LangBertEmbeddings


class LangBertTextSplitter(TextSplitter):
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
        >>> splitter.split_documents(read_documents(["papers"]))  # with page and headings  # doctest: +SKIP
    """

    def __init__(
        self, embeddings: LangBertEmbeddings | None = None, *, chunk_size: int | None = None, chunk_overlap: int = 0
    ) -> None:
        embedder = (embeddings or LangBertEmbeddings()).embedder
        self._chunker = Chunker.for_embedder(embedder, max_tokens=chunk_size, overlap=chunk_overlap)
        super().__init__(self._chunker.max_tokens, chunk_overlap, lambda text: len(embedder.token_offsets(text)))

    def split_text(self, text: str) -> list[str]:
        """The passages of one text, in order."""
        return [passage.page_content for passage in self.create_documents([text])]

    def create_documents(
        self, texts: Iterable[str], metadatas: Iterable[dict[str, Any]] | None = None
    ) -> list[Document]:
        """The passages of all texts, each with its text's metadata."""
        texts = list(texts)
        given = list(metadatas) if metadatas is not None else [{} for _ in texts]
        if len(given) != len(texts):
            raise ValueError(f"{len(given)} metadatas came for {len(texts)} texts: give one a text, or none")
        return self.split_documents(
            [Document(page_content=text, metadata=metadata) for text, metadata in zip(texts, given, strict=True)]
        )

    def split_documents(self, documents: Iterable[Document | CoreDocument]) -> list[Document]:
        """The passages of all documents, in order.

        Each has a copy of its document's metadata (``page``, ``headings``, whatever it had) with ``start_index``, the
        offset in the document's text, and, if the document has an id, an id that stays the same for as long as its
        text does. A Document that has a ``start_index`` already was cut out of a longer text; its passages' offsets
        are in that text.

        What ``langbert.read_documents`` gives may come too: it knows where pages and headings begin, and each
        passage gets its own ``page`` (from 1) and ``headings`` (the path, a list) beside ``source`` and
        ``document_id``.
        """
        passages: list[Document] = []
        for document in documents:
            if isinstance(document, CoreDocument):
                passages += map(document_of, self._chunker.split(document))
                continue
            before = document.metadata.get("start_index")
            offset = before if isinstance(before, int) else 0
            passages += [
                Document(
                    id=chunk.id if document.id else None,
                    page_content=chunk.text,
                    metadata={**deepcopy(document.metadata), "start_index": offset + chunk.start},
                )
                for chunk in self._chunker.split(CoreDocument(id=document.id or "", text=document.page_content))
            ]
        return passages
