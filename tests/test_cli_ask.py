"""``langbert ask`` beyond one answer: its forms, a conversation, and what is no question."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from langbert.cli import run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, minilm) -> Path:
    from langbert import Document, Store

    folder = tmp_path_factory.mktemp("ask") / "store"
    with Store.open(folder, embedder=minilm) as opened:
        opened.add(
            [
                Document("pep8", "PEP 8 was written by Guido van Rossum. Limit lines to 79 characters.", "pep_8.txt"),
                Document("bees", "Bees make honey from nectar.", "bees.txt"),
            ]
        )
    return folder


def ask(store: Path, *arguments: str) -> int:
    return run(["ask", *arguments, "--store", str(store), "--mode", "extract", "--offline", "--quiet"])


@pytest.mark.models
def test_an_answer_in_each_form(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for form in ("plain", "markdown", "json"):
        assert ask(store, "Who wrote PEP 8?", "--format", form) == 0
        shown[form] = capsys.readouterr().out
    quote = "“PEP 8 was written by Guido van Rossum.”"
    assert shown["plain"] == f"PEP 8 was written by Guido van Rossum. [1]\n\n[1] pep_8.txt, characters 0–38: {quote}\n"
    assert (
        shown["markdown"]
        == f"PEP 8 was written by Guido van Rossum. [1]\n\n1. **pep\\_8.txt, characters 0–38**: {quote}\n"
    )
    told = json.loads(shown["json"])
    assert (told["citations"][0]["source"], told["short"]) == ("pep_8.txt", "Guido van Rossum")


@pytest.mark.models
def test_a_conversation_ends_with_the_input(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("What is the limit it sets for lines?\n\n"))
    assert ask(store, "Who wrote PEP 8?", "--chat", "--format", "plain") == 0
    said = capsys.readouterr().out
    assert said.index("Guido van Rossum. [1]") < said.rindex("Limit lines to 79 characters.")


@pytest.mark.models
def test_no_question_is_an_error_that_says_what_to_do(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(store) == 1
    assert "--chat" in capsys.readouterr().err


@pytest.mark.models
def test_two_forms_exclude_each_other(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(store, "Who?", "--json", "--format", "plain") == 2
    assert "exclude each other" in json.loads(capsys.readouterr().out)["error"]["message"]
