"""32 async callers add to and search one store on disk at once, and the event loop stays free."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_langbert import LangBertVectorStore

CALLERS = 32
LONGEST_STALL = 0.25  # seconds; on a machine with twelve busy processes 0.07 was seen
ATTEMPTS = 5  # a busy machine stalls us now and then; a stall of our own would come each time


class Words(DeterministicFakeEmbedding):
    """Waits as a model does, without the interpreter."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        time.sleep(0.01)
        return super().embed_documents(texts)


async def longest_gap(done: asyncio.Event) -> float:
    """The longest time in which the event loop did nothing for us, in seconds."""
    longest = 0.0
    while not done.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before - 0.001)
    return longest


async def caller(store: LangBertVectorStore, n: int) -> None:
    for turn in range(3):
        ids = [f"{n}-{turn}-{i}" for i in range(5)]
        texts = [f"text {id} 神经网络" for id in ids]
        assert await store.aadd_texts(texts, [{"caller": n, "turn": turn}] * 5, ids=ids) == ids
        mine = {"caller": n, "turn": turn}
        found = await store.asimilarity_search(texts[0], k=5, filter=mine)
        assert {document.id for document in found} == set(ids)
        assert found[0].id == ids[0]
        assert len(await store.asearch(texts[1], "hybrid", k=3, filter=mine)) == 3
        assert len(await store.asearch(texts[1], "mmr", k=3, filter=mine)) == 3
        scored = await store.asimilarity_search_with_relevance_scores(
            texts[2], k=1, filter=lambda m, mine=mine: m == mine
        )
        assert scored[0][0].id == ids[2]
        assert [document.id for document in await store.aget_by_ids(ids)] == ids
        assert await store.adelete(ids[4:])
        assert len(await store.asimilarity_search(texts[0], k=5, filter=mine)) == 4


@pytest.mark.parametrize("kind", ["on disk", "in memory"])
async def test_32_callers_and_a_free_event_loop(tmp_path: Path, kind: str) -> None:
    gaps = []
    for attempt in range(ATTEMPTS):
        path = tmp_path / f"store {attempt}" if kind == "on disk" else None
        with LangBertVectorStore(Words(size=16), path) as store:
            await store.aadd_texts(["first"], ids=["first"])  # the libraries are loaded before the clock runs
            await store.asearch("first", "hybrid")
            await store.adelete(["first"])
            gc.collect()
            done = asyncio.Event()
            ticker = asyncio.create_task(longest_gap(done))
            await asyncio.gather(*(caller(store, n) for n in range(CALLERS)))
            done.set()
            gaps.append(await ticker)
            assert len(store.store) == CALLERS * 3 * 4
        if path is not None:
            with LangBertVectorStore(Words(size=16), path) as store:
                assert len(store.store) == CALLERS * 3 * 4
        if gaps[-1] <= LONGEST_STALL:
            return
    pytest.fail(
        f"the event loop stalled for {', '.join(f'{gap * 1000:.0f}' for gap in gaps)} ms in {ATTEMPTS} attempts"
    )


async def test_a_retriever_too(tmp_path: Path) -> None:
    with LangBertVectorStore(Words(size=16), tmp_path / "store") as store:
        await store.aadd_texts([f"text {n}" for n in range(40)], [{"n": n} for n in range(40)])
        retriever = store.as_retriever(search_type="hybrid", search_kwargs={"k": 2})
        found = await asyncio.gather(
            *(retriever.ainvoke("text", filter=lambda metadata, n=n: metadata["n"] == n) for n in range(CALLERS))
        )
        assert [[document.metadata["n"] for document in documents] for documents in found] == [
            [n] for n in range(CALLERS)
        ]
