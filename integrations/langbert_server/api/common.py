"""What the endpoints share: whose request it is, what goes wrong, and answers that come in pieces."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, StringConstraints
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from langbert import LangbertError
from langbert.errors import DocumentError, GenerationError, ModelError, StoreCorrupt, StoreError, StoreLocked

from ..access import Forbidden, NoSuchDocument, View
from ..batching import Busy, ClientGone, while_connected
from ..engine import Engine, NotReady
from ..keys import Key
from ..uploads import Refused

_LOG = logging.getLogger("langbert")
T = TypeVar("T")

Question = Annotated[str, StringConstraints(min_length=1, max_length=8000)]


class Fault(BaseModel):
    """What went wrong."""

    type: str
    message: str
    code: str | None = None


class ErrorBody(BaseModel):
    """The form of every error, which is OpenAI's too."""

    error: Fault


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": what}
    for status, what in (
        (400, "The request cannot be understood."),
        (401, "There is no key, or a wrong one."),
        (403, "The key may not do this."),
        (404, "There is no such thing, for this key."),
        (413, "It is too large."),
        (422, "A field is missing or of the wrong kind."),
        (429, "Too much is waiting; come again after Retry-After seconds."),
        (503, "The models are not loaded yet, or another process is writing."),
    )
}


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _key(request: Request) -> Key:
    key: Key = request.state.key
    return key


EngineOf = Annotated[Engine, Depends(_engine)]
KeyOf = Annotated[Key, Depends(_key)]


async def _view(engine: EngineOf, key: KeyOf) -> View:
    return await engine.view(key)


ViewOf = Annotated[View, Depends(_view)]


class BadRequest(Exception):
    """A request that cannot be served as it is: what came, what was expected and what to do; ``code`` is for
    programs."""

    def __init__(self, message: str, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


async def last(request: Request, engine: Engine, events: Iterator[T]) -> T:
    """The last item of a blocking iterator, which is closed where the client goes before."""

    async def turn() -> T:
        found: Any = None
        async with aclosing(pieces(engine, events)) as items:
            async for item in items:
                found = item
        return found  # type: ignore[no-any-return]

    return await while_connected(request, turn)


async def computed(request: Request, engine: Engine, work: Callable[[], T]) -> T:
    """What ``work`` gives, in a thread, when its turn comes; not computed at all where the client has gone by then."""

    async def turn() -> T:
        async with engine.gate.enter():
            return await engine.gate.run(work)

    return await while_connected(request, turn)


async def pieces(engine: Engine, events: Iterator[T]) -> AsyncGenerator[T, None]:
    """The items of a blocking iterator as they come; it is closed when nobody takes them any more."""
    nothing: Any = object()
    try:
        async with engine.gate.enter():
            while (item := await _finished(engine.gate.run(partial(next, events, nothing)))) is not nothing:
                yield item
    finally:
        if close := getattr(events, "close", None):
            with anyio.CancelScope(shield=True):
                await asyncio.to_thread(close)


async def _finished(running: asyncio.Future[T]) -> T:
    """What runs in a thread, which is never left behind: it is waited for even where that is cancelled."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await asyncio.wait((running,))
        raise


async def event_stream(request: Request, events: AsyncGenerator[tuple[str | None, Any], None]) -> StreamingResponse:
    """Server-sent events: pairs of a name, if any, and what becomes JSON (a text goes as it is).

    The first is waited for, so that what fails before it has a status of its own.
    """
    try:
        first = await while_connected(request, lambda: anext(events, None))
    except Exception:
        await events.aclose()
        raise

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(events):
            if first is not None:
                yield _event(*first)
            try:
                async for name, data in events:
                    yield _event(name, data)
            except Exception as error:  # the status has been sent: what is left is to say it in the stream
                yield _event("error", {"error": _fault(error)[1]})

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _event(name: str | None, data: Any) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str)
    return f"{f'event: {name}{chr(10)}' if name else ''}data: {text}\n\n".encode("utf-8", "replace")


def install_error_handlers(app: FastAPI) -> None:
    """Whatever is raised becomes an :class:`ErrorBody`."""

    async def known(request: Request, error: Exception) -> Response:
        status, fault, headers = _fault(error)
        return JSONResponse({"error": fault}, status, headers)

    for kind in (
        *(BadRequest, Busy, ClientGone, Forbidden, HTTPException, LangbertError, NoSuchDocument, NotReady, Refused),
        *(RequestValidationError, Exception),
    ):
        app.add_exception_handler(kind, known)


def _fault(error: Exception) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    """The status, what is said of it, and further headers."""
    headers: dict[str, str] = {}
    code, message = None, str(error) or type(error).__name__
    match error:
        case BadRequest():
            status, code = error.status, error.code
        case Busy():
            status, headers = 429, {"Retry-After": str(error.retry_after)}
        case ClientGone():
            status = 499
        case Forbidden():
            status = 403
        case NoSuchDocument():
            status = 404
        case NotReady() | StoreLocked():
            status, headers = 503, {"Retry-After": "2"}
        case Refused():
            status = error.status
        case HTTPException():
            status, message, headers = error.status_code, str(error.detail), dict(error.headers or {})
        case RequestValidationError():
            status, message = 422, _first_of(error)
        case StoreCorrupt() | ModelError():
            status = 500
        case GenerationError() if error.answer is not None:
            status = 502
        case DocumentError() | GenerationError() | LangbertError():
            status = 409 if type(error) is StoreError else 400
        case _:
            _LOG.error("a request failed", exc_info=error)
            status, message = 500, "the server failed; its log says how"
    if status == 500 and isinstance(error, LangbertError):
        _LOG.error("a request failed: %s", error)
    kind = type(error).__name__.lstrip("_")
    return status, {"type": kind, "message": message.encode("utf-8", "replace").decode(), "code": code}, headers


def _first_of(error: RequestValidationError) -> str:
    """The first thing that is wrong, without what came: that may be long, or a secret."""
    wrong = error.errors()[0] if error.errors() else {"loc": (), "msg": "it cannot be understood"}
    place = ".".join(str(part) for part in wrong["loc"] if part != "body")
    return f"{place}: {wrong['msg']}" if place else str(wrong["msg"])
