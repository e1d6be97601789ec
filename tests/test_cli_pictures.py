"""Pictures from the command line, with a CLIP of random weights: indexed, found by words and by a picture, saved."""

from __future__ import annotations

# ruff: noqa: F811 - fixtures come by import
from pathlib import Path

import pytest
from test_cli import Cli, bert, cli  # noqa: F401
from test_illustrations import BLUE, RED, picture, report, written
from test_pictures import made_clip
from test_pictures import report as pdf_report

from langbert import Store, open_store
from langbert.store.snapshot import FileRecord

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_clip(tmp_path_factory.mktemp("models") / "clip", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Word file with three pictures, a PDF with two, a text with none."""
    where = tmp_path / "docs"
    where.mkdir()
    report().save(str(where / "bees 蜜蜂.docx"))
    pdf_report(where / "rivers.pdf")
    written(where, "plain.txt", "Words and nothing else.")
    return where


@pytest.fixture
def store(cli: Cli, folder: Path, bert: Path, clip: Path, tmp_path: Path) -> Path:
    where = tmp_path / "store"
    made = cli("index", folder, "--store", where, "--embedder", bert, "--image-embedder", clip, "--json")
    assert (made.code, made.err, made.json["pictures"], made.json["remarks"]) == (0, "", 5, [])
    return where


def test_words_find_pictures(cli: Cli, store: Path, tmp_path: Path) -> None:
    found = cli("search", "河流穿过山谷", "--pictures", "--store", store, "--json", "--save", tmp_path / "found").json
    assert found["question"] == "河流穿过山谷"
    assert len(found["pictures"]) == 5
    first = next(one for one in found["pictures"] if one["caption"].startswith("图 2"))
    assert first["rank"] <= 2
    assert (first["source"], first["page"]) == ("bees 蜜蜂.docx", None)
    with Store.open(store, read_only=True) as opened:
        for one in found["pictures"]:
            document = opened.document(one["document_id"])
            assert document is not None
            assert document.text[one["start"] : one["end"]] == one["caption"]
            assert Path(one["file"]).read_bytes() == opened.pictures.get([one["picture_id"]])[0].png
    assert sorted(file.name[3:] for file in (tmp_path / "found").iterdir()) == [
        *["bees-蜜蜂.docx.png"] * 3,
        *["rivers.pdf-p1.png"] * 2,
    ]
    again = cli("search", "river", "--pictures", "--store", store, "--save", tmp_path / "found")
    assert (again.code, "not empty" in again.err) == (2, True)


def test_a_picture_finds_pictures_and_passages(cli: Cli, store: Path, tmp_path: Path) -> None:
    asked = written(tmp_path, "asked.jpg", picture(BLUE, "JPEG"))
    found = cli("search", "--picture", asked, "--store", store, "-k", 2, "--json").json
    assert found["pictures"][0]["caption"] == "图 2 河流穿过山谷"
    assert (len(found["pictures"]), len(found["hits"])) == (2, 2)
    assert found["hits"][0]["source"] == "bees 蜜蜂.docx"
    shown = cli("search", "--picture", asked, "--store", store, "-k", 1)
    assert "bees 蜜蜂.docx" in shown.out
    assert "图 2" in shown.out
    assert "1 pictures and 1 passages in" in shown.err


def test_what_the_store_knows_needs_no_option(cli: Cli, store: Path, folder: Path, clip: Path) -> None:
    report().save(str(folder / "more.docx"))
    assert cli("index", folder, "--store", store, "--json").json["pictures"] == 8
    assert cli("index", folder, "--store", store, "--json").json["unchanged"] == 4
    elsewhere = clip.with_name("moved")
    clip.rename(elsewhere)
    try:
        report().save(str(folder / "yet more.docx"))
        left = cli("index", folder, "--store", store)
        assert "Pictures are left as they are" in left.err
        assert left.code == 0
        lost = cli("search", "bees", "--pictures", "--store", store)
        assert (lost.code, str(clip) in lost.err) == (1, True)
        there = cli("search", "bees", "--pictures", "--store", store, "--image-embedder", elsewhere, "--json").json
        assert len(there["pictures"]) == 5
        # those that were left are made up for, and only those
        made_up = cli("index", folder, "--store", store, "--image-embedder", elsewhere, "--json").json
        assert (made_up["unchanged"], made_up["pictures"]) == (4, 11)
    finally:
        elsewhere.rename(clip)


def test_a_store_that_was_made_without(cli: Cli, folder: Path, bert: Path, clip: Path, tmp_path: Path) -> None:
    where = tmp_path / "plain"
    assert cli("index", folder, "--store", where, "--embedder", bert, "--json").json["pictures"] == 0
    none = cli("search", "bees", "--pictures", "--store", where)
    assert (none.code, "there are no pictures" in none.err, "--image-embedder" in none.err) == (1, True, True)
    report = cli("index", folder, "--store", where, "--image-embedder", clip, "--json").json
    assert (report["unchanged"], report["pictures"]) == (1, 5)  # what can have none is not read again
    assert cli("index", folder, "--store", where, "--json").json["unchanged"] == 3


def test_whoever_is_killed_between_documents_and_pictures_goes_on_there(
    cli: Cli,
    folder: Path,
    bert: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ["index", folder, "--store", tmp_path / "s", "--embedder", bert, "--image-embedder", clip, "--json"]
    with monkeypatch.context() as patched:
        patched.setattr("langbert.store.pictures.Pictures.add", killed)
        assert cli(*arguments).code == 130
    with Store.open(tmp_path / "s", read_only=True) as opened:
        assert len(opened.pictures) == 0
        assert [record for record in opened.files if isinstance(record, FileRecord) and record.state == "done"] == []
    assert cli(*arguments).json["pictures"] == 5


def test_another_model_is_refused_before_anything_is_done(
    cli: Cli,
    store: Path,
    folder: Path,
    tmp_path: Path,
) -> None:
    other = made_clip(tmp_path / "other", 1)
    written(folder, "new.txt", "New.")
    result = cli("index", folder, "--store", store, "--image-embedder", other)
    assert (result.code, "another space" in result.err) == (1, True)
    with Store.open(store, read_only=True) as opened:
        assert opened.n_documents == 3
    assert "another space" in cli("search", "x", "--pictures", "--store", store, "--image-embedder", other).err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "either a question or --picture FILE"),
        (["bees", "--picture", "{file}"], 2, "either a question or --picture FILE"),
        (["bees", "--save", "x"], 2, "are for --pictures"),
        (["bees", "--pictures", "--rerank", "x", "--mode", "lexical"], 2, "--rerank, --mode: these are for passages"),
        (["bees", "--pictures", "--where", "nothing"], 2, "nothing"),
        (["  ", "--pictures"], 1, "the question is empty"),
        (["--picture", "{file}"], 1, "no picture"),
        (["--picture", "none.png"], 2, "does not exist"),
    ],
)
def test_bad_input(
    cli: Cli,
    store: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    file = str(written(tmp_path, "text.png", "no picture"))
    result = cli("search", *(one.replace("{file}", file) for one in arguments), "--store", store)
    assert (result.code, said in " ".join(result.err.split())) == (code, True), result.err


def test_engines_outside_hold_none(cli: Cli, folder: Path, clip: Path) -> None:
    result = cli("index", folder, "--store", "postgresql://nobody@127.0.0.1:9/none", "--image-embedder", clip)
    assert (result.code, "engines outside hold no pictures" in result.err) == (1, True)


def test_shards_hold_none_and_say_so_before_a_store_is_made(cli: Cli, folder: Path, clip: Path, tmp_path: Path) -> None:
    into = ["index", folder, "--store", tmp_path / "s", "--image-embedder", clip, "--embedder", tmp_path / "none"]
    result = cli(*into, "--shards", 2)
    assert (result.code, "nor do stores in shards" in result.err) == (1, True), result.err
    assert not (tmp_path / "s").exists()
    open_store(tmp_path / "s", shards=2).close()
    assert "nor do stores in shards" in cli(*into).err


def test_a_filter_leaves_the_pictures_of_what_it_leaves(cli: Cli, store: Path, tmp_path: Path) -> None:
    asked = written(tmp_path, "asked.jpg", picture(BLUE, "JPEG"))
    for question in (["河流", "--pictures"], ["--picture", asked]):
        for wanted, pictures in (("format=pdf", 2), ("format=docx", 3), ("format=odt", 0)):
            found = cli("search", *question, "--store", store, "--where", wanted, "--json").json
            shown = [*found["pictures"], *found.get("hits", [])]
            assert len(found["pictures"]) == pictures
            assert {one["source"].rpartition(".")[2] for one in shown} <= {wanted.partition("=")[2]}
    none = cli("search", "river", "--pictures", "--store", store, "--where", "format=odt")
    assert "Try without --where" in none.err


def test_names_of_files_are_harmless(cli: Cli, bert: Path, clip: Path, tmp_path: Path) -> None:
    where = tmp_path / "d"
    written(where, "a;rm -rf ~ \x1b[2J.html", "<html><body><p>Bees and rivers.</p><img src='a.png'></body></html>")
    written(where, "a.png", picture(RED))
    assert (
        cli(
            "index", where, "--store", tmp_path / "s", "--embedder", bert, "--image-embedder", clip, "--no-ocr", "-q"
        ).code
        == 0
    )
    shown = cli("search", "bees", "--pictures", "--store", tmp_path / "s", "--save", tmp_path / "out")
    assert "\x1b" not in shown.out
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["01-a-rm--rf-2J.html.png"]
