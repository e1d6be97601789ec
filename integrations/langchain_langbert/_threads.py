"""A blocking iterator, read from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from threading import Event
from typing import TypeVar

T = TypeVar("T")


async def iterate_in_thread(make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Yields what the iterator yields, which is made, advanced and closed in one worker thread.

    When the reader stops early (``break``, ``aclose()``, a cancelled task), the iterator is closed after the item in
    the making, and nobody waits for it.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()
    left = Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def work() -> None:
        try:
            for item in make():
                if left.is_set():
                    return  # and with the last reference to it the iterator is closed
                put((item,))
        except BaseException as error:
            put(error)
        else:
            put(None)

    loop.run_in_executor(None, copy_context().run, work)
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        left.set()
