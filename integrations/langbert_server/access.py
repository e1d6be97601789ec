"""The store as one key sees it. Every endpoint reaches the store through a :class:`View` and in no other way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from langbert import Answer, AnswerMode, Candidate, Document, Message
from langbert.records import SearchMode, Unsupported

from .audit import AuditLog
from .keys import Key, Right

if TYPE_CHECKING:
    from langbert import Rag, StoreLike
    from langbert.store import StoredDocument


class Forbidden(Exception):
    """The key is known, but may not do this."""


class NoSuchDocument(Exception):
    """There is no such document, or none that this key may know of: the two are told alike."""

    def __init__(self, document_id: str) -> None:
        super().__init__(f"there is no document {document_id!r}")


class View:
    """What one key can find, ask, read, count and remove.

    Args:
        rag: over ``store``.
        audit: hears of everything that is done through this view.
    """

    def __init__(self, store: StoreLike, rag: Rag, key: Key, audit: AuditLog) -> None:
        self.key = key
        self._store = store
        self._rag = rag
        self._audit = audit

    def require(self, right: Right) -> None:
        """Raises Forbidden where the key lacks a right."""
        if right not in self.key.rights:
            rights = ", ".join(sorted(self.key.rights)) or "none"
            raise Forbidden(f"this key may not {right}; its rights: {rights}")
        if right == "write" and self._store.read_only:
            raise Forbidden("this store was opened for reading: its folder cannot be written to")

    @property
    def sees_everything(self) -> bool:
        """Whether what is true of the whole store may be told."""
        return self.key.where is None

    def search(
        self,
        question: str,
        k: int,
        *,
        mode: SearchMode | None = None,
        where: Mapping[str, Any] | None = None,
        reranked: bool = False,
    ) -> list[Candidate]:
        """The nearest passages, best first.

        Args:
            mode: None is hybrid, or by words alone in a store without an embedder.
            reranked: as the answers' own retriever orders them.
        """
        from langbert import Retriever

        if mode is None:
            mode = "hybrid" if self._store.embedder is not None else "lexical"
        retriever = self._rag.retriever_for(question) if reranked else Retriever(self._store, mode=mode)
        found = retriever.retrieve(question, k, where=self._narrowed(where))
        self._log("searched", question=question, documents=_ids(candidate.document_id for candidate in found))
        return found

    def stream(
        self,
        question: str,
        *,
        mode: AnswerMode = "auto",
        where: Mapping[str, Any] | None = None,
        history: Sequence[Message] = (),
        unsupported: Unsupported | None = None,
    ) -> Iterator[str | Answer]:
        """The answer in pieces, then the whole of it: see :meth:`langbert.Rag.stream`."""
        self._log("asked", question=question)
        events: Any = self._rag.stream(
            question, mode=mode, where=self._narrowed(where), history=history, unsupported=unsupported
        )
        with closing(events):
            for event in events:
                if isinstance(event, Answer):
                    cited = _ids(citation.document_id for citation in event.citations)
                    self._log("answered", question=question, refused=event.refused, documents=cited)
                yield event

    def document(self, document_id: str) -> Document:
        """A document with its text.

        Raises:
            NoSuchDocument: there is none, for this key.
        """
        document = self._store.document(document_id)
        if document is None or not self.key.sees(document.id, document.source, document.metadata):
            raise NoSuchDocument(document_id)
        self._log("read", documents=[document_id])
        return document

    def documents(self) -> Iterator[StoredDocument]:
        """All documents of this key, without their texts, by id."""
        return (row for row in self._store.documents() if self.key.sees(row.id, row.source, row.metadata))

    def counts(self) -> tuple[int, int]:
        """How many documents and how many passages this key can find."""
        if self.sees_everything:
            return self._store.n_documents, len(self._store)
        documents = list(self.documents())
        return len(documents), sum(row.chunks for row in documents)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, as the store's encoder counts them; words where there is none."""
        embedder = self._store.embedder
        return len(embedder.token_offsets(text) if embedder is not None else text.split())

    def delete(self, document_id: str) -> int:
        """Remove a document; how many passages that were.

        Raises:
            Forbidden, NoSuchDocument
        """
        self.require("write")
        self.document(document_id)
        removed = self._store.delete([document_id])
        self._log("deleted", documents=[document_id])
        return removed

    def add(self, document: Document) -> None:
        """Store a document, in the place of the one with its id.

        Raises:
            Forbidden: the key may not write, or would not see what it wrote, or what was there.
        """
        self.require("write")
        if not self.key.sees(document.id, document.source, document.metadata):
            raise Forbidden(
                "this key only sees documents that match its filter, and this one would not: give it such metadata"
            )
        there = self._store.document(document.id)
        if there is not None and not self.key.sees(there.id, there.source, there.metadata):
            raise Forbidden(f"the id {document.id!r} is taken")
        self._store.add([document])
        self._log("added", documents=[document.id], source=document.source)

    def _narrowed(self, where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if self.key.where is None:
            return where or None
        return {"$and": [self.key.where, where]} if where else self.key.where

    def _log(self, did: str, **fields: Any) -> None:
        self._audit.write(self.key.name, did, **fields)


def _ids(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))
