"""Killed writers, full disks, damaged files: nothing acknowledged is lost, and all that is derived comes back."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from store_tools import HashEmbedder

from langbert.errors import StoreCorrupt, StoreError
from langbert.records import Chunk
from langbert.store import Store

HERE = str(Path(__file__).parent)
WORDS = ["fox", "bear", "owl", "机器学习", "PEP-8", "max_length"]
QUESTIONS = ["fox and bear", "owl number7", "学习", "pep 8", "max_length number12"]


def text(index: int) -> str:
    return f"{WORDS[index % 6]} {WORDS[index * 7 % 5]} number{index}"


def fill(path: Path, count: int = 300) -> None:
    with Store.open(path, embedder=HashEmbedder()) as store:
        store.add([Chunk(f"c{i}", f"d{i}", text(i), metadata={"n": i}) for i in range(count)])
        store.delete([f"c{i}" for i in range(0, count, 11)])
        store.search("fox")


def answers(store: Store) -> dict:
    found = {}
    for question in QUESTIONS:
        for mode in ("dense", "lexical", "hybrid"):
            hits = store.search(question, 5, mode=mode, where={"n": {"$gte": 5}})
            found[question, mode] = [(hit.chunk.id, round(hit.score, 4)) for hit in hits]
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("durability") / "store"
    fill(path)
    shutil.rmtree(path / "derived")  # so that both hold the same index statistics: built in one go
    with Store.open(path, embedder=HashEmbedder()) as store:
        expected = answers(store)
    return path, expected


def derived_files(path: Path) -> list[str]:
    files = [file for file in (path / "derived").rglob("*") if file.is_file() and file.stat().st_size > 0]
    return sorted(str(file.relative_to(path)) for file in files)


def damage(file: Path, how: str, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if how == "deleted":
        file.unlink()
        return
    if how == "truncated":
        content = content[: rng.randrange(len(content))]
    elif how == "emptied":
        content = bytearray()
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["deleted", "truncated", "emptied", "flipped"])
def test_damaged_derived_files_change_no_answer(filled, tmp_path, how):
    original, expected = filled
    rng = random.Random(how)
    names = derived_files(original)
    assert any("dense" in name for name in names)
    assert any("meta.json" in name for name in names)
    for round_, name in enumerate(names * (3 if how == "flipped" else 1)):
        path = tmp_path / f"{round_}"
        shutil.copytree(original, path)
        damage(path / name, how, rng)
        with Store.open(path, embedder=HashEmbedder(), read_only=round_ % 2 == 1) as store:
            assert answers(store) == expected, name
        with Store.open(path, embedder=HashEmbedder()) as store:
            assert answers(store) == expected, name


def test_indexes_of_another_history_are_not_believed(filled, tmp_path):
    original, expected = filled
    path = tmp_path / "s"
    shutil.copytree(original, path)
    with Store.open(path, embedder=HashEmbedder()) as store:
        store.add([Chunk(f"later{i}", "later", f"fox bear later{i}", metadata={"n": 500}) for i in range(300)])
    shutil.copy(
        original / "store.sqlite", path / "store.sqlite"
    )  # the truth comes back from a backup, derived/ does not
    with Store.open(path, embedder=HashEmbedder()) as store:
        assert answers(store) == expected
    with Store.open(path, embedder=HashEmbedder()) as store:
        store.add([Chunk(f"other{i}", "other", f"owl other{i}", metadata={"n": 500}) for i in range(300)])
        assert store.search("later3", 5, mode="lexical") == []
        assert store.search("other3", 1, mode="lexical")[0].chunk.id == "other3"


def test_catching_up_after_a_kill_before_the_indexes_were_written(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_store_durability import *\n"
        "store = Store.open(sys.argv[1], embedder=HashEmbedder())\n"
        "store.add([Chunk(f'c{i}', f'd{i}', text(i)) for i in range(100)])\n"
        "os._exit(9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), HERE], check=False)
    assert ran.returncode == 9
    assert not (tmp_path / "s" / "derived").exists()
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), read_only=True) as store:
        assert store.search("number42", 1, mode="lexical")[0].chunk.id == "c42"
        assert store.search(text(42), 1, mode="dense")[0].score == pytest.approx(1)


_FULL = """
import resource, signal, sys; sys.path.insert(0, sys.argv[2])
from test_store_durability import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
store = Store.open(sys.argv[1], embedder=HashEmbedder())
try:
    for step in range(10_000):
        store.add([Chunk(f"f{step}-{i}", "d", text(step) * 20) for i in range(20)])
        print(step, flush=True)
        store.search("fox")
except StoreError as error:
    print(error, flush=True)
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_no_space_is_a_clear_error_and_loses_nothing(tmp_path):
    path = tmp_path / "s"
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, str(path), HERE], capture_output=True, text=True, encoding="utf-8", check=True
    )
    *steps, said = ran.stdout.splitlines()
    assert len(steps) > 2
    assert "nothing was lost" in said or "everything committed before is kept" in said
    with Store.open(path, embedder=HashEmbedder()) as store:
        assert len(store) == 20 * len(steps)
        store.add([Chunk("after", "after", "after the disk was cleaned")])
        assert store.search("cleaned", 1, mode="lexical")[0].chunk.id == "after"
        assert len(store.search("fox", len(store), repeats=True)) == len(store)


def test_deleting_most_compacts_and_changes_no_answer(tmp_path):
    vectors = np.random.default_rng(3).standard_normal((4000, 16)).astype(np.float32)
    with Store.open(tmp_path / "s") as store:
        store.add_vectors([Chunk(f"c{i}", "d", text(i)) for i in range(4000)], vectors)
        assert [hit.chunk.id for hit in store.search_vector(vectors[3999], 1)] == ["c3999"]
        assert store.delete([f"c{i}" for i in range(4000) if i % 4]) == 3000
        for index in (0, 400, 3996):
            assert [hit.chunk.id for hit in store.search_vector(vectors[index], 1)] == [f"c{index}"]
        assert len(store.search_vector(vectors[1], 4000)) == 1000
        assert len(store.search("number4 number8", 10, mode="lexical")) == 2
        assert store.info()["dense_index"]["dead"] == 0
    assert (tmp_path / "s" / "derived" / "dense.index").stat().st_size < 1000 * (16 * 4 + 16) + 500


def test_a_busy_index_folder_is_searched_in_a_private_copy(filled, tmp_path, monkeypatch):
    path = tmp_path / "s"
    shutil.copytree(filled[0], path)
    monkeypatch.setattr("langbert.store.lexical._LOCK_SECONDS", 0.1)
    with FileLock(path / "derived" / "lexical.lock"), Store.open(path, embedder=HashEmbedder()) as store:
        before = (path / "derived" / "lexical" / "meta.json").read_bytes()
        store.add([Chunk("new", "new", "a platypus")])
        assert store.search("platypus", 1, mode="lexical")[0].chunk.id == "new"
        assert (path / "derived" / "lexical" / "meta.json").read_bytes() == before


def test_of_two_that_close_a_store_one_writes_its_dense_index(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("langbert.store.dense._LOCK_SECONDS", 0.1)
    file = tmp_path / "s" / "derived" / "dense.index"
    one, two, three = (Store.open(tmp_path / "s", embedder=HashEmbedder()) for _ in range(3))
    one.add([Chunk("c", "d", "a platypus")])
    for store in (one, two, three):
        assert store.search("platypus", mode="dense")
    with FileLock(f"{file}.lock"):
        one.close()
        assert not file.exists()
    two.close()
    written = file.stat()
    three.close()
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as again, FileLock(f"{file}.lock"):
        assert again.search("platypus", mode="dense")
        assert again.compact()["bytes_after"] > 0
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_damaged_truth_is_named(filled, tmp_path):
    path = tmp_path / "s"
    shutil.copytree(filled[0], path)
    content = bytearray((path / "store.sqlite").read_bytes())
    content[8192 : 8192 * 6] = b"\xff" * (8192 * 5)
    (path / "store.sqlite").write_bytes(content)

    def read_everything() -> None:
        with Store.open(path, embedder=HashEmbedder()) as store:
            answers(store)
            store.get([f"c{i}" for i in range(300)])

    with pytest.raises(StoreCorrupt, match="backup"):
        read_everything()


def test_a_changed_vector_is_named(filled, tmp_path):
    path = tmp_path / "s"
    shutil.copytree(filled[0], path)
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    connection.execute(
        "UPDATE vectors SET vector = zeroblob(64) WHERE row_id = (SELECT row_id FROM chunks WHERE id = 'c1')"
    )
    connection.close()
    with Store.open(path, embedder=HashEmbedder()) as store, pytest.raises(StoreCorrupt, match="checksum"):
        store.vectors(["c1"])


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    with Store.open(tmp_path / "s", embedder=HashEmbedder()) as store:
        store.add([Chunk("a", "a", "apples")])

        def fail(*_):
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr("langbert.store.transaction.Transaction.finish", fail)
            with pytest.raises(StoreError, match="disk under"):
                store.add([Chunk("b", "b", "bananas"), Chunk("a", "a", "changed")])
        assert [item.text for item in store.get(["a", "b"])] == ["apples"]
        assert len(store.search("bananas apples")) == 1
