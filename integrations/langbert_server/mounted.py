"""The agents' tools at ``/mcp``, made when the first agent asks for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .engine import Engine

if TYPE_CHECKING:
    from asyncio import Future, Task

    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager


class MountedTools:
    """An ASGI application. Importing the SDK takes longer than everything else that a server needs to answer at all.

    Attributes:
        route: where it is.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: Future[ASGIApp] | None = None
        self._running: Task[None] | None = None
        self._stopping = asyncio.Event()
        self.route = Route("/mcp", self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            self._made = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._made))
        app = await asyncio.shield(self._made)
        await app(scope, receive, send)

    async def _run(self, made: Future[ASGIApp]) -> None:
        """For as long as the server does: what was begun in a task has to end in it."""
        try:
            app, sessions = await asyncio.to_thread(self._make)
            async with sessions.run():
                made.set_result(app)
                await self._stopping.wait()
        except Exception as error:
            if made.done():
                raise
            made.set_exception(error)

    def _make(self) -> tuple[ASGIApp, StreamableHTTPSessionManager]:
        from .tools import mountable_tools

        return mountable_tools(self._engine)

    async def stop(self) -> None:
        """End what is being answered."""
        self._stopping.set()
        if self._running is not None:
            await self._running
