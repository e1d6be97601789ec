"""``/v1/chat/completions``: the decoder, and ``langbert/rag``, which answers from the store.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from langbert import Answer, Message
from langbert.records import GeneratorLike

from ..access import View
from ..engine import Engine
from .common import ERRORS, BadRequest, EngineOf, ViewOf, event_stream, last, pieces
from .openai import RAG, marks

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)

_MOST = 100_000  # characters of one message


class Part(BaseModel):
    """A part of a message; only texts are read."""

    type: str
    text: Annotated[str, Field(max_length=_MOST)] = ""


class ChatMessage(BaseModel):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str, Field(max_length=_MOST)] | list[Part] | None = None


class StreamOptions(BaseModel):
    include_usage: bool = False


class Chat(BaseModel):
    """A conversation to go on with; fields of OpenAI's that change nothing here may stand in it."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=500)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1, le=100_000)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=100_000)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Literal[1] | None = None
    tools: list[dict[str, Any]] | None = None
    where: Annotated[dict[str, Any] | None, Field(description="For langbert/rag: documents to answer from.")] = None


@router.post("/chat/completions", summary="Go on with a conversation")
async def chat(request: Request, body: Chat, engine: EngineOf, view: ViewOf) -> Any:
    """The assistant's next turn, whole or in pieces."""
    if body.tools:
        raise BadRequest("tools are not called here: send the request without them", "unsupported_parameter")
    turns = conversation(body.messages)
    if body.model == RAG:
        asked = spoken(turns)
        events = _from_documents(view, asked[0], asked[1], body.where, str(request.base_url))
    elif body.model == engine.generator_name:
        events = _from_decoder(await engine.generator(), turns, body)
    else:
        raise BadRequest(
            f"the model {body.model!r} does not exist here; there are {RAG!r} and {engine.generator_name!r}",
            "model_not_found",
            404,
        )
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body.model}
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        return await event_stream(request, _chunks(engine, events, head, usage=usage))
    end = await last(request, engine, events)
    message = {"role": "assistant", "content": end["content"], **end["extra"]}
    choice = {"index": 0, "message": message, "finish_reason": end["finish_reason"], "logprobs": None}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": end["usage"]}


async def _chunks(
    engine: Engine, events: Iterator[Any], head: dict[str, Any], *, usage: bool
) -> AsyncGenerator[tuple[str | None, Any], None]:
    head = {**head, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    first: dict[str, Any] = {"role": "assistant"}
    async with aclosing(pieces(engine, events)) as items:
        async for item in items:
            if isinstance(item, str):
                yield None, chunk({**first, "content": item})
                first = {}
            else:
                yield None, chunk({**first, **item["extra"]}, item["finish_reason"])
                if usage:
                    yield None, {**head, "choices": [], "usage": item["usage"]}
    yield None, "[DONE]"


def _from_decoder(generator: GeneratorLike, turns: list[Message], body: Chat) -> Iterator[Any]:
    """Pieces, then how it ended."""
    options: dict[str, Any] = {
        "temperature": 0.0 if body.temperature is None else body.temperature,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "seed": body.seed,
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop or (),
    }
    read = generator.count_tokens(turns)
    room = generator.context_length - read
    if room < 1:
        raise BadRequest(
            f"the messages have {read} tokens, and {generator.context_length} is all the model reads",
            "context_length_exceeded",
        )
    most = body.max_completion_tokens or body.max_tokens or min(512, room)
    try:
        stream: Any = generator.stream(turns, max_tokens=most, **options)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    return _decoded(stream)


def _decoded(stream: Any) -> Iterator[Any]:
    try:
        yield from stream
        done = stream.generation
    finally:
        stream.close()
    yield {
        "content": done.text,
        "extra": {},
        "finish_reason": done.finish_reason,
        "usage": _usage(done.prompt_tokens, done.completion_tokens),
    }


def _from_documents(
    view: View, question: str, history: list[Message], where: dict[str, Any] | None, base_url: str
) -> Iterator[Any]:
    """Pieces of the answer, then its citations."""
    for event in view.stream(question, history=history, where=where):
        if isinstance(event, str):
            yield event
            continue
        used = _usage(
            view.count_tokens(question), view.count_tokens(event.text)
        )  # not what a decoder read: unknown here
        extra = {"annotations": _url_citations(event, base_url), "refusal": None}
        yield {"content": event.text, "extra": extra, "finish_reason": "stop", "usage": used}


def _url_citations(answer: Answer, base_url: str) -> list[dict[str, Any]]:
    """The citations in OpenAI's form: which characters of the answer, and the address that opens the quoted words."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": mark.start(),
                "end_index": mark.end(),
                "title": cited.place,
                "url": f"{base_url}#/source/{quote(cited.document_id, safe='')}/{cited.start}-{cited.end}",
            },
            "quote": cited.quote,
            "document_id": cited.document_id,
            "start": cited.start,
            "end": cited.end,
            "page": cited.page,
        }
        for mark, cited in marks(answer)
    ]


def conversation(messages: list[ChatMessage]) -> list[Message]:
    """Messages as the decoder takes them: texts only, and three roles.

    Raises:
        BadRequest: a message is no text, or of a tool.
    """
    turns = []
    for message in messages:
        if message.role in ("tool", "function"):
            raise BadRequest(f"there is a message of role {message.role!r}; tools are not called here")
        parts = [Part(type="text", text=message.content)] if isinstance(message.content, str) else message.content or []
        if wrong := next((part.type for part in parts if part.type not in ("text", "input_text", "output_text")), None):
            raise BadRequest(f"there is a message part of type {wrong!r}; only texts are read here")
        role: Any = "system" if message.role == "developer" else message.role
        turns.append(Message(role, "\n".join(part.text for part in parts)))
    return turns


def spoken(turns: list[Message]) -> tuple[str, list[Message]]:
    """The question and the conversation before it; instructions are not taken: how to answer is the pipeline's own."""
    said = [turn for turn in turns if turn.role != "system"]
    if not said or said[-1].role != "user":
        raise BadRequest("the last message has to be the user's: it is the question")
    return said[-1].content, said[:-1]


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
