"""Which files of a folder are meant, and what their paths say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from store_tools import HashEmbedder

from langbert import Store, sync
from langbert.documents import find_files
from langbert.documents.selecting import PathPattern, Selection, value_of
from langbert.errors import DocumentError
from langbert.indexing import SyncOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("law/2024/contract.md", "law/2024/drafts/old.md", "法务/2023/合同.txt", "readme.md", "law/notes.log"):
        file = tmp_path / "archive" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"The text of {name}.", encoding="utf-8")
    return tmp_path / "archive"


def found(folder: Path, **patterns: tuple[str, ...]) -> set[str]:
    return {source for _, source in find_files(folder, selection=Selection(**patterns))}


def test_patterns_are_those_of_gitignore(folder: Path) -> None:
    assert found(folder, include=("*.md",)) == {"law/2024/contract.md", "law/2024/drafts/old.md", "readme.md"}
    assert found(folder, include=("*.md",), exclude=("drafts/",)) == {"law/2024/contract.md", "readme.md"}
    assert found(folder, include=("/*.md", "法务/")) == {"readme.md", "法务/2023/合同.txt"}
    assert found(folder, exclude=("*", "!readme.md")) == {"readme.md"}
    with pytest.raises(DocumentError, match="exclude: Invalid git pattern"):
        Selection(exclude=("!",))


def test_a_file_named_outright_is_always_meant(folder: Path) -> None:
    (folder / ".langbertignore").write_text("readme.md\n")
    assert find_files(folder / "readme.md", selection=Selection(exclude=("*",)))


def test_an_ignore_file_leaves_out_what_git_would(folder: Path) -> None:
    (folder / ".langbertignore").write_text("# no drafts\ndrafts/\n*.log\n合同.txt\n", encoding="utf-8")
    assert found(folder) == {"law/2024/contract.md", "readme.md"}
    (folder / "法务" / ".langbertignore").write_text("!合同.txt\n", encoding="utf-8")  # the deeper one decides
    assert found(folder) == {"law/2024/contract.md", "readme.md", "法务/2023/合同.txt"}


def test_an_ignore_file_that_cannot_be_understood_is_named(folder: Path) -> None:
    (folder / "law" / ".langbertignore").write_text("!\n")
    with pytest.raises(DocumentError, match=r"law.\.langbertignore: Invalid git pattern"):
        found(folder)


def test_metadata_come_from_the_path_and_from_the_user(folder: Path) -> None:
    with Store.open(None, embedder=HashEmbedder()) as store:
        sync(folder, store, metadata={"team": "甲"}, metadata_from_path=["{department}/{year}/**", "{area}/*.log"])
        said = {row.source: row.metadata for row in store.documents()}
        assert said["法务/2023/合同.txt"].items() >= {"department": "法务", "year": 2023, "team": "甲"}.items()
        assert said["law/2024/drafts/old.md"]["year"] == 2024
        assert said["law/notes.log"]["area"] == "law"
        assert "department" not in said["readme.md"]
        assert said["readme.md"]["team"] == "甲"
        hits = store.search("text", where={"year": {"$gte": 2024}}, repeats=True)
        assert {hit.chunk.source for hit in hits} == {"law/2024/contract.md", "law/2024/drafts/old.md"}


def test_other_metadata_reach_the_store_without_embedding(folder: Path) -> None:
    embedder = HashEmbedder()
    with Store.open(None, embedder=embedder) as store:
        sync(folder, store, metadata={"team": "a"})
        embedded = len(embedder.embedded)
        assert sync(folder, store, metadata={"team": "b"}).updated == 5
        assert {row.metadata["team"] for row in store.documents()} == {"b"}
        assert len(embedder.embedded) == embedded


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{department}/{year}/*", "law/2024/a.pdf", {"department": "law", "year": 2024}),
        ("{department}/{year}/*", "law/2024/more/a.pdf", {}),
        ("**/{name}_{version}.txt", "a/b/report_007.txt", {"name": "report", "version": "007"}),
        ("**/{name}.txt", "top.txt", {"name": "top"}),
        ("{year}年/{部门}/*", "2024年/财务/表.xlsx", {"year": 2024, "部门": "财务"}),
        ("a.b/{c}", "axb/c", {}),
    ],
)
def test_patterns_find_what_they_name(pattern: str, path: str, expected: dict[str, object]) -> None:
    assert PathPattern(pattern).metadata(path) == expected


@pytest.mark.parametrize("pattern", ["*/*", "{a}/{a}", "{1a}/x", ""])
def test_patterns_that_name_nothing_or_one_thing_twice_are_refused(pattern: str) -> None:
    with pytest.raises(DocumentError, match="the pattern"):
        PathPattern(pattern)


def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(DocumentError, match="sha256 are langbert's own"):
        SyncOptions(metadata={"sha256": "x"})
    with pytest.raises(DocumentError, match="path are langbert's own"):
        SyncOptions(metadata_from_path=("{path}/*",))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "inf", "1e999", "[NaN]", "[1, 1e999]"])
def test_what_is_no_finite_number_stays_text(text: str) -> None:
    assert value_of(text) == text


@given(st.text())
@example("NaN")
def test_a_value_is_never_another_than_was_typed(text: str) -> None:
    value = value_of(text)
    if isinstance(value, list | dict):
        assert json.loads(text) == value
    else:
        assert value == text or str(value).lower() in (text, "none") or float(text) == value
