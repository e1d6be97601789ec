"""LangBertVectorStore: LangChain's standard tests in memory and on disk, and what they leave open."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langbert import Document as CoreDocument
from langbert import Store
from langbert.errors import StoreError, StoreMismatch
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


@pytest.fixture
def store() -> Iterator[LangBertVectorStore]:
    with LangBertVectorStore(WORDS) as opened:
        yield opened


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


@settings(max_examples=60)
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


# --- filters that are functions --------------------------------------------------------------------------------------


def test_a_function_filters_every_kind_of_search(compass: LangBertVectorStore) -> None:
    def far(metadata: dict[str, Any]) -> bool:
        return metadata["degrees"] % 90 == 0 and metadata["degrees"] > 0

    for search_type in ("similarity", "mmr", "hybrid"):
        found = compass.search("north", search_type, k=4, filter=far)
        assert {document.id for document in found} == {"e", "s"}, search_type
    assert [document.id for document in compass.search("south", "lexical", filter=far)] == ["s"]
    assert [document.id for document, _ in compass.similarity_search_with_score("north", filter=far)] == ["e", "s"]
    assert [document.id for document in compass.similarity_search_by_vector([0.0, -1.0], filter=far)] == ["s", "e"]
    assert compass.similarity_search("north", filter=lambda metadata: False) == []
    with pytest.raises(KeyError, match="absent"):
        compass.similarity_search("north", filter=lambda metadata: metadata["absent"])
    compass.delete(filter=far)
    assert [document.id for document in compass.similarity_search("north")] == ["n", "ne"]


def test_k_come_back_if_k_match_a_function() -> None:
    store = LangBertVectorStore(WORDS)
    store.add_texts([f"text {n}" for n in range(300)], [{"n": n} for n in range(300)])
    for k in (1, 3, 5):
        found = store.similarity_search("text 1", k=k, filter=lambda metadata: metadata["n"] % 60 == 7)
        assert len(found) == k
        assert all(document.metadata["n"] % 60 == 7 for document in found)


def test_a_function_sees_the_metadata_that_callers_see_and_cannot_change_them(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", embedder=ForeignEmbedder(WORDS)) as core:
        core.add([CoreDocument(id="guide", text="Limit all lines.", source="guide.pdf", page_starts=(0,))])
    seen: list[dict[str, Any]] = []

    def look(metadata: dict[str, Any]) -> bool:
        seen.append(dict(metadata))
        metadata.clear()
        return True

    with LangBertVectorStore(WORDS, tmp_path / "store") as store:
        (found,) = store.similarity_search("lines", filter=look)
        assert found.metadata["page"] == 1
        assert seen == [found.metadata]


# --- scores ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    vectors=st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3).filter(any), min_size=2, max_size=6
    )
)
def test_relevances_are_within_0_and_1_whatever_the_vectors(vectors: list[list[float]]) -> None:
    class Given(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [self.embed_query(text) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vectors[int(text)] if text.isdigit() else vectors[0]

    with LangBertVectorStore(Given()) as store:
        store.add_texts([str(n) for n in range(len(vectors))])
        for mode in ("dense", "lexical", "hybrid"):
            scored = store.similarity_search_with_relevance_scores("0", k=9, mode=mode)
            scores = [score for _, score in scored]
            assert all(0 <= score <= 1 for score in scores)
            assert scores == sorted(scores, reverse=True)
            if scores:
                kept = store.similarity_search_with_relevance_scores("0", k=9, mode=mode, score_threshold=scores[0])
                assert kept == [pair for pair in scored if pair[1] >= scores[0]]


async def test_score_threshold_as_a_search_type(compass: LangBertVectorStore) -> None:
    options = {"k": 4, "score_threshold": 0.8, "filter": lambda metadata: metadata["degrees"] < 180}
    found = compass.search("north", "similarity_score_threshold", **options)
    assert [document.id for document in found] == ["n", "ne"]
    assert await compass.asearch("north", "similarity_score_threshold", **options) == found


# --- saving and opening ----------------------------------------------------------------------------------------------


def test_save_local_and_load_local(tmp_path: Path) -> None:
    folder = tmp_path / "Läden 店"
    store = LangBertVectorStore.from_texts(["one", "two"], WORDS, [{"n": 1}, {"n": 2}], ids=["1", "2"])
    store.save_local(folder)
    before = store.similarity_search_with_score("two")
    assert not list(folder.rglob("*.pkl"))
    with LangBertVectorStore.load_local(folder, WORDS, allow_dangerous_deserialization=True) as loaded:
        assert loaded.similarity_search_with_score("two") == before
        assert loaded.search("two", "lexical")[0].id == "2"
        loaded.add_texts(["three"], ids=["3"])
        loaded.save_local(folder)  # its own folder
        loaded.save_local(tmp_path / "other")
    store.delete(["1"])
    store.save_local(folder)  # again, over what is there
    with LangBertVectorStore.load_local(str(folder), WORDS) as loaded:
        assert [document.id for document in loaded.similarity_search("one")] == ["2"]
        assert [document.id for document in loaded.search("one two three", "lexical")] == ["2"]
    with LangBertVectorStore.load_local(tmp_path / "other", WORDS) as loaded:
        assert len(loaded.store) == 3


def test_load_local_wants_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store in"):
        LangBertVectorStore.load_local(tmp_path / "nowhere", WORDS)
    (tmp_path / "index.pkl").touch()
    with pytest.raises(StoreError, match="from_langchain_faiss"):
        LangBertVectorStore.load_local(tmp_path, WORDS)
    with pytest.raises(StoreError, match="not empty"):
        LangBertVectorStore(WORDS).save_local(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["index.pkl"]


def test_mmr_beside_deletions() -> None:
    store = LangBertVectorStore(WORDS)
    store.add_texts([f"text {n}" for n in range(50)], ids=[str(n) for n in range(50)])
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            store.delete([str(n) for n in range(25)])
            store.add_texts([f"text {n}" for n in range(25)], ids=[str(n) for n in range(25)])

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(30):
            assert len(store.max_marginal_relevance_search("text 30", k=3, fetch_k=10)) == 3
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("texts", [lambda: (text for text in ("a", "b")), lambda: map(str, (1, 2)), lambda: {"a", "b"}])
async def test_texts_may_come_from_a_generator(texts: Any) -> None:
    embedding = DeterministicFakeEmbedding(size=8)
    for add in ("add_texts", "from_texts", "aadd_texts"):
        with LangBertVectorStore(embedding) as store:
            if add == "from_texts":
                store.store.close()
                store = LangBertVectorStore.from_texts(texts(), embedding)
            elif add == "add_texts":
                store.add_texts(texts(), [{}, {}], ids=["x", "y"])
            else:
                await store.aadd_texts(texts())
            assert len(store.store) == 2


async def test_documents_metadatas_and_ids_may_come_from_generators(store: LangBertVectorStore) -> None:
    metadatas = ({"row": row} for row in range(2))
    assert store.add_texts((text for text in "ab"), metadatas, ids=map(str, range(2))) == ["0", "1"]
    assert [document.metadata for document in store.get_by_ids(["1", "0"])] == [{"row": 1}, {"row": 0}]
    assert len(store.add_documents(Document(page_content=text) for text in "cd")) == 2
    assert len(await store.aadd_documents(Document(page_content=text) for text in "ef")) == 2
    with pytest.raises(TypeError, match=r"give \['hello'\]"):
        store.add_texts("hello")
    with pytest.raises(TypeError, match=r"give \['12'\]"):
        store.get_by_ids("12")
    with pytest.raises(ValueError, match="1 ids came for 2"):
        store.add_texts(["g", "h"], ids=["7"])
    with pytest.raises(ValueError, match="1 metadatas came for 2"):
        store.add_texts(["g", "h"], [{}])
    assert len(store.store) == 6
    (added,) = store.add_texts(["g"], [None])
    assert store.get_by_ids([added])[0].metadata == {}


@pytest.mark.parametrize("search_type", ["similarity", "hybrid", "lexical", "mmr", "similarity_score_threshold"])
@pytest.mark.parametrize("option", ["filters", "where", "pre_filter", "expr"])
def test_a_filter_by_another_name_is_an_error_and_never_everybodys_documents(search_type: str, option: str) -> None:
    rows = [{"tenant": "a"}, {"tenant": "b"}]
    options = {option: {"tenant": "a"}} | ({"score_threshold": 0.0} if "threshold" in search_type else {})
    with LangBertVectorStore.from_texts(["secret of a", "secret of b"], WORDS, rows) as store:
        retriever = store.as_retriever(search_type=search_type, search_kwargs=options)
        with pytest.raises(TypeError, match=f"no '{option}'"):
            retriever.invoke("secret")
        with pytest.raises(TypeError, match=f"no '{option}'"):
            store.similarity_search_by_vector([1.0] * 16, **{option: {"tenant": "a"}})
        with pytest.raises(TypeError, match=f"no '{option}'"):
            store.delete(["nothing"], **{option: {"tenant": "a"}})


def test_a_threshold_counts_in_every_search(store: LangBertVectorStore) -> None:
    store.add_texts(["bees make honey", "foxes are quick"])
    assert not store.as_retriever(search_type="hybrid", search_kwargs={"score_threshold": 1.1}).invoke("bees")
    for document, score in store.similarity_search_with_score("bees", score_threshold=0.4):
        assert score >= 0.4, document


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2024-05-01T10:00:00+00:00"),
        (date(2024, 5, 1), "2024-05-01"),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.datetime64("2024-05-01"), "2024-05-01T00:00:00"),
        (np.array([1, 2]), [1, 2]),
        (float("nan"), None),
        (timedelta(minutes=2), 120.0),
        (deque([1, 2]), [1, 2]),
        (MappingProxyType({"a": date(2024, 5, 1)}), {"a": "2024-05-01"}),
        (ip_address("10.0.0.1"), "10.0.0.1"),
        ([1.5, float("nan")], [1.5, None]),
        (Decimal("1.25"), 1.25),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a"), "/a"),
        ({2, 1}, [1, 2]),
    ],
)
def test_what_loaders_put_into_metadata_becomes_json(store: LangBertVectorStore, value: Any, stored: Any) -> None:
    [id] = store.add_documents([Document(page_content="x", metadata={"k": value, "other": 1})])
    [document] = store.get_by_ids([id])
    assert document.metadata == {"k": stored, "other": 1}


def test_dates_and_numpys_numbers_filter(store: LangBertVectorStore) -> None:
    days = [date(2024, month, 1) for month in (1, 5, 9)]
    store.add_texts(["one", "two", "three"], [{"day": day, "n": np.int64(i)} for i, day in enumerate(days)])
    found = store.similarity_search("x", filter={"day": {"$gte": date(2024, 2, 1), "$lt": datetime(2024, 9, 1)}})
    assert {document.page_content for document in found} == {"two", "three"}  # a day begins before its midnight
    assert [d.page_content for d in store.similarity_search("x", filter={"n": np.int64(2)})] == ["three"]


@pytest.mark.parametrize("mode", ["dense", "hybrid", "lexical"])
def test_half_an_emoji_in_a_question_is_no_error(store: LangBertVectorStore, mode: Any) -> None:
    store.add_texts(["bees make honey"])
    assert store.similarity_search("honey \ud83d bees", k=1, mode=mode)


def test_halves_of_characters_and_numbers_as_names_stop_nothing(store: LangBertVectorStore) -> None:
    store.add_texts(
        ["whole 完整", "half \ud83d 半"], [{}, {0: "a", np.int64(7): 3, "source": "\udc80.txt", "说": "\ud83d"}]
    )
    found = store.similarity_search("half", k=1, filter={"7": 3})
    assert [document.page_content for document in found] == ["half \ufffd 半"]
    assert {"0", "7", "source", "说"} == found[0].metadata.keys()
