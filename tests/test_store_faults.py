"""Disks that are full or fail at every step, torn and flipped files, hostile files, read-only media, processes."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_tools import HashEmbedder, LineChunker

from langbert import files
from langbert.errors import LangbertError, StoreCorrupt, StoreError, StoreLocked
from langbert.records import Chunk, Document
from langbert.store import Store
from langbert.store.maintenance.doctor import examine

HERE = str(Path(__file__).parent)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes and limits")


def text(index: int) -> str:
    return f"common word{index % 7} number{index}"


def open_store(path: Path, **options: Any) -> Store:
    return Store.open(path, embedder=HashEmbedder(), chunker=LineChunker(), **options)


def fill(path: Path, count: int = 120) -> None:
    with open_store(path) as store:
        store.add([Chunk(f"c{i}", f"d{i}", text(i), metadata={"n": i}) for i in range(count)])
        store.add([Document("doc", "common line one\ncommon line two\n中文一行", source="a.txt")])
        store.delete([f"c{i}" for i in range(0, count, 9)])
        store.search("common")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "store"
    fill(path)
    return path


def everything(path: Path, **options: Any) -> dict[str, Any]:
    """All that users can ask of a store."""
    with open_store(path, **options) as store:
        chunks = store.get([f"c{i}" for i in range(400)] + [f"doc:{start}" for start in range(40)])
        found: dict[str, Any] = {item.id: (item.text, dict(item.metadata)) for item in chunks}
        found["documents"] = [store.document(document.id) for document in store.documents()]
        found["vectors"] = store.vectors([item.id for item in chunks]).tobytes()
        found["count"] = len(store)
        found["filtered"] = sorted(hit.chunk.id for hit in store.search("common", 500, where={"n": {"$gte": 60}}))
        for mode in ("lexical", "dense"):
            hits = store.search("common number7 word3", 5, mode=mode)
            found[mode] = [(hit.chunk.id, round(hit.scores["dense"], 4) if mode == "dense" else 0) for hit in hits]
        return found


# --- every step of writing a derived file ----------------------------------------------------------------------------


class Faults:
    """Counts the steps of writing files through ``langbert.files``, and fails at one of them."""

    def __init__(self, at: int = -1, error: int = errno.ENOSPC) -> None:
        self.steps: list[str] = []
        self._at = at
        self._error = error

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) - 1 == self._at:
            raise OSError(self._error, os.strerror(self._error))

    @contextmanager
    def injected(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with monkeypatch.context() as patched:
            for module, name in ((os, "fsync"), (Path, "open"), (files.tempfile, "mkdtemp"), (Path, "replace")):
                patched.setattr(module, name, self._counting(getattr(module, name), name))
            yield

    def _counting(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and "wb" not in arguments:  # reading
                return real(*arguments, **options)
            self.step(name)
            made = real(*arguments, **options)
            return Writing(made, self) if name == "open" else made

        return call


class Writing:
    """A file each of whose writes is a step."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, data: Any) -> int:
        self._faults.step("write")
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Writing:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_fails_at_any_step_of_writing_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    watched = Faults()
    open_store(tmp_path / "watched").close()
    with watched.injected(monkeypatch):
        fill(tmp_path / "watched")
    assert {"mkdtemp", "open", "write", "fsync", "replace"} <= set(watched.steps)
    expected = everything(tmp_path / "watched")
    for at in range(len(watched.steps)):
        path = tmp_path / f"{at}"
        open_store(path).close()
        faults = Faults(at, error)
        with faults.injected(monkeypatch):
            fill(path)
        assert len(faults.steps) > at, "the fault was never met"
        where = f"step {at}, {watched.steps[at]}"
        assert examine(path).state == "sound", where
        assert not list((path / "derived").glob(".*.tmp")), where
        assert everything(path) == expected, where


# --- SQLite's file ---------------------------------------------------------------------------------------------------


def test_a_full_database_changes_nothing_and_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    before = everything(path)
    for extra in (0, 1, 3, 8):
        with open_store(path) as store:
            (connection,) = store._database._idle
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + extra}")
            with pytest.raises(StoreError, match=r"no space left .* nothing was lost"):
                store.add([Chunk(f"n{i}", "n", text(i) * 50, metadata={"n": i}) for i in range(60)])
            with pytest.raises(StoreError, match="no space left"):
                store.add([Document("doc", "\n".join(text(i) * 50 for i in range(60)))])
            connection.execute("PRAGMA max_page_count = 1000000")
        assert everything(path) == before
    with open_store(path) as store:
        store.add([Chunk("n", "n", "there is room again")])
        assert store.search("room", 1, mode="lexical")[0].chunk.id == "n"


_LIMITED = """
import resource, signal, sys; sys.path.insert(0, sys.argv[2])
from test_store_faults import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with open_store(Path(sys.argv[1])) as store:
        for step in range(500):
            store.add([Chunk(f"c{step}-{i}", "d", text(step) * 9, metadata={"n": step}) for i in range(9)])
            print("added", step, flush=True)
            if step % 4 == 3:
                store.delete([f"c{step - 1}-{i}" for i in range(9)])
                print("deleted", step - 1, flush=True)
                store.search("common")
except StoreError as error:
    print("error", type(error).__name__, error, flush=True)
"""


@posix
@pytest.mark.parametrize("limit", [0, 4_000, 20_000, 40_000, 70_000, 150_000, 400_000])
def test_writes_that_fail_at_any_size_of_the_files(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "s"
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path), HERE, str(limit)], capture_output=True, encoding="utf-8", check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[-1][0] == "error", done.stdout[-300:]
    steps = [int(number) for word, number, *_ in lines if word == "added"]
    gone = {int(number) for word, number, *_ in lines if word == "deleted"}
    expected = {f"c{step}-{i}" for step in steps if step not in gone for i in range(9)}
    with open_store(path) as store:
        unsure = {f"c{max(steps, default=0) - 1}-{i}" for i in range(9)}  # the delete that failed
        held = {item.id for item in store.get([f"c{step}-{i}" for step in range(len(steps) + 2) for i in range(9)])}
        assert held - unsure == expected - unsure
        assert len(store) == len(held)
        store.add([Chunk("after", "d", "common: there is room again")])
        assert len(store.search("common", len(store), mode="lexical", repeats=True)) == len(store)
    assert examine(path).state == "sound"


# --- files that change behind our back -------------------------------------------------------------------------------


def derived_files(path: Path) -> list[Path]:
    return sorted(file for file in (path / "derived").rglob("*") if file.is_file() and file.stat().st_size)


def lengths(size: int) -> list[int]:
    """Every class of length: nothing, within and at the end of headers, around blocks, all but the end."""
    wanted = {0, 1, 7, 16, 17, 64, 100, 511, 512, 513, 4095, 4096, size // 2, size - 9, size - 8, size - 4, size - 1}
    return sorted(length for length in wanted if 0 <= length < size)


@pytest.mark.slow
def test_derived_files_torn_at_every_class_of_length(filled: Path, tmp_path: Path) -> None:
    expected = everything(shutil.copytree(filled, tmp_path / "expected"))
    round_ = 0
    for file in derived_files(filled):
        for length in lengths(file.stat().st_size):
            path = shutil.copytree(filled, tmp_path / f"{round_}")
            os.truncate(path / file.relative_to(filled), length)
            assert everything(path) == expected, (file.name, length)
            assert examine(path).state == "sound", (file.name, length)
            shutil.rmtree(path)
            round_ += 1
    assert round_ > 40


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["segments"][0].update(max_doc=0),
        lambda meta: meta["segments"][0].update(max_doc=10**9),
        lambda meta: meta["segments"][0].update(segment_id="../../x"),
        lambda meta: meta["schema"][0].update(type="text"),
        lambda meta: meta["schema"].pop(),
        lambda meta: meta.update(segments=meta["segments"] * 2),
        lambda meta: meta.update(segments=[]),
    ],
)
def test_a_list_of_lexical_files_that_lies_is_no_panic(
    filled: Path, tmp_path: Path, change: Callable[[Any], None], capfd: pytest.CaptureFixture[str]
) -> None:
    expected = everything(shutil.copytree(filled, tmp_path / "expected"))
    path = shutil.copytree(filled, tmp_path / "s")
    listed = path / "derived" / "lexical" / "meta.json"
    meta = json.loads(listed.read_text())
    change(meta)
    listed.write_text(json.dumps(meta))
    assert everything(path) == expected
    assert "panicked" not in capfd.readouterr().err
    assert examine(path).state == "sound"


def test_a_list_of_lexical_files_that_nests_without_end(filled: Path, tmp_path: Path) -> None:
    expected = everything(shutil.copytree(filled, tmp_path / "expected"))
    path = shutil.copytree(filled, tmp_path / "s")
    (path / "derived" / "lexical" / "meta.json").write_text("[" * 100_000)
    assert everything(path) == expected


def flip(file: Path, place: int, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(place)
        (byte,) = opened.read(1)
        opened.seek(place)
        opened.write(bytes([byte ^ 1 << bit]))


@pytest.mark.parametrize("flips", [30, pytest.param(1500, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_flipped_bit_in_the_truth_is_found_or_harmless(filled: Path, tmp_path: Path, flips: int) -> None:
    """Found by whoever reads what was hit, or at least by the doctor, or it hit nothing."""
    expected = everything(shutil.copytree(filled, tmp_path / "expected"))
    rng = random.Random(flips)
    refused = seen_by_doctor = harmless = 0
    for round_ in range(flips):
        path = shutil.copytree(filled, tmp_path / f"{round_}")
        file = path / "store.sqlite"
        place, bit = rng.randrange(file.stat().st_size), rng.randrange(8)
        flip(file, place, bit)
        try:
            sound = examine(path).state == "sound"  # the derived files are whole: all there is to find was flipped
        except StoreError:  # its header now says that it is something else
            sound = False
        try:
            same = everything(path) == expected
        except LangbertError:
            refused += 1
            assert not sound, (place, bit)
        else:
            assert same or not sound, (place, bit)
            harmless += sound
            seen_by_doctor += not sound
        shutil.rmtree(path, ignore_errors=True)  # a merge of the lexical index may still be writing
    assert refused
    assert harmless
    assert refused + seen_by_doctor + harmless == flips


@pytest.mark.slow
def test_a_flipped_bit_in_a_derived_file_changes_no_answer(
    filled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = everything(shutil.copytree(filled, tmp_path / "expected"))
    rng = random.Random(0)
    listed = [file.relative_to(filled) for file in derived_files(filled)]
    for round_ in range(200):
        path = shutil.copytree(filled, tmp_path / f"{round_}")
        file = path / listed[round_ % len(listed)]
        place, bit = rng.randrange(file.stat().st_size), rng.randrange(8)
        flip(file, place, bit)
        assert everything(path) == expected, (file.name, place, bit)
        shutil.rmtree(path, ignore_errors=True)
    assert "panicked" not in capfd.readouterr().err


def test_a_flipped_bit_in_a_text_is_never_shown(filled: Path, tmp_path: Path) -> None:
    for old, new in (
        (b"number17", b"number97"),
        (b"common line one", b"c\xef\xbfmmon line on"),
        (b'{"n":50}', b'{"n":51}'),
    ):
        path = shutil.copytree(filled, tmp_path / new[:8].hex())
        content = (path / "store.sqlite").read_bytes()
        assert old in content
        (path / "store.sqlite").write_bytes(content.replace(old, new))
        with pytest.raises(StoreCorrupt, match="langbert doctor"):
            everything(path)
        assert examine(path).state == "primary"


@pytest.mark.parametrize("column", ["headings", "metadata", "text", "source", "document_id"])
def test_a_text_that_became_bytes_is_found(filled: Path, tmp_path: Path, column: str) -> None:
    """One bit of a row's header makes the difference."""
    path = shutil.copytree(filled, tmp_path / "s")
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(
        f"UPDATE chunks SET {column} = CAST({column} AS BLOB) WHERE row_id = (SELECT min(row_id) FROM chunks)"
    )
    connection.close()
    assert examine(path).state == "primary"
    with pytest.raises(StoreCorrupt):
        everything(path)


def test_a_flipped_vector_is_never_searched(filled: Path, tmp_path: Path) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    shutil.rmtree(path / "derived")
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    (row, blob) = connection.execute("SELECT row_id, vector FROM vectors LIMIT 1").fetchone()
    connection.execute("UPDATE vectors SET vector = ? WHERE row_id = ?", (bytes([blob[0] ^ 1]) + blob[1:], row))
    connection.close()
    with open_store(path) as store, pytest.raises(StoreCorrupt, match="checksum"):
        store.search("common", 3, mode="dense")


# --- places ----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_files_are_no_more_readable_than_the_folder(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    path.mkdir(mode=mode)
    before = os.umask(0o022)
    try:
        with open_store(path) as store:
            store.add([Chunk("c", "d", "common")])
            store.search("common")
            wide = {file.name: stat.S_IMODE(file.stat().st_mode) & ~mode for file in path.iterdir()}
        wide |= {file.name: stat.S_IMODE(file.stat().st_mode) & ~mode for file in path.iterdir()}
    finally:
        os.umask(before)
    assert set(wide) >= {"store.sqlite", "store.sqlite-wal", "derived"}
    assert not any(wide.values()), {name: f"{bits:o}" for name, bits in wide.items()}
    assert not examine(path).found("note")


@pytest.mark.parametrize("name", ["Ünïcode 文档 📚", "with space & 100%?#", "quote'\"s;"])
def test_any_name_of_a_folder_will_do(tmp_path: Path, name: str) -> None:
    if os.name == "nt" and set(name) & set('?"'):
        pytest.skip("not a name on Windows")
    fill(tmp_path / name / "s")
    assert everything(tmp_path / name / "s", read_only=True)["count"] > 100
    assert examine(tmp_path / name / "s").state == "sound"


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_media(filled: Path, tmp_path: Path) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    expected = everything(path, read_only=True)
    folders = [path, *(folder for folder in path.rglob("*") if folder.is_dir())]
    for file in path.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    path.chmod(0o555)
    try:
        assert everything(path, read_only=True) == expected
        assert examine(path).state == "sound"
        with pytest.raises(StoreError, match=r"permission|cannot open|read_only"), open_store(path) as store:
            store.add([Chunk("new", "d", "new")])
    finally:
        for folder in folders:
            folder.chmod(0o755)


# --- hostile files ---------------------------------------------------------------------------------------------------


def tampered(filled: Path, path: Path, *statements: str) -> Path:
    shutil.copytree(filled, path)
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER t AFTER INSERT ON chunks BEGIN DELETE FROM documents; END"],
        ["CREATE TRIGGER t BEFORE DELETE ON chunks BEGIN SELECT RAISE(IGNORE); END"],
        ["ALTER TABLE chunks RENAME TO c", "CREATE VIEW chunks AS SELECT * FROM c"],
        ["CREATE VIEW extra AS SELECT * FROM chunks"],
        ["DROP TABLE tombstones", "CREATE VIRTUAL TABLE tombstones USING fts5(change, row_id)"],
        ["ALTER TABLE vectors DROP COLUMN checksum"],
        ["ALTER TABLE vectors DROP COLUMN checksum", "ALTER TABLE vectors ADD checksum AS (length(vector))"],
    ],
)
def test_a_schema_that_does_something_is_refused(filled: Path, tmp_path: Path, statements: list[str]) -> None:
    path = tampered(filled, tmp_path / "s", *statements)
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"store\.sqlite"):
            Store.open(path, read_only=read_only)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = 'many' WHERE key = 'chunks'",
        "UPDATE meta SET value = -5 WHERE key = 'chunks'",
        "UPDATE meta SET value = 9223372036854775807 WHERE key = 'dimension'",
        "UPDATE meta SET value = x'00' WHERE key = 'dimension'",
        "UPDATE meta SET value = '[]' WHERE key = 'space'",
        "UPDATE meta SET value = '" + "[" * 20_000 + "' WHERE key = 'space'",
        "UPDATE meta SET value = 7 WHERE key = 'space'",
        "DELETE FROM meta",
        "UPDATE chunks SET metadata = '" + "[" * 20_000 + "'",
        "UPDATE chunks SET metadata = x'ff'",
        "UPDATE chunks SET headings = '{\"a\": 1}'",
        "UPDATE chunks SET start = 'here'",
        "UPDATE chunks SET start = -9223372036854775808",
        "UPDATE chunks SET text = x'ff00'",
        "UPDATE chunks SET text = CAST(x'ff' AS TEXT)",
        "UPDATE chunks SET text = 5",
        "UPDATE documents SET headings = '[[1]]', page_starts = '7'",
        "UPDATE documents SET metadata = '1'",
        "UPDATE commits SET change = 9223372036854775807, token = 'x' WHERE change = (SELECT max(change) FROM commits)",
        "UPDATE commits SET token = 1.5",
        "UPDATE tombstones SET row_id = 'x'",
        "UPDATE vectors SET vector = 'text'",
        "UPDATE vectors SET vector = zeroblob(1000000)",
        "UPDATE vectors SET vector = x'0000c07f' || substr(vector, 5)",
        "UPDATE vectors SET checksum = 'x'",
        "UPDATE chunks SET row_id = -row_id",
    ],
)
@pytest.mark.parametrize("derived", [True, False], ids=["indexed", "not indexed"])
def test_wrong_types_and_sizes_are_refused_or_harmless(
    filled: Path, tmp_path: Path, statement: str, derived: bool
) -> None:
    path = tampered(filled, tmp_path / "s", statement)
    if not derived:
        shutil.rmtree(path / "derived")
    with suppress(LangbertError):
        everything(path, read_only=True)
    with suppress(LangbertError):
        everything(path)
    with suppress(LangbertError), open_store(path) as store:
        store.add([Chunk("new", "doc", "new"), Document("doc", "other\nlines")])
        store.delete(where={"n": {"$lt": 30}})
        store.search("new")
    with suppress(StoreError):
        assert examine(tampered(filled, tmp_path / "again", statement)).state == "primary"


@settings(max_examples=25)
@given(data=st.data())
def test_random_bytes_never_do_more_than_raise(filled: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = Path(tmp_path / "s")
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(filled, path)
    file = data.draw(st.sampled_from([path / "store.sqlite", path / "store.sqlite-wal", *derived_files(path)]))
    content = bytearray(file.read_bytes() if file.exists() else b"")
    for _ in range(data.draw(st.integers(1, 4))):
        junk = data.draw(st.binary(min_size=1, max_size=300))
        at = data.draw(st.integers(0, len(content)))
        content[at : at + len(junk)] = junk
    file.write_bytes(bytes(content))
    with suppress(LangbertError):
        examine(path)
    with suppress(LangbertError):
        everything(path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    for name, content in (("junk", os.urandom(5000)), ("text", b"hello"), ("half", b"SQLite format 3\0" + bytes(84))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "store.sqlite").write_bytes(content)
        with pytest.raises(StoreError):
            Store.open(tmp_path / name)
        assert (tmp_path / name / "store.sqlite").read_bytes() == content  # and it is left as it was


@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_that_was_emptied_is_no_new_store(filled: Path, tmp_path: Path, read_only: bool) -> None:
    path = shutil.copytree(filled, tmp_path / "s")
    (path / "store.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match="is damaged \\(it is empty"):
        Store.open(path, read_only=read_only)
    assert (path / "store.sqlite").read_bytes() == b""


# --- other processes -------------------------------------------------------------------------------------------------

_READER = """
import sys, time; sys.path.insert(0, sys.argv[2])
from test_store_faults import *
store = open_store(Path(sys.argv[1]), read_only=True)
print("ready", flush=True)
for line in sys.stdin:
    id, words = line.split(maxsplit=1)
    lexical = [hit.chunk.id for hit in store.search(words, 1, mode="lexical")]
    dense = [hit.chunk.id for hit in store.search(words, 1, mode="dense")]
    print(lexical == dense == [id] and bool(store.get([id])), len(store), flush=True)
"""


def test_readers_see_each_commit_without_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    command = [sys.executable, "-c", _READER, str(path), HERE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        open_store(path) as store,
        subprocess.Popen(command, **pipes) as one,
        subprocess.Popen(command, **pipes) as two,
    ):
        readers = [one, two]
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for step in range(25):
            store.add([Chunk(f"s{step}", "s", f"unheard{step} word{step}x of news")])
            for reader in readers:
                reader.stdin.write(f"s{step} unheard{step} word{step}x of news\n")
                reader.stdin.flush()
            for reader in readers:
                assert reader.stdout.readline() == f"True {len(store)}\n", step
        for reader in readers:
            reader.stdin.close()


_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def test_a_second_writer_waits_and_then_says_who_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    command = [sys.executable, "-c", _HOLDER, str(path / "store.sqlite")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with open_store(path, lock_timeout=0.3) as store:
            with pytest.raises(StoreLocked, match=r"another process has been writing .* 0\.3 s.*lock_timeout"):
                store.add([Chunk("late", "d", "late")])
            assert len(store.search("common", 3, repeats=True)) == 3  # readers are not in anybody's way
        with open_store(path, lock_timeout=30) as store:
            release = threading.Timer(0.3, lambda: print(file=holder.stdin, flush=True))
            release.start()
            store.add([Chunk("late", "d", "late")])  # waits, and is let in
            release.join()
            assert store.get(["late"])


_TOGETHER = """
import sys; sys.path.insert(0, sys.argv[2])
from test_store_faults import *
with open_store(Path(sys.argv[1])) as store:
    for step in range(40):
        store.add([Chunk(f"w{sys.argv[3]}-{step}", "w", f"common writer{sys.argv[3]} {text(step)}")])
        if step % 10 == 0:
            store.search("common")
"""


def test_several_writers_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s"
    fill(path)
    before = everything(path)["count"]
    writers = [subprocess.Popen([sys.executable, "-c", _TOGETHER, str(path), HERE, str(i)]) for i in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with open_store(path) as store:
        assert len(store) == before + 120
        assert len(store.search("common", 1000, mode="lexical", repeats=True)) == before + 119  # one line is Chinese
        assert len(store.search_vector(np.ones(16), 1000)) == before + 120
    assert examine(path).state == "sound"
