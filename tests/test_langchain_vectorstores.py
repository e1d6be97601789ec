"""LangBertVectorStore: LangChain's standard tests in memory and on disk, and what they leave open."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langbert import Document as CoreDocument
from langbert import Store
from langbert.errors import StoreMismatch
from langbert.records import Heading
from langchain_langbert import LangBertVectorStore
from langchain_langbert._foreign import ForeignEmbedder

WORDS = DeterministicFakeEmbedding(size=16)


class TestInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[LangBertVectorStore]:  # type: ignore[override]
        with LangBertVectorStore(self.get_embeddings()) as store:
            yield store


class TestOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[LangBertVectorStore]:  # type: ignore[override]
        with LangBertVectorStore(self.get_embeddings(), tmp_path / "store") as store:
            yield store


VECTORS = {"north": [0.0, 9.0], "northeast": [3.0, 3.0], "east": [2.0, 0.0], "south": [0.0, -1.0]}


class Compass(Embeddings):
    """Four words on a circle: a meaning one can compute with."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return VECTORS.get(text, [1.0, 1.0])


@pytest.fixture
def compass() -> Iterator[LangBertVectorStore]:
    with LangBertVectorStore(Compass()) as store:
        store.add_texts(list(VECTORS), [{"degrees": n} for n in (0, 45, 90, 180)], ids=["n", "ne", "e", "s"])
        yield store


def test_scores_are_relevances_and_fall(compass: LangBertVectorStore) -> None:
    found = compass.similarity_search_with_score("north", k=4)
    assert [document.id for document, _ in found] == ["n", "ne", "e", "s"]
    scores = [score for _, score in found]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert [score for _, score in compass.similarity_search_with_relevance_scores("north", k=4)] == scores
    near = compass.similarity_search_with_relevance_scores("north", k=4, score_threshold=0.99)
    assert [document.id for document, _ in near] == ["n"]


def test_searches_by_vector(compass: LangBertVectorStore) -> None:
    assert [document.id for document in compass.similarity_search_by_vector([1.0, 0.1], k=2)] == ["e", "ne"]


def test_mmr_prefers_variety_when_told_to(compass: LangBertVectorStore) -> None:
    alike = compass.max_marginal_relevance_search("north", k=2, lambda_mult=1.0)
    unlike = compass.max_marginal_relevance_search("north", k=2, lambda_mult=0.0)
    assert [document.id for document in alike] == ["n", "ne"]
    assert [document.id for document in unlike] == ["n", "s"]
    assert compass.max_marginal_relevance_search("north", filter={"degrees": 7}) == []


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"degrees": 90}, {"e"}),
        ({"degrees": {"$in": [0, 180]}}, {"n", "s"}),
        ({"degrees": {"$gt": 45}}, {"e", "s"}),
        ({"degrees": {"$gte": 45, "$lt": 180}}, {"ne", "e"}),
        ({"degrees": {"$ne": 0}}, {"ne", "e", "s"}),
        ({"$or": [{"degrees": 0}, {"degrees": 90}]}, {"n", "e"}),
        ({"$and": [{"degrees": {"$lte": 90}}, {"degrees": {"$gt": 0}}]}, {"ne", "e"}),
        ({"$not": {"degrees": 0}}, {"ne", "e", "s"}),
        ({"degrees": 91}, set()),
    ],
)
def test_filters(compass: LangBertVectorStore, condition: dict[str, Any], expected: set[str]) -> None:
    for search_type in ("similarity", "mmr", "hybrid"):
        found = compass.search("north", search_type, k=4, filter=condition)
        assert {document.id for document in found} == expected, search_type


def test_a_filter_that_makes_no_sense_is_an_error(compass: LangBertVectorStore) -> None:
    with pytest.raises(ValueError, match=r"\$near"):
        compass.similarity_search("north", filter={"degrees": {"$near": 3}})


def test_a_rare_match_is_found_among_many() -> None:
    store = LangBertVectorStore(WORDS)
    store.add_texts([f"text {n}" for n in range(300)], [{"rare": n % 100 == 7} for n in range(300)])
    found = store.similarity_search("text 1", k=3, filter={"rare": True})
    assert len(found) == 3
    assert all(document.metadata == {"rare": True} for document in found)


def test_words_count_in_hybrid_search() -> None:
    store = LangBertVectorStore(WORDS)
    store.add_texts(
        ["The maximum line length is 79.", "Bees make honey.", "变压器是一种神经网络。"], ids=["pep", "bees", "zh"]
    )
    assert store.search("honey bees", "lexical")[0].id == "bees"
    assert store.search("神经网络", "lexical")[0].id == "zh"
    assert store.similarity_search("line length", k=1, mode="hybrid")[0].id == "pep"
    with pytest.raises(ValueError, match="search_type"):
        store.search("honey", "telepathy")


def test_ids_and_upserts() -> None:
    store = LangBertVectorStore(WORDS)
    documents = [Document(id="a", page_content="one"), Document(page_content="two"), Document(id="c", page_content="3")]
    ids = store.add_documents(documents)
    assert ids[0] == "a"
    assert ids[2] == "c"
    assert ids[1]
    assert [document.id for document in documents] == ["a", None, "c"]
    assert store.add_documents(documents, ids=["x", "y", "z"]) == ["x", "y", "z"]
    store.add_texts(["changed"], ids=["a"])
    assert [document.page_content for document in store.get_by_ids(["z", "nobody", "a"])] == ["3", "changed"]
    with pytest.raises(ValueError, match="1 ids came for 3 documents"):
        store.add_documents(documents, ids=["x"])


def test_the_same_text_twice_is_two_documents() -> None:
    store = LangBertVectorStore(WORDS)
    first, second = store.add_texts(["same", "same"], [{"n": 1}, {"n": 2}])
    assert first != second
    assert {document.metadata["n"] for document in store.similarity_search("same", k=4)} == {1, 2}


def test_delete_wants_to_know_what() -> None:
    store = LangBertVectorStore(WORDS)
    store.add_texts(["one", "two", "three"], [{"n": 1}, {"n": 2}, {"n": 3}], ids=["1", "2", "3"])
    with pytest.raises(ValueError, match=r"filter=\{\} removes everything"):
        store.delete()
    assert store.delete(["1", "1", "nobody"])
    assert store.delete(filter={"n": 2})
    assert [document.id for document in store.similarity_search("one")] == ["3"]
    assert store.delete(filter={})
    assert store.similarity_search("one") == []


NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
METADATA = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"])), metadata=METADATA)
def test_what_goes_in_comes_out_unchanged(text: str, metadata: dict[str, Any]) -> None:
    with LangBertVectorStore(WORDS) as store:
        given_document = Document(page_content=text, metadata=copy.deepcopy(metadata))
        (id_,) = store.add_documents([given_document])
        assert given_document == Document(page_content=text, metadata=metadata)
        assert store.get_by_ids([id_]) == [Document(id=id_, page_content=text, metadata=metadata)]
        (found,) = store.similarity_search("x")
        found.metadata["mine"] = True
        assert store.get_by_ids([id_])[0].metadata == metadata


def test_reopened_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "Läden 店"
    with LangBertVectorStore.from_texts(
        ["one", "two"], WORDS, [{"n": 1}, {"n": 2}], ids=["1", "2"], path=path
    ) as store:
        before = store.similarity_search_with_score("two")
    with LangBertVectorStore(WORDS, path) as store:
        assert store.similarity_search_with_score("two") == before
        store.delete(["2"])
    with LangBertVectorStore(WORDS, str(path)) as store:
        assert [document.id for document in store.similarity_search("two")] == ["1"]


def test_another_embedding_model_is_refused(tmp_path: Path) -> None:
    LangBertVectorStore.from_texts(["one"], WORDS, path=tmp_path / "store").close()
    with pytest.raises(StoreMismatch):
        LangBertVectorStore.from_texts(["two"], DeterministicFakeEmbedding(size=8), path=tmp_path / "store")


def test_from_documents_keeps_ids() -> None:
    documents = [Document(id="a", page_content="one", metadata={"n": 1})]
    store = LangBertVectorStore.from_documents(documents, WORDS)
    assert store.get_by_ids(["a"]) == documents


def test_files_read_by_langbert_come_out_with_their_place(tmp_path: Path) -> None:
    text = "Style\n\nLimit all lines to 79 characters.\n"
    guide = CoreDocument(
        id="pep8",
        text=text,
        source="pep8.pdf",
        metadata={"status": "active"},
        page_starts=(0,),
        headings=(Heading(0, 1, "Style"),),
    )
    with Store.open(tmp_path / "store", embedder=ForeignEmbedder(WORDS)) as core:
        core.add([guide])
    with LangBertVectorStore(WORDS, tmp_path / "store") as store:
        (found,) = store.similarity_search("lines", filter={"source": "pep8.pdf"})
        start = found.metadata["start_index"]
        assert text[start : start + len(found.page_content)] == found.page_content
        assert found.metadata == {
            "status": "active",
            "source": "pep8.pdf",
            "document_id": "pep8",
            "start_index": start,
            "page": 1,
            "headings": ["Style"],
        }
        assert store.get_by_ids([found.id or ""]) == [found]
        (whole,) = store.get_by_ids(["pep8"])
        assert whole.page_content == text
        assert store.delete(["pep8"])
        assert store.similarity_search("lines") == []


async def test_many_async_callers_and_a_free_event_loop(tmp_path: Path) -> None:
    class Slow(DeterministicFakeEmbedding):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            time.sleep(0.05)
            return super().embed_documents(texts)

    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    async def work(store: LangBertVectorStore, n: int) -> None:
        await store.aadd_texts([f"text {n}"], [{"n": n}], ids=[str(n)])
        found = await store.asimilarity_search(f"text {n}", k=1, filter={"n": n})
        assert [document.id for document in found] == [str(n)]

    with LangBertVectorStore(Slow(size=16), tmp_path / "store") as store:
        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(work(store, n) for n in range(16)))
        watcher.cancel()
        assert len(await store.asimilarity_search("text 1", k=50)) == 16
    assert longest < 0.5  # generous: a busy machine; one blocking embed call after another would be 0.8 s
