"""Other processes: forked ones work and never hang, pickles and copies carry the configuration."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from langbert import Embedder, Rag, Reranker, Store
from langbert.errors import StoreError
from langbert.records import Chunk
from langchain_langbert import LangBertEmbeddings, LangBertVectorStore

FORKED = """
import os, signal, sys, tempfile
import numpy as np
from langbert import Embedder, Generator, Store
from langbert.records import Chunk
embedder, generator = Embedder(threads=2), Generator(threads=2)
texts = [f"Bees make honey of flowers, {i} times a day. " * 20 for i in range(40)]
vectors = embedder.embed(texts)
folder = tempfile.mkdtemp()
store = Store.open(folder, embedder=embedder)
store.add([Chunk("a", "a", "Bees make honey.")])
said = generator.generate("Hello", max_tokens=4).text
child = os.fork()
if child == 0:
    signal.alarm(60)
    assert np.allclose(embedder.embed(texts), vectors, atol=2e-2)
    assert generator.generate("Hello", max_tokens=4).completion_tokens > 0
    store.add([Chunk("b", "b", "Wasps make none.")])
    assert [hit.chunk.id for hit in store.search("wasps", 1)] == ["b"]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert [hit.chunk.id for hit in store.search("wasps", 1)] == ["b"]
store.add([Chunk("c", "c", "Hornets make none either.")])
store.close()
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_a_process_forked_after_loading_works() -> None:
    """What gunicorn's ``--preload``, Celery and ``multiprocessing`` do."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("forked after a model was loaded") == 1


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("minilm", pooling="cls", max_length=64)


def copies(thing):
    return [pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)]


def test_models_travel_by_their_configuration(embedder: Embedder) -> None:
    assert len(pickle.dumps(embedder)) < 1000, "no weights"
    for other in copies(embedder):
        assert (other.space, other.max_length) == (embedder.space, 64)
        assert np.array_equal(other.embed(["honey"]), embedder.embed(["honey"]))
    assert len(pickle.dumps(Reranker(max_length=100))) < 1000
    embeddings = LangBertEmbeddings(pooling="max", encoding="int8")
    for other in copies(embeddings):
        assert other.model_dump() == embeddings.model_dump()
        assert other.embed_query("honey") == embeddings.embed_query("honey")


def test_a_store_travels_by_its_folder(tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open("store", embedder=embedder) as store:
        store.add([Chunk("a", "a", "Bees make honey.")])
        monkeypatch.chdir("/")
        rag = Rag(store, k=2, threshold=0.2, reranker=False, reader=False)
        for other in copies(rag):
            assert (other.k, other.threshold) == (2, 0.2)
            assert [hit.chunk.id for hit in other.store.search("honey")] == ["a"]
            other.store.close()


@pytest.mark.parametrize("foreign", [True, False])
def test_a_vector_store_travels_by_its_folder(tmp_path: Path, foreign: bool) -> None:
    embeddings = DeterministicFakeEmbedding(size=8) if foreign else LangBertEmbeddings()
    store = LangBertVectorStore.from_texts(["honey"], embeddings, path=tmp_path / "store")
    for other in copies(store):
        assert [document.page_content for document in other.similarity_search("honey", k=1)] == ["honey"]
        other.add_texts(["wax"])
        other.close()
    assert len(store.store) == 3
    store.close()


def test_a_store_in_memory_says_why_it_stays(embedder: Embedder) -> None:
    with Store.open(embedder=embedder) as store, pytest.raises(StoreError, match="give it a folder"):
        pickle.dumps(store)
