"""32 async callers add to and search one store on disk at once, and the event loop stays free."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

import langbert
from langchain_langbert import LangBertVectorStore

CALLERS = 32
PACKAGE = str(Path(langbert.__file__).parent)


class Words(DeterministicFakeEmbedding):
    """Done once the event loop has turned: were that waiting for the model, both would wait in vain."""

    loop: Any

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(timeout=60)
        return super().embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(timeout=60)
        return super().embed_query(text)


async def opened(path: Path | None) -> LangBertVectorStore:
    return await asyncio.to_thread(LangBertVectorStore, Words(size=16, loop=asyncio.get_running_loop()), path)


@contextmanager
def worked_here() -> Iterator[set[str]]:
    """The functions of ``langbert`` that this thread, the event loop's, runs itself."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            found.add(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


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
    path = tmp_path / "store" if kind == "on disk" else None
    with await opened(path) as store:
        with worked_here() as worked:
            await asyncio.gather(*(caller(store, n) for n in range(CALLERS)))
        assert worked == set()
        assert len(store.store) == CALLERS * 3 * 4
    if path is not None:
        with await opened(path) as store:
            assert len(store.store) == CALLERS * 3 * 4


async def test_a_retriever_too(tmp_path: Path) -> None:
    with await opened(tmp_path / "store") as store:
        await store.aadd_texts([f"text {n}" for n in range(40)], [{"n": n} for n in range(40)])
        retriever = store.as_retriever(search_type="hybrid", search_kwargs={"k": 2})
        found = await asyncio.gather(
            *(retriever.ainvoke("text", filter=lambda metadata, n=n: metadata["n"] == n) for n in range(CALLERS))
        )
        assert [[document.metadata["n"] for document in documents] for documents in found] == [
            [n] for n in range(CALLERS)
        ]
