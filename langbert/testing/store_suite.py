"""``StoreSuite``: what every store keeps, as tests; embedded, in shards, PostgreSQL, Qdrant and Milvus run them all."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..errors import FilterError, QuestionError, StoreError, StoreMismatch
from ..records import Calibration, Chunk, Document, SearchMode
from ..store import Store, StoreLike, matches, open_store
from ..store.filters import fields_of
from ..store.fusion import relative_scores
from ..store.snapshot import FileRecord
from .filters import rows, wheres
from .killed import documents as killed_documents
from .small import HashEmbedder, LineChunker

Promise = Literal["commits", "nul", "read_only", "other_processes"]
"""What an engine may be unable to keep: a document's chunks change in one step; texts may hold NUL characters; a store
can be opened for reading only; other processes may use the store at the same time."""

MODES: tuple[SearchMode, ...] = get_args(SearchMode)

ANIMALS = [
    Document("bees", "Bees make honey in summer.\nA queen lays two thousand eggs a day.\n", "bees.md", {"year": 2020}),
    Document("ants", "Ants live in colonies.\nA queen ant may live for thirty years.\n", "ants.md", {"year": 2021}),
    Document("zh", "机器学习是人工智能的一个分支。\n蜜蜂在夏天酿蜜。\n茶\n", "中文.md", {"year": 2022, "lang": "zh"}),
    Document("odd", "🐝 a café\r\nnaïve façade 🐜 e\u0301\n\n  line with blanks  \n", "odd.txt", {"tags": ["x", "y"]}),
]


class StoreSuite:
    """Subclass it, and give the fixture ``place``: what :func:`langbert.open_store` opens, empty and another each time.

    Attributes:
        cannot: promise → why the engine cannot keep it. Its tests are then expected to fail, and say so.
        indexed: options with which the store makes its index of vectors early.
        filter_examples: how often hypothesis draws chunks and some fifteen filters for them.
    """

    cannot: ClassVar[Mapping[Promise, str]] = {}
    indexed: ClassVar[Mapping[str, Any]] = {}
    filter_examples: ClassVar[int] = 60

    @pytest.fixture
    def place(self) -> str:
        raise NotImplementedError("give the fixture `place`: a folder or a URL, empty and another each time")

    @pytest.fixture
    def embedder(self) -> HashEmbedder:
        return HashEmbedder()

    @pytest.fixture
    def store(self, place: str, embedder: HashEmbedder) -> Iterator[StoreLike]:
        with self.open(place, embedder) as store:
            yield store

    def open(self, place: str, embedder: HashEmbedder | None = None, **options: Any) -> StoreLike:
        return open_store(place, embedder=embedder, chunker=LineChunker(), **options)

    def require(self, promise: Promise) -> None:
        """Ends a test as expected where the engine is declared not to keep a promise."""
        if promise in self.cannot:
            pytest.xfail(f"declared: {self.cannot[promise]}")

    # --- adding and deleting ------------------------------------------------------------------------------------------

    def test_what_is_new_is_embedded_and_nothing_else(self, store: StoreLike, embedder: HashEmbedder) -> None:
        assert store.add(ANIMALS) == ["bees", "ants", "zh", "odd"]
        assert (store.n_documents, len(store)) == (4, 10)
        embedder.embedded.clear()
        store.add(ANIMALS)
        assert embedder.embedded == []
        store.add([Document("bees", "Bees make honey in summer.\nA queen never sleeps.\n", "bees.md", {"year": 2023})])
        assert embedder.embedded == ["A queen never sleeps."]
        assert (store.n_documents, len(store)) == (4, 10)
        found = store.search("queen", mode="lexical", where={"source": "bees.md"})
        assert [(hit.text, hit.chunk.metadata["year"]) for hit in found] == [("A queen never sleeps.", 2023)]
        assert not store.search("eggs", mode="lexical")

    def test_deleting_twice_is_no_error(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        first = store.search("honey", 1, mode="lexical")[0].chunk.id
        assert store.delete([first]) == 1
        assert store.delete([first, "never there"]) == 0
        assert store.document("bees") is not None
        assert store.delete(["bees"]) == 1  # what is left of it
        assert store.document("bees") is None
        assert store.delete(["ants"], where={"year": 1999}) == 0
        assert store.delete(where={"year": {"$gte": 2021}}) == 5
        assert [row.id for row in store.documents()] == ["odd"]
        assert store.delete(where={}) == 3
        assert (store.n_documents, len(store)) == (0, 0)
        with pytest.raises(StoreError, match="what to delete"):
            store.delete()
        store.add(ANIMALS)
        assert len(store) == 10

    def test_chunks_without_a_document(self, store: StoreLike) -> None:
        chunks = [Chunk(f"c{i}", "d", f"text {i}", metadata={"i": i}) for i in range(3)]
        assert store.add(chunks) == ["c0", "c1", "c2"]
        assert store.get(["c2", "nothing", "c0"]) == [chunks[2], chunks[0]]
        assert (store.n_documents, len(store)) == (0, 3)
        moved = Chunk("c1", "d", "text 1", start=7, metadata={"i": 10})
        store.add([moved])
        assert store.get(["c1"]) == [moved]
        assert store.delete(["d"]) == 3

    def test_vectors_come_back_as_they_were_given(self, place: str) -> None:
        vectors = np.array([[1.5, -2.0, 0.25], [0, 0, 0], [1e-6, 3e5, 1]], dtype=np.float32)
        with self.open(place) as store:
            store.add_vectors([Chunk(f"c{i}", "d", "word") for i in range(3)], vectors)
            assert store.vectors(["c2", "c0", "c1"]).tolist() == vectors[[2, 0, 1]].tolist()
            found = store.search_vector(np.array([1.5, -2.0, 0.25], dtype=np.float32), 3)
            assert found[0].chunk.id == "c0"
            assert len(found) == 3
            assert found[0].scores["dense"] == pytest.approx(1, abs=1e-5)
            with pytest.raises(StoreMismatch):
                store.add_vectors([Chunk("c9", "d", "word")], np.ones((1, 4), dtype=np.float32))
            with pytest.raises(StoreError, match="c7"):
                store.vectors(["c7"])

    def test_what_its_questions_taught_is_kept(self, store: StoreLike, embedder: HashEmbedder) -> None:
        store.add(ANIMALS)
        kept = Calibration(1.5, -1.0, 20, embedder.space.fingerprint)
        store.keep_calibration(kept)
        assert (store.calibration, store.info()["calibration"]["questions"]) == (kept, 20)
        store.keep_calibration(None)
        assert store.calibration is None

    def test_nul_characters(self, store: StoreLike) -> None:
        chunk = Chunk("c", "d", "before\0after")
        if "nul" in self.cannot:
            with pytest.raises(StoreError):
                store.add([chunk])
            assert len(store) == 0
        self.require("nul")
        store.add([chunk])
        assert store.get(["c"]) == [chunk]

    # --- searching ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", ["dense", "hybrid"])
    def test_k_of_k_under_any_filter(self, place: str, mode: SearchMode) -> None:
        with self.open(place, HashEmbedder(), **self.indexed) as store:
            texts = [f"word{i % 7} word{i % 11} word{i % 101}" for i in range(600)]
            store.add([Chunk(f"c{i:03}", "d", texts[i], metadata={"i": i, "third": i % 3}) for i in range(600)])
            cases: list[tuple[dict[str, Any] | None, int]] = [
                ({"i": {"$in": [0, 299, 599]}}, 3),
                ({"third": 1}, 200),
                ({"i": {"$gte": 595}}, 5),
                ({"$not": {"third": 0}}, 400),
                ({"i": -1}, 0),
                (None, 600),
            ]
            for where, n in cases:
                for k in (1, 10, 250):
                    found = store.search("word3 word5", k, mode=mode, where=where, repeats=True)
                    assert len(found) == min(k, n)
                    ids = [hit.chunk.id for hit in found]
                    assert len(set(ids)) == len(ids)
                    assert all(matches(where or {}, fields_of(hit.chunk)) for hit in found)

    def test_dense_scores_are_cosines_in_order(self, store: StoreLike, embedder: HashEmbedder) -> None:
        store.add(ANIMALS)
        asked = embedder.embed(["a queen in summer"], "query")[0]
        found = store.search("a queen in summer", 10, mode="dense", repeats=True)
        vectors = store.vectors([hit.chunk.id for hit in found])
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(asked)
        cosines = np.where(lengths > 0, vectors @ asked / np.maximum(lengths, 1e-12), 0)
        assert [hit.scores["dense"] for hit in found] == pytest.approx(cosines.tolist(), abs=1e-5)
        assert np.all(np.diff(cosines) <= 1e-5)
        scores = [hit.score for hit in found]
        assert scores == sorted(scores, reverse=True) == [hit.relevance for hit in found]
        assert 0 <= scores[-1] <= scores[0] <= 1

    def test_hybrid_is_the_fusion_of_both(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        for question in ("how long does a queen ant live", "蜜蜂 honey", "eggs"):
            found = store.search(question, 10, repeats=True)
            dense = np.array([hit.scores["dense"] for hit in found])
            words = np.array([hit.scores["lexical"] for hit in found])
            fused = relative_scores(dense, words, 0.5)
            assert [hit.score for hit in found] == pytest.approx(fused.tolist(), abs=1e-4)
            assert np.all(np.diff(fused) <= 1e-4)
            assert len(store.search(question, 3, fusion="rrf", repeats=True)) == 3

    def test_the_embedded_store_finds_the_same_first(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        with Store.open(embedder=HashEmbedder(), chunker=LineChunker()) as embedded:
            embedded.add(ANIMALS)
            for question in ("who makes honey", "how long does a queen ant live", "人工智能", "蜜蜂", "naive facade"):
                for mode in MODES:
                    mine, theirs = store.search(question, 3, mode=mode), embedded.search(question, 3, mode=mode)
                    as_good = [hit.chunk for hit in mine if hit.score > mine[0].score - 1e-6]
                    assert theirs[0].chunk in as_good, (question, mode)

    def test_chinese_words(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        for question, text in [
            ("人工智能", "机器学习是人工智能的一个分支。"),
            ("什么是机器学习？", "机器学习是人工智能的一个分支。"),
            ("蜜蜂", "蜜蜂在夏天酿蜜。"),
            ("茶", "茶"),
        ]:
            assert store.search(question, 1, mode="lexical")[0].text == text
        assert not store.search("长城", mode="lexical")

    def test_words_as_they_are_written(self, store: StoreLike) -> None:
        store.add([Chunk("a", "d", "error E-1042 occurred on 5 March 2024"), Chunk("b", "d", "error E-1043 occurred")])
        for question in ("E1042", "e 1042", "2024-03-05", "ERRORS of E-1042"):
            assert store.search(question, 1, mode="lexical")[0].chunk.id == "a", question
        assert not store.search("'; DROP TABLE chunks; --", mode="lexical", where={"source": "\\' OR 1=1 --"})

    @pytest.mark.parametrize("mode", MODES)
    def test_a_longer_list_begins_with_the_shorter(self, store: StoreLike, mode: SearchMode) -> None:
        store.add([Chunk(f"c{i:02}", f"d{i}", f"word{i % 5} word{i % 8} shared") for i in range(40)])
        pages = [store.search("word1 shared", k, mode=mode, repeats=True) for k in (5, 10, 40)]
        ids = [[hit.chunk.id for hit in page] for page in pages]
        assert ids[0] == ids[1][:5]
        assert ids[1] == ids[2][:10]
        assert len(set(ids[2])) == 40
        assert [hit.score for hit in pages[2]] == sorted((hit.score for hit in pages[2]), reverse=True)

    def test_what_says_the_same_is_one_hit(self, store: StoreLike) -> None:
        store.add([Document(f"copy{i}", "Bees make honey in summer.\n") for i in range(3)])
        store.add([Document("other", "Ants make no honey at all.\n")])
        found = store.search("who makes honey", 4)
        assert sorted(len(hit.places) for hit in found) == [0, 2]
        assert len(store.search("who makes honey", 4, repeats=True)) == 4

    def test_quotes_stand_where_they_are_said_to(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        assert [store.document(animal.id) for animal in ANIMALS] == ANIMALS
        assert store.get([animal.id for animal in ANIMALS]) == ANIMALS
        found = store.search("queen 蜜蜂 café line blanks", 20, mode="dense", repeats=True)
        assert len(found) == 10
        for hit in found:
            document = store.document(hit.document_id)
            assert document is not None
            assert document.text[hit.chunk.start : hit.chunk.end] == hit.text

    def test_an_empty_store_and_empty_questions(self, store: StoreLike) -> None:
        assert [store.search("anything", mode=mode) for mode in MODES] == [[], [], []]
        assert store.document("nothing") is None
        assert list(store.documents()) == []
        with pytest.raises(QuestionError):
            store.search("   ")
        with pytest.raises(ValueError, match="k must be"):
            store.search("word", 0)

    # --- filters ------------------------------------------------------------------------------------------------------

    def test_filters_find_what_the_reference_finds(self, place: str) -> None:
        self.check_filters(place, self.filter_examples)

    def check_filters(self, place: str, examples: int) -> None:
        """Filters against :func:`langbert.store.matches`."""
        vector = np.ones(2, dtype=np.float32)
        with self.open(place) as store:

            @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(rows=rows, wanted=st.lists(wheres, min_size=10, max_size=20))
            def agree(rows: Sequence[tuple[dict[str, Any], str, int | None]], wanted: list[dict[str, Any]]) -> None:
                store.delete(where={})
                chunks = [
                    Chunk(f"c{i}", f"d{i % 2}", "text", source=source, page=page, metadata=metadata)
                    for i, (metadata, source, page) in enumerate(rows)
                ]
                store.add_vectors(chunks, np.ones((len(chunks), 2), dtype=np.float32))
                for where in wanted:
                    found = {hit.chunk.id for hit in store.search_vector(vector, 10, where=where)}
                    assert found == {chunk.id for chunk in chunks if matches(where, fields_of(chunk))}, where

            agree()

    def test_a_function_filters_too(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        found = store.search("queen", 10, where=lambda chunk: chunk.metadata.get("year") == 2021, repeats=True)
        assert {hit.document_id for hit in found} == {"ants"}
        assert len(found) == 2

    def test_a_filter_that_cannot_be_understood(self, store: StoreLike) -> None:
        store.add(ANIMALS)
        with pytest.raises(FilterError, match="did you mean"):
            store.search("queen", where={"year": {"$gtt": 3}})

    # --- opening ------------------------------------------------------------------------------------------------------

    def test_another_fingerprint_is_refused(self, place: str) -> None:
        with self.open(place, HashEmbedder()) as store:
            store.add(ANIMALS)
            made = store.space
        with pytest.raises(StoreMismatch, match="pooling: 'mean' != 'cls'"):
            self.open(place, HashEmbedder(pooling="cls"))
        with pytest.raises(StoreMismatch):
            self.open(place, HashEmbedder(dimension=8))
        with self.open(place) as plain:  # without an embedder: words only
            assert plain.space == made
            assert plain.search("honey", 1, mode="lexical")[0].document_id == "bees"
            with pytest.raises(StoreError, match="embedder"):
                plain.search("honey")
            with pytest.raises(StoreError, match="embedder"):
                plain.add([Document("new", "text")])

    def test_what_was_added_is_there_after_opening_again(self, place: str) -> None:
        with self.open(place, HashEmbedder()) as store:
            store.add(ANIMALS)
            before = store.search("a queen in summer", 10, repeats=True)
        with self.open(place, HashEmbedder(), create=False) as store:
            assert store.search("a queen in summer", 10, repeats=True) == before
            assert store.info()["chunks"] == 10

    def test_a_store_that_is_not_there(self, place: str) -> None:
        with pytest.raises(StoreError, match="no store"):
            self.open(place, create=False)

    def test_reading_only(self, place: str) -> None:
        self.require("read_only")
        with self.open(place, HashEmbedder()) as store:
            store.add(ANIMALS)
        with self.open(place, HashEmbedder(), read_only=True) as store:
            assert store.search("honey", 1)[0].document_id == "bees"
            with pytest.raises(StoreError, match="read_only"):
                store.add([Document("new", "text")])

    # --- several at a time --------------------------------------------------------------------------------------------

    def test_readers_see_whole_documents_while_one_writes(self, store: StoreLike) -> None:
        self.require("commits")
        store.add([Document("d", "version 0 one\nversion 0 two\nversion 0 three\n")])
        torn: list[object] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                try:
                    found = store.search("version", 10, mode="lexical", repeats=True)
                    if len(found) != 3 or len({hit.text.split()[1] for hit in found}) != 1:
                        torn.append([hit.text for hit in found])
                except Exception as error:
                    torn.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for i in range(1, 25):
                store.add([Document("d", f"version {i} one\nversion {i} two\nversion {i} three\n")])
        finally:
            done.set()
            for reader in readers:
                reader.join()
        assert torn == []
        assert {hit.text.split()[1] for hit in store.search("version", mode="lexical", repeats=True)} == {"24"}

    def test_writers_in_several_threads(self, store: StoreLike) -> None:
        def add(thread: int) -> None:
            for i in range(5):
                store.add(
                    [Document(f"{thread}-{i}", f"thread {thread}\ndocument {i}\n"), Document("all", f"by {thread}\n")]
                )

        threads = [threading.Thread(target=add, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (store.n_documents, len(store)) == (21, 41)
        assert len(store.search("document", 100, mode="lexical", repeats=True)) == 20

    def test_a_client_that_is_killed(self, place: str) -> None:
        command = [sys.executable, "-m", "langbert.testing.killed", place, "200"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            said = [client.stdout.readline().strip() for _ in range(12)]
            client.kill()
            said += client.stdout.read().split()
        given = killed_documents(200)
        with self.open(place, HashEmbedder()) as store:
            assert {row.id for row in store.documents()} >= set(said[:12])
            if "commits" not in self.cannot:
                assert len(store) == 3 * store.n_documents
            store.add(given)
            assert (store.n_documents, len(store)) == (200, 600)
            assert all(store.document(one.id) == one for one in given[::20])
            assert store.search("second 17", 1, mode="lexical")[0].document_id == "d17"

    def test_two_clients_see_each_other(self, place: str) -> None:
        self.require("other_processes")
        with self.open(place, HashEmbedder()) as one, self.open(place, HashEmbedder()) as other:
            one.add(ANIMALS[:2])
            assert other.search("honey", 1)[0].document_id == "bees"
            other.add(ANIMALS[2:])
            assert len(one) == 10
            assert other.delete(["bees"]) == 2
            assert {hit.document_id for hit in one.search("honey", 10, mode="lexical")} == set()

    # --- what it remembers --------------------------------------------------------------------------------------------

    def test_the_ledger_forgets_what_is_deleted(self, store: StoreLike) -> None:
        store.add([Chunk("a", "a", "one"), Chunk("b", "b", "two")])
        ledger = store.ledger("web")
        ledger.create()
        at = ledger.now()
        ledger.record(["a", "b"], ["g", None], at=at)
        assert ledger.known(["a", "b", "c"]) == {"a", "b"}
        assert ledger.keys(groups=["g"]) == ["a"]
        assert ledger.keys(before=at) == []
        assert ledger.now() > at
        store.delete(["a"])
        assert ledger.keys() == ["b"]
        assert store.ledger("elsewhere").keys() == []
        ledger.record(["b"], at=ledger.now())
        assert ledger.keys(after=at) == ["b"]
        ledger.forget(["b", "never"])
        assert ledger.keys() == []

    def test_files_are_remembered(self, store: StoreLike) -> None:
        store.add([Document("a", "text")])

        def record(path: str, state: Any, document_id: str) -> FileRecord:
            return FileRecord(path, path, 4, 1, 2, "digest", state, "", document_id, "text 1", 3.5)

        given = [record("/b", "failed", ""), record("/a", "done", "a"), record("/c", "done", "gone")]
        store.files.record(given)
        assert list(store.files) == [given[1], given[0]]
        store.files.forget(["/b", "/never"])
        assert [one.path for one in store.files] == ["/a"]
        store.delete(["a"])
        assert list(store.files) == []
