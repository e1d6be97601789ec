"""LangBertRecordManager: what LangChain expects of record managers, and index() / aindex() with every cleanup mode."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import RecordManager, aindex, index

from langbert import Store
from langbert.errors import StoreError
from langbert.store.schema import FORMAT
from langchain_langbert import LangBertRecordManager, LangBertVectorStore

WORDS = DeterministicFakeEmbedding(size=16)
Cleanup = Literal["incremental", "full", "scoped_full"] | None


@pytest.fixture(params=["in memory", "on disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LangBertVectorStore]:
    path = None if request.param == "in memory" else tmp_path / "store"
    with LangBertVectorStore(WORDS, path) as store:
        yield store


@pytest.fixture
def manager(store: LangBertVectorStore) -> LangBertRecordManager:
    manager = store.record_manager("kittens")
    manager.create_schema()
    return manager


def at(manager: RecordManager, when: float) -> Any:
    return patch.object(manager, "get_time", lambda: when)


# --- what LangChain's own record managers are tested for -------------------------------------------------------------


def test_update_and_exists(manager: LangBertRecordManager) -> None:
    assert isinstance(manager, RecordManager)
    assert manager.list_keys() == []
    manager.update(["k1", "k2", "k3"])
    manager.update(["k1", "k2"])
    assert sorted(manager.list_keys()) == ["k1", "k2", "k3"]
    assert manager.exists(["k3", "nobody", "k1", "k1"]) == [True, False, True, True]
    assert manager.exists([]) == []
    manager.update([])


def test_the_clock_can_be_asked_not_to_lie(manager: LangBertRecordManager) -> None:
    with pytest.raises(ValueError, match="in the past"):
        manager.update(["k1"], time_at_least=time.time() + 1000)
    with pytest.raises(ValueError, match="2 groups came for 1 keys"):
        manager.update(["k1"], group_ids=["a", "b"])
    assert manager.list_keys() == []


def test_list_keys(manager: LangBertRecordManager) -> None:
    for when, keys, groups in ((10, ["old", "old2"], None), (20, ["a1", "b1"], ["a", "b"]), (30, ["a2"], ["a"])):
        with at(manager, when):
            manager.update(keys, group_ids=groups)
    assert manager.list_keys() == ["old", "old2", "a1", "b1", "a2"]
    assert manager.list_keys(limit=2) == ["old", "old2"]
    assert manager.list_keys(after=10) == ["a1", "b1", "a2"]
    assert manager.list_keys(before=30) == ["old", "old2", "a1", "b1"]
    assert manager.list_keys(before=30, after=10) == ["a1", "b1"]
    assert manager.list_keys(group_ids=["a"]) == ["a1", "a2"]
    assert manager.list_keys(group_ids=["a", "b"], before=30) == ["a1", "b1"]
    assert manager.list_keys(group_ids=[]) == []


def test_delete_keys(manager: LangBertRecordManager) -> None:
    manager.delete_keys(["nobody"])
    manager.update(["k1", "k2", "k3"])
    manager.delete_keys(["k1", "k2", "nobody"])
    assert manager.list_keys() == ["k3"]


def test_namespaces_do_not_meet(store: LangBertVectorStore) -> None:
    kittens, puppies = store.record_manager("kittens"), store.record_manager("puppies")
    kittens.update(["k1", "k2"])
    puppies.update(["k1"])
    puppies.delete_keys(["k1"])
    assert kittens.exists(["k1"]) == [True]
    assert puppies.list_keys() == []
    assert store.record_manager().list_keys() == []


async def test_the_same_async(manager: LangBertRecordManager) -> None:
    await manager.acreate_schema()
    before = await manager.aget_time()
    await manager.aupdate(["k1", "k2"], group_ids=["a", None], time_at_least=before)
    assert await manager.aexists(["k1", "k3"]) == [True, False]
    assert await manager.alist_keys(group_ids=["a"]) == ["k1"]
    assert await manager.alist_keys(before=before) == []
    await manager.adelete_keys(["k1"])
    assert await manager.alist_keys(after=before - 1, limit=5) == ["k2"]
    assert await manager.alist_keys() == ["k2"]


# --- what ours promises besides --------------------------------------------------------------------------------------


def test_a_renewed_key_keeps_its_group(manager: LangBertRecordManager) -> None:
    manager.update(["k1"], group_ids=["a"])
    manager.update(["k1"])
    assert manager.list_keys(group_ids=["a"]) == ["k1"]


def test_time_never_goes_back(store: LangBertVectorStore, manager: LangBertRecordManager) -> None:
    manager.update(["k1"])
    first = manager.get_time()
    with patch("time.time", lambda: 1000.0):
        assert manager.get_time() >= first
        manager.update(["k2"], time_at_least=first)
        fresh = store.record_manager("kittens")
        assert fresh.get_time() > first
        assert fresh.list_keys(before=fresh.get_time()) == ["k1", "k2"]


def test_what_is_recorded_is_older_than_the_next_time(manager: LangBertRecordManager) -> None:
    with patch("time.time", lambda: 1000.0):  # a clock as coarse as can be
        manager.update(["k1"])
        started = manager.get_time()
        manager.update(["k2"], time_at_least=started)
        assert manager.list_keys(before=started) == ["k1"]


def test_what_the_store_deletes_is_forgotten(store: LangBertVectorStore, manager: LangBertRecordManager) -> None:
    store.add_texts(["one", "two"], [{"n": 1}, {"n": 2}], ids=["1", "2"])
    manager.update(["1", "2", "elsewhere"])
    store.add_texts(["one, changed"], ids=["1"])
    assert manager.exists(["1", "2"]) == [True, True]
    store.delete(filter={"n": 2})
    assert sorted(manager.list_keys()) == ["1", "elsewhere"]
    store.delete(["1"])
    assert manager.list_keys() == ["elsewhere"]


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", 7])
def test_keys_that_cannot_be_kept(manager: LangBertRecordManager, wrong: Any) -> None:
    for call in (manager.update, manager.exists, manager.delete_keys):
        with pytest.raises(StoreError, match="valid Unicode"):
            call([wrong])
    assert manager.list_keys() == []


def test_it_survives_and_older_stores_get_it(tmp_path: Path) -> None:
    with LangBertVectorStore(WORDS, tmp_path / "store") as store:
        store.add_texts(["one"])
    with Store.open(tmp_path / "store", read_only=True) as core:  # a store nobody has recorded anything in
        ledger = core.ledger("x")
        assert ledger.known(["k"]) == set()
        assert ledger.keys() == []
        assert ledger.now() > 0
        with pytest.raises(StoreError, match="read_only"):
            ledger.record(["k"], at=1.0)
    with LangBertVectorStore(WORDS, tmp_path / "store") as store:
        store.record_manager("x").delete_keys(["k"])
        store.record_manager("x").update(["k"], group_ids=["网络.txt"])
    with LangBertVectorStore(WORDS, tmp_path / "store") as store:
        assert store.record_manager("x").list_keys(group_ids=["网络.txt"]) == ["k"]
        assert len(store.store) == 1
        assert store.store.info()["format"] == FORMAT


def test_many_writers(store: LangBertVectorStore) -> None:
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            store.record_manager("x").update([f"{n}-{i}" for i in range(20)])
            store.add_texts([f"text {n}"], ids=[f"{n}-0"])
            store.record_manager("x").delete_keys([f"{n}-1"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(store.record_manager("x").list_keys()) == 8 * 19


# --- index() ---------------------------------------------------------------------------------------------------------


def documents(*texts: str) -> list[Document]:
    """``"a: text"`` comes from source a."""
    return [Document(page_content=text, metadata={"source": text.split(":")[0]}) for text in texts]


def stored(store: LangBertVectorStore) -> list[str]:
    return sorted(document.page_content for document in store.similarity_search("x", k=100)) if len(store.store) else []


Run = Callable[..., Any]


@pytest.fixture(params=["index", "aindex"])
def run(request: pytest.FixtureRequest, store: LangBertVectorStore) -> Run:
    async def call(texts: list[str], cleanup: Cleanup, **options: Any) -> dict[str, int]:
        given = {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "blake2b", **options}
        manager = store.record_manager("docs")
        if request.param == "index":
            result = index(documents(*texts), manager, store, **given)
        else:
            result = await aindex(documents(*texts), manager, store, **given)
        return {name.removeprefix("num_"): count for name, count in result.items() if count}

    return call


FIRST = ["a: one", "a: two", "b: three"]


@pytest.mark.parametrize(
    ("cleanup", "again", "result", "left"),
    [
        (None, ["a: one", "a: new"], {"added": 1, "skipped": 1}, ["a: new", *FIRST]),
        (
            "incremental",
            ["a: one", "a: new"],
            {"added": 1, "skipped": 1, "deleted": 1},
            ["a: new", "a: one", "b: three"],
        ),
        (
            "scoped_full",
            ["a: one", "a: new"],
            {"added": 1, "skipped": 1, "deleted": 1},
            ["a: new", "a: one", "b: three"],
        ),
        ("full", ["a: one", "a: new"], {"added": 1, "skipped": 1, "deleted": 2}, ["a: new", "a: one"]),
        ("incremental", [], {}, FIRST),
        ("scoped_full", [], {}, FIRST),
        ("full", [], {"deleted": 3}, []),
    ],
)
async def test_every_cleanup_mode(
    store: LangBertVectorStore, run: Run, cleanup: Cleanup, again: list[str], result: dict[str, int], left: list[str]
) -> None:
    assert await run(FIRST, cleanup) == {"added": 3}
    assert await run(FIRST, cleanup) == {"skipped": 3}
    assert await run(again, cleanup) == result
    assert stored(store) == sorted(left)
    assert len(store.record_manager("docs").list_keys()) == len(left)


async def test_sources_over_several_batches(store: LangBertVectorStore, run: Run) -> None:
    texts = [f"a: {n}" for n in range(7)]
    assert await run(texts, "scoped_full", batch_size=2) == {"added": 7}
    assert await run(texts[:4], "scoped_full", batch_size=2, cleanup_batch_size=1) == {"skipped": 4, "deleted": 3}
    assert stored(store) == texts[:4]


async def test_duplicates_and_forced_updates(store: LangBertVectorStore, run: Run) -> None:
    assert await run(["a: one", "a: one"], "full") == {"added": 1, "skipped": 1}
    assert await run(["a: one"], "full", force_update=True) == {"updated": 1}
    assert stored(store) == ["a: one"]


async def test_a_deleted_document_comes_back(store: LangBertVectorStore, run: Run) -> None:
    await run(FIRST, "full")
    store.delete(filter={"source": "a"})
    assert await run(FIRST, "full") == {"added": 2, "skipped": 1}
    assert stored(store) == FIRST
