"""What a caller of the store may rely on, in memory and on disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from store_tools import DIMENSION, HashEmbedder, LineChunker

from langbert.errors import QuestionError, StoreCorrupt, StoreError, StoreLocked, StoreMismatch
from langbert.records import Chunk, Document, EmbeddingSpace, Heading
from langbert.store import Store
from langbert.store.schema import FORMAT


@pytest.fixture(params=["memory", "disk"])
def where_to(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "Bücher 书库 #1?%20"


@pytest.fixture
def embedder():
    return HashEmbedder()


@pytest.fixture
def store(where_to, embedder):
    with Store.open(where_to, embedder=embedder, chunker=LineChunker()) as opened:
        yield opened


def chunk(id: str, text: str, **fields) -> Chunk:
    return Chunk(id, fields.pop("document_id", id), text, **fields)


def found(candidates) -> list[str]:
    return [candidate.chunk.id for candidate in candidates]


DOCUMENT = Document(
    "doc",
    "first line of foxes\n\nsecond line of bears\nthird line of owls",
    source="animals.txt",
    metadata={"lang": "en", "年": [1, {"deep": None}]},
    page_starts=(0, 21),
    headings=(Heading(0, 1, "first"),),
)


# --- adding and looking up -------------------------------------------------------------------------------------------


def test_what_goes_in_comes_out(store):
    lone = chunk("lone", "a chunk alone", start=7, page=3, headings=("A", "B"), source="x.md", metadata={"k": 1.5})
    assert store.add([DOCUMENT, lone]) == ["doc", "lone"]
    assert len(store) == 4
    assert store.document("doc") == DOCUMENT
    assert store.get(["lone", "nothing", "doc", "doc:22"])[:2] == [lone, DOCUMENT]
    piece = store.get(["doc:21"])[0]
    assert DOCUMENT.text[piece.start : piece.end] == piece.text == "second line of bears"
    assert piece.page == 2
    assert piece.metadata == DOCUMENT.metadata
    assert [(row.id, row.source, row.chunks) for row in store.documents()] == [("doc", "animals.txt", 3)]
    assert store.document("lone") is None


def test_added_is_found_at_once(store):
    for index in range(5):
        store.add([chunk(f"c{index}", f"word{index} and words")])
        for mode in ("dense", "lexical", "hybrid"):
            assert found(store.search(f"word{index} and words", 1, mode=mode)) == [f"c{index}"], mode


def test_the_same_id_again_is_an_update(store):
    store.add([chunk("a", "apples are red"), chunk("b", "bananas are yellow")])
    store.add([chunk("a", "avocados are green")])
    assert len(store) == 2
    assert found(store.search("apples", mode="lexical")) == []
    assert found(store.search("avocados", mode="lexical")) == ["a"]
    assert store.get(["a"])[0].text == "avocados are green"


def test_the_last_of_equal_ids_counts(store):
    assert store.add([chunk("a", "old text"), chunk("b", "other"), chunk("a", "new text")]) == ["a", "b", "a"]
    assert [item.text for item in store.get(["a", "b"])] == ["new text", "other"]


def test_unchanged_costs_nothing(store, embedder):
    store.add([DOCUMENT, chunk("lone", "a chunk alone")])
    change, embedded = store.info()["change"], len(embedder.embedded)
    assert store.add([DOCUMENT, chunk("lone", "a chunk alone")]) == ["doc", "lone"]
    assert store.info()["change"] == change
    assert len(embedder.embedded) == embedded
    assert store.chunker.n_split == 1


def test_only_changed_text_is_embedded_again(store, embedder):
    store.add([DOCUMENT])
    embedder.embedded.clear()
    store.add([Document("doc", "new opening\n" + DOCUMENT.text, source="animals.txt", metadata={"lang": "de"})])
    assert embedder.embedded == ["new opening"]
    assert len(store) == 4
    assert found(store.search("bears", where={"lang": "de"}, mode="lexical")) == ["doc:33"]
    assert found(store.search("bears", where={"lang": "en"}, mode="lexical")) == []


def test_new_metadata_alone_embeds_nothing_and_filters_at_once(store, embedder):
    store.add([chunk("a", "apples", metadata={"v": 1})])
    assert found(store.search("apples", where={"v": 1})) == ["a"]
    embedder.embedded.clear()
    store.add([chunk("a", "apples", metadata={"v": 2})])
    assert embedder.embedded == []
    assert found(store.search("apples", where={"v": 1})) == []
    assert found(store.search("apples", where={"v": 2})) == ["a"]


def test_another_chunker_cuts_again(tmp_path, embedder):
    with Store.open(tmp_path / "s", embedder=embedder, chunker=LineChunker("lines")) as store:
        store.add([DOCUMENT])
    again = LineChunker("other lines")
    with Store.open(tmp_path / "s", embedder=embedder, chunker=again) as store:
        store.add([DOCUMENT])
        assert again.n_split == 1


def test_a_shorter_document_loses_its_old_chunks(store):
    store.add([DOCUMENT])
    store.add([Document("doc", "only line", source="animals.txt")])
    assert len(store) == 1
    assert found(store.search("owls bears foxes line", 10)) == ["doc:0"]
    store.add([Document("doc", "  \n ", source="animals.txt")])
    assert len(store) == 0
    assert [row.chunks for row in store.documents()] == [0]


def test_the_default_chunker_is_ours(where_to, embedder):
    with Store.open(where_to, embedder=embedder) as store:
        store.add([Document("d", "One sentence here. " * 60)])
        assert len(store) > 1
        text = store.document("d").text
        assert all(text[c.chunk.start : c.chunk.end] == c.text for c in store.search("sentence", 50))


def test_progress_counts_committed_items_and_an_interrupt_keeps_whole_batches(store):
    seen: list[int] = []

    def items():
        for index in range(1500):
            if index == 1100:
                raise KeyboardInterrupt
            yield chunk(f"c{index}", f"text {index}")

    with pytest.raises(KeyboardInterrupt):
        store.add(items(), progress=seen.append)
    assert len(store) == sum(seen) == 1024
    store.add([chunk(f"c{index}", f"text {index}") for index in range(1500)], progress=seen.append)
    assert len(store) == 1500


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("text", "got str"),
        (chunk("", "x"), "empty id"),
        (chunk("a", "bad \ud800 text"), "not valid Unicode at character 4"),
        (chunk("a", "x", metadata={"when": object()}), "metadata must be JSON"),
        (chunk("a", "x", metadata={"v": float("inf")}), "metadata must be JSON"),
        (chunk("a", "x", metadata={1: 2}), "keys must be str"),
        (chunk("a", "x", page="3"), "page must be"),
        (Document("", "x"), "empty id"),
        (Document("d", "x", metadata=[1]), "must be a mapping"),
    ],
)
def test_nonsense_is_refused_and_nothing_of_its_batch_is_stored(store, item, says):
    with pytest.raises(StoreError, match=says):
        store.add([chunk("good", "good text"), item])
    assert len(store) == 0


@pytest.mark.parametrize("items", ["abc", b"abc", DOCUMENT])
def test_one_item_is_not_a_list(store, items):
    with pytest.raises(StoreError, match="put it in a list"):
        store.add(items)


def test_an_embedder_at_fault_is_named():
    class Broken(HashEmbedder):
        def embed(self, texts, role="document", *, progress=None):
            return np.full((len(texts), self.dimension), np.nan, dtype=np.float32)

    with Store.open(embedder=Broken()) as store, pytest.raises(StoreError, match="NaN"):
        store.add([chunk("a", "x")])


def test_odd_text_survives(store):
    texts = [
        "",
        "nul \0 inside",
        "\u202e right to left",
        "emoji 👩‍👩‍👧",
        "line\r\nends\x85\u2028",
        "'; DROP TABLE chunks; --",
    ]
    store.add([chunk(f"c{i}", text, metadata={"t": text, "lone\ud800": "\ud800"}) for i, text in enumerate(texts)])
    assert [item.text for item in store.get([f"c{i}" for i in range(len(texts))])] == texts
    assert store.get(["c1"])[0].metadata == {"t": texts[1], "lone\ud800": "\ud800"}


# --- deleting --------------------------------------------------------------------------------------------------------


def test_delete_by_chunk_document_and_filter(store):
    store.add([DOCUMENT, chunk("a", "apples", metadata={"v": 1}), chunk("b", "bears", metadata={"v": 2})])
    assert store.delete(["a", "a", "nothing"]) == 1
    assert store.delete(["a"]) == 0
    assert store.delete(["doc", "b"], where={"v": 2}) == 1
    assert len(store) == 3
    assert store.delete(where={"source": "animals.txt"}) == 3
    assert list(store.documents()) == []
    assert found(store.search("line of bears", 10)) == []


def test_delete_everything_or_say_what(store):
    store.add([DOCUMENT, Document("empty", ""), chunk("a", "apples")])
    with pytest.raises(StoreError, match="say what to delete"):
        store.delete()
    with pytest.raises(StoreError, match="put it in a list"):
        store.delete("doc")
    assert store.delete([]) == 0
    assert store.delete(["empty"]) == 0
    assert [row.id for row in store.documents()] == ["doc"]
    assert store.delete(where={}) == 4
    assert list(store.documents()) == []
    assert len(store) == 0


def test_a_document_that_lost_a_chunk_is_made_whole_by_adding_it_again(store):
    store.add([DOCUMENT])
    store.delete(["doc:21"])
    assert len(store) == 2
    store.add([DOCUMENT])
    assert len(store) == 3
    store.delete(["doc"])
    assert store.document("doc") is None
    store.add([DOCUMENT])
    assert len(store) == 3


# --- searching -------------------------------------------------------------------------------------------------------


def test_k_hits_come_back_if_k_match(store):
    rng = np.random.default_rng(0)
    chunks = [chunk(f"c{i}", f"text {i}", metadata={"bucket": i % 100}) for i in range(1000)]
    vectors = rng.standard_normal((1000, DIMENSION)).astype(np.float32)
    store.add_vectors(chunks, vectors)
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    for where, allowed in (
        ({"bucket": 7}, np.arange(1000) % 100 == 7),
        ({"bucket": {"$lt": 90}}, np.arange(1000) % 100 < 90),
    ):
        hits = store.search_vector(query, 10, where=where)
        best = sorted(np.flatnonzero(allowed), key=lambda i: -cosines[i])[:10]
        assert found(hits) == [f"c{i}" for i in best]
        assert [hit.scores["dense"] for hit in hits] == pytest.approx([cosines[i] for i in best], abs=1e-5)


def test_a_large_selection_goes_through_the_selector(store, monkeypatch):
    monkeypatch.setattr("langbert.store.view.EXACT", 0)
    test_k_hits_come_back_if_k_match(store)


def test_scores_are_in_range_and_ordered(store):
    store.add([DOCUMENT, *(chunk(f"c{i}", f"bears and {i} owls") for i in range(30))])
    store.add_vectors([chunk("against", "x")], -np.ones((1, DIMENSION), dtype=np.float32))
    for mode in ("dense", "lexical", "hybrid"):
        hits = store.search("line of bears", 40, mode=mode)
        scores = [hit.score for hit in hits]
        assert all(0 <= score <= 1 for score in scores)
        assert scores == sorted(scores, reverse=True)
        assert {"dense": {"dense"}, "lexical": {"lexical"}, "hybrid": {"dense", "lexical"}}[mode] == set(hits[0].scores)


def test_hybrid_scores_every_candidate_by_both(store):
    store.add([chunk(f"c{i}", f"shared word{i} " + "filler " * (i % 7)) for i in range(200)])
    dense = {hit.chunk.id: hit.scores["dense"] for hit in store.search("shared word3", 200, mode="dense")}
    lexical = {hit.chunk.id: hit.scores["lexical"] for hit in store.search("shared word3", 200, mode="lexical")}
    for fusion in ("scores", "rrf"):
        for hit in store.search("shared word3", 60, fusion=fusion):
            assert hit.scores["dense"] == pytest.approx(dense[hit.chunk.id], abs=1e-5)
            assert hit.scores["lexical"] == pytest.approx(lexical.get(hit.chunk.id, 0.0), abs=1e-4)


def test_the_weight_moves_between_the_sources(store):
    store.add([chunk(f"c{i}", f"shared word{i} " + "filler " * (i % 7)) for i in range(40)])
    for fusion in ("scores", "rrf"):
        only_dense = store.search("shared word3", 5, fusion=fusion, dense_weight=1.0)
        assert found(only_dense) == found(store.search("shared word3", 5, mode="dense"))
        only_words = store.search("shared word3", 5, fusion=fusion, dense_weight=0.0)
        assert found(only_words) == found(store.search("shared word3", 5, mode="lexical"))


@pytest.mark.parametrize("question", ["", "  \n", None, 3])
def test_an_empty_question_is_an_error(store, question):
    with pytest.raises(QuestionError):
        store.search(question)


def test_an_empty_store_finds_nothing(store):
    for mode in ("dense", "lexical", "hybrid"):
        assert store.search("anything", mode=mode) == []
    assert store.search_vector(np.ones(DIMENSION)) == []


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 2.5}, {"mode": "fuzzy"}, {"fusion": "sum"}, {"dense_weight": 1.5}])
def test_options_out_of_range(store, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        store.search("question", **options)


def test_a_vector_of_zeros_is_no_error(store):
    store.add([chunk("a", "..."), chunk("b", "words")])
    assert sorted(found(store.search("words", mode="dense"))) == ["a", "b"]
    assert [hit.score for hit in store.search_vector(np.zeros(DIMENSION))] == [0.5, 0.5]


def test_vectors_come_back_as_given(store):
    vectors = np.random.default_rng(1).standard_normal((3, DIMENSION)).astype(np.float32) * 5
    store.add_vectors([chunk(c, c) for c in "abc"], vectors)
    assert np.array_equal(store.vectors(["c", "a", "a"]), vectors[[2, 0, 0]])
    assert store.vectors([]).shape == (0, DIMENSION)
    store.add_vectors([chunk("a", "a")], vectors[1:2])
    assert np.array_equal(store.vectors(["a"]), vectors[1:2])
    assert store.search_vector(vectors[1], 2)[1].score == pytest.approx(1)
    with pytest.raises(StoreError, match="'zzz'"):
        store.vectors(["a", "zzz"])


def test_vectors_of_the_wrong_shape_are_refused(store):
    store.add([chunk("a", "apples")])
    for vectors in (np.ones(3), np.ones((2, DIMENSION)), np.full((1, DIMENSION), np.inf), [["x"]]):
        with pytest.raises(StoreError):
            store.add_vectors([chunk("b", "b")], vectors)
    with pytest.raises(StoreMismatch, match="16 dimensions"):
        store.add_vectors([chunk("b", "b")], np.ones((1, 3)))
    with pytest.raises(StoreMismatch, match="16 dimensions"):
        store.search_vector(np.ones(3))
    assert len(store) == 1


def test_without_an_embedder(tmp_path):
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        store.add([chunk("a", "apples are red")])
    with Store.open(tmp_path / "s") as store:
        assert found(store.search("apples", mode="lexical")) == ["a"]
        assert found(store.search_vector(np.ones(DIMENSION))) == ["a"]
        store.add_vectors([chunk("b", "bananas")], np.ones((1, DIMENSION)))
        with pytest.raises(StoreError, match="needs the embedder"):
            store.search("apples")
        with pytest.raises(StoreError, match="adding text needs the embedder"):
            store.add([chunk("c", "cherries")])
        assert store.delete(["a"]) == 1


def test_a_store_of_words_only(where_to):
    with Store.open(where_to, chunker=LineChunker()) as store:
        store.add([DOCUMENT, chunk("a", "apples are red")])
        store.add([chunk("a", "apples are green", metadata={"v": 1})])
        store.add([chunk("a", "apples are green", metadata={"v": 2})])
        assert found(store.search("apples", mode="lexical", where={"v": 2})) == ["a"]
        assert found(store.search("bears", mode="lexical")) == ["doc:21"]
        with pytest.raises(StoreMismatch, match="words only"):
            store.search_vector(np.ones(DIMENSION))
        with pytest.raises(StoreMismatch, match="words only"):
            store.add_vectors([chunk("b", "bananas")], np.ones((1, DIMENSION)))
    if where_to is not None:
        with Store.open(where_to, embedder=HashEmbedder()) as store:
            for refused in (lambda: store.search("apples"), lambda: store.add([chunk("b", "bananas")])):
                with pytest.raises(StoreMismatch, match="words only"):
                    refused()
            assert store.delete(where={}) == 4
            store.add([chunk("b", "bananas")])
            assert found(store.search("bananas")) == ["b"]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_another_embedding_space_is_refused_with_the_difference(tmp_path):
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        store.add([chunk("a", "apples")])
    with pytest.raises(StoreMismatch, match="pooling: 'mean' != 'cls'"):
        Store.open(tmp_path / "s", embedder=HashEmbedder(pooling="cls"))
    with pytest.raises(StoreMismatch, match="dimension: 16 != 8"):
        Store.open(tmp_path / "s", embedder=HashEmbedder(8))
    renamed = HashEmbedder()
    renamed.space = EmbeddingSpace("another label", *list(_fields(renamed.space))[1:])
    Store.open(tmp_path / "s", embedder=renamed).close()


def _fields(space):
    return [getattr(space, name) for name in space.__dataclass_fields__]


def test_two_stores_opened_empty_with_different_embedders(tmp_path):
    first = Store.open(tmp_path / "s", embedder=HashEmbedder())
    second = Store.open(tmp_path / "s", embedder=HashEmbedder(pooling="cls"))
    first.add([chunk("a", "apples")])
    with pytest.raises(StoreMismatch):
        second.add([chunk("b", "bananas")])
    with pytest.raises(StoreMismatch):
        second.search("apples")
    first.close()
    second.close()


def test_what_is_not_a_store(tmp_path):
    with pytest.raises(StoreError, match="no store in"):
        Store.open(tmp_path / "missing", create=False)
    with pytest.raises(StoreError, match="no store in"):
        Store.open(tmp_path / "missing", read_only=True)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        Store.open(tmp_path / "file")
    with pytest.raises(StoreError, match="not a langbert store"):
        Store.open(tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.sqlite").write_bytes(b"not a database at all, but long enough to look" * 100)
    with pytest.raises(StoreCorrupt, match="damaged"):
        Store.open(tmp_path / "s")
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    (tmp_path / "o").mkdir()
    (tmp_path / "other.sqlite").rename(tmp_path / "o" / "store.sqlite")
    with pytest.raises(StoreError, match="not a langbert store"):
        Store.open(tmp_path / "o")


def test_a_newer_format_is_refused(tmp_path):
    Store.open(tmp_path / "s").close()
    connection = sqlite3.connect(tmp_path / "s" / "store.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="upgrade langbert"):
        Store.open(tmp_path / "s")


def test_a_process_that_died_while_creating_leaves_a_usable_folder(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.sqlite").touch()
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        store.add([chunk("a", "apples")])
        assert len(store) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path):
    Store.open(tmp_path / "s").close()
    (tmp_path / "s").chmod(0o500)
    (tmp_path / "s" / "store.sqlite").chmod(0o400)
    try:
        with pytest.raises(StoreError):
            Store.open(tmp_path / "s", embedder=HashEmbedder()).add([chunk("a", "a")])
        assert len(Store.open(tmp_path / "s", read_only=True)) == 0
    finally:
        (tmp_path / "s").chmod(0o700)


def test_read_only_writes_nothing(tmp_path):
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        store.add([chunk("a", "apples are red")])
        before = _files(tmp_path / "s" / "derived")
        with Store.open(tmp_path / "s", embedder=HashEmbedder(), read_only=True) as reader:
            for index in range(3):
                store.add([chunk(f"b{index}", f"berries number{index}")])
                assert found(reader.search(f"number{index}", 1, mode="lexical")) == [f"b{index}"]
                assert found(reader.search(f"berries number{index}", 1, mode="dense")) == [f"b{index}"]
            with pytest.raises(StoreError, match="read_only"):
                reader.add([chunk("c", "cherries")])
            with pytest.raises(StoreError, match="read_only"):
                reader.delete(["a"])
        assert _files(tmp_path / "s" / "derived") == before


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        len(store)
    with pytest.raises(StoreError, match="closed"):
        store.add([chunk("a", "a")])


def test_info(tmp_path):
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        store.add([DOCUMENT])
        info = store.info()
        assert (info["documents"], info["chunks"], info["dimension"], info["format"]) == (1, 3, DIMENSION, FORMAT)
        assert info["embedding_space"]["pooling"] == "mean"
        assert info["bytes"] > 0


# --- beside each other -----------------------------------------------------------------------------------------------


def test_threads(store):
    errors: list[BaseException] = []

    def write(worker: int) -> None:
        for index in range(20):
            store.add([chunk(f"w{worker}-{index}", f"worker{worker} item{index}")])

    def read() -> None:
        for _ in range(20):
            for mode in ("dense", "lexical", "hybrid"):
                for hit in store.search("worker1 item3", 5, mode=mode):
                    assert hit.chunk.text.startswith("worker")

    def guarded(work, *args) -> None:
        try:
            work(*args)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(write, n)) for n in range(3)]
    threads += [threading.Thread(target=guarded, args=(read,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store) == 60
    assert len(store.search("worker1", 100, mode="lexical")) == 20


def test_another_process_sees_commits_and_is_seen(tmp_path):
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        store.add([chunk("mine", "apples from here")])
        code = (
            "import sys; sys.path.insert(0, sys.argv[2])\n"
            "from store_tools import HashEmbedder\n"
            "from langbert.store import Store\n"
            "from langbert.records import Chunk\n"
            "with Store.open(sys.argv[1], embedder=HashEmbedder()) as store:\n"
            "    print([c.chunk.id for c in store.search('apples', mode='lexical')])\n"
            "    store.add([Chunk('theirs', 'theirs', 'pears from there')])\n"
            "    store.delete(['mine'])\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "s"), str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == "['mine']"
        for mode in ("dense", "lexical", "hybrid"):
            assert found(store.search("pears apples from", 5, mode=mode)) == ["theirs"]


def test_a_second_writer_waits_then_says_who_is_in_the_way(tmp_path):
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), lock_timeout=0.2) as store:
        other = sqlite3.connect(tmp_path / "s" / "store.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match=r"another process has been writing to .* for 0.2 s"):
            store.add([chunk("a", "apples")])
        assert len(store) == 0
        other.execute("ROLLBACK")
        other.close()
        store.add([chunk("a", "apples")])
        assert len(store) == 1


def test_two_writers_take_turns(tmp_path):
    stores = [Store.open(tmp_path / "s", embedder=HashEmbedder()) for _ in range(2)]

    def write(which: int) -> None:
        for index in range(50):
            stores[which].add([chunk(f"{which}-{index}", f"text {index}")])

    threads = [threading.Thread(target=write, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(store) for store in stores] == [100, 100]
    assert [len(store.search("text", 200, repeats=True)) for store in stores] == [100, 100]
    for store in stores:
        store.close()


def test_no_torch(tmp_path):
    code = "import sys, langbert.store; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_store_holds_can_be_asked_without_describing_its_indexes(monkeypatch):
    monkeypatch.setattr("langbert.store.dense.DenseIndex.refresh", None)
    with Store.open() as store:
        assert (store.space, store.dimension, store.n_documents, len(store)) == (None, None, 0, 0)
    embedder = HashEmbedder()
    with Store.open(embedder=embedder, chunker=LineChunker()) as store:
        store.add([Document("doc", "one fox\ntwo bears")])
        assert (store.space, store.dimension, store.n_documents, len(store)) == (embedder.space, DIMENSION, 1, 2)


def test_a_sample_is_of_different_chunks_and_repeatable():
    with Store.open() as store:
        assert store.sample(3) == []
        store.add([Chunk(f"c{i}", "d", f"text {i}") for i in range(50)])
        store.delete([f"c{i}" for i in range(0, 50, 2)])
        sample = store.sample(10, seed=1)
        assert len({chunk.id for chunk in sample}) == 10
        assert sample == store.sample(10, seed=1)
        assert sample != store.sample(10, seed=2)
        assert all(chunk in store.get([chunk.id]) for chunk in sample)


def test_all_vectors_come_by_blocks():
    vectors = np.random.default_rng(0).standard_normal((5000, 4)).astype(np.float32)
    with Store.open() as store:
        store.add_vectors([Chunk(f"c{i}", "d", "text") for i in range(5000)], vectors)
        blocks = list(store.vector_blocks())
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), vectors)
