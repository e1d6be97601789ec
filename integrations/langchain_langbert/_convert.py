"""LangChain's types to langbert's and back. Everything is copied: no caller's object is ever changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage

from langbert import Chunk
from langbert import Document as CoreDocument
from langbert.records import Message

__all__ = ["chunk_of", "document_of", "messages_of", "passage_of"]

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
}


def chunk_of(document: Document, id: str) -> Chunk:
    """A LangChain Document, stored as given: one chunk that is its own document."""
    source = document.metadata.get("source")
    return Chunk(
        id=id,
        document_id=id,
        text=document.page_content,
        source=source if isinstance(source, str) else "",
        metadata=document.metadata,
    )


def document_of(item: Chunk | CoreDocument) -> Document:
    """A chunk (or a whole document) of the store as a LangChain Document.

    A Document that came in through LangChain goes out with its metadata unchanged. A passage that langbert cut out of
    a file carries, besides the file's metadata: ``source``, ``document_id``, ``start_index`` (character offset in
    the extracted text), and where they are known ``page`` (from 1) and ``headings`` (the path, a list).
    """
    place: dict[str, Any] = {}
    if isinstance(item, CoreDocument):
        place = {"source": item.source}
    elif item.document_id != item.id:
        place = {
            "source": item.source,
            "document_id": item.document_id,
            "start_index": item.start,
            "page": item.page,
            "headings": list(item.headings) or None,
        }
    known = {key: value for key, value in place.items() if value is not None}
    return Document(id=item.id, page_content=item.text, metadata=known | dict(item.metadata))


def passage_of(document: Document) -> Chunk:
    """A retrieved Document as a passage to cite, in the offsets of the text it was cut from if it knows its place."""
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
