"""LangBertEmbeddings: LangChain's standard tests, and the options that reach the encoder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from langbert import Embedder
from langbert.errors import ModelNotFound
from langchain_langbert import LangBertEmbeddings

pytestmark = pytest.mark.models


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[LangBertEmbeddings]:
        return LangBertEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "minilm", "pooling": "mean"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[LangBertEmbeddings]:
        return LangBertEmbeddings


@pytest.fixture(scope="module")
def embeddings() -> LangBertEmbeddings:
    return LangBertEmbeddings(precision="float32")


TEXTS = ["Bees make honey.", "The Normans came to Italy.", "蜜蜂酿蜜。"]


def test_gives_the_vectors_of_the_embedder(embeddings: LangBertEmbeddings) -> None:
    expected = Embedder("minilm", precision="float32").embed(TEXTS)
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[0]), expected[0], atol=1e-5)


def test_pooling_is_an_argument() -> None:
    by_pooling = {
        pooling: LangBertEmbeddings(pooling=pooling, precision="float32").embed_query(TEXTS[0])
        for pooling in ("mean", "cls", "max")
    }
    assert not np.allclose(by_pooling["mean"], by_pooling["cls"], atol=1e-2)
    assert not np.allclose(by_pooling["mean"], by_pooling["max"], atol=1e-2)


def test_prompts_belong_to_their_role() -> None:
    plain = LangBertEmbeddings(precision="float32")
    prompted = LangBertEmbeddings(precision="float32", query_prompt="query: ")
    np.testing.assert_allclose(prompted.embed_query("honey"), plain.embed_query("query: honey"), atol=1e-5)
    np.testing.assert_allclose(prompted.embed_documents(["honey"]), plain.embed_documents(["honey"]), atol=1e-5)


def test_nothing_in_nothing_out(embeddings: LangBertEmbeddings) -> None:
    assert embeddings.embed_documents([]) == []


async def test_async_gives_the_same_from_many_callers(embeddings: LangBertEmbeddings) -> None:
    expected = embeddings.embed_query("honey")
    for vector in await asyncio.gather(*(embeddings.aembed_query("honey") for _ in range(8))):
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_an_unknown_model_is_an_error_where_it_is_named() -> None:
    with pytest.raises(ModelNotFound, match="minilm"):
        LangBertEmbeddings(model="minilmm", offline=True)


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(ValidationError, match="encode_kwargs"):
        LangBertEmbeddings(encode_kwargs={})  # type: ignore[call-arg]


def test_a_folder_is_a_model(embeddings: LangBertEmbeddings, tmp_path: Path) -> None:
    embeddings.embedder.save(tmp_path / "saved")
    copy = LangBertEmbeddings(model=tmp_path / "saved", precision="float32")
    np.testing.assert_allclose(copy.embed_query("honey"), embeddings.embed_query("honey"), atol=1e-6)
