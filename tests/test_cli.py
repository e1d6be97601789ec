"""The command line, run for real: on a tiny random BERT in-process, and as a process where that is the point."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from langbert import Chunker, Embedder, Store, open_store, sync
from langbert.cli import run
from langbert.cli.output import parse_where
from langbert.cli.search import line_or_time

_SENTENCES = """the a of to and in is it cat dog fox river mountain lazy quick brown jumps over sleeps near
line length maximum characters limit python style guide code bert pre training tasks masked language model next
sentence prediction"""
WORDS = _SENTENCES.split()


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights, two layers, as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 64})
    )
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Runs a command line in this process, offline: a test that needs the network should fail."""
    monkeypatch.setenv("LANGBERT_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("LANGBERT_STORE", raising=False)
    log = logging.getLogger("langbert")
    before = log.handlers[:], log.level, log.propagate

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield call
    log.handlers[:], log.level, log.propagate = before[0], before[1], before[2]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "fox.txt").write_text("The quick brown fox jumps over the lazy dog.\nThe river is near the mountain.\n")
    (folder / "style.md").write_text(
        "# Style Guide\n\n## Maximum Line Length\n\nLimit all lines to a maximum of 79 characters.\n"
    )
    (folder / "sub" / "bert.txt").write_text(
        "BERT is pre-trained on two tasks: masked LM and next sentence prediction.\n"
    )
    (folder / "中文.txt").write_text("这只敏捷的棕色狐狸跳过了那只懒狗。河流在山的旁边。\n", encoding="utf-8")
    return folder


@pytest.fixture
def store(cli: Cli, docs: Path, bert: Path, tmp_path: Path) -> Path:
    path = tmp_path / "store"
    assert cli("index", docs, "--store", path, "--embedder", bert, "--quiet").code == 0
    return path


# --- index -------------------------------------------------------------------------------------------------------


def test_index_reports_what_it_did(cli: Cli, docs: Path, bert: Path, tmp_path: Path) -> None:
    result = cli("index", docs, "--store", tmp_path / "s", "--embedder", bert, "--json")
    assert (result.code, result.err) == (0, "")
    report = result.json
    assert (report["added"], report["updated"], report["unchanged"], report["removed"]) == (4, 0, 0, 0)
    assert report["skipped"] == []
    assert report["documents"] == 4
    assert report["passages"] >= 4
    assert report["embedder"] == str(bert)


def test_index_again_does_only_what_changed(cli: Cli, docs: Path, store: Path) -> None:
    assert cli("index", docs, "--store", store, "--json").json["unchanged"] == 4
    (docs / "fox.txt").touch()
    assert cli("index", docs, "--store", store, "--json").json["unchanged"] == 4
    (docs / "fox.txt").write_text("The fox sleeps.\n")
    (docs / "new.txt").write_text("A dog.\n")
    report = cli("index", docs, "--store", store, "--json").json
    assert (report["added"], report["updated"], report["unchanged"]) == (1, 1, 3)
    forced = cli("index", docs, "--store", store, "--force", "--json").json
    assert (forced["added"], forced["updated"], forced["documents"]) == (0, 5, 5)


def test_index_says_what_a_store_keeps_that_a_new_one_would_have_otherwise(
    cli: Cli, docs: Path, bert: Path, tmp_path: Path
) -> None:
    embedder = Embedder(bert)
    path = tmp_path / "short"
    with Store.open(path, embedder=embedder, chunker=Chunker.for_embedder(embedder, max_tokens=16)) as opened:
        sync(docs, opened)
    assert "stays" not in cli("index", docs, "--store", path).err
    (docs / "new.txt").write_text("A dog.\n")
    said = " ".join(cli("index", docs, "--store", path).err.split())
    assert f"was made with {bert} and stays with it; a new one gets e5-small" in said
    assert "4 documents are cut into passages of another length; --force cuts them anew" in said
    said = cli("index", docs, "--store", path, "--embedder", bert, "--force").err
    assert "stays" not in said
    assert "another length" not in said


def test_index_into_shards_and_in_another_precision(cli: Cli, docs: Path, bert: Path, tmp_path: Path) -> None:
    into = ("index", docs, "--embedder", bert, "--json", "--store")
    said = cli(*into, tmp_path / "exact", "--precision", "float32").json
    assert cli(*into, tmp_path / "s", "--precision", "bfloat16", "--shards", "2").json["passages"] == said["passages"]
    assert cli(*into, tmp_path / "s").json["unchanged"] == 4
    with open_store(tmp_path / "exact") as exact, open_store(tmp_path / "s") as store:
        assert store.info()["shards"] == 2
        assert store.space == exact.space
        ids = [chunk.id for chunk in exact.sample(100)]
        difference = np.abs(exact.vectors(ids) - store.vectors(ids)).max(axis=1)
        assert 1e-5 < difference.min() < difference.max() < 0.1
    wrong = cli(*into, tmp_path / "t", "--precision", "int3")
    assert wrong.code == 2
    assert "int8" in wrong.out


def test_index_skips_names_and_goes_on(cli: Cli, docs: Path, bert: Path, tmp_path: Path) -> None:
    (docs / "empty.txt").write_text("")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    (docs / "binary.txt").write_bytes(bytes(range(256)) * 20)
    result = cli("index", docs, "--store", tmp_path / "s", "--embedder", bert)
    assert result.code == 0
    assert "4 added, 3 skipped" in result.out
    assert all(name in result.err for name in ("empty.txt", "broken.pdf", "binary.txt", "reason"))
    assert "Read are" not in result.err
    for name in ("song.ogg", "film.avi"):
        (docs / name).write_bytes(b"")
    assert cli("index", docs, "--store", tmp_path / "s").err.count("Read are txt text log") == 1
    (docs / "song.ogg").unlink(), (docs / "film.avi").unlink()
    again = cli("index", docs, "--store", tmp_path / "s", "--json").json
    assert again["unchanged"] == 4
    assert {skipped["file"] for skipped in again["skipped"]} == {"empty.txt", "broken.pdf", "binary.txt"}
    assert all(skipped["reason"] and skipped["file"] not in skipped["reason"] for skipped in again["skipped"])


def test_subtitles_are_cited_by_their_time(cli: Cli, bert: Path, tmp_path: Path) -> None:
    cue = "{n}\n00:0{n}:05,000 --> 00:0{n}:09,000\n{text}\n\n"
    said = enumerate(("Welcome to the depot.", "The crane lifts nine tons.", "仓库六点开门。"), 1)
    (tmp_path / "tour.srt").write_text("".join(cue.format(n=n, text=text) for n, text in said), encoding="utf-8")
    into = ["--store", tmp_path / "s"]
    assert cli("index", tmp_path / "tour.srt", *into, "--embedder", bert).code == 0
    shown = cli("search", "crane", *into, "--mode", "lexical").out
    assert "tour.srt, 0:01:05–0:01:09" in shown  # where the passage begins
    with Store.open(tmp_path / "s", read_only=True) as store:
        (document,) = (store.document(row.id) for row in store.documents())
    assert document is not None
    assert line_or_time(document, document.text.index("crane")) == "0:02:05–0:02:09"
    assert cli("search", "仓库", *into, "--mode", "lexical", "--json").json["hits"][0]["line"] is None


def test_index_takes_patterns_and_metadata_and_reads_in_processes(
    cli: Cli, docs: Path, bert: Path, tmp_path: Path
) -> None:
    (docs / ".langbertignore").write_text("style.md\n")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    options = ["--exclude", "fox.*", "--meta", "team=甲", "--meta-from-path", "{part}/*", "--workers", 1]
    result = cli("index", docs, "--store", tmp_path / "s", "--embedder", bert, "--json", *options)
    assert (result.json["added"], [skipped["file"] for skipped in result.json["skipped"]]) == (2, ["broken.pdf"])
    found = cli("search", "masked", "--store", tmp_path / "s", "--where", "part=sub", "--json").json
    assert {hit["source"] for hit in found["hits"]} == {"sub/bert.txt"}
    assert found["hits"][0]["metadata"]["team"] == "甲"
    assert cli("index", docs, "--store", tmp_path / "s", "--meta", "path=x").code == 1
    files = cli("store", "files", "--store", tmp_path / "s", "--json").json
    assert {file["source"]: file["state"] for file in files} == {
        "broken.pdf": "failed",
        "sub/bert.txt": "done",
        "中文.txt": "done",
    }
    failed = cli("store", "files", "--store", tmp_path / "s", "--state", "failed")
    assert "broken.pdf" in failed.out
    assert "1 failed" in failed.out


def test_index_with_nothing_to_read_fails(cli: Cli, bert: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = cli("index", empty, "--store", tmp_path / "s", "--embedder", bert)
    assert (result.code, result.out) == (1, "")
    assert "there are no files in" in result.err
    (empty / "bad.pdf").write_bytes(b"%PDF-")
    result = cli("index", empty, "--store", tmp_path / "s", "--embedder", bert, "--json")
    assert result.code == 1
    assert result.json["error"]["type"] == "DocumentError"
    assert "bad.pdf" in result.json["error"]["message"]


def test_index_of_a_missing_path_changes_nothing(cli: Cli, docs: Path, store: Path, tmp_path: Path) -> None:
    result = cli("index", docs, tmp_path / "nowhere", "--store", store, "--prune")
    assert result.code == 2
    assert "does not exist" in result.err
    assert cli("index", docs, "--store", store, "--json").json["unchanged"] == 4


def test_prune_removes_only_what_is_gone_from_these_folders(cli: Cli, docs: Path, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "docs-other"  # a sibling whose name begins like the folder's
    other.mkdir()
    (other / "kept.txt").write_text("A river.\n")
    assert cli("index", other, "--store", store, "--json").json["added"] == 1
    (other / "kept.txt").unlink()
    (docs / "fox.txt").unlink()
    (docs / "style.md").rename(docs / ".style.md")
    without = cli("index", docs, "--store", store, "--json").json
    assert (without["removed"], without["documents"]) == (0, 5)
    pruned = cli("index", docs, "--store", store, "--prune", "--json").json
    assert (pruned["removed"], pruned["documents"]) == (2, 3)
    assert cli("index", docs / "sub", "--store", store, "--prune", "--json").json["documents"] == 3
    assert cli("index", other, "--store", store, "--prune", "--json").json["documents"] == 2


def test_prune_keeps_what_is_there_but_unreadable_now(cli: Cli, docs: Path, store: Path) -> None:
    (docs / "fox.txt").write_bytes(b"")
    report = cli("index", docs, "--store", store, "--prune", "--json").json
    assert (report["removed"], report["documents"]) == (0, 4)
    assert [skipped["file"] for skipped in report["skipped"]] == ["fox.txt"]


def test_a_store_keeps_its_embedder(cli: Cli, docs: Path, store: Path, bert: Path, tmp_path: Path) -> None:
    (docs / "more.txt").write_text("A lazy cat.\n")
    assert cli("index", docs, "--store", store, "--json").json["added"] == 1
    result = cli("index", docs, "--store", store, "--pooling", "cls", "--force")
    assert result.code == 1
    assert "pooling" in result.err
    pooled = tmp_path / "pooled"
    assert cli("index", docs, "--store", pooled, "--embedder", bert, "--pooling", "max", "-q").code == 0
    assert cli("search", "fox", "--store", pooled, "--json").json["hits"]


@pytest.mark.models
@pytest.mark.usefixtures("minilm_folder")  # the command line is offline here
def test_a_folder_that_happens_to_be_called_like_a_model_is_not_taken_for_it(
    cli: Cli, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e5-small").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli("index", docs, "--store", tmp_path / "s", "--json").json["embedder"] == "e5-small"


def test_unknown_pooling_and_model(cli: Cli, docs: Path, bert: Path, tmp_path: Path) -> None:
    result = cli("index", docs, "--store", tmp_path / "s", "--embedder", bert, "--pooling", "median")
    assert result.code == 2
    assert "median" in result.err
    assert "mean" in result.err
    result = cli("index", docs, "--store", tmp_path / "s", "--embedder", "minilmm")
    assert result.code == 1
    assert "did you mean minilm" in result.err


# --- search ------------------------------------------------------------------------------------------------------


def test_search_as_json(cli: Cli, store: Path, docs: Path) -> None:
    for mode in ("lexical", "hybrid", "dense"):
        result = cli("search", "maximum line length", "--store", store, "--mode", mode, "-k", 3, "--json")
        assert (result.code, result.err) == (0, "")
        hits = result.json["hits"]
        assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        if mode != "dense":
            assert hits[0]["source"] == "style.md"
            assert "79" in hits[0]["text"]
            assert hits[0]["line"] == 5 or hits[0]["text"].startswith("#")


def test_search_in_chinese(cli: Cli, store: Path) -> None:
    hits = cli("search", "狐狸", "--store", store, "--mode", "lexical", "--json").json["hits"]
    assert hits[0]["source"] == "中文.txt"
    assert "狐狸" in cli("search", "狐狸", "--store", store, "--mode", "lexical").out


def test_search_for_people(cli: Cli, store: Path) -> None:
    result = cli("search", "maximum line length", "--store", store, "-k", 1)
    assert result.code == 0
    assert "style.md, line" in result.out
    assert "79 characters" in result.out
    assert "1 passages in" in result.err


def test_search_where(cli: Cli, store: Path) -> None:
    hits = cli("search", "the", "--store", store, "--where", "source=fox.txt", "--json").json["hits"]
    assert {hit["source"] for hit in hits} == {"fox.txt"}
    assert cli("search", "the", "--store", store, "--where", "source=none", "--json").json["hits"] == []
    assert "Nothing found" in cli("search", "the", "--store", store, "--where", "source=none").err


@pytest.mark.parametrize(
    ("pairs", "where"),
    [
        ([], None),
        (["a=1", "b=2.5", "c=true", "d=x y"], {"a": 1, "b": 2.5, "c": True, "d": "x y"}),
        (["name=a=b", 'q="5"', "e="], {"name": "a=b", "q": '"5"', "e": ""}),
        (["标题=中文"], {"标题": "中文"}),
        (["version=1.10", "a=NaN", 'y={"$gte": 2020}'], {"version": "1.10", "a": "NaN", "y": {"$gte": 2020}}),
    ],
)
def test_where_values(pairs: list[str], where: dict[str, Any] | None) -> None:
    assert parse_where(pairs) == where


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["search", "ask"])
def test_questions_and_stores_that_are_none(cli: Cli, command: str, tmp_path: Path) -> None:
    result = cli(command, "   ", "--store", tmp_path / "none")
    assert (result.code, result.out) == (1, "")
    assert "the question is empty" in result.err
    result = cli(command, "why?", "--store", tmp_path / "none")
    assert result.code == 1
    assert "langbert index FOLDER --store" in result.err
    assert not (tmp_path / "none").exists()
    result = cli(command, "why?", "--store", tmp_path / "none", "--json")
    assert result.json["error"]["type"] == "StoreError"
    assert result.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("serach", "x"),
        ("search", "x"),
        ("search", "x", "--store", "s", "--mode", "best"),
        ("search", "--nope"),
        ("models",),
    ],
)
def test_wrong_command_lines_exit_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    if arguments != ("models",):  # a bare group shows its help
        assert result.err.startswith("error: ")
        assert cli(*arguments, "--json").json["error"]["type"] == "UsageError"


def test_where_without_equals(cli: Cli, store: Path) -> None:
    result = cli("search", "x", "--store", store, "--where", "draft")
    assert result.code == 2
    assert "KEY=VALUE" in result.err


def test_a_folder_that_is_no_store(cli: Cli, docs: Path) -> None:
    before = sorted(docs.rglob("*"))
    result = cli("search", "x", "--store", docs)
    assert result.code == 1
    assert "Traceback" not in result.err
    result = cli("index", docs, "--store", docs)  # a slip of the keyboard must not sow files among the documents
    assert result.code == 1
    assert "Traceback" not in result.err
    assert sorted(docs.rglob("*")) == before


def test_a_store_inside_the_folder_is_not_indexed(cli: Cli, docs: Path, bert: Path) -> None:
    for _ in range(2):
        report = cli("index", docs, "--store", docs / "index", "--embedder", bert, "--json").json
        assert (report["documents"], report["skipped"]) == (4, [])


def test_debug_shows_the_traceback(cli: Cli, tmp_path: Path) -> None:
    assert "Traceback" in cli("search", "x", "--store", tmp_path / "none", "--debug").err


# --- ask ---------------------------------------------------------------------------------------------------------


def test_ask_extract_quotes_what_is_there(cli: Cli, store: Path, docs: Path) -> None:
    question = "What is the maximum line length?"
    answer = cli("ask", question, "--store", store, "--mode", "extract", "--json").json
    assert set(answer) >= {"question", "answer", "refused", "citations", "timings"}
    assert answer["question"] == question
    assert answer["refused"] == (not answer["citations"])
    for citation in answer["citations"]:
        assert citation["end"] - citation["start"] == len(citation["quote"])
    assert cli("ask", question, "--store", store, "--mode", "extract").code == 0


# --- models ------------------------------------------------------------------------------------------------------


def test_models(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path) -> None:
    monkeypatch.setenv("LANGBERT_CACHE", str(tmp_path / "cache"))
    listed = cli("models", "list", "--json").json
    assert {model["name"]: model["path"] for model in listed}["minilm"] is None
    table = cli("models", "list").out
    assert "minilm" in table
    assert "smollm2-135m-instruct" in table
    result = cli("models", "pull", "minilm")
    assert result.code == 1
    assert "nothing may be fetched now" in result.err
    assert cli("models", "path", bert).out == f"{bert}\n"
    assert cli("models", "path", "nonsense", "--json").json["error"]["type"] == "ModelNotFound"


# --- as a process ------------------------------------------------------------------------------------------------


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "langbert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, **options)


def test_version_and_help_load_nothing_heavy() -> None:
    import langbert

    assert process("--version").stdout == f"langbert {langbert.__version__}\n"
    code = (
        "import sys; from langbert.cli import run; run(['index', '--help']); run(['models', 'list', '--json']); "
        "print([m for m in ('torch', 'transformers', 'faiss', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"
    assert "Examples" in shown


def test_broken_pipe_is_no_traceback() -> None:
    command = f'"{sys.executable}" -m langbert models list --json | true'
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert result.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT")
def test_interrupt_keeps_the_store_whole(cli: Cli, bert: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(40):  # no two sentences alike: equal texts would be embedded once, and the run over too soon
        lines = (f"The quick brown fox {number} jumps over the lazy dog {line} times." for line in range(400))
        (many / f"{number}.txt").write_text("\n".join(lines))
    store = tmp_path / "store"
    command = [sys.executable, "-m", "langbert", "index", many, "--store", store, "--embedder", bert]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background inherit SIG_IGN
    )
    deadline = time.monotonic() + 120
    while not (store / "store.sqlite").exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.02)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    kept = cli("index", many / "0.txt", "--store", store, "--embedder", bert, "--json").json
    assert 1 <= kept["documents"] < 40
    whole = cli("index", many, "--store", store, "--json").json
    assert whole["documents"] == 40
    assert whole["unchanged"] >= kept["documents"] - 1


@pytest.mark.skipif(os.name == "nt", reason="SIGINT")
def test_watching_indexes_what_changes(cli: Cli, docs: Path, bert: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [
        sys.executable,
        "-m",
        "langbert",
        "index",
        docs,
        "--store",
        store,
        "--embedder",
        bert,
        "--watch",
        "--prune",
    ]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stderr is not None
    while "Watching" not in running.stderr.readline():
        assert running.poll() is None

    def sources() -> set[str]:
        return {file["source"] for file in cli("store", "files", "--store", store, "--json").json}

    deadline = time.monotonic() + 120
    while "new.md" not in sources() and time.monotonic() < deadline:
        (docs / "new.md").write_text(f"# 新\n\nWritten at {time.monotonic()}.", encoding="utf-8")  # until it is heard
        time.sleep(2)
    (docs / "fox.txt").unlink()
    while "fox.txt" in sources() and time.monotonic() < deadline:
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert {"new.md"} <= sources() <= {"new.md", "style.md", "sub/bert.txt", "中文.txt"}
    assert (running.returncode, "Traceback" in err) == (0, False)
    assert "removed" in out
    assert cli("index", docs, "--store", store, "--watch", "--json").code == 2


# --- eval --------------------------------------------------------------------------------------------------------


def test_eval_retrieval(cli: Cli, bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    texts = {"d1": "the quick brown fox", "d2": "a river near the mountain", "d3": "maximum line length"}
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "title": "", "text": text}) + "\n" for name, text in texts.items())
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{name}", "text": text}) + "\n" for name, text in texts.items())
    )
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{name}\t{name}\t1\n" for name in texts)
    )
    command = ("eval", "retrieval", "--data", folder, "--embedder", bert)
    report = cli(*command, "--mode", "lexical", "--json").json
    assert report["queries"] == report["passages"] == 3
    assert report["scores"]["R@1"] == 1.0
    assert "nDCG@10" in cli(*command, "--queries", 2).out


@pytest.mark.models
@pytest.mark.usefixtures("minilm_folder")  # the reader is adapters for it
def test_eval_reading(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    text = "The Rhine ends in the North Sea."
    answers = [{"text": "the North Sea", "answer_start": text.index("the North Sea")}]
    question = {"id": "q", "question": "Where does the Rhine end?", "answers": answers}
    data = {"data": [{"title": "Rivers", "paragraphs": [{"context": text, "qas": [question]}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(data))
    result = cli("eval", "reading", "--data", tmp_path / "squad.json", "--json")
    assert result.code == 0, result
    assert result.json["questions"] == 1
    assert result.json["f1"] > 50
    assert "margins" not in result.json


# --- with the real models ----------------------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.usefixtures("minilm_folder", "smollm2_file")  # the command line is offline here
def test_the_whole_way(cli: Cli, documents_folder: Path, tmp_path: Path) -> None:
    files = [documents_folder / "pep-0020.rst", documents_folder / "pep-0257.rst"]
    store = tmp_path / "store"
    report = cli("index", *files, "--store", store, "--json")
    assert report.code == 0, report
    assert report.json["embedder"] == "e5-small"
    question = "What is a docstring?"
    answer = cli("ask", question, "--store", store, "--json")
    assert answer.code == 0, answer
    assert answer.json["answer"]
    shown = cli("ask", question, "--store", store, "--mode", "extract")
    assert shown.code == 0, shown
    assert not answer.json["refused"]
    assert "pep-0257.rst, line" in shown.out
    for citation in answer.json["citations"]:
        assert citation["quote"] in (documents_folder / citation["source"]).read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses such names")
def test_nothing_a_file_says_commands_the_terminal(cli: Cli, tmp_path: Path, bert: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a\x1b[2J.txt").write_text("The river \x1b]0;title\x07is near\u202e the mountain.\n")
    (folder / "b\x1b[31m.pdf").write_text("no pdf")
    indexed = cli("index", folder, "--store", tmp_path / "s", "--embedder", bert)
    found = cli("search", "river", "--store", tmp_path / "s", "--mode", "lexical")
    for said in (indexed.out, indexed.err, found.out, found.err):
        assert not set(said) & {"\x1b", "\x07", "\u202e"}
    assert "␛[2J" in found.out
    assert "␛[31m" in indexed.err
    exact = cli("search", "river", "--store", tmp_path / "s", "--mode", "lexical", "--json").json
    assert exact["hits"][0]["source"] == "a\x1b[2J.txt"


# --- what documents say is shown, not obeyed -------------------------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\x08\x7f\u202edab"


def obeyed(text: str) -> list[str]:
    return [c for c in text if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" or c in "\u202e\u2028"]


@pytest.fixture
def evil_store(cli: Cli, bert: Path, tmp_path: Path) -> Path:
    """Control characters in a file's name, its heading, its text, and in the reason why another is not read."""
    folder = tmp_path / "evil"
    folder.mkdir()
    text = f"# Fox {EVIL} heading\n\nThe quick brown fox {EVIL} jumps over the dog.\n" + "The cat sleeps. " * 60
    (folder / f"fox{EVIL}.md").write_text(text, encoding="utf-8")
    (folder / f"broken{EVIL}.pdf").write_bytes(b"%PDF-1.4 no such thing")
    store = tmp_path / f"store{EVIL}"
    done = cli("index", folder, "--store", store, "--embedder", bert)
    assert done.code == 0
    assert "␛[2J" in done.err
    assert not obeyed(done.out + done.err)
    return store


def test_control_characters_are_shown_and_not_obeyed(cli: Cli, evil_store: Path) -> None:
    store = evil_store
    for arguments in (
        ("search", "quick fox", "--store", store),
        ("ask", "What does the fox jump over?", "--store", store, "--mode", "extract"),
        ("ask", "What does the fox jump over?", "--store", store, "--mode", "extract", "--format", "plain"),
        ("store", "info", "--store", store),
        ("doctor", "--store", store),
    ):
        done = cli(*arguments)
        assert done.out, arguments
        assert not obeyed(done.out + done.err), arguments
    said = cli("search", "quick fox", "--store", store).out
    assert r"fox␛[2J␛]0;owned␇\x9b31m␈␡\u202edab.md" in said


def test_json_is_exact_and_harmless(cli: Cli, evil_store: Path) -> None:
    done = cli("search", "quick fox", "--store", evil_store, "--json")
    assert not obeyed(done.out)
    hits = done.json["hits"]
    assert all(hit["source"].endswith(f"fox{EVIL}.md") for hit in hits)
    assert any(EVIL in hit["text"] for hit in hits)


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "fox", "--store", f"/no/such{EVIL}"),
        ("index", f"/no/such{EVIL}", "--store", "s"),
        ("models", "path", f"none{EVIL}"),
        (f"no{EVIL}",),
        ("search", "fox", "--store", "s", "--where", EVIL),
    ],
)
def test_errors_are_shown_and_not_obeyed(cli: Cli, arguments: tuple[str, ...]) -> None:
    for more in ((), ("--json",)):
        done = cli(*arguments, *more)
        assert done.code
        assert not obeyed(done.out + done.err)
