"""A store comes into being whole; where one did not, everybody is told so, and the next writer completes it."""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_tools import HashEmbedder

from langbert.cli.app import invoke
from langbert.errors import StoreError
from langbert.records import Chunk
from langbert.store import Store
from langbert.store.maintenance.doctor import examine

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def cut_short(folder: Path) -> None:
    """What a process leaves that is killed while SQLite writes the first pages in place: a journal to take back."""
    folder.mkdir()
    file = folder / "store.sqlite"
    pid = os.fork()
    if pid == 0:
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")  # pages are written before the commit
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE half (text)")
        connection.executemany("INSERT INTO half VALUES (?)", [("x" * 1000,)] * 200)
        os._exit(9)
    os.waitpid(pid, 0)
    assert file.stat().st_size > 0
    assert (folder / "store.sqlite-journal").stat().st_size > 0


def blank(folder: Path) -> None:
    folder.mkdir()
    (folder / "store.sqlite").touch()


CUT_SHORT = [pytest.param(cut_short, marks=posix), blank]


@pytest.mark.parametrize("make", CUT_SHORT)
def test_a_reader_of_what_was_cut_short_is_told_what_to_do(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "s")
    before = {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()}
    with pytest.raises(StoreError, match=r"holds no store yet.*nothing is lost.*for writing.*doctor --repair"):
        Store.open(tmp_path / "s", read_only=True)
    assert examine(tmp_path / "s").state == "unfinished"
    assert {file.name: file.read_bytes() for file in (tmp_path / "s").iterdir()} == before


@pytest.mark.parametrize("make", CUT_SHORT)
def test_a_writer_completes_what_was_cut_short(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "s")
    with Store.open(tmp_path / "s") as store:
        assert len(store) == 0
        store.add([Chunk("c", "d", "fox")])
    with Store.open(tmp_path / "s", read_only=True) as store:
        assert [hit.chunk.id for hit in store.search("fox", mode="lexical")] == ["c"]
    assert examine(tmp_path / "s").findings == []


@pytest.mark.parametrize("make", CUT_SHORT)
def test_the_doctor_completes_what_was_cut_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None]
) -> None:
    make(tmp_path / "s")
    assert invoke(["doctor", "--store", str(tmp_path / "s")]) == 3
    said = capsys.readouterr()
    assert "not complete, and empty" in said.out
    assert "--repair" in said.err
    assert invoke(["doctor", "--store", str(tmp_path / "s"), "--repair", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["state"], report["state_now"], report["rebuilt"]) == ("unfinished", "sound", True)
    with Store.open(tmp_path / "s", read_only=True) as store:
        assert len(store) == 0


def no_links(source: object, target: object) -> None:
    raise OSError(errno.EPERM, "this file system knows no links")


@pytest.mark.parametrize("links", [True, False])
def test_several_may_make_the_same_store_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for round_ in range(5):
        together, failed = threading.Barrier(4), []

        def make(number: int, path: Path, together: threading.Barrier, failed: list[BaseException]) -> None:
            try:
                together.wait()
                with Store.open(path, embedder=HashEmbedder()) as store:
                    store.add([Chunk(f"c{number}", "d", "fox")])
            except BaseException as error:
                failed.append(error)
                raise

        path = tmp_path / f"{round_}"
        threads = [threading.Thread(target=make, args=(i, path, together, failed)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        with Store.open(path, read_only=True) as store:
            assert len(store) == 4
        assert not [file for file in path.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("step", ["mkdtemp", "fsync"])
def test_a_disk_that_fails_while_a_store_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(*{"mkdtemp": (tempfile, "mkdtemp"), "fsync": (os, "fsync")}[step], fail)
        with pytest.raises(StoreError, match=re.escape(os.strerror(error))):
            Store.open(tmp_path / "s")
    assert list((tmp_path / "s").iterdir()) == []
    Store.open(tmp_path / "s").close()
    assert examine(tmp_path / "s").findings == []


def test_what_killed_processes_left_is_no_obstacle_and_is_swept_away(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    (folder / ".store.sqlite-abandoned.tmp").mkdir(parents=True)
    (folder / ".store.sqlite-abandoned.tmp" / "store.sqlite").write_bytes(b"half")
    (folder / ".store.sqlite-fresh.tmp").mkdir()
    long_ago = time.time() - 3600
    for path in (folder / ".store.sqlite-abandoned.tmp" / "store.sqlite", folder / ".store.sqlite-abandoned.tmp"):
        os.utime(path, (long_ago, long_ago))
    with Store.open(folder, embedder=HashEmbedder()) as store:
        store.add([Chunk("c", "d", "fox")])
        store.search("fox")
    assert {file.name for file in folder.iterdir() if file.name.startswith(".")} == {".store.sqlite-fresh.tmp"}
    abandoned, fresh = (folder / "derived" / f".dense.index-{name}.tmp" for name in ("abandoned", "fresh"))
    for file in (abandoned, fresh):
        file.write_bytes(b"half")
    os.utime(abandoned, (long_ago, long_ago))
    Store.open(folder, read_only=True).close()
    assert abandoned.exists()
    Store.open(folder).close()
    assert not abandoned.exists()
    assert fresh.exists()  # somebody may be writing it
