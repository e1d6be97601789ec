"""``langbert doctor`` and ``langbert store …``, run for real."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from store_tools import HashEmbedder, LineChunker

from langbert import sync
from langbert.cli import run
from langbert.records import Chunk, Document
from langbert.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        store.add([Document("doc", "line one\nline two"), *(Chunk(f"c{i}", "d", f"chunk {i}") for i in range(40))])
        store.delete(["c7"])
        store.search("line")
    return tmp_path / "s"


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_doctor_says_by_its_exit_code_how_it_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = cli(capsys, "doctor", "--store", path)
    assert (code, "sound" in out) == (0, True)
    index = path / "derived" / "dense.index"
    index.write_bytes(index.read_bytes()[:-3])
    code, out = cli(capsys, "doctor", "--store", path, "--json")
    assert (code, json.loads(out)["state"]) == (3, "derived")
    code, out = cli(capsys, "doctor", "--store", path, "--repair", "--json")
    assert (code, json.loads(out)["rebuilt"], json.loads(out)["state_now"]) == (0, True, "sound")
    connection = sqlite3.connect(path / "store.sqlite", isolation_level=None)
    connection.execute("UPDATE chunks SET text = 'x' WHERE id = 'c5'")
    connection.close()
    code, out = cli(capsys, "doctor", "--store", path)
    assert (code, "c5" in out) == (4, True)
    code, out = cli(capsys, "doctor", "--store", path, "--repair", "--json")
    saved = json.loads(out)["saved"]
    assert (code, saved["lost_chunks"], saved["chunks"]) == (4, ["c5"], 40)
    assert cli(capsys, "doctor", "--store", saved["path"])[0] == 0
    assert cli(capsys, "doctor", "--store", path.with_name("nothing"))[0] == 1


def test_export_import_info_compact(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = cli(capsys, "store", "export", tmp_path / "a.jsonl", "--store", path, "--json")
    assert (code, json.loads(out)["chunks"]) == (0, 41)
    assert cli(capsys, "store", "export", tmp_path / "a.jsonl", "--store", path)[0] == 1  # it is there already
    code, out = cli(capsys, "store", "import", tmp_path / "a.jsonl", "--store", tmp_path / "b")
    assert (code, "41 chunks" in out) == (0, True)
    code, out = cli(capsys, "store", "info", "--store", tmp_path / "b", "--json")
    assert (code, json.loads(out)["chunks"], json.loads(out)["dimension"]) == (0, 41, 16)
    assert "hash" in cli(capsys, "store", "info", "--store", tmp_path / "b")[1]
    code, out = cli(capsys, "store", "compact", "--store", path, "--json")
    assert code == 0
    assert json.loads(out)["bytes_after"] > 0
    assert cli(capsys, "doctor", "--store", path)[0] == 0


@pytest.mark.models
def test_migrate(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = cli(capsys, "store", "migrate", "--store", path, "--embedder", "minilm", "--json", "--quiet")
    assert (code, json.loads(out)["changed"], json.loads(out)["chunks"]) == (0, True, 40)
    code, out = cli(capsys, "store", "migrate", "--store", path, "--embedder", "minilm", "--quiet")
    assert (code, "already" in out) == (0, True)
    code, out = cli(capsys, "store", "info", "--store", path, "--json")
    assert json.loads(out)["dimension"] == 384


def test_rm_removes_files_folders_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "docs"
    (folder / "old").mkdir(parents=True)
    (folder / "new").mkdir()
    for name in ("a.txt", "b.txt", "old/c.txt", "old/d.txt", "older.txt", "new/e.txt"):
        (folder / name).write_text(f"This is {name}.")
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        sync(folder, store)
    (folder / "b.txt").unlink()
    assert cli(capsys, "store", "rm", folder / "b.txt", tmp_path / "nowhere", "--store", tmp_path / "s")[0] == 1
    code, out = cli(capsys, "store", "rm", folder / "b.txt", folder / "old", "--store", tmp_path / "s", "--json")
    assert (code, len(json.loads(out)["removed"])) == (0, 3)
    assert cli(capsys, "store", "rm", "a.txt", "--store", tmp_path / "s") == (
        0,
        f"removed from {tmp_path / 's'}: 1\n",
    )
    assert cli(capsys, "store", "rm", "new/", "--store", tmp_path / "s")[0] == 0  # as its citations name it
    with Store.open(tmp_path / "s") as store:
        assert [row.source for row in store.documents()] == ["older.txt"]


def test_search_names_the_other_places_of_a_passage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("en", "v1", "v2", "v3", "v4"):
        (tmp_path / "docs" / folder).mkdir(parents=True)
        (tmp_path / "docs" / folder / "timeout.md").write_text("The timeout is 30 seconds.\n")
    (tmp_path / "docs" / "限制.md").write_text("The timeout has no limit.\n", encoding="utf-8")
    with Store.open(tmp_path / "s", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        sync(tmp_path / "docs", store)
    search = ("search", "timeout", "--store", tmp_path / "s", "--mode", "lexical")
    _, out = cli(capsys, *search, "--json")
    hits = {hit["text"]: hit for hit in json.loads(out)["hits"]}
    assert len(hits) == 2
    same = hits["The timeout is 30 seconds."]
    assert sorted([same["source"], *(place["source"] for place in same["also_in"])]) == [
        f"{folder}/timeout.md" for folder in ("en", "v1", "v2", "v3", "v4")
    ]
    assert hits["The timeout has no limit."]["also_in"] == []
    _, out = cli(capsys, *search)
    (line,) = (line for line in out.splitlines() if "also in" in line)
    assert line.count("timeout.md") == 3
    assert line.rstrip().endswith(" and 1 more")
