"""Requests computed together, told to come again, and dropped when nobody waits."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from store_tools import HashEmbedder

from langbert_server.batching import Busy, Embeddings, Gate


class SlowEmbedder(HashEmbedder):
    """Computes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def embed(self, texts, role="document", *, progress=None):
        self.begun.set()
        self.may.wait(120)
        self.sizes.append(len(texts))
        return super().embed(texts, role, progress=progress)


async def queued(queue: Embeddings, tokens: int) -> None:
    while queue.queued < tokens:
        await asyncio.sleep(0.01)


async def test_requests_that_wait_are_computed_together_and_each_gets_its_own() -> None:
    embedder = SlowEmbedder()
    queue = Embeddings(embedder, batch_tokens=1000, queued_tokens=10_000)
    first = asyncio.create_task(queue.embed(["begins"]))
    await asyncio.to_thread(embedder.begun.wait)  # it is being computed, and the others wait
    texts = [[f"text {i}", f"and {i}"] for i in range(20)]
    others = [asyncio.create_task(queue.embed(each)) for each in texts]
    await queued(queue, 80)
    embedder.may.set()
    await first
    for each, (vectors, tokens) in zip(texts, await asyncio.gather(*others), strict=True):
        assert tokens == 4
        np.testing.assert_array_equal(vectors, HashEmbedder().embed(each))
    assert embedder.sizes == [1, 40]
    assert queue.queued == 0


async def test_a_large_request_does_not_hold_up_a_small_one() -> None:
    embedder = SlowEmbedder()
    queue = Embeddings(embedder, batch_tokens=10, queued_tokens=10_000)
    large = asyncio.create_task(queue.embed(["word"] * 100))
    await queued(queue, 80)
    small = asyncio.create_task(queue.embed(["small"]))
    await queued(queue, 91)
    embedder.may.set()
    await small
    assert not large.done()
    assert len((await large)[0]) == 100


async def test_what_nobody_waits_for_is_not_computed() -> None:
    embedder = SlowEmbedder()
    queue = Embeddings(embedder, batch_tokens=10, queued_tokens=10_000)
    first = asyncio.create_task(queue.embed(["begins"]))
    await asyncio.to_thread(embedder.begun.wait)
    dropped = asyncio.create_task(queue.embed(["word"] * 500))
    await queued(queue, 500)
    dropped.cancel()
    await asyncio.gather(dropped, return_exceptions=True)
    embedder.may.set()
    await first
    await queue.embed(["last"])
    assert sum(embedder.sizes) == 2


async def test_too_much_that_waits_is_told_to_come_again() -> None:
    embedder = SlowEmbedder()
    queue = Embeddings(embedder, batch_tokens=10, queued_tokens=50)
    first = asyncio.create_task(queue.embed(["begins"]))
    await asyncio.to_thread(embedder.begun.wait)
    second = asyncio.create_task(queue.embed(["word"] * 40))
    await queued(queue, 40)
    with pytest.raises(Busy) as busy:
        await queue.embed(["word"] * 20)
    assert busy.value.retry_after >= 1
    embedder.may.set()
    await asyncio.gather(first, second)
    assert len((await queue.embed(["word"] * 100))[0]) == 100  # alone, it is never too much


async def test_an_error_of_one_batch_is_told_to_those_who_wait_for_it() -> None:
    class Broken(HashEmbedder):
        def embed(self, texts, role="document", *, progress=None):
            if "bad" in texts:
                raise ValueError("bad text")
            return super().embed(texts, role)

    queue = Embeddings(Broken(), batch_tokens=10, queued_tokens=50)
    with pytest.raises(ValueError, match="bad text"):
        await queue.embed(["bad"])
    assert len((await queue.embed(["good"]))[0]) == 1


async def test_a_gate_lets_so_many_in_and_so_many_wait() -> None:
    gate, inside, most = Gate(2, 3), 0, 0
    leave = asyncio.Event()

    async def visit() -> None:
        nonlocal inside, most
        async with gate.enter():
            inside += 1
            most = max(most, inside)
            await leave.wait()
            inside -= 1

    visits = [asyncio.create_task(visit()) for _ in range(5)]
    await asyncio.sleep(0.05)
    with pytest.raises(Busy):
        await visit()
    leave.set()
    await asyncio.gather(*visits)
    assert most == 2
    await visit()
