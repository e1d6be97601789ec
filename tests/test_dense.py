"""The dense index beyond exact search: cells against brute force, filters, files that lie, threads, precisions."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langbert.records import Chunk
from langbert.store import Store
from langbert.store.codec import Codec, unit
from langbert.store.schema import FORMAT
from langbert.store.segment import checksum_of, open_segment

DIMENSION = 16
N = 1500


@pytest.fixture
def few(monkeypatch):
    """Cells and selections at sizes that tests can afford."""
    monkeypatch.setattr("langbert.store.dense.ANN_FROM", 500)
    monkeypatch.setattr("langbert.store.view.GATHER", 30)
    monkeypatch.setattr("langbert.store.segment._MAPPED_FROM", 1)
    monkeypatch.setattr("langbert.store.segment._VERIFIED_AT_ONCE", 1)


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
def test_what_comes_and_goes_is_found_without_new_cells(tmp_path):
    store, vectors = filled(tmp_path / "s")
    with store:
        store.search_vector(vectors[0])
        trained = store.info()["dense_index"]
        more = clustered(200, seed=2)
        store.add_vectors(chunks(200, N), more)
        vectors = np.concatenate([vectors, more])
        alive = np.ones(N + 200, dtype=bool)
        assert recall(store, vectors, alive) >= 0.95
        assert store.info()["dense_index"]["unsettled"] == 200
        alive[::9] = False
        store.delete([f"c{i}" for i in range(0, N + 200, 9)])
        assert recall(store, vectors, alive) >= 0.95
        assert store.info()["dense_index"]["trained_on"] == trained["trained_on"]
        last = clustered(400, seed=3)
        store.add_vectors(chunks(400, N + 200), last)  # together more than a quarter: settled, in the same cells
        vectors, alive = np.concatenate([vectors, last]), np.concatenate([alive, np.ones(400, dtype=bool)])
        assert recall(store, vectors, alive) >= 0.95
        said = store.info()["dense_index"]
        assert (said["unsettled"], said["dead"], said["trained_on"]) == (0, 0, trained["trained_on"])
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
    with pytest.raises(ValueError, match="index_precision must be one of"):
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


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@given(seed=st.integers(0, 1000), n=st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_codes_score_as_the_vectors_do(precision, seed, n):
    codec = Codec(precision, DIMENSION)
    vectors = unit(np.random.default_rng(seed).standard_normal((n, DIMENSION)).astype(np.float32))
    query = unit(np.ones((1, DIMENSION), dtype=np.float32))[0]
    codes = codec.encode(vectors)
    assert codes.shape == (n, codec.width)
    assert codec.decode(codes) == pytest.approx(vectors, abs=0.01)
    assert codec.scores(codes, query) == pytest.approx(vectors @ query, abs=0.02)
    backwards = np.arange(n - 1, -1, -1)
    assert codec.scores_at(codes, backwards, query) == pytest.approx((vectors @ query)[::-1], abs=0.02)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few")
def test_a_byte_that_flips_after_opening_changes_no_answer(tmp_path):
    store, vectors = filled(tmp_path / "s")
    store.close()
    file = tmp_path / "s" / "derived" / "dense.index"
    content = bytearray(file.read_bytes())
    content[-N * DIMENSION * 2 :: 64] = b"\x7f" * len(content[-N * DIMENSION * 2 :: 64])  # in the vectors only
    file.write_bytes(content)
    open_segment(file, DIMENSION)  # opens: that part is verified when it is used
    with Store.open(tmp_path / "s") as store:
        assert recall(store, vectors, np.ones(N, dtype=bool)) >= 0.95
    with Store.open(tmp_path / "s") as store:
        assert store.delete(where={"n": {"$lt": 900}}) == 900  # settling reads everything
        alive = np.arange(N) >= 900
        assert recall(store, vectors, alive) >= 0.95


def _sealed(content: bytes, **changes) -> bytes:
    """A file with another header, its checksum in order: what somebody could send."""
    magic = content.index(b"\n") + 1
    (length,) = struct.unpack_from("<I", content, magic)
    header = json.loads(content[magic + 4 : magic + 4 + length])
    old_body = content[magic + 4 + length :]
    encoded = json.dumps({**header, **changes}).encode()
    start = content[:magic] + struct.pack("<I", len(encoded)) + encoded
    lists, n = header["lists"], header["n"]
    size = 16 * n + 8 * (lists + 1) + 4 * lists + 4 * lists * DIMENSION * ("probes" in header)
    body = old_body[:size]
    sealed = start + body + struct.pack("<I", zlib.crc32(start + body))
    codes = content[-n * 4 * DIMENSION :] if n else b""
    return sealed + b"\0" * (-len(sealed) % 64) + codes


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers()),
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langbert.store.dense.ANN_FROM", 50)
        store, vectors = filled(path, 200)
        with store:
            expected = [hit.chunk.id for hit in store.search_vector(vectors[3], 5, where={"n": {"$lt": 150}})]
    return path, vectors, expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.sampled_from(["n", "lists", "dimension", "precision", "change", "token", "probes", "recall", "trained_on"]),
        HOSTILE,
        min_size=1,
        max_size=2,
    )
)
def test_a_header_that_lies_is_refused_or_harmless(sample, tmp_path, changes):
    path, vectors, expected = sample
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    file = copy / "derived" / "dense.index"
    file.write_bytes(_sealed(file.read_bytes(), **changes))
    with Store.open(copy, read_only=True) as store:
        hits = store.search_vector(vectors[3], 5, where={"n": {"$lt": 150}})
        assert [hit.chunk.id for hit in hits] == expected


@pytest.mark.parametrize("at", ["rows", "by_row", "offsets"])
@pytest.mark.parametrize("value", [-1, 2**40, 0, 7])
def test_positions_that_lead_elsewhere_are_refused(sample, tmp_path, at, value):
    path, _, _ = sample
    content = bytearray((path / "derived" / "dense.index").read_bytes())
    magic = content.index(b"\n") + 1
    (length,) = struct.unpack_from("<I", content, magic)
    first = magic + 4 + length
    n = json.loads(content[magic + 4 : first])["n"]
    place = first + {"rows": 0, "by_row": 8 * n, "offsets": 16 * n}[at] + 8 * 5
    (before,) = struct.unpack_from("<q", content, place)
    struct.pack_into("<q", content, place, value)
    file = tmp_path / "dense.index"
    file.write_bytes(_sealed(bytes(content)))
    if at == "rows" and value == 2**40:
        rows = open_segment_rows(file)  # in order it may be, then it is nobody's row
        assert rows is None or (2**40 in rows)
    elif value != before:
        assert open_segment_rows(file) is None


def open_segment_rows(file: Path):
    try:
        return open_segment(file, DIMENSION)[0].rows.tolist()
    except (ValueError, KeyError, TypeError, OSError):
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=1, max_size=40))
def test_junk_anywhere_in_the_file_is_refused_or_harmless(sample, tmp_path, place, junk):
    path, vectors, _ = sample
    content = bytearray((path / "derived" / "dense.index").read_bytes())
    start = int(place * len(content))
    content[start : start + len(junk)] = junk
    file = tmp_path / "dense.index"
    file.write_bytes(content)
    try:
        segment, codec, _ = open_segment(file, DIMENSION)
    except (ValueError, KeyError, TypeError, OSError, struct.error):
        return
    padding = content == (path / "derived" / "dense.index").read_bytes() or segment.codes.shape == (200, DIMENSION)
    assert padding
    assert np.sort(codec.scores(segment.codes, vectors[0])).shape == (200,)


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


@given(st.integers(0, 3), st.integers(0, 1200), st.data())
def test_any_wrong_bit_changes_a_checksum(seed: int, n: int, data: st.DataObject) -> None:
    codes = np.random.default_rng(seed).integers(-128, 128, (n, 20), dtype=np.int8)
    before = checksum_of(codes)
    assert checksum_of(codes.copy()) == before
    if n:
        wrong = codes.copy()
        place, bit = data.draw(st.integers(0, codes.size - 1)), data.draw(st.integers(0, 7))
        wrong.view(np.uint8).reshape(-1)[place] ^= 1 << bit
        assert checksum_of(wrong) != before
