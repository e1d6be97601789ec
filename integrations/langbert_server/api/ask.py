"""``/api/ask`` and ``/api/search``: answers with their citations, and passages."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from langbert import Answer, Candidate, Chunk, Message

from ..access import View
from .common import ERRORS, EngineOf, Question, ViewOf, computed, event_stream, last, pieces

router = APIRouter(prefix="/api", tags=["langbert"], responses=ERRORS)

_NEAREST = 3  # passages shown beside a refusal

Where = Annotated[
    dict[str, Any] | None,
    Field(description='Only documents whose metadata match, for example {"year": {"$gte": 2020}, "format": "pdf"}.'),
]


class Turn(BaseModel):
    """What was said before."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=20_000)]


class Ask(BaseModel):
    """A question about the documents."""

    question: Question
    mode: Literal["auto", "generate", "extract"] = "auto"
    where: Where = None
    history: Annotated[list[Turn], Field(max_length=100)] = []
    unsupported: Annotated[
        Literal["drop", "mark", "keep"],
        Field(description="What becomes of a sentence that no document supports; mark puts [?] behind it."),
    ] = "drop"
    stream: Annotated[bool, Field(description="Server-sent events: piece, piece …, answer; or error.")] = False
    citations: Annotated[
        Literal["langbert", "anthropic"],
        Field(description="anthropic adds content blocks whose citations are char_location."),
    ] = "langbert"


class Search(BaseModel):
    """A search for passages."""

    question: Question
    k: Annotated[int, Field(ge=1, le=100)] = 10
    mode: Literal["hybrid", "dense", "lexical"] | None = None
    where: Where = None
    rerank: Annotated[bool, Field(description="Order the passages as answers are looked for.")] = False


@router.post("/ask", summary="Answer a question, with the exact words it rests on")
async def ask(request: Request, body: Ask, view: ViewOf, engine: EngineOf) -> Any:
    """The answer as JSON, or as server-sent events where ``stream`` is true."""
    history = [Message(turn.role, turn.content) for turn in body.history]
    options: Any = {"mode": body.mode, "where": body.where, "history": history, "unsupported": body.unsupported}

    events = _with_details(view.stream(body.question, **options), view, body)
    if not body.stream:
        return await last(request, engine, events)

    async def named() -> AsyncGenerator[tuple[str | None, Any], None]:
        async with aclosing(pieces(engine, events)) as items:
            async for item in items:
                yield ("piece", {"text": item}) if isinstance(item, str) else ("answer", item)

    return await event_stream(request, named())


def _with_details(events: Iterator[str | Answer], view: View, body: Ask) -> Iterator[str | dict[str, Any]]:
    """Pieces as they come, the answer as JSON; in the thread of whoever takes them."""
    for event in events:
        yield answer_json(event, view, body.where, shape=body.citations) if isinstance(event, Answer) else event


def answer_json(
    answer: Answer, view: View, where: dict[str, Any] | None = None, *, shape: str = "langbert"
) -> dict[str, Any]:
    """The JSON form of an answer: :meth:`langbert.Answer.to_dict`, who wrote it, and, beside a refusal, the nearest
    passages; ``nearest_quotes`` are the words in them that came nearest."""
    said = answer.to_dict()
    said["standalone_question"] = answer.standalone_question
    said["unsupported"] = list(answer.unsupported)
    said["answered_by"] = None if answer.refused else "decoder" if "generate" in answer.timings else "quotation"
    said["nearest_quotes"], said["nearest"] = said["nearest"], []
    if answer.refused:
        question = answer.standalone_question or answer.question
        said["nearest"] = [hit(candidate) for candidate in view.search(question, _NEAREST, where=where)]
    if shape == "anthropic":
        said["content"] = _blocks(answer)
    return said


def hit(candidate: Candidate) -> dict[str, Any]:
    """A passage as JSON; ``places`` are others that say the same: copies of the document, a repeated notice."""
    chunk = candidate.chunk
    return {
        **_place(chunk),
        "headings": list(chunk.headings),
        "text": chunk.text,
        "score": round(candidate.score, 4),
        "relevance": None if candidate.relevance is None else round(candidate.relevance, 4),
        "scores": {name: round(score, 4) for name, score in candidate.scores.items()},
        "metadata": dict(chunk.metadata),
        "places": [_place(other) for other in candidate.places],
    }


def _place(chunk: Chunk) -> dict[str, Any]:
    """Where a passage stands."""
    return {
        "document_id": chunk.document_id,
        "chunk_id": chunk.id,
        "source": chunk.source,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
    }


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    """Anthropic's form of citations: https://docs.anthropic.com/en/docs/build-with-claude/citations."""
    documents = list(dict.fromkeys(citation.document_id for citation in answer.citations))
    citations = [
        {
            "type": "char_location",
            "cited_text": citation.quote,
            "document_index": documents.index(citation.document_id),
            "document_title": citation.source or citation.document_id,
            "start_char_index": citation.start,
            "end_char_index": citation.end,
            "file_id": citation.document_id,
        }
        for citation in answer.citations
    ]
    return [{"type": "text", "text": answer.text, "citations": citations}]


@router.post("/search", summary="Find the nearest passages")
async def search(request: Request, body: Search, view: ViewOf, engine: EngineOf) -> dict[str, Any]:
    """The passages, best first, each with its place in its document."""
    began = time.perf_counter()
    found: Sequence[Candidate] = await computed(
        request,
        engine,
        lambda: view.search(body.question, body.k, mode=body.mode, where=body.where, reranked=body.rerank),
    )
    seconds = round(time.perf_counter() - began, 4)
    return {"question": body.question, "hits": [hit(candidate) for candidate in found], "seconds": seconds}
