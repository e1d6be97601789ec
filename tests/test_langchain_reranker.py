"""LangBertReranker over a tiny random cross-encoder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from pydantic import ValidationError
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from langbert import Reranker
from langchain_langbert import LangBertReranker, LangBertVectorStore

TEXTS = ["bees make honey", "lines have 79 characters", "the normans came to italy", "honey is sweet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross-encoder")
    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def documents() -> list[Document]:
    return [Document(id=str(n), page_content=text, metadata={"n": n}) for n, text in enumerate(TEXTS)]


async def test_orders_by_the_scores_of_the_core(folder: Path, documents: list[Document]) -> None:
    scores = Reranker(folder).score("honey", TEXTS)
    reranker = LangBertReranker(model=folder, top_n=None)
    ranked = reranker.compress_documents(documents, "honey")
    assert [document.metadata["n"] for document in ranked] == sorted(range(4), key=lambda n: -scores[n])
    for document in ranked:
        assert document.metadata["relevance_score"] == pytest.approx(float(scores[document.metadata["n"]]), abs=1e-6)
        assert 0 <= document.metadata["relevance_score"] <= 1
        assert document.id == str(document.metadata["n"])
    assert list(await reranker.acompress_documents(documents, "honey")) == ranked


def test_never_changes_what_it_was_given(folder: Path, documents: list[Document]) -> None:
    before = [document.model_copy(deep=True) for document in documents]
    LangBertReranker(model=folder).compress_documents(documents, "honey")
    assert documents == before


def test_top_n_and_min_score(folder: Path, documents: list[Document]) -> None:
    everything = LangBertReranker(model=folder, top_n=None).compress_documents(documents, "honey")
    assert LangBertReranker(model=folder, top_n=2).compress_documents(documents, "honey") == everything[:2]
    middle = everything[1].metadata["relevance_score"]
    assert LangBertReranker(model=folder, min_score=middle).compress_documents(documents, "honey") == everything[:2]
    assert LangBertReranker(model=folder, min_score=1.0).compress_documents(documents, "honey") == []
    assert LangBertReranker(model=folder).compress_documents([], "honey") == []


@pytest.mark.parametrize("wrong", [{"top_n": 0}, {"min_score": 2.0}, {"topn": 3}])
def test_wrong_options_are_errors(folder: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        LangBertReranker(model=folder, **wrong)  # type: ignore[arg-type]


def test_long_passages_are_read_whole(folder: Path) -> None:
    reranker = LangBertReranker(model=folder, top_n=None)
    passages = ["bees make " * 60 + "honey is sweet", "bees make " * 60]
    (long, _) = (
        document.metadata["relevance_score"]
        for document in sorted(
            reranker.compress_documents([Document(text) for text in passages], "honey"),
            key=lambda document: passages.index(document.page_content),
        )
    )
    assert long == pytest.approx(float(Reranker(folder).score("honey", passages)[0]), abs=1e-6)
    parts = Reranker(folder).score("honey", [passages[1], *TEXTS])
    assert np.isfinite(parts).all()
    short = LangBertReranker(model=folder, max_length=20)
    assert short.reranker.max_length == 20


async def test_inside_a_contextual_compression_retriever(folder: Path, documents: list[Document]) -> None:
    store = LangBertVectorStore.from_documents(documents, DeterministicFakeEmbedding(size=8))
    reranker = LangBertReranker(model_name=folder, top_n=2)  # type: ignore[call-arg]
    retriever = ContextualCompressionRetriever(
        base_compressor=reranker, base_retriever=store.as_retriever(search_kwargs={"k": 4})
    )
    found = retriever.invoke("honey")
    expected = reranker.compress_documents(documents, "honey")
    assert [document.metadata for document in found] == [document.metadata for document in expected]
    assert await retriever.ainvoke("honey") == found
    assert all("relevance_score" not in document.metadata for document in store.get_by_ids(["0", "1", "2", "3"]))


async def test_many_callers_at_once(folder: Path, documents: list[Document]) -> None:
    reranker = LangBertReranker(model=folder)
    expected = reranker.compress_documents(documents, "honey")
    for found in await asyncio.gather(*(reranker.acompress_documents(documents, "honey") for _ in range(16))):
        assert found == expected


def test_another_reranker_lends_its_model(folder: Path) -> None:
    lender = LangBertReranker(model_name=folder)  # type: ignore[call-arg]
    assert LangBertReranker(model=lender, top_n=1).reranker is lender.reranker
