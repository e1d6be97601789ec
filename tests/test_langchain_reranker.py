"""LangBertReranker over a tiny random cross-encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from langchain_core.documents import Document
from pydantic import ValidationError
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from langbert import Reranker
from langchain_langbert import LangBertReranker

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
