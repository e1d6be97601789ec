"""What filters find against their plain-Python reference, what they refuse, and the index that they ask."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_tools import HashEmbedder

from langbert.errors import FilterError, StoreCorrupt, StoreError
from langbert.records import Chunk
from langbert.store import Store, matches
from langbert.store.filters import fields_of, parse_where
from langbert.store.maintenance.doctor import examine, rebuild
from langbert.store.postings import count_differing
from langbert.testing.filters import rows, wheres


def chunk(index: int, metadata: dict, source: str = "", page: int | None = None) -> Chunk:
    return Chunk(f"c{index}", f"d{index % 2}", "text", source=source, page=page, metadata=metadata)


@settings(max_examples=300)
@given(rows=rows, wanted=st.lists(wheres, min_size=1, max_size=5))
def test_search_and_reference_agree(rows, wanted):
    chunks = [chunk(index, *row) for index, row in enumerate(rows)]
    with Store.open() as store:
        store.add_vectors(chunks, np.ones((len(chunks), 2), dtype=np.float32))
        for where in wanted:
            found = {c.chunk.id for c in store.search_vector(np.ones(2), 10, where=where)}
            assert found == {c.id for c in chunks if matches(where, fields_of(c))}, where


@settings(max_examples=150)
@given(
    rows=rows,
    later=rows,
    wanted=st.lists(wheres, min_size=2, max_size=5),
    block=st.sampled_from([16, 64]),
    many=st.sampled_from([1, 2000]),
)
def test_search_and_reference_agree_while_chunks_change(rows, later, wanted, block, many):
    chunks = {f"c{index}": chunk(index, *row) for index, row in enumerate(rows)}
    with pytest.MonkeyPatch.context() as patch, Store.open() as store:
        patch.setattr("langbert.store.postings._BLOCK", block)
        patch.setattr("langbert.store.postings._BITMAP", block // 8)
        patch.setattr("langbert.store.postings._MANY", many)
        store.add_vectors(list(chunks.values()), np.ones((len(chunks), 2), dtype=np.float32))
        for step, where in enumerate([*wanted, *wanted]):
            found = {c.chunk.id for c in store.search_vector(np.ones(2), 20, where=where)}
            assert found == {c.id for c in chunks.values() if matches(where, fields_of(c))}, where
            if step % 2 and step // 2 < len(later):  # in place, a new one, one less
                new = [chunk(step // 2, *later[step // 2]), chunk(10 + step, *later[step // 2])]
                store.add_vectors(new, np.ones((2, 2), dtype=np.float32))
                chunks.update((c.id, c) for c in new)
                gone = f"c{step}"
                store.delete([gone])
                chunks.pop(gone, None)
        with store.snapshot() as snapshot:
            assert count_differing(snapshot.sql) == 0


def test_filters_do_not_read_the_metadata_of_every_chunk(monkeypatch):
    chunks = [chunk(i, {"bucket": i % 20, "n": i / 7, "name": f"name {i}"}) for i in range(20_000)]
    monkeypatch.setattr("langbert.store.snapshot.Snapshot._passing", None)
    with Store.open() as store:
        store.add_vectors(chunks, np.ones((len(chunks), 2), dtype=np.float32))
        assert len(store.search_vector(np.ones(2), 9, where={"bucket": 0})) == 9
        assert len(store.search_vector(np.ones(2), 9, where={"bucket": 2, "n": {"$gt": 2850}})) == 2
        assert len(store.search_vector(np.ones(2), 9, where={"name": "name 7"})) == 1
        assert len(store.search_vector(np.ones(2), 9, where={"name": {"$lt": "name 1"}})) == 1


CHUNKS = [
    chunk(0, {"year": 2019, "lang": "en", "tags": ["x", 1]}, "a.pdf", 1),
    chunk(1, {"year": 2021.5, "lang": "zh", "draft": True}, "b.pdf", 2),
    chunk(2, {"year": "2020", "lang": None, "source": "from-metadata", "page": 7}),
    chunk(3, {"draft": 1}, "a.pdf"),
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, "0123"),
        ({"source": "a.pdf"}, "03"),
        ({"source": "from-metadata"}, "2"),
        ({"page": 7}, "2"),
        ({"page": {"$lte": 2}}, "01"),
        ({"id": {"$in": ["c1", "c3", "c9"]}}, "13"),
        ({"document_id": "d1"}, "13"),
        ({"year": {"$gte": 2019, "$lt": 2022}}, "01"),
        ({"year": {"$gte": "2"}}, "2"),
        ({"draft": True}, "1"),
        ({"draft": 1}, "3"),
        ({"draft": 1.0}, "3"),
        ({"lang": None}, "2"),
        ({"lang": {"$ne": "en"}}, "123"),
        ({"lang": {"$nin": ["en", None]}}, "13"),
        ({"lang": {"$exists": True}}, "012"),
        ({"lang": {"$exists": False}}, "3"),
        ({"tags": {"$contains": "x"}}, "0"),
        ({"tags": {"$contains": True}}, ""),
        ({"tags": "x"}, ""),
        ({"lang": {"$in": []}}, ""),
        ({"$or": [{"lang": "zh"}, {"page": 1}]}, "01"),
        ({"$not": {"lang": "zh"}}, "023"),
        ({"year": {"$not": {"$gt": 2020}}}, "023"),
        ({"$and": [{"source": "a.pdf"}, {"draft": {"$exists": True}}]}, "3"),
    ],
)
def test_what_filters_mean(where, expected):
    with Store.open() as store:
        store.add_vectors(CHUNKS, np.ones((4, 2), dtype=np.float32))
        found = {c.chunk.id for c in store.search_vector(np.ones(2), 10, where=where)}
    assert found == {f"c{digit}" for digit in expected}
    assert {c.id for c in CHUNKS if matches(where, fields_of(c))} == found


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("source", "must be a mapping"),
        ({"year": {"$gtt": 3}}, "did you mean"),
        ({"$xor": []}, "top of a filter"),
        ({"$or": []}, "at least one"),
        ({"$and": {"a": 1}}, "takes a list"),
        ({"a": [1, 2]}, r"\$in"),
        ({"a": {"b": 1}}, "unknown operator 'b'"),
        ({"a": {}}, "says nothing"),
        ({"a": {"$in": "abc"}}, "takes a list"),
        ({"a": {"$gt": None}}, "a number or a str"),
        ({"a": {"$gt": True}}, "a number or a str"),
        ({"a": {"$exists": 1}}, "True or False"),
        ({"a": float("nan")}, "NaN"),
        ({"a": "\ud800"}, "not valid Unicode"),
        ({"a\0b": 1}, "NUL"),
        ({3: 1}, "keys must be str"),
        ({"$or": [{"a": i} for i in range(201)]}, "200 conditions"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(where, says):
    with pytest.raises(FilterError, match=says):
        parse_where(where)
    with pytest.raises(FilterError, match=says):
        matches(where, {})


def test_deep_nesting_is_refused_not_a_stack_overflow():
    where: dict = {"a": 1}
    for _ in range(100):
        where = {"$not": where}
    with pytest.raises(FilterError, match="nests"):
        parse_where(where)


def test_in_takes_any_number_of_values():
    with Store.open() as store:
        store.add_vectors(CHUNKS, np.ones((4, 2), dtype=np.float32))
        where = {"id": {"$in": [f"c{i}" for i in range(2, 100_000)]}}
        assert {c.chunk.id for c in store.search_vector(np.ones(2), 10, where=where)} == {"c2", "c3"}


# --- the index of the metadata ---------------------------------------------------------------------------------------

MANY = 5000
WHERE = {"bucket": 3, "n": {"$gt": 40}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A store of so many chunks; what ``WHERE`` leaves of it."""
    path = tmp_path_factory.mktemp("filters") / "s"
    chunks = [
        chunk(i, {"bucket": i % 20, "n": i / 7, "名": f"name {i}", "tags": [i % 3], "flag": i % 2 == 0})
        for i in range(MANY)
    ]
    with Store.open(path) as store:
        store.add_vectors(chunks, np.ones((MANY, 2), dtype=np.float32))
    return path, sorted(c.id for c in chunks if matches(WHERE, fields_of(c)))


@pytest.fixture
def expected(whole: tuple[Path, list[str]], tmp_path: Path) -> list[str]:
    """What ``WHERE`` leaves of the copy of that store in ``tmp_path / "s"``."""
    path, left = whole
    shutil.copytree(path, tmp_path / "s")
    return left


def found(path: Path, where: dict, **options) -> list[str]:
    with Store.open(path, **options) as store:
        return sorted(hit.chunk.id for hit in store.search_vector(np.ones(2), MANY, where=where))


def executed(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path / "store.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("format", [1, 2, 3])
def test_a_store_without_the_index_gets_it(
    tmp_path: Path, expected: list[str], monkeypatch: pytest.MonkeyPatch, format: int
) -> None:
    before = "DELETE FROM postings WHERE part > 2" if format == 3 else "DROP TABLE postings"
    executed(tmp_path / "s", before, f"PRAGMA user_version = {format}")
    if format == 2:
        executed(tmp_path / "s", "CREATE TABLE touched (change INTEGER PRIMARY KEY, row_id INTEGER NOT NULL)")
    (tmp_path / "s" / "derived" / "columns.index").write_bytes(b"of that release")
    assert found(tmp_path / "s", WHERE, read_only=True) == expected
    assert examine(tmp_path / "s").findings == []
    Store.open(tmp_path / "s").close()
    assert not (tmp_path / "s" / "derived" / "columns.index").exists()
    assert examine(tmp_path / "s").findings == []
    monkeypatch.setattr("langbert.store.snapshot.Snapshot._passing", None)
    assert found(tmp_path / "s", WHERE) == expected


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM postings WHERE part = 0 AND value = 3",
        "INSERT INTO postings SELECT field, part, value, block + 1, places FROM postings WHERE value = 3",
        "UPDATE postings SET places = x'00' WHERE value = 3",
        "UPDATE postings SET places = zeroblob(9000) WHERE value = 3",
        "UPDATE postings SET places = 'text' WHERE part = 2",
        "UPDATE postings SET block = 'text' WHERE part = 2",
        "UPDATE postings SET block = -1 WHERE value = 3",
        "UPDATE postings SET places = x'0500' WHERE value = 3",
    ],
)
def test_a_damaged_index_is_found_and_made_anew(tmp_path: Path, expected: list[str], damage: str) -> None:
    executed(tmp_path / "s", damage)
    try:
        assert set(found(tmp_path / "s", WHERE)) <= {f"c{i}" for i in range(MANY)}
    except StoreCorrupt as error:
        assert "doctor --repair" in str(error)  # noqa: PT017 - either is right
    checkup = examine(tmp_path / "s")
    assert (checkup.state, checkup.found("derived")[0].where) == ("derived", "table postings")
    rebuild(tmp_path / "s")
    assert examine(tmp_path / "s").findings == []
    assert found(tmp_path / "s", WHERE) == expected


def test_unreadable_metadata_costs_its_own_chunk_only(tmp_path: Path, expected: list[str]) -> None:
    executed(
        tmp_path / "s",
        f"UPDATE chunks SET metadata = '{{' WHERE id = '{expected[0]}'",
        "DROP TABLE postings",
        "PRAGMA user_version = 1",
    )
    with Store.open(tmp_path / "s") as store:
        hits = store.search_vector(np.ones(2), MANY, where=WHERE)
    assert sorted(hit.chunk.id for hit in hits) == expected[1:]
    assert examine(tmp_path / "s").state == "primary"


@pytest.mark.parametrize("number", [10**400, [-(10**400)], -(1 << 5000)])
def test_numbers_beyond_any_float_are_refused_by_name(tmp_path: Path, number: object) -> None:
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        with pytest.raises(StoreError, match=r"'c'.*store it as text"):
            store.add([Chunk("c", "d", "text", metadata={"n": number})])
        with pytest.raises(FilterError, match="bits came; compare it as text"):
            store.search("text", where={"n": {"$gt": 10**400}})
