"""LangBertEmbedding in LlamaIndex: the core's own vectors, sync, async and inside an index."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from langbert import Embedder

TEXTS = ["Bees make honey from nectar.", "The Normans gave their name to Normandy.", "Lines have 79 characters."]


def test_without_llama_index_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['llama_index'] = None; import llama_index_langbert"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: llama_index_langbert needs LlamaIndex: pip install 'langbert[llama-index]'" in done.stderr


@pytest.mark.models
async def test_gives_the_vectors_of_the_core(minilm: Embedder) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from llama_index_langbert import LangBertEmbedding

    embedding = LangBertEmbedding(embedder=minilm)
    assert embedding.model_name == minilm.space.model
    documents, query = minilm.embed(TEXTS, "document"), minilm.embed(TEXTS[:1], "query")[0]
    for vectors in (embedding.get_text_embedding_batch(TEXTS), await embedding.aget_text_embedding_batch(TEXTS)):
        np.testing.assert_allclose(vectors, documents, atol=1e-5)
    for vector in (embedding.get_query_embedding(TEXTS[0]), await embedding.aget_query_embedding(TEXTS[0])):
        np.testing.assert_allclose(vector, query, atol=1e-5)


@pytest.mark.models
@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset")
def test_finds_the_right_document_in_an_index(minilm: Embedder) -> None:
    core = pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from llama_index_langbert import LangBertEmbedding

    documents = [core.Document(text=text) for text in TEXTS]
    index = core.VectorStoreIndex.from_documents(documents, embed_model=LangBertEmbedding(embedder=minilm))
    found = index.as_retriever(similarity_top_k=1).retrieve("What do bees make?")
    assert [node.text for node in found] == TEXTS[:1]
