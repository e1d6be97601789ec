"""``/v1/responses``: ``langbert/rag`` as OpenAI's file search answers, with ``file_citation``.

https://platform.openai.com/docs/api-reference/responses, https://platform.openai.com/docs/guides/tools-file-search
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from langbert import Answer, Message

from ..engine import Engine
from .chat import ChatMessage, conversation, spoken
from .common import ERRORS, BadRequest, EngineOf, Question, ViewOf, event_stream, last, pieces
from .openai import RAG, marks

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)


class Create(BaseModel):
    """A question, or a conversation that ends with one. The documents are searched with or without ``tools``, of which
    ``file_search`` may stand there."""

    model: str
    input: Question | Annotated[list[ChatMessage], Field(min_length=1, max_length=500)]
    stream: bool = False
    tools: list[dict[str, Any]] | None = None
    where: dict[str, Any] | None = None


@router.post("/responses", summary="Answer from the documents, as OpenAI's file search does")
async def create(request: Request, body: Create, engine: EngineOf, view: ViewOf) -> Any:
    """The answer with its citations, whole or as events."""
    if body.model != RAG:
        raise BadRequest(f"the model {body.model!r} does not answer here; {RAG!r} does", "model_not_found", 404)
    if wrong := next((t.get("type") for t in body.tools or () if t.get("type") != "file_search"), None):
        raise BadRequest(f"there is a tool of type {wrong!r}; only file_search is known here", "unsupported_parameter")
    if isinstance(body.input, str):
        question, history = body.input, list[Message]()
    else:
        question, history = spoken(conversation(body.input))
    head = {"id": f"resp_{uuid.uuid4().hex}", "created_at": int(time.time())}
    events = view.stream(question, history=history, where=body.where)
    if body.stream:
        return await event_stream(request, _events(engine, events, head))
    answer = await last(request, engine, events)
    return _response(head, answer if isinstance(answer, Answer) else None)


async def _events(
    engine: Engine, events: Iterator[str | Answer], head: dict[str, Any]
) -> AsyncGenerator[tuple[str | None, Any], None]:
    number = 0

    def event(kind: str, **fields: Any) -> tuple[str, Any]:
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number - 1, **fields}

    place = {"item_id": f"msg_{head['id']}", "output_index": 1, "content_index": 0}
    yield event("response.created", response=_response(head, None))
    async with aclosing(pieces(engine, events)) as items:
        async for item in items:
            if isinstance(item, str):
                yield event("response.output_text.delta", delta=item, logprobs=[], **place)
                continue
            response = _response(head, item)
            for i, note in enumerate(response["output"][1]["content"][0]["annotations"]):
                yield event("response.output_text.annotation.added", annotation=note, annotation_index=i, **place)
            yield event("response.output_text.done", text=item.text, logprobs=[], **place)
            yield event("response.completed", response=response)


def _response(head: dict[str, Any], answer: Answer | None) -> dict[str, Any]:
    """The object that OpenAI's client reads; without an answer it is one in progress."""
    output: list[dict[str, Any]] = []
    if answer is not None:
        results = [
            {"file_id": c.document_id, "filename": c.source, "score": c.score, "text": c.quote, "attributes": {}}
            for c in answer.citations
        ]
        search = {
            "type": "file_search_call",
            "id": f"fs_{head['id']}",
            "status": "completed",
            "queries": [answer.standalone_question or answer.question],
            "results": results,
        }
        text = {"type": "output_text", "text": answer.text, "annotations": _annotations(answer), "logprobs": []}
        message = {
            "type": "message",
            "id": f"msg_{head['id']}",
            "status": "completed",
            "role": "assistant",
            "content": [text],
        }
        output = [search, message]
    return {
        **head,
        "object": "response",
        "status": "in_progress" if answer is None else "completed",
        "model": RAG,
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": False,
        "temperature": 0.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }


def _annotations(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "type": "file_citation",
            "index": mark.start(),
            "file_id": cited.document_id,
            "filename": cited.source or cited.document_id,
            "quote": cited.quote,
            "start": cited.start,
            "end": cited.end,
            "page": cited.page,
        }
        for mark, cited in marks(answer)
    ]
