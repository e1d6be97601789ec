"""The dense index beyond exact search: FAISS against brute force, filters, files that lie, threads, precisions."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert.records import Chunk
from langbert.store import Store
from langbert.store.checked_file import BLOCK, block_checksums
from langbert.store.faiss_index import unit
from langbert.store.schema import FORMAT

DIMENSION = 16
N = 1500


@pytest.fixture
def few(monkeypatch):
    """FAISS indexes and selections at sizes that tests can afford."""
    monkeypatch.setattr("langbert.store.faiss_index.ANN_FROM", 500)
    monkeypatch.setattr("langbert.store.dense.TAIL", 300)
    monkeypatch.setattr("langbert.store.view.EXACT", 30)
    monkeypatch.setattr("langbert.store.checked_file._MAPPED_FROM", 1)


def clustered(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((25, DIMENSION))
    return (centres[rng.integers(25, size=n)] + 0.5 * rng.standard_normal((n, DIMENSION))).astype(np.float32)


def chunks(n: int, start: int = 0) -> list[Chunk]:
    return [Chunk(f"c{i}", "d", f"text {i}", metadata={"n": i, "bucket": i % 100}) for i in range(start, start + n)]


def filled(path: Path | None, n: int = N, **options) -> tuple[Store, np.ndarray]:
    store, vectors = Store.open(path, **options), clustered(n)
    store.add_vectors(chunks(n), vectors)
    return store, vectors


def nearest(vectors: np.ndarray, query: np.ndarray, allowed, k: int = 10) -> list[str]:
    cosines = unit(vectors) @ unit(query[None])[0]
    return [f"c{i}" for i in sorted(np.flatnonzero(allowed), key=lambda i: -cosines[i])[:k]]


def recall(store: Store, vectors: np.ndarray, allowed, where=None, k: int = 10) -> float:
    found = 0
    queries = clustered(40, seed=5)
    for query in queries:
        hits = store.search_vector(query, k, where=where)
        assert len(hits) == min(k, int(np.sum(allowed)))
        expected = nearest(vectors, query, allowed, k)
        assert all(allowed[int(hit.chunk.id[1:])] for hit in hits)
        for hit in hits:  # what is said of a hit is true, whatever was missed
            stored = vectors[int(hit.chunk.id[1:])]
            cosine = stored @ query / np.linalg.norm(stored) / np.linalg.norm(query)
            assert hit.scores["dense"] == pytest.approx(cosine, abs=1e-5)
        found += len({hit.chunk.id for hit in hits} & set(expected)) / len(expected)
    return found / len(queries)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("precision", [None, "float16", "int8"])
def test_cells_find_nearly_what_exhaustive_search_finds(tmp_path, on_disk, precision):
    store, vectors = filled(tmp_path / "s" if on_disk else None, index_precision=precision)
    everything = np.ones(N, dtype=bool)
    with store:
        assert recall(store, vectors, everything) >= 0.95
        said = store.info()["dense_index"]
        assert said["kind"] == "cells"
        assert said["recall"] >= 0.97
        assert 1 <= said["probes"] < said["cells"]
        assert said["precision"] == (precision or "float32")
        assert len(store.search_vector(vectors[0], N)) == N
        assert len(store.search_vector(vectors[0], 150)) == 150
    if on_disk:
        with Store.open(tmp_path / "s") as again:
            assert recall(again, vectors, everything) >= 0.95
            assert again.info()["dense_index"] == said


KINDS = ["Flat", "SQ8", "SQfp16", "HNSW16", "HNSW16_SQ8", "IVF20,Flat", "IVF20_HNSW8,PQ8x4", "PCA12,IVF20,SQ8"]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("index", KINDS)
def test_any_index_that_faiss_makes_finds_and_filters(tmp_path, index):
    store, vectors = filled(tmp_path / "s", index=index)
    numbers = np.arange(N)
    with store:
        assert recall(store, vectors, numbers >= 0) >= 0.9
        said = store.info()["dense_index"]
        assert said["index"] == index
        assert said["recall"] >= 0.95
        assert recall(store, vectors, numbers % 100 == 7, {"bucket": 7}) >= 0.98
        assert recall(store, vectors, numbers % 100 < 30, {"bucket": {"$lt": 30}}) >= 0.9
        far = nearest(vectors, -vectors[0], numbers >= 0, 60)  # none of them anywhere near the query
        assert len(store.search_vector(vectors[0], 50, where={"id": {"$in": far}})) == 50
        assert len(store.search_vector(vectors[0], N)) == N
        store.delete([f"c{i}" for i in range(0, N, 9)])
        assert recall(store, vectors, numbers % 9 != 0) >= 0.9
    for _ in range(2):
        with Store.open(tmp_path / "s") as again:  # as it was made, with its file and without
            assert recall(again, vectors, numbers % 9 != 0) >= 0.9
            assert again.info()["dense_index"]["index"] == index
        shutil.rmtree(tmp_path / "s" / "derived")


@pytest.mark.parametrize("index", ["nonsense", "PQ4", "IDMap,Flat", "", "PQ7"])
def test_an_index_that_cannot_be_made_is_refused_at_once(tmp_path, index):
    filled(tmp_path / "s", 10)[0].close()
    with pytest.raises(ValueError, match="index"):
        Store.open(tmp_path / "s", index=index)


def test_an_index_of_another_kind_is_made_anew(tmp_path):
    store, vectors = filled(tmp_path / "s", 300)
    store.close()
    for index in ("HNSW8", "IVF4,Flat", "auto"):
        with Store.open(tmp_path / "s", index=index) as store:
            assert recall(store, vectors, np.ones(300, dtype=bool)) >= 0.9
            store.compact()
            assert store.info()["dense_index"]["index"] == {"auto": "Flat"}.get(index, index)
    with pytest.raises(ValueError, match="index_precision"):
        Store.open(tmp_path / "s", index="HNSW8", index_precision="int8")


def test_too_few_vectors_to_train_are_compared_one_by_one(tmp_path):
    store, vectors = filled(tmp_path / "s", 100, index="IVF400,Flat")
    store.close()
    with Store.open(tmp_path / "s") as store:
        assert recall(store, vectors, np.ones(100, dtype=bool)) == 1
        assert store.info()["dense_index"]["kind"] == "exact"


@pytest.mark.usefixtures("few")
def test_filters_give_k_hits_whatever_they_leave(tmp_path):
    store, vectors = filled(tmp_path / "s")
    numbers = np.arange(N)
    with store:
        assert recall(store, vectors, numbers % 100 == 7, {"bucket": 7}) == 1  # few are compared one by one
        assert recall(store, vectors, numbers == 3, {"n": 3}) == 1
        assert recall(store, vectors, numbers % 100 < 30, {"bucket": {"$lt": 30}}) >= 0.9
        assert recall(store, vectors, numbers != 3, {"n": {"$ne": 3}}) >= 0.95
        far = nearest(vectors, -vectors[0], np.ones(N, bool), 60)  # none of them anywhere near the query
        hits = store.search_vector(vectors[0], 20, where={"id": {"$in": far}})
        assert len(hits) == 20


@pytest.mark.usefixtures("few")
def test_what_comes_and_goes_is_found_before_the_index_is_built_anew(tmp_path):
    store, vectors = filled(tmp_path / "s")
    with store:
        store.search_vector(vectors[0])
        more = clustered(200, seed=2)
        store.add_vectors(chunks(200, N), more)
        vectors = np.concatenate([vectors, more])
        alive = np.ones(N + 200, dtype=bool)
        assert recall(store, vectors, alive) >= 0.95
        assert store.info()["dense_index"]["unsettled"] == 200
        alive[::9] = False
        store.delete([f"c{i}" for i in range(0, N + 200, 9)])
        assert recall(store, vectors, alive) >= 0.95
        assert store.info()["dense_index"]["trained_on"] == N
        last = clustered(400, seed=3)
        store.add_vectors(chunks(400, N + 200), last)  # more than may stand beside it
        vectors, alive = np.concatenate([vectors, last]), np.concatenate([alive, np.ones(400, dtype=bool)])
        assert recall(store, vectors, alive) >= 0.95
        said = store.info()["dense_index"]
        assert (said["unsettled"], said["dead"], said["trained_on"]) == (0, 0, alive.sum())
    with Store.open(tmp_path / "s") as again:
        assert recall(again, vectors, alive) >= 0.95
        assert again.delete(where={"n": {"$gte": 30}}) > 1500
        alive[30:] = False
        assert recall(again, vectors, alive) == 1


@pytest.mark.usefixtures("few")
def test_other_vectors_in_a_store_of_cells(tmp_path):
    """Duplicates, zeros and fewer distinct vectors than cells."""
    vectors = np.repeat(np.eye(DIMENSION, dtype=np.float32)[:3], 200, axis=0)
    vectors[-1] = 0
    with Store.open(tmp_path / "s") as store:
        store.add_vectors(chunks(600), vectors)
        assert [hit.chunk.id for hit in store.search_vector(vectors[0], 3)] == ["c0", "c1", "c2"]
        assert store.search_vector(vectors[250], 1)[0].scores["dense"] == pytest.approx(1)
        assert len(store.search_vector(np.zeros(DIMENSION), 5)) == 5


def test_a_precision_that_is_not_one():
    with pytest.raises(ValueError, match="index_precision 'int4' is unknown"):
        Store.open(index_precision="int4")


def test_another_precision_makes_the_index_anew(tmp_path):
    store, vectors = filled(tmp_path / "s", 300)
    store.close()
    with Store.open(tmp_path / "s", index_precision="int8") as store:
        store.search_vector(vectors[0])
        assert store.info()["dense_index"]["precision"] == "int8"
        store.compact()
    with Store.open(tmp_path / "s") as store:
        assert recall(store, vectors, np.ones(300, dtype=bool)) == 1
        assert store.info()["dense_index"]["precision"] == "int8"


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("index", ["auto", "Flat", "HNSW8", "IVF10,SQ8"])
def test_bytes_that_flip_while_nobody_looks_change_no_answer(tmp_path, index):
    store, vectors = filled(tmp_path / "s", index=index)
    store.close()
    file = tmp_path / "s" / "derived" / "dense.index"
    content = bytearray(file.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 4 * DIMENSION * 64, 64)  # in the vectors only
    content[middle] = b"\x7f" * len(content[middle])
    file.write_bytes(content)
    alive = np.ones(N, dtype=bool)
    with Store.open(tmp_path / "s", read_only=True) as store:
        before = recall(store, vectors, alive)
    assert before >= 0.95
    with Store.open(tmp_path / "s") as store:
        assert recall(store, vectors, alive) >= 0.95
    with Store.open(tmp_path / "s") as store:
        assert store.delete(where={"n": {"$lt": 900}}) == 900
        assert recall(store, vectors, np.arange(N) >= 900) >= 0.95


def test_what_is_not_looked_at_yet_is_verified_before_its_first_use(tmp_path, monkeypatch, caplog):
    """Cells, each in a block of its own; one of them is damaged."""
    monkeypatch.setattr("langbert.store.faiss_index.ANN_FROM", 500)
    monkeypatch.setattr("langbert.store.checked_file.BLOCK", 4096)
    store, vectors = filled(tmp_path / "s")
    store.compact()
    store.close()
    file = tmp_path / "s" / "derived" / "dense.index"
    content = bytearray(file.read_bytes())
    content[-8 * N - 16 - 6000] ^= 1  # in one of the last cells
    file.write_bytes(content)
    with Store.open(tmp_path / "s", read_only=True) as store:
        assert store.info()["dense_index"]["kind"] == "cells"  # it opens
        assert caplog.records == []
        assert len(store.search_vector(vectors[0], N)) == N
        assert "checksum" in caplog.text
        assert recall(store, vectors, np.ones(N, dtype=bool)) == 1


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langbert.store.faiss_index.ANN_FROM", 50)
        store, vectors = filled(path, 200)
        with store:
            expected = [hit.chunk.id for hit in store.search_vector(vectors[3], 5, where={"n": {"$lt": 150}})]
    return path, vectors, expected


def put_record(path: Path, text: object) -> None:
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'dense_index'", (text,))
    connection.close()


def copied(path: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(path, to))


def found(path: Path, vectors: np.ndarray) -> list[str]:
    with Store.open(path, read_only=True) as store:
        return [hit.chunk.id for hit in store.search_vector(vectors[3], 5, where={"n": {"$lt": 150}})]


def test_a_record_that_is_damaged_is_refused(sample, tmp_path):
    path, vectors, expected = sample
    connection = sqlite3.connect(path / "store.sqlite")
    ((text,),) = connection.execute("SELECT value FROM meta WHERE key = 'dense_index'").fetchall()
    connection.close()
    for wrong in ("", "{}", "null", "0 [[[", 7, b"\xff", text[:-1], text.replace('"n": 200', '"n": 100')):
        copy = copied(path, tmp_path / "copy")
        put_record(copy, wrong)
        assert found(copy, vectors) == expected


def test_a_file_that_the_store_does_not_know_is_never_read(sample, tmp_path, monkeypatch):
    """Another store's, an earlier release's, one from before a crash."""
    path, vectors, expected = sample
    copy = copied(path, tmp_path / "copy")
    filled(tmp_path / "other", 200)[0].close()
    shutil.copy(tmp_path / "other" / "derived" / "dense.index", copy / "derived" / "dense.index")
    monkeypatch.setattr("langbert.store.index_file.faiss.read_index", None)
    assert found(copy, vectors) == expected
    (copy / "derived" / "dense.index").write_bytes(b"LANGBERT-DENSE-3\n" + b"x" * 5000)
    assert found(copy, vectors) == expected


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=40))
def test_junk_anywhere_in_the_file_changes_no_answer(sample, tmp_path, place, junk):
    path, vectors, expected = sample
    copy = copied(path, tmp_path / "copy")
    file = copy / "derived" / "dense.index"
    content = bytearray(file.read_bytes())
    start = int(place * len(content))
    content[start : start + len(junk)] = junk
    file.write_bytes(content)
    assert found(copy, vectors) == expected


# --- threads, snapshots, housekeeping -------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_threads_search_while_one_adds_and_deletes(tmp_path):
    store, vectors = filled(tmp_path / "s")
    stop, problems, searched = threading.Event(), [], []

    def search(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            i = int(rng.integers(600, N))
            hits = store.search_vector(vectors[i], 5, where={"n": {"$lt": N}} if seed % 2 else None)
            if hits[0].chunk.id != f"c{i}" or hits[0].score < 0.999 or len(hits) != 5:
                problems.append((i, hits))
            searched.append(i)

    with store:
        store.search_vector(vectors[0])
        threads = [threading.Thread(target=search, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for step in range(12):
            extra = clustered(100, seed=50 + step) - 40  # far from all the others
            store.add_vectors(chunks(100, N + 100 * step), extra)
            store.delete([f"c{i}" for i in range(50 * step, 50 * step + 50)])
            store.search_vector(extra[0])
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert len(searched) > 20


@pytest.mark.usefixtures("few")
def test_compact_gives_space_back_and_others_begin_anew(tmp_path):
    store, vectors = filled(tmp_path / "s")
    other = Store.open(tmp_path / "s", read_only=True)
    with store, other:
        alive = np.ones(N, dtype=bool)
        assert recall(other, vectors, alive) >= 0.95
        other.search_vector(vectors[0], where={"bucket": 1})
        other.search_vector(vectors[0], where={"bucket": 2})
        store.delete(where={"bucket": {"$lt": 60}})
        store.add_vectors([Chunk("c99", "d", "text 99", metadata={"n": 99, "bucket": 1})], vectors[99:100])  # in place
        alive = np.arange(N) % 100 >= 60
        sizes = store.compact()
        assert sizes["bytes_after"] < 0.7 * sizes["bytes_before"]
        assert sizes["forgotten"] > 900
        for one in (store, other):
            assert recall(one, vectors, alive) >= 0.95
            assert [hit.chunk.id for hit in one.search_vector(vectors[0], where={"bucket": 1})] == ["c99"]
            assert one.search("text 98 text 1", 5, mode="lexical", where={"n": {"$lt": 60}}) == []
            assert one.info()["dense_index"]["dead"] == 0
        assert store.compact()["forgotten"] == 0
        with pytest.raises(Exception, match="read_only"):
            other.compact()
    with Store.open(tmp_path / "s") as again:
        assert recall(again, vectors, alive) >= 0.95


def as_format_1(path: Path) -> None:
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    connection.execute("DROP TABLE postings")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


@pytest.mark.usefixtures("few")
def test_a_store_of_the_first_format_is_read_as_it_is_and_brought_up_when_written(tmp_path):
    store, vectors = filled(tmp_path / "s")
    store.close()
    as_format_1(tmp_path / "s")
    alive = np.arange(N) % 100 == 7
    with Store.open(tmp_path / "s", read_only=True) as store:
        assert recall(store, vectors, alive, {"bucket": 7}) == 1
        assert store.info()["format"] == 1
    with Store.open(tmp_path / "s") as store:
        assert store.info()["format"] == FORMAT
        assert recall(store, vectors, alive, {"bucket": 7}) == 1
        store.add_vectors([Chunk("c7", "d", "text 7", metadata={"bucket": 8})], vectors[7:8])
        alive[7] = False
        assert recall(store, vectors, alive, {"bucket": 7}) == 1


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e-16, 1.0, 1e18, 1.9e19, 3e37])
def test_the_length_of_a_vector_may_be_anything_float32_holds(size: float) -> None:
    directions = np.random.default_rng(3).standard_normal((8, 16)).astype(np.float32)
    scaled = (directions / np.abs(directions).max() * size).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(unit(scaled), axis=1), 1, rtol=1e-5)
    expected = scaled.astype(np.float64) / size
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit(scaled), expected, atol=1e-5)
    mixed = np.concatenate([directions, scaled, np.zeros((1, 16), np.float32)])
    np.testing.assert_allclose(unit(mixed)[:8], unit(directions), atol=1e-7)
    assert not unit(mixed)[-1].any()


def test_very_long_vectors_are_found(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32) * np.float32(1e30)
    with Store.open(tmp_path / "s") as store:
        store.add_vectors([Chunk(f"c{i}", "d", "text") for i in range(4)], vectors)
        hit = store.search_vector(vectors[2], 1)[0]
    assert hit.chunk.id == "c2"
    assert hit.scores["dense"] == pytest.approx(1)


@given(st.integers(0, 3), st.integers(0, 3 * BLOCK), st.data())
@settings(max_examples=50)
def test_any_wrong_bit_changes_a_checksum(seed: int, n: int, data: st.DataObject) -> None:
    content = np.random.default_rng(seed).integers(0, 256, n, dtype=np.uint8)
    before = block_checksums(content)
    assert len(before) == -(-n // BLOCK)
    assert np.array_equal(block_checksums(content.copy()), before)
    if n:
        place, bit = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, 7))
        content[place] ^= 1 << bit
        wrong = np.flatnonzero(block_checksums(content) != before)
        assert wrong.tolist() == [place // BLOCK]
