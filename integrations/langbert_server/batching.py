"""Waiting in order: small embedding requests are computed together, and too many are told to come again.

What computes has threads of its own, few and always the same: torch keeps memory for each thread it ever ran in.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from langbert.records import EmbedderLike

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from starlette.requests import Request

T = TypeVar("T")
Role = Literal["document", "query"]


class Busy(Exception):
    """There is more to do than may wait.

    Attributes:
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, retry_after: float) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        super().__init__(f"the server is busy; try again in {self.retry_after} s")


class ClientGone(Exception):
    """Nobody waits for the response any more."""


@dataclass(order=True)
class _Job:
    """A part of a request that is small enough for a batch. The first parts of all requests come first, so that one
    large request does not hold up the small ones behind it."""

    part: int
    number: int
    texts: list[str] = field(compare=False)
    tokens: int = field(compare=False)
    role: Role = field(compare=False)
    done: asyncio.Future[NDArray[np.float32]] = field(compare=False)


class Embeddings:
    """Embeds the texts of all requests that wait, as many tokens at a time as make a good batch.

    A request whose client has gone (its task is cancelled) is dropped before it is computed.

    Args:
        batch_tokens: what is embedded at a time; a single longer text is embedded alone.
        queued_tokens: what may wait.
    """

    def __init__(self, embedder: EmbedderLike, *, batch_tokens: int, queued_tokens: int) -> None:
        self._embedder = embedder
        self._batch_tokens = batch_tokens
        self._queued_tokens = queued_tokens
        self._jobs: list[_Job] = []
        self._numbers = count()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "langbert-embedding")
        self._rate = 1000.0  # tokens a second, as last measured
        self.queued = 0
        self.batches = 0

    async def embed(self, texts: Sequence[str], role: Role = "document") -> tuple[NDArray[np.float32], int]:
        """Vectors ``(n, dim)`` float32, and how many tokens the texts have.

        Raises:
            Busy: too many tokens wait already.
        """
        if not texts:
            return np.empty((0, self._embedder.dimension), dtype=np.float32), 0
        if self.queued > self._queued_tokens:  # before they are counted, which costs something too
            raise Busy(self.queued / self._rate)
        counts = await asyncio.to_thread(lambda: [len(self._embedder.token_offsets(text)) for text in texts])
        total = sum(counts)
        if self.queued and self.queued + total > self._queued_tokens:
            raise Busy(self.queued / self._rate)
        jobs = self._split(texts, counts, role)
        for job in jobs:
            heapq.heappush(self._jobs, job)
            self.queued += job.tokens
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        try:
            return np.concatenate([await job.done for job in jobs]), total
        finally:
            for job in jobs:
                job.done.cancel()  # what is not done is not wanted any more

    def _split(self, texts: Sequence[str], counts: Sequence[int], role: Role) -> list[_Job]:
        loop, number, jobs = asyncio.get_running_loop(), next(self._numbers), list[_Job]()
        for text, tokens in zip(texts, counts, strict=True):
            if not jobs or jobs[-1].tokens + tokens > self._batch_tokens:
                jobs.append(_Job(len(jobs), number, [], 0, role, loop.create_future()))
            jobs[-1].texts.append(text)
            jobs[-1].tokens += tokens
        return jobs

    async def _work(self) -> None:
        """Until nothing waits."""
        await asyncio.sleep(0)  # what came at the same moment goes along
        while self._jobs:
            batch = self._next_batch()
            if not batch:
                continue
            texts = [text for job in batch for text in job.texts]
            tokens, began = sum(job.tokens for job in batch), time.perf_counter()
            try:
                embed = partial(self._embedder.embed, texts, batch[0].role)
                vectors = await asyncio.get_running_loop().run_in_executor(self._thread, embed)
            except Exception as error:  # each of those who wait is told
                for job in batch:
                    if not job.done.done():
                        job.done.set_exception(error)
                continue
            self.batches += 1
            self._rate = 0.5 * self._rate + 0.5 * (tokens + 1) / (time.perf_counter() - began)
            at = 0
            for job in batch:
                if not job.done.done():
                    job.done.set_result(vectors[at : at + len(job.texts)])
                at += len(job.texts)

    def _next_batch(self) -> list[_Job]:
        """The jobs of one role that come first, as many as fit."""
        batch: list[_Job] = []
        others: list[_Job] = []
        tokens = 0
        while self._jobs and tokens < self._batch_tokens:
            job = heapq.heappop(self._jobs)
            if job.done.done():  # nobody waits for it
                self.queued -= job.tokens
            elif batch and (job.role != batch[0].role or tokens + job.tokens > self._batch_tokens):
                others.append(job)
                if job.role == batch[0].role:
                    break
            else:
                batch.append(job)
                tokens += job.tokens
                self.queued -= job.tokens
        for job in others:
            heapq.heappush(self._jobs, job)
        return batch


class Gate:
    """So many at a time, so many that wait for it, and no more."""

    def __init__(self, inside: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(inside)
        self._threads = ThreadPoolExecutor(inside, "langbert-asking")
        self._most = inside + waiting
        self._inside = inside
        self._seconds = 1.0  # that one takes, as last measured
        self.count = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Raises Busy where too many wait."""
        if self.count >= self._most:
            raise Busy(self._seconds * self.count / self._inside)
        self.count += 1
        try:
            async with self._free:
                began = time.perf_counter()
                yield
                self._seconds = 0.5 * self._seconds + 0.5 * (time.perf_counter() - began)
        finally:
            self.count -= 1

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What ``work`` gives, in one of the threads for those inside."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work)


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """What ``work`` gives; it is cancelled when the client goes.

    Raises:
        ClientGone: it went.
    """
    task = asyncio.ensure_future(work())
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client has gone")
        return await task
    finally:
        gone.cancel()
        task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
