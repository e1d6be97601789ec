"""LangChain's types to langbert's and back. Everything is copied: no caller's object is ever changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from langbert import Candidate, Chunk, Message, Retriever
from langbert import Document as CoreDocument

_UNKNOWN = 0.5  # the score of a document of which nobody has said how relevant it is

_HALVES = re.compile("[\ud800-\udfff]")

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
}


def chunk_of(document: Document, id: str) -> Chunk:
    """A LangChain Document, stored as given: one chunk that is its own document. Halves of characters, which loaders
    leave in broken texts, become U+FFFD; names of metadata that are numbers, as pandas gives columns, text."""
    source = document.metadata.get("source")
    return Chunk(
        id=id,
        document_id=id,
        text=_HALVES.sub("\ufffd", document.page_content),
        source=_HALVES.sub("\ufffd", source) if isinstance(source, str) else "",
        metadata={str(name): value for name, value in document.metadata.items()},
    )


def found_of(candidate: Candidate) -> Document:
    """What a search found as a LangChain Document: :func:`document_of` its chunk. Where other passages say the same,
    ``metadata["also_in"]`` lists them, with the keys of a passage's place and their ``id``."""
    document = document_of(candidate.chunk)
    if candidate.places:
        document.metadata["also_in"] = [
            {"id": chunk.id} | (_place_of(chunk) or {"source": chunk.source}) for chunk in candidate.places
        ]
    return document


def document_of(item: Chunk | CoreDocument) -> Document:
    """A chunk (or a whole document) of the store as a LangChain Document.

    A Document that came in through LangChain goes out with its metadata unchanged. A passage that langbert cut out of
    a file carries, besides the file's metadata: ``source``, ``document_id``, ``start_index`` (character offset in
    the extracted text), and where they are known ``page`` (from 1) and ``headings`` (the path, a list).
    """
    return Document(id=item.id, page_content=item.text, metadata=_place_of(item) | dict(item.metadata))


def _place_of(item: Chunk | CoreDocument) -> dict[str, Any]:
    """Where it stands, as far as it was langbert that cut it; empty for what came in through LangChain."""
    if isinstance(item, CoreDocument):
        return {"source": item.source}
    if item.document_id == item.id:
        return {}
    place = {
        "source": item.source,
        "document_id": item.document_id,
        "start_index": item.start,
        "page": item.page,
        "headings": list(item.headings) or None,
    }
    return {key: value for key, value in place.items() if value is not None}


def passages_of(documents: Sequence[Document]) -> list[Chunk]:
    """Retrieved Documents as passages to cite, in the offsets of the texts they were cut from if they know their place.

    Many splitters and retrievers leave ids and places out; then two passages of one source are texts of their own.
    """
    passages = [_passage(document) for document in documents]
    texts: dict[tuple[str, int], set[str]] = {}
    for passage in passages:
        texts.setdefault((passage.document_id, passage.start), set()).add(passage.text)

    def told_apart(passage: Chunk) -> Chunk:
        if len(texts[passage.document_id, passage.start]) == 1:
            return passage
        mark = f"#{crc32(passage.text.encode()):08x}"
        return replace(passage, id=passage.id + mark, document_id=passage.document_id + mark)

    return list(map(told_apart, passages))


def _passage(document: Document) -> Chunk:
    metadata = document.metadata
    start, page, headings = (metadata.get(key) for key in ("start_index", "page", "headings"))
    source = str(metadata.get("source") or "")
    name = document.id or source
    return Chunk(
        id=name,
        document_id=str(metadata.get("document_id") or name),
        text=document.page_content,
        start=start if isinstance(start, int) else 0,
        end=(start if isinstance(start, int) else 0) + len(document.page_content),
        page=page if isinstance(page, int) else None,
        headings=tuple(map(str, headings)) if isinstance(headings, list | tuple) else (),
        source=source,
        metadata=metadata,
    )


def candidates_of(
    documents: Sequence[Document], searched: Sequence[Candidate], *, known_cosines: bool, calibrated: bool
) -> list[Candidate]:
    """Retrieved Documents as candidates, with what is known of their scores.

    Args:
        searched: what our own search said, of those it found.
        known_cosines: its cosines are of an encoder that confidence knows.
        calibrated: the ``relevance_score`` of the documents is of our own reranker.
    """
    scores = {candidate.chunk.id: candidate for candidate in searched}
    candidates = []
    for document, passage in zip(documents, passages_of(documents), strict=True):
        known = scores.get(document.id or "")
        parts = (
            {name: value for name, value in known.scores.items() if known_cosines or name != "dense"} if known else {}
        )
        candidates.append(Candidate(passage, known.score if known else _UNKNOWN, parts))
    told = [document.metadata.get("relevance_score") for document in documents]
    relevances = [relevance for relevance in told if isinstance(relevance, float) and 0 <= relevance <= 1]
    if len(relevances) < len(documents):
        return candidates
    if calibrated:
        return Retriever.blended(candidates, relevances)
    return [replace(one, score=relevance) for one, relevance in zip(candidates, relevances, strict=True)]


def chat_of(messages: Sequence[Message]) -> list[BaseMessage]:
    """Messages for a chat model."""
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [kinds[message.role](message.content) for message in messages]


def spoken_of(messages: Sequence[BaseMessage]) -> list[Message]:
    """What user and assistant said to each other: no system prompts, no tools' results, no empty turns."""
    spoken = [m for m in messages if isinstance(m, (HumanMessage, AIMessage)) and m.text.strip()]
    return [Message("user" if isinstance(m, HumanMessage) else "assistant", str(m.text)) for m in spoken]


def messages_of(messages: Sequence[BaseMessage]) -> list[Message]:
    """Chat messages for the decoder.

    Raises:
        ValueError: a message holds something other than text, or belongs to tool calling.
    """
    return [Message(_role(message), _text(message)) for message in messages]  # type: ignore[arg-type]


def _role(message: BaseMessage) -> str:
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, AIMessage):
        if message.tool_calls:
            raise ValueError(
                "an AIMessage with tool_calls came; ChatLangBert does not call tools: leave such turns out"
            )
        return "assistant"
    if isinstance(message, ChatMessage) and message.role in _ROLES:
        return _ROLES[message.role]
    raise ValueError(
        f"a {type(message).__name__} came; ChatLangBert reads system, human and AI messages and does not call tools: "
        "put a tool's result into a HumanMessage"
    )


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts = []
    for block in message.content:
        if isinstance(block, str):
            texts.append(block)
        elif block.get("type") == "text":
            texts.append(block["text"])
        else:
            raise ValueError(
                f"a content block of type {block.get('type')!r} came in a {type(message).__name__}; "
                "ChatLangBert reads text only: leave the block out or describe it in words"
            )
    return "".join(texts)
