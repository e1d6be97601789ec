"""The store against a brute-force model: random adds, updates, deletes and reopenings, in memory and on disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from store_tools import HashEmbedder, LineChunker

from langbert.records import Chunk, Document
from langbert.store import Store, matches
from langbert.store.filters import fields_of
from langbert.text.terms import terms

WORDS = ["red", "green", "fox", "fox-trot", "PEP-8", "机器学习", "学习", "the"]
texts = st.lists(st.sampled_from(WORDS), min_size=0, max_size=6).map(" ".join)
chunk_ids = st.sampled_from(["c1", "c2", "c3", "d1:0"])
document_ids = st.sampled_from(["d1", "d2"])
metadata = st.dictionaries(st.sampled_from(["n", "lang"]), st.sampled_from([1, 2, "en", None]), max_size=2)
filters = st.sampled_from(
    [None, {"n": 1}, {"lang": {"$exists": True}}, {"source": "s"}, {"$or": [{"n": {"$gt": 1}}, {"document_id": "d1"}]}]
)


class StoreMachine(RuleBasedStateMachine):
    """The model holds the chunks by id and the documents by id; every search is recomputed from it."""

    folder: Path | None = None

    @initialize()
    def start(self) -> None:
        self.embedder = HashEmbedder()
        self.chunker = LineChunker()
        self.chunks: dict[str, Chunk] = {}
        self.documents: dict[str, Document] = {}
        self.path = None if self.folder is None else Path(tempfile.mkdtemp(dir=self.folder)) / "store"
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.path, embedder=self.embedder, chunker=self.chunker)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            if self.path is not None:
                shutil.rmtree(self.path.parent)

    @rule(items=st.lists(st.tuples(chunk_ids, texts, metadata, st.sampled_from(["", "s"])), min_size=1, max_size=4))
    def add_chunks(self, items) -> None:
        chunks = [Chunk(id, id, text, source=source, metadata=data) for id, text, data, source in items]
        assert self.store.add(chunks) == [chunk.id for chunk in chunks]
        self.chunks.update((chunk.id, chunk) for chunk in chunks)

    @rule(id=document_ids, lines=st.lists(texts, max_size=4), data=metadata)
    def add_document(self, id, lines, data) -> None:
        document = Document(id, "\n".join(lines), source="s", metadata=data)
        self.store.add([document])
        if self.documents.get(id) != document or self.broken(id):
            self.chunks = {name: chunk for name, chunk in self.chunks.items() if chunk.document_id != id}
            self.chunks.update((chunk.id, chunk) for chunk in self.chunker.split(document))
        self.documents[id] = document

    def broken(self, id: str) -> bool:
        """A chunk of the document was deleted or replaced."""
        whole = {chunk.id: chunk for chunk in self.chunker.split(self.documents[id])}
        return whole != {name: chunk for name, chunk in self.chunks.items() if chunk.document_id == id}

    @rule(id=chunk_ids, seed=st.integers(0, 5))
    def add_vector(self, id, seed) -> None:
        # the same text, another vector: only searching by words still agrees with the embedder, so it is put back
        chunk = self.chunks.get(id) or Chunk(id, id, "fox")
        self.store.add_vectors([chunk], np.random.default_rng(seed).standard_normal((1, 16)))
        self.store.delete([chunk.id])
        self.forget({chunk.id})

    @rule(ids=st.lists(st.one_of(chunk_ids, document_ids), max_size=3), where=filters)
    def delete(self, ids, where) -> None:
        gone = {
            name
            for name, chunk in self.chunks.items()
            if (name in ids or chunk.document_id in ids) and (where is None or matches(where, fields_of(chunk)))
        }
        assert self.store.delete(ids, where=where) == len(gone)
        if where is None:
            for id in ids:
                self.documents.pop(id, None)
        self.forget(gone)

    @rule(where=filters)
    def delete_where(self, where) -> None:
        gone = {name for name, chunk in self.chunks.items() if where is None or matches(where, fields_of(chunk))}
        assert self.store.delete(where=where or {}) == len(gone)
        if where is None:
            self.documents.clear()
        self.forget(gone)

    def forget(self, names: set[str]) -> None:
        parents = {self.chunks.pop(name).document_id for name in names if name in self.chunks}
        for id in parents - {chunk.document_id for chunk in self.chunks.values()}:
            self.documents.pop(id, None)

    @rule()
    def reopen(self) -> None:
        if self.path is not None:
            self.store.close()
            self.open()

    @rule()
    def lose_the_indexes(self) -> None:
        if self.path is not None:
            self.store.close()
            shutil.rmtree(self.path / "derived", ignore_errors=True)
            self.open()

    @rule(question=texts.filter(str.strip), where=filters, k=st.integers(1, 4))
    def search_dense(self, question, where, k) -> None:
        query = self.embedder.embed([question], "query")[0]
        expected = {}
        for name, chunk in self.chunks.items():
            if where is None or matches(where, fields_of(chunk)):
                vector = self.embedder.embed([chunk.contextual_text], "query")[0]
                length = np.linalg.norm(vector) * np.linalg.norm(query)
                expected[name] = float(vector @ query / length) if length else 0.0
        hits = self.store.search(question, k, mode="dense", where=where, repeats=True)
        best = sorted(expected.values(), reverse=True)[:k]
        assert [hit.scores["dense"] for hit in hits] == pytest.approx(best, abs=1e-5)
        for hit in hits:
            assert hit.chunk == self.chunks[hit.chunk.id]
            assert hit.scores["dense"] == pytest.approx(expected[hit.chunk.id], abs=1e-5)

    @rule(question=st.sampled_from(WORDS[:2] + WORDS[5:7]), where=filters)
    def search_lexical(self, question, where) -> None:
        wanted = set(terms(question))
        expected = {
            name
            for name, chunk in self.chunks.items()
            if (where is None or matches(where, fields_of(chunk))) and wanted & set(terms(chunk.text))
        }
        hits = self.store.search(question, 50, mode="lexical", where=where, repeats=True)
        found = {hit.chunk.id for hit in hits}
        # a question of Chinese also finds single characters
        assert found == expected if question.isascii() else found >= expected

    @invariant()
    def same_content(self) -> None:
        if not hasattr(self, "store"):
            return
        assert len(self.store) == len(self.chunks)
        assert self.store.get(self.chunks) == list(self.chunks.values())
        assert {row.id: row.chunks for row in self.store.documents()} == {
            id: sum(chunk.document_id == id for chunk in self.chunks.values()) for id in self.documents
        }


@pytest.fixture(scope="class")
def _cells():
    """Every search through cells, though there are few chunks; all of them are visited, to be exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langbert.store.faiss_index.ANN_FROM", 3)
        patch.setattr("langbert.store.dense.TAIL", 3)
        patch.setattr("langbert.store.dense._FEW", 1)
        patch.setattr("langbert.store.view.EXACT", 1)
        patch.setattr("langbert.store.faiss_index.FaissIndex.effort_for", lambda self, _: len(self))
        yield


class TestInMemory(StoreMachine.TestCase):
    settings = settings(max_examples=40, stateful_step_count=25)


@pytest.fixture(scope="class")
def _folder(tmp_path_factory):
    StoreMachine.folder = tmp_path_factory.mktemp("stores")
    yield
    StoreMachine.folder = None


@pytest.mark.usefixtures("_folder")
class TestOnDisk(StoreMachine.TestCase):
    settings = settings(max_examples=15, stateful_step_count=20)


@pytest.mark.usefixtures("_folder", "_cells")
class TestCellsOnDisk(StoreMachine.TestCase):
    settings = settings(max_examples=15, stateful_step_count=20)


@pytest.mark.usefixtures("_cells")
class TestCellsInMemory(StoreMachine.TestCase):
    settings = settings(max_examples=25, stateful_step_count=25)
