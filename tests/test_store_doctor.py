"""The doctor finds every kind of damage, names it, rebuilds what is derived and saves what can be saved."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import zlib
from pathlib import Path

import numpy as np
import pytest
from store_tools import HashEmbedder, LineChunker

from langbert.errors import StoreCorrupt, StoreError
from langbert.records import Chunk, Document
from langbert.store import Store
from langbert.store.maintenance.checkup import Checkup
from langbert.store.maintenance.doctor import examine, rebuild
from langbert.store.maintenance.rescue import rescue


def open_store(path: Path) -> Store:
    return Store.open(path, embedder=HashEmbedder(), chunker=LineChunker())


def texts() -> dict[str, str]:
    return {f"doc{i}": f"first line {i}\nsecond line {i}\n第三行 {i}" for i in range(30)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("doctor") / "store"
    with open_store(path) as store:
        store.add([Document(id, text, source=f"{id}.txt") for id, text in texts().items()])
        store.add([Chunk(f"c{i}", "loose", f"loose chunk number{i}", metadata={"n": i}) for i in range(900)])
        store.delete([f"c{i}" for i in range(0, 900, 10)])
        store.ledger("source").record(["c1", "c2"], ["a", None], at=5.0)
        store.search("line")
    return path


def sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def said(checkup: Checkup, severity: str) -> str:
    return "\n".join(f"{finding.where}: {finding.problem} {finding.items}" for finding in checkup.found(severity))


def test_a_sound_store_is_sound_and_untouched(filled: Path) -> None:
    before = {file: file.read_bytes() for file in filled.rglob("*") if file.is_file() and "-shm" not in file.name}
    steps: list[tuple[str, int, int]] = []
    checkup = examine(filled, watch=lambda *step: steps.append(step))
    assert (checkup.state, checkup.findings) == ("sound", [])
    assert checkup.counts["documents"] == 30
    assert checkup.counts["chunks"] == checkup.counts["vectors"] == 900
    assert {doing for doing, _, _ in steps} == {"database", "documents", "chunks", "vectors", "indexes"}
    assert all(0 <= done <= total for _, done, total in steps)
    assert {file: content for file, content in before.items() if file.read_bytes() != content} == {}


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE chunks SET text = 'other' WHERE id = 'c5'", "chunks: changed since they were stored .*c5"),
        ("UPDATE chunks SET metadata = '{\"n\":6}' WHERE id = 'c5'", "chunks: changed since .*c5"),
        ("UPDATE chunks SET metadata = '{' WHERE id = 'c5'", "chunks: unreadable: .*c5"),
        ("UPDATE documents SET text = text || '!' WHERE id = 'doc7'", "documents: changed .*doc7"),
        ("UPDATE vectors SET vector = zeroblob(64) WHERE row_id = 200", "vectors: fail their checksum"),
        ("DELETE FROM vectors WHERE row_id = (SELECT row_id FROM chunks WHERE id = 'c5')", "missing .*'c5'"),
        ("DELETE FROM chunks WHERE id = 'c5'", "vectors: of rows that are no chunks"),
        ("UPDATE meta SET value = 7 WHERE key = 'chunks'", "meta counts 7 chunks, there are 900"),
        ("UPDATE meta SET value = 7 WHERE key = 'documents'", "meta counts 7 documents, there are 30"),
        ("UPDATE meta SET value = 8 WHERE key = 'dimension'", "do not have the store's 8 dimensions"),
        ("DELETE FROM commits WHERE change > 100", "ends at change"),
        ("INSERT INTO tombstones VALUES (3, 900)", "changes out of order"),
        ("UPDATE tombstones SET row_id = (SELECT max(row_id) FROM chunks)", "of rows that are still there"),
    ],
)
def test_damage_to_the_truth_is_named(filled: Path, tmp_path: Path, statement: str, named: str) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    sql(path, statement)
    checkup = examine(path)
    assert checkup.state == "primary"

    assert re.search(named, said(checkup, "primary")), said(checkup, "primary")


def test_chunks_that_are_not_where_they_say_are_a_note(tmp_path: Path) -> None:
    with open_store(tmp_path / "s") as store:
        store.add([Document("doc", "one line")])
        store.add([Chunk("stray", "doc", "not in it", start=3)])
    checkup = examine(tmp_path / "s")
    assert checkup.state == "sound"
    assert "not the stretch of their document" in said(checkup, "note")


@pytest.mark.parametrize("name", ["dense.index", "lexical"])
def test_a_damaged_index_is_found_and_rebuilt(filled: Path, tmp_path: Path, name: str) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    (path / "derived" / ".dense.index-abc.tmp").write_bytes(b"half")
    files = [file for file in (path / "derived" / name).rglob("*") if file.is_file()] or [path / "derived" / name]
    file = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    checkup = examine(path)
    assert checkup.state == "derived"
    assert name in said(checkup, "derived")
    assert "interrupted writers" in said(checkup, "note")
    rebuild(path)
    assert examine(path).findings == []
    with open_store(path) as store:
        assert store.search("number77", 1, mode="lexical")[0].chunk.id == "c77"


def pages_of(content: bytes, table: str, path: Path) -> list[tuple[int, int]]:
    """Where the pages of a table's tree begin, and their cells (https://sqlite.org/fileformat2.html#b_tree_pages)."""
    connection = sqlite3.connect(path / "store.sqlite")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size], "big")

    found, todo = [], [root]
    while todo:
        start = (todo.pop() - 1) * 8192
        found.append((start, start + number(start + 5, 2)))
        if content[start] == 2:  # of an inner page
            cells = range(start + 12, start + 12 + 2 * number(start + 3, 2), 2)
            todo += [number(start + 8, 4), *(number(start + number(at, 2), 4) for at in cells)]
    return found


def test_a_flipped_bit_in_the_index_of_the_metadata_is_found_and_mended(filled: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(filled, tmp_path / "whole")
    sql(whole, "PRAGMA wal_checkpoint(TRUNCATE)")
    sound = (whole / "store.sqlite").read_bytes()
    before = lists(whole)
    pages = pages_of(sound, "postings", whole)
    chance = random.Random(5)
    headers = [chance.randrange(start, start + 12) for start, _ in chance.choices(pages, k=8)]
    cells = [chance.randrange(first, start + 8192) for start, first in chance.choices(pages, k=16)]
    found = []
    for at in headers + cells:
        path = shutil.copytree(whole, tmp_path / str(at))
        content = bytearray(sound)
        content[at] ^= 1 << chance.randrange(8)
        (path / "store.sqlite").write_bytes(content)
        checkup = examine(path)
        if checkup.state == "sound":  # of what SQLite does not use
            assert lists(path) == before, at
            continue
        found.append(checkup.findings[0].problem)
        assert (checkup.state, checkup.findings[0].where) == ("derived", "table postings"), (at, checkup.findings)
        rebuild(path)
        assert examine(path).findings == [], at
        assert lists(path) == before, at
    assert {"SQLite" in problem for problem in found} == {True, False}  # its pages, and what is in them


def lists(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path / "store.sqlite")
    found = connection.execute("SELECT * FROM postings").fetchall()
    connection.close()
    return found


def test_an_index_that_holds_other_vectors_is_found(filled: Path, tmp_path: Path) -> None:
    """Whole, of this history, and yet not what the truth holds: as a bug would leave it."""
    path = shutil.copytree(filled, tmp_path / "s")
    other = np.random.default_rng(0).standard_normal((900, 16)).astype(np.float32)
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)

    for (row,), vector in zip(connection.execute("SELECT row_id FROM vectors").fetchall(), other, strict=True):
        blob = vector.tobytes()
        connection.execute(
            "UPDATE vectors SET vector = ?, checksum = ? WHERE row_id = ?", (blob, zlib.crc32(blob), row)
        )
    connection.close()
    assert "vectors are not those that are stored" in said(examine(path), "derived")


def test_missing_indexes_are_no_damage(filled: Path, tmp_path: Path) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    shutil.rmtree(path / "derived")
    checkup = examine(path)
    assert checkup.state == "sound"
    assert "not there yet" in said(checkup, "note")


def damaged(filled: Path, path: Path, pages: int = 3) -> Path:
    shutil.copytree(filled, path)
    content = bytearray((path / "store.sqlite").read_bytes())
    places = [content.find(b"number" + str(n).encode()) for n in (155, 505)]
    for place in places:
        page = place // 8192 * 8192
        content[page : page + 8192 * pages // 3] = b"\xa5" * (8192 * pages // 3)
    (path / "store.sqlite").write_bytes(content)
    return path


def test_what_is_whole_is_saved_and_what_is_lost_is_named(filled: Path, tmp_path: Path) -> None:
    path = damaged(filled, tmp_path / "s")
    before = (path / "store.sqlite").read_bytes()
    sql(filled, "PRAGMA wal_checkpoint")
    saved = rescue(path)
    assert saved.path == tmp_path / "s-rescued"
    assert (path / "store.sqlite").read_bytes() == before
    assert saved.documents + len(saved.lost_documents) == 30
    assert 300 < saved.chunks < 900
    assert examine(saved.path).state == "sound"
    with open_store(filled) as whole, open_store(saved.path) as store:
        ids = [f"c{i}" for i in range(900)] + [f"{id}:{at}" for id in texts() for at in range(40)]
        kept = store.get(ids)
        assert len(kept) == saved.chunks == len(store)
        assert kept == whole.get([chunk.id for chunk in kept])
        assert np.array_equal(store.vectors([chunk.id for chunk in kept]), whole.vectors([chunk.id for chunk in kept]))
        assert store.info()["embedding_space"] == whole.info()["embedding_space"]
        missing = {chunk.id for chunk in whole.get(ids)} - {chunk.id for chunk in kept}
        store.add([Document(id, text, source=f"{id}.txt") for id, text in texts().items()])  # cuts again what is lost
        assert {chunk.id for chunk in whole.get(ids)} - {item.id for item in store.get(ids)} == {
            id for id in missing if id.startswith("c")
        }
    assert rescue(path).path == tmp_path / "s-rescued-2"


def test_a_damaged_chunk_is_restored_from_its_document(filled: Path, tmp_path: Path) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    content = (path / "store.sqlite").read_bytes()
    place = content.find(b"doc9:0")  # in the chunk's row, or the index on it
    assert place > 0
    sql(path, "UPDATE chunks SET text = 'first lime 9' WHERE id = 'doc9:0'")
    saved = rescue(path)
    assert (saved.restored, saved.chunks, saved.lost_chunks) == (1, 900, [])
    with open_store(saved.path) as store:
        assert store.get(["doc9:0"])[0].text == "first line 9"


def test_a_vector_that_is_lost_costs_its_chunk_and_is_made_again(filled: Path, tmp_path: Path) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    sql(path, "UPDATE vectors SET checksum = 1 WHERE row_id = (SELECT row_id FROM chunks WHERE id = 'doc9:0')")
    saved = rescue(path, tmp_path / "new")
    assert saved.lost_chunks == ["doc9:0"]
    with open_store(tmp_path / "new") as store:
        assert store.get(["doc9:0"]) == []
        assert store.ledger("source").known(["c1", "c2"]) == {"c1", "c2"}
        store.add([Document("doc9", texts()["doc9"], source="doc9.txt")])
        assert len(store.get(["doc9:0"])) == 1


def test_nothing_is_written_over(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        rescue(filled, tmp_path / "there")
    assert [file.name for file in tmp_path.rglob("*")] == ["there", "file"]


def test_a_file_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.sqlite").write_bytes(b"\x07" * 50_000)
    assert examine(tmp_path / "s").state == "primary"
    with pytest.raises(StoreCorrupt, match="cannot be read at all"):
        rescue(tmp_path / "s")
    with pytest.raises(StoreError, match="there is no store"):
        examine(tmp_path / "nothing")
