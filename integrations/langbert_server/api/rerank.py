"""``/v1/rerank`` and ``/v2/rerank`` (Jina's and Cohere's form), and ``/rerank``, ``/embed`` and ``/info`` of TEI.

https://jina.ai/reranker, https://docs.cohere.com/reference/rerank,
https://huggingface.github.io/text-embeddings-inference
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from langbert import __version__
from langbert.log_odds import log_odds

from ..engine import Engine
from .common import ERRORS, BadRequest, EngineOf, Question, ViewOf, computed
from .openai import RERANKER, Text, embedder_name, embeddings_of, numbers_json

router = APIRouter(responses=ERRORS)


class Passage(BaseModel):
    text: Text


class Rerank(BaseModel):
    """Documents to put in order."""

    query: Question
    documents: Annotated[list[Text | Passage], Field(min_length=1)]
    model: str | None = None
    top_n: Annotated[int | None, Field(ge=1)] = None
    return_documents: bool = False


class TeiRerank(BaseModel):
    """Texts to score, in TEI's form."""

    query: Question
    texts: Annotated[list[Text], Field(min_length=1)]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = False


class TeiEmbed(BaseModel):
    """Texts to embed, in TEI's form. Texts that are too long are read in windows, whether ``truncate`` or not."""

    inputs: Text | list[Text]
    normalize: bool = True
    truncate: bool = False
    prompt_name: Literal["query", "document", "passage"] | None = None


@router.post("/v1/rerank", tags=["rerankers"], summary="Put documents in order (Jina, Cohere)")
@router.post("/v2/rerank", tags=["rerankers"], summary="Put documents in order (Cohere v2)")
async def rerank(request: Request, body: Rerank, engine: EngineOf, view: ViewOf) -> dict[str, Any]:
    """``results`` best first, ``relevance_score`` in [0, 1]."""
    if body.model not in (None, RERANKER):
        raise BadRequest(f"the model {body.model!r} does not exist here; there is {RERANKER!r}", "model_not_found", 404)
    texts = [document if isinstance(document, str) else document.text for document in body.documents]
    scores = await _scores(request, engine, body.query, texts)
    order = sorted(range(len(texts)), key=lambda i: -scores[i])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": i, "relevance_score": scores[i]} for i in order]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    return {
        "id": uuid.uuid4().hex,
        "model": RERANKER,
        "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 0}},
        "usage": {"total_tokens": 0},
    }


@router.post("/rerank", tags=["TEI"], summary="Score texts (TEI)")
async def tei_rerank(request: Request, body: TeiRerank, engine: EngineOf, view: ViewOf) -> list[dict[str, Any]]:
    """Best first; ``raw_scores`` are log-odds."""
    scores = await _scores(request, engine, body.query, body.texts)
    ranks: list[dict[str, Any]] = [
        {"index": i, "score": log_odds(scores[i]) if body.raw_scores else scores[i]}
        for i in sorted(range(len(scores)), key=lambda i: -scores[i])
    ]
    if body.return_text:
        for rank in ranks:
            rank["text"] = body.texts[rank["index"]]
    return ranks


async def _scores(request: Request, engine: Engine, query: str, texts: list[str]) -> list[float]:
    """In [0, 1], in the order of the texts."""
    if len(texts) > engine.settings.texts:
        raise BadRequest(f"there are {len(texts)} texts, expected at most {engine.settings.texts}")
    scores: list[float] = await computed(request, engine, lambda: engine.reranker().score(query, texts).tolist())
    return scores


@router.post("/embed", tags=["TEI"], summary="Embed texts (TEI)", response_class=JSONResponse)
@router.post("/", tags=["TEI"], summary="Embed texts (TEI, by the address only)", response_class=JSONResponse)
async def embed(request: Request, body: TeiEmbed, engine: EngineOf, view: ViewOf) -> Response:
    """A vector for each text; they have length 1 as the encoder makes them."""
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    role: Literal["document", "query"] = "query" if body.prompt_name == "query" else "document"
    vectors, _ = await embeddings_of(request, engine, texts, role)
    if body.normalize:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return numbers_json(list(vectors))


@router.get("/info", tags=["TEI"], summary="About the encoder (TEI)")
async def info(engine: EngineOf, view: ViewOf) -> dict[str, Any]:
    """The encoder and the limits."""
    embedder = (await engine.loaded()).store.embedder
    return {
        "model_id": await embedder_name(engine),
        "model_type": {"embedding": {"pooling": embedder.space.pooling if embedder is not None else None}},
        "max_input_length": getattr(embedder, "max_length", None),
        "max_batch_tokens": engine.settings.batch_tokens,
        "max_client_batch_size": engine.settings.texts,
        "auto_truncate": False,
        "version": __version__,
    }
