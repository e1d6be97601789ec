"""The parts put together: an ASGI application, and running it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from langbert import __version__
from langbert.records import GeneratorLike

from .api import ask, chat, documents, health, openai, rerank, responses
from .api.common import install_error_handlers
from .engine import Engine
from .guard import Guard, Metrics
from .keys import Keys
from .listening import Server, listening
from .mounted import MountedTools
from .settings import Settings

if TYPE_CHECKING:
    from langbert import StoreLike

_PAGE = Path(__file__).parent / "page"
_LOCAL = ("127.0.0.1", "::1", "localhost")
_LISTENING_FIRST = 0.1  # seconds: servers listen once an application has started
_LOG = logging.getLogger("langbert")


def create_app(
    store: StoreLike | Callable[[], StoreLike],
    *,
    keys: Keys | None = None,
    settings: Settings | None = None,
    generator: GeneratorLike | str | None = None,
    offline: bool | None = None,
) -> FastAPI:
    """The page and the APIs over a store.

    Args:
        store: the store, which stays open; or what opens it, called in the background, and closed at the end.
        keys: who may see what; None lets everybody do everything.
        generator: what writes answers, as for :class:`langbert.Rag`.
        offline: touch no network to find a model; None means what the environment says.
    """
    engine = Engine(store, keys=keys, settings=settings or Settings(), generator=generator, offline=offline)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # importing torch would hold up the first answers: whoever looks after the server is told that it loads
        starting = asyncio.get_running_loop().call_later(_LISTENING_FIRST, engine.start)
        yield
        starting.cancel()
        await tools.stop()
        engine.stop()

    app = FastAPI(
        title="langbert",
        version=__version__,
        description="Answers from your own documents, with the exact words they rest on.",
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.engine = engine
    app.state.metrics = Metrics()
    install_error_handlers(app)
    for part in (ask, documents, openai, chat, responses, rerank, health):
        app.include_router(part.router)
    tools = MountedTools(engine)
    app.router.routes.append(tools.route)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=_PAGE))
    app.add_middleware(
        Guard, keys=keys, settings=engine.settings, metrics=app.state.metrics, upload_path="/api/documents"
    )
    return app


def _operation_id(route: APIRoute) -> str:
    return f"{route.name}{route.path_format}".replace("/", "_").replace("{", "").replace("}", "")


def serve(
    store: Callable[[], StoreLike],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    keys: Keys | None = None,
    settings: Settings | None = None,
    generator: GeneratorLike | str | None = None,
    offline: bool | None = None,
    open_to_all: bool = False,
    socket: Callable[[], Path | None] = lambda: None,
) -> None:
    """Serve until interrupted; what is being answered then is finished.

    Args:
        open_to_all: listen on other addresses than this machine's without keys.
        socket: says at which Unix socket to listen too, for the owner of this process only; not where another server
            does, or it cannot be made.

    Raises:
        ValueError: ``host`` is not this machine's own, and there are no keys.
        OSError: the address cannot be listened on.
    """
    if host not in _LOCAL and keys is None and not open_to_all:
        raise ValueError(
            f"on {host} anybody who reaches this machine could read the documents, and remove them: give keys with "
            "--api-key-file, or say --open-to-all if that is meant"
        )
    settings = settings or Settings()
    if open_to_all and keys is None:
        settings = replace(settings, hosts=("*",))
    app = create_app(store, keys=keys, settings=settings, generator=generator, offline=offline)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=30,
    )
    with listening(host, port, socket()) as sockets:
        Server(config).run(sockets)
