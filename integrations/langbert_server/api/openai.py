"""``/v1/embeddings``, ``/v1/models`` and the models' names: what OpenAI's clients speak.

https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from langbert import Answer, Citation

from ..batching import while_connected
from ..engine import Engine
from .common import ERRORS, BadRequest, EngineOf, ViewOf

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)

RAG = "langbert/rag"
"""The model that answers from the store, with citations."""

RERANKER = "minilm-reranker"
Text = Annotated[str, Field(max_length=1_000_000)]


class Embeddings(BaseModel):
    """Texts to embed."""

    input: Text | list[Text] | list[int] | list[list[int]]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int | None, Field(ge=1)] = None
    input_type: Annotated[
        Literal["document", "query"], Field(description="Questions and documents have different prompts with e5.")
    ] = "document"


@router.get("/models", summary="The models that are served")
async def models(engine: EngineOf, view: ViewOf) -> dict[str, Any]:
    """The encoder, the decoder, the reranker, and ``langbert/rag``."""
    names = [RAG, engine.generator_name, RERANKER]
    if (embedder := await embedder_name(engine)) is not None:
        names.append(embedder)
    created = int(engine.began)
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": created, "owned_by": "langbert"} for name in names],
    }


async def embedder_name(engine: Engine) -> str | None:
    """What the store's encoder is called; None where it has none."""
    embedder = (await engine.loaded()).store.embedder
    return None if embedder is None else embedder.space.model


@router.post("/embeddings", summary="Embed texts", response_class=JSONResponse)
async def embeddings(request: Request, body: Embeddings, engine: EngineOf, view: ViewOf) -> Response:
    """A vector for each text, as a list of numbers or as base64 of little-endian float32."""
    name = await embedder_name(engine)
    if body.model != name:
        raise BadRequest(
            f"the model {body.model!r} does not exist here; there is {name!r}", "model_not_found", status=404
        )
    vectors, tokens = await embeddings_of(request, engine, _texts(body.input), body.input_type)
    if body.dimensions is not None:
        vectors = _cut(vectors, body.dimensions)
    return numbers_json(
        {
            "object": "list",
            "model": name,
            "data": [
                {"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
                for i, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def marks(answer: Answer) -> Iterator[tuple[re.Match[str], Citation]]:
    """Each ``[n]`` in an answer, and the citation that it stands for."""
    for mark in re.finditer(r"\[(\d+)\]", answer.text):
        if 1 <= (number := int(mark[1])) <= len(answer.citations):
            yield mark, answer.citations[number - 1]


def numbers_json(content: Any) -> Response:
    """JSON with arrays in it, written as they are: checking each number by itself takes longer than computing it."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


async def embeddings_of(
    request: Request, engine: Engine, texts: list[str], role: Literal["document", "query"]
) -> tuple[NDArray[np.float32], int]:
    """Vectors ``(n, dim)`` float32 and the number of tokens, computed together with those of other requests."""
    queue = (await engine.loaded()).embeddings
    if queue is None:
        raise BadRequest("this store has no encoder: it was made for searching by words", "model_not_found", 404)
    if not 1 <= len(texts) <= engine.settings.texts:
        raise BadRequest(f"there are {len(texts)} texts, expected 1 to {engine.settings.texts}")
    return await while_connected(request, lambda: queue.embed(texts, role))


def _texts(given: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        return [_decoded(given)]
    return [text if isinstance(text, str) else _decoded(text) for text in given]


def _decoded(ids: Any) -> str:
    """Token ids of OpenAI's own tokenizer, which its clients send unless told not to, as text."""
    if not os.environ.get("TIKTOKEN_CACHE_DIR"):  # tiktoken would fetch its table from OpenAI
        raise BadRequest(
            "these are token ids, expected texts: with langchain-openai "
            "OpenAIEmbeddings(check_embedding_ctx_length=False). To have the ids decoded, install tiktoken here and "
            "let TIKTOKEN_CACHE_DIR name a folder with its cl100k_base"
        )
    try:
        import tiktoken

        return tiktoken.get_encoding("cl100k_base").decode(ids)
    except Exception as error:
        raise BadRequest(
            f"these are token ids, and they cannot be decoded ({type(error).__name__}); send texts: with "
            "langchain-openai say OpenAIEmbeddings(check_embedding_ctx_length=False)"
        ) from error


def _cut(vectors: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """The first so many numbers of each vector, at length 1 again."""
    if dimensions > vectors.shape[1]:
        raise BadRequest(f"dimensions is {dimensions}, expected 1 to {vectors.shape[1]}")
    cut = vectors[:, :dimensions]
    lengths = np.sqrt((cut * cut).sum(axis=1, keepdims=True))
    unit: NDArray[np.float32] = cut / np.maximum(lengths, np.float32(1e-12))
    return unit


def _encoded(vector: NDArray[np.float32], encoding: str) -> NDArray[np.float32] | str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector
