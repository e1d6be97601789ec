"""LangBertRetriever: LangChain's standard tests, search types and per-call options."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStoreRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_langbert import LangBertRetriever, LangBertVectorStore

TEXTS = [
    "Limit all lines to a maximum of 79 characters.",
    "Use four spaces per indentation level.",
    "Imports should be on separate lines.",
    "Bees make honey from nectar.",
    "变压器是一种神经网络。",
]


def filled_store() -> LangBertVectorStore:
    embedding = DeterministicFakeEmbedding(size=16)
    return LangBertVectorStore.from_texts(TEXTS, embedding, [{"n": n} for n in range(5)], ids=list("abcde"))


class TestStandard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[LangBertRetriever]:
        return LangBertRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": filled_store()}

    @property
    def retriever_query_example(self) -> str:
        return "How long may a line be?"


@pytest.fixture(scope="module")
def store() -> LangBertVectorStore:
    return filled_store()


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def test_hybrid_is_the_default_and_reads_words(store: LangBertVectorStore) -> None:
    retriever = LangBertRetriever(vectorstore=store, k=5)
    assert retriever.search_type == "hybrid"
    assert "d" in ids(retriever.invoke("honey of bees"))[:2]
    assert ids(LangBertRetriever(vectorstore=store, search_type="lexical").invoke("神经网络"))[0] == "e"


def test_filter_at_construction_and_for_one_call(store: LangBertVectorStore) -> None:
    retriever = LangBertRetriever(vectorstore=store, filter={"n": {"$lt": 3}})
    assert set(ids(retriever.invoke("honey"))) == {"a", "b", "c"}
    assert ids(retriever.invoke("honey", filter={"n": 4})) == ["e"]
    assert len(retriever.invoke("honey", k=2)) == 2


def test_a_function_as_filter(store: LangBertVectorStore) -> None:
    retriever = LangBertRetriever(vectorstore=store, filter=lambda metadata: metadata["n"] == 3)
    assert ids(retriever.invoke("lines")) == ["d"]
    assert [candidate.chunk.id for candidate in retriever.candidates("lines")] == ["d"]
    assert ids(retriever.invoke("lines", filter=lambda metadata: metadata["n"] == 4)) == ["e"]


@pytest.mark.parametrize("search_type", ["hybrid", "similarity", "lexical", "mmr"])
async def test_every_search_type_sync_and_async(store: LangBertVectorStore, search_type: str) -> None:
    retriever = store.as_retriever(search_type=search_type, search_kwargs={"k": 2, "filter": {"n": {"$lt": 2}}})
    found = retriever.invoke("lines and indentation")
    assert set(ids(found)) <= {"a", "b"}
    assert found
    assert await retriever.ainvoke("lines and indentation") == found


def test_as_retriever_is_what_langchain_code_expects(store: LangBertVectorStore) -> None:
    retriever = store.as_retriever()
    assert isinstance(retriever, VectorStoreRetriever)
    assert retriever.search_type == "similarity"
    assert retriever.tags == ["LangBertVectorStore", "DeterministicFakeEmbedding"]
    assert len(retriever.invoke(TEXTS[0])) == 4
    assert ids(retriever.invoke(TEXTS[0], k=1)) == ["a"]
    threshold = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99})
    assert ids(threshold.invoke(TEXTS[0])) == ["a"]
    with pytest.raises(ValueError, match="telepathy"):
        store.as_retriever(search_type="telepathy")


def test_copies_are_one_document_that_names_the_others() -> None:
    texts = [*TEXTS, TEXTS[3], TEXTS[3].upper()]
    store = LangBertVectorStore.from_texts(
        texts, DeterministicFakeEmbedding(size=16), [{"source": f"{n}.txt"} for n in range(7)], ids=list("abcdefg")
    )
    found = LangBertRetriever(vectorstore=store, k=5).invoke("honey of bees")
    assert len({document.page_content.lower() for document in found}) == 5
    (honey,) = (document for document in found if "honey" in document.page_content.lower())
    places = [honey.metadata["source"], *(place["source"] for place in honey.metadata["also_in"])]
    assert sorted(places) == ["3.txt", "5.txt", "6.txt"]
    assert all("also_in" not in document.metadata for document in found if document is not honey)
    every = LangBertRetriever(vectorstore=store, k=7, repeats=True).invoke("honey of bees")
    assert sorted(ids(every)) == list("abcdefg")  # type: ignore[type-var]
    assert not any("also_in" in document.metadata for document in every)
    assert len(store.similarity_search("honey of bees", k=7)) == 7
    assert len(store.similarity_search("honey of bees", k=7, repeats=False)) == 5
