"""``/health``, ``/ready`` and ``/metrics``: for whoever looks after the server."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..access import Forbidden
from .common import ERRORS, EngineOf, KeyOf

router = APIRouter(tags=["operation"], responses=ERRORS)


@router.get("/health", summary="Whether the server runs")
async def health(engine: EngineOf) -> dict[str, Any]:
    """Answers from the first moment on; ``state`` is loading, ready or failed."""
    from langbert import __version__

    return {
        "status": "failed" if engine.error else "ok",
        "state": engine.state,
        "ready": engine.ready,
        "version": __version__,
        "seconds": round(time.time() - engine.began, 1),
    }


@router.get("/ready", summary="Whether the models are loaded")
async def ready(engine: EngineOf) -> Response:
    """200 once they are, 503 until then."""
    return JSONResponse({"ready": engine.ready}, 200 if engine.ready else 503)


@router.get("/metrics", summary="Numbers for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request, engine: EngineOf, key: KeyOf) -> Response:
    """Requests, their seconds, and what waits; for keys that see everything."""
    if key.where is not None:
        raise Forbidden("numbers of the whole server are for keys without a filter")
    text = generate_latest(request.app.state.metrics.registry).decode()
    queued = 0
    if engine.ready and (embeddings := (await engine.loaded()).embeddings) is not None:
        queued = embeddings.queued
    gauges = {
        "langbert_queued_tokens": ("Tokens that wait to be embedded.", queued),
        "langbert_waiting_requests": ("Requests being answered, or waiting for that.", engine.gate.count),
        "langbert_ready": ("Whether the models are loaded.", int(engine.ready)),
    }
    for name, (what, value) in gauges.items():
        text += f"# HELP {name} {what}\n# TYPE {name} gauge\n{name} {value}\n"
    return Response(text, media_type=CONTENT_TYPE_LATEST)
