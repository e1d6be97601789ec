"""LangBertEmbeddings: LangChain's standard tests, and the options that reach the encoder."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from langbert import Embedder
from langbert.errors import ModelNotFound, TextTooLong
from langchain_langbert import LangBertEmbeddings, LangBertVectorStore

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
    return LangBertEmbeddings(model="minilm", precision="float32")


TEXTS = ["Bees make honey.", "The Normans came to Italy.", "蜜蜂酿蜜。"]


def test_one_text_is_no_list_of_its_letters(embeddings: LangBertEmbeddings) -> None:
    with pytest.raises(TypeError, match=r"got one str: give \['Bees"):
        embeddings.embed_documents(TEXTS[0])  # type: ignore[arg-type]


def test_gives_the_vectors_of_the_embedder(embeddings: LangBertEmbeddings) -> None:
    expected = Embedder("minilm", precision="float32").embed(TEXTS)
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[0]), expected[0], atol=1e-5)


def test_pooling_is_an_argument() -> None:
    by_pooling = {
        pooling: LangBertEmbeddings(model="minilm", pooling=pooling, precision="float32").embed_query(TEXTS[0])
        for pooling in ("mean", "cls", "max")
    }
    assert not np.allclose(by_pooling["mean"], by_pooling["cls"], atol=1e-2)
    assert not np.allclose(by_pooling["mean"], by_pooling["max"], atol=1e-2)


def test_prompts_belong_to_their_role() -> None:
    plain = LangBertEmbeddings(model="minilm", precision="float32")
    prompted = LangBertEmbeddings(model="minilm", precision="float32", query_prompt="query: ")
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
    for wrong in ({"poling": "cls"}, {"encode_kwargs": {"poling": 1}}, {"model_name": "minilm", "model": "other"}):
        with pytest.raises(ValidationError, match=r"poling|came twice"):
            LangBertEmbeddings(**wrong)


def test_the_arguments_of_huggingface_embeddings_are_understood() -> None:
    embeddings = LangBertEmbeddings(
        model_name="sentence-transformers/all-MiniLM-L6-v2",
        model_kwargs={"device": "cpu"},
        encode_kwargs={"normalize_embeddings": False, "batch_size": 8},
        query_encode_kwargs={"prompt": "query: "},
        cache_folder=None,
        precision="float32",
    )  # type: ignore[call-arg]
    assert embeddings.model_name == "sentence-transformers/all-MiniLM-L6-v2"
    assert (embeddings.device, embeddings.normalize, embeddings.query_prompt) == ("cpu", False, "query: ")
    assert np.linalg.norm(embeddings.embed_query("honey")) != pytest.approx(1, abs=1e-3)
    both = LangBertEmbeddings(model="minilm", encode_kwargs={"prompt": "text: "})  # type: ignore[call-arg]
    assert both.query_prompt == both.document_prompt == "text: "


def test_long_texts_are_counted() -> None:
    embeddings = LangBertEmbeddings(model="minilm", max_length=16, on_overflow="truncate")
    embeddings.embed_documents(["short", "honey " * 50])
    embeddings.embed_query("honey " * 50)
    assert embeddings.overflowed == 2
    with pytest.raises(TextTooLong, match="text 1 has"):
        LangBertEmbeddings(model="minilm", max_length=16, on_overflow="error").embed_documents(["short", "honey " * 50])


def test_fewer_dimensions_are_the_first_ones_at_unit_length(embeddings: LangBertEmbeddings) -> None:
    short = np.array(LangBertEmbeddings(model="minilm", dimensions=64, precision="float32").embed_query("honey"))
    whole = np.array(embeddings.embed_query("honey"))[:64]
    np.testing.assert_allclose(short, whole / np.linalg.norm(whole), atol=1e-6)


def test_int8_and_binary(embeddings: LangBertEmbeddings) -> None:
    exact = np.array(embeddings.embed_documents(TEXTS))
    small = LangBertEmbeddings(model="minilm", encoding="int8", precision="float32").embed_documents(TEXTS)
    assert {type(value) for value in small[0]} == {int}
    np.testing.assert_allclose(np.array(small) / 127, exact, atol=1 / 254 + 1e-5)
    bits = LangBertEmbeddings(model="minilm", encoding="binary", precision="float32").embed_query(TEXTS[0])
    signs = np.unpackbits((np.array(bits) + 128).astype(np.uint8))
    np.testing.assert_array_equal(signs, exact[0] > 0)
    with pytest.raises(ValidationError, match="normalize"):
        LangBertEmbeddings(model="minilm", encoding="int8", normalize=False)


def test_the_store_keeps_float32_whatever_the_encoding(embeddings: LangBertEmbeddings) -> None:
    for encoding in ("int8", "binary"):
        coded = LangBertEmbeddings(model="minilm", encoding=encoding)
        store = LangBertVectorStore.from_texts(TEXTS, coded)
        found = store.similarity_search_with_score("honey", k=3)
        expected = LangBertVectorStore.from_texts(TEXTS, embeddings).similarity_search_with_score("honey", k=3)
        assert [document.page_content for document, _ in found] == [document.page_content for document, _ in expected]


@pytest.mark.parametrize("shown", [True, False])
def test_progress_is_on_stderr(shown: bool, capfd: pytest.CaptureFixture[str]) -> None:
    embeddings = LangBertEmbeddings(model="minilm", show_progress=shown)
    embeddings.embed_documents(["a", "b", "a"])
    out, err = capfd.readouterr()
    assert out == ""
    assert ("3/3" in err and "texts/s" in err) is shown


def test_the_cache_survives_and_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LangBertEmbeddings(model="minilm", cache=tmp_path / "cache", precision="float32")
    vectors = first.embed_documents(TEXTS)
    second = LangBertEmbeddings(model="minilm", cache=str(tmp_path / "cache"), cache_bytes=1 << 20, precision="float32")
    monkeypatch.setattr(second.embedder, "_made", None)  # nothing is left to be made
    assert second.embed_documents(TEXTS) == vectors


async def test_a_cancelled_call_stops_its_worker() -> None:
    embeddings = LangBertEmbeddings(model="minilm", threads=1)
    texts = [f"{n} bees make honey from the nectar of {n} flowers " * 8 for n in range(2000)]
    begun, done = threading.Event(), threading.Event()
    made: list[int] = []
    embed = embeddings.embedder.embed

    def watched(*args: Any, progress: Any, **options: Any) -> Any:
        def told(n: int) -> None:
            made.append(n)
            begun.set()
            progress(n)

        try:
            return embed(*args, progress=told, **options)
        finally:
            done.set()

    embeddings.embedder.embed = watched  # type: ignore[method-assign]
    task = asyncio.create_task(embeddings.aembed_documents(texts))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not done.is_set()
    assert await asyncio.to_thread(done.wait, 60)
    assert sum(made) < len(texts) / 2


def test_a_folder_is_a_model(embeddings: LangBertEmbeddings, tmp_path: Path) -> None:
    embeddings.embedder.save(tmp_path / "saved")
    copy = LangBertEmbeddings(model=tmp_path / "saved", precision="float32")
    np.testing.assert_allclose(copy.embed_query("honey"), embeddings.embed_query("honey"), atol=1e-6)
