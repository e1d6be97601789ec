"""Other processes: forked ones work and never hang, pickles and copies carry the configuration."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
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
texts = [f"Bees make honey of flowers, {i} times a day. " * 20 for i in range(16)]
vectors = embedder.embed(texts)
folder = tempfile.mkdtemp()
store = Store.open(folder, embedder=embedder)
store.add([Chunk("a", "a", "Bees make honey.")])
said = generator.generate("Hello", max_tokens=4).text
child = os.fork()
if child == 0:
    signal.alarm(200)
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_forked_after_loading_works() -> None:
    """What gunicorn's ``--preload``, Celery and ``multiprocessing`` do."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=280)
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


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says what others compute")
def test_beside_busy_processes_fewer_threads_are_taken_where_nobody_said_how_many() -> None:
    """A process on every core, and one is left; before the models knew, they waited for each other on all of them."""
    program = """
import os, subprocess, sys, time
from langbert.models.cores import usable_cores
from langbert.models.hardware import allowed_threads, planned_threads
every = planned_threads(None)
assert every == usable_cores()
busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(len(os.sched_getaffinity(0)))]
try:
    for _ in range(100):
        time.sleep(0.3)
        if allowed_threads(every) == 1:
            break
    print(allowed_threads(every), allowed_threads(planned_threads(3)))
finally:
    for process in busy:
        process.kill()
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "3"]


@pytest.mark.parametrize("said", [None, "ACTIVE"])
def test_threads_wait_without_spinning_unless_somebody_says_otherwise(said: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if said is not None:
        environment["OMP_WAIT_POLICY"] = said
    program = "import langbert, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [said or "PASSIVE", "False"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_what_the_heap_holds_for_nothing_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    from langbert.models import hardware

    size = 64 << 10  # little enough to lie on the heap
    blocks = [ctypes.create_string_buffer(b"x" * size) for _ in range(2000)]
    last = blocks.pop()  # the heap's end: what is below it stays, though it is free
    blocks.clear()
    before = psutil.Process().memory_info().rss
    monkeypatch.setattr(hardware, "_RELEASE_AGAIN", float("inf"))  # other tests may have been at it for a minute
    with hardware.using_threads(1):
        pass
    assert psutil.Process().memory_info().rss > before - (20 << 20)  # not at every turn
    monkeypatch.setattr(hardware, "_RELEASE_AGAIN", 0.0)
    with hardware.using_threads(1):
        pass
    assert psutil.Process().memory_info().rss < before - (80 << 20)
    assert last.raw[:1] == b"x"
