"""``langbert bench ask``: what is measured, and of what. No time is compared with another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langbert import Document, Store
from langbert.bench import measure_asking, measure_shell
from langbert.cli import run
from langbert.errors import LangbertError

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, minilm) -> Path:
    place = tmp_path_factory.mktemp("bench") / "store"
    with Store.open(place, embedder=minilm) as opened:
        opened.add([Document("bees", "Bees make honey from nectar.", "bees.txt")])
        opened.add([Document("pep8", "PEP 8 was written by Guido van Rossum.", "pep_8.txt")])
    return place


def test_every_stage_of_every_question_is_timed(folder: Path, minilm) -> None:
    told: list[int] = []
    with Store.open(folder, embedder=minilm, read_only=True) as store:
        speed = measure_asking(
            store, ["Who wrote PEP 8?", "What do bees make?"], repeats=2, progress=lambda: told.append(1)
        )
    assert len(told) == 6
    assert {name: len(timing.seconds) for name, timing in speed.stages.items()} == {
        "search": 4,
        "rerank": 4,
        "read": 4,
        "whole": 4,
    }
    for i, whole in enumerate(speed.stages["whole"].seconds):
        assert sum(speed.stages[name].seconds[i] for name in ("search", "rerank", "read")) < whole
    assert speed.cpu.median > 0


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "ask", "Who wrote PEP 8?", "--store", str(folder), "--repeats", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["chunks"], told["questions"]) == (2, ["Who wrote PEP 8?"])
    assert told["loaded"].keys() == {"search", "rerank", "read", "whole", "cpu_seconds"}
    shell = told["shell"]
    assert 0 < shell["first_word_seconds"] <= shell["whole_seconds"]
    assert shell["cpu_seconds"] > 0
    assert shell["peak_mb"] > 100  # torch


def test_built_in_texts_and_no_shell(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "ask", "--model", "minilm", "--questions", "2", "--repeats", "1", "--no-shell"]
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert "search" in said.out
    assert "from the shell" not in said.out
    assert "2 questions" in said.err


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(LangbertError, match="there is no store"):
        measure_shell(tmp_path / "nothing", "Who?", repeats=1)
