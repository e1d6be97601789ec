"""Sentences that people underlined, against those that an answer shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langbert import Embedder, Rag, Store
from langbert.cli import run
from langbert.errors import DataError
from langbert.evaluation import evaluate_evidence, read_evidence
from langbert.records import Citation

BEES = ["Bees are insects .", "They make honey from nectar .", "The honey is kept in combs of wax ."]
ROME = ["Rome is a city .", "It was founded in 753 BC ."]


def clapnq(id_: str, question: str, title: str, sentences: list[str], *selected: list[str]) -> str:
    passages = [{"title": title, "text": " ".join(sentences), "sentences": sentences}]
    output = [{"answer": " ".join(own), "selected_sentences": own} for own in selected]
    return json.dumps({"id": id_, "input": question, "passages": passages, "output": output})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [
        clapnq("a", "what do bees make honey from", "Bees", BEES, BEES[1:2], BEES[1:]),
        clapnq("b", "when was rome founded", "Rome", ROME, ROME[1:]),
        clapnq("c", "what is the boiling point of helium", "Rome", ROME, []),
    ]
    (tmp_path / "long.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "long.jsonl"


def test_two_formats_come_to_the_same(file: Path, tmp_path: Path) -> None:
    first = read_evidence(file)
    assert [len(question.accepted) for question in first.questions] == [2, 1, 0]
    assert first.questions[1].accepted == (frozenset({("p1", 1)}),)
    assert len(first.passages) == 2
    row = {
        "_id": "h",
        "question": "Which city is older than honey?",
        "context": [["Bees", BEES], ["Rome", [f" {sentence}" for sentence in ROME]]],
        "supporting_facts": [["Bees", [1, 2], BEES], ["Rome", [1]]],
    }
    (tmp_path / "hops.json").write_text(json.dumps(row), encoding="utf-8")
    second = read_evidence(tmp_path / "hops.json")
    assert second.questions[0].accepted == (frozenset({("p0", 1), ("p0", 2), ("p1", 1)}),)
    assert second.passages == first.passages
    (tmp_path / "other.json").write_text('{"question": "?"}', encoding="utf-8")
    with pytest.raises(DataError, match="HotpotQA"):
        read_evidence(tmp_path / "other.json")


def test_half_of_a_sentence_shows_it(file: Path) -> None:
    data = read_evidence(file)
    document = data.documents()[0]
    middle = document.text.index("honey")

    def shown(start: int, end: int) -> list[int]:
        cited = Citation("Bees", document.id, None, start, end, document.text[start:end], 1.0)
        return [i for _, i in data.sentences_in(cited)]

    assert shown(0, len(document.text)) == [0, 1, 2]
    assert shown(middle, middle + len("honey from nectar .")) == [1]
    assert shown(middle, middle + 3) == []


def test_the_sentence_that_answers_is_shown(file: Path, minilm: Embedder) -> None:
    data = read_evidence(file)
    with Store.open(None, embedder=minilm) as store:
        store.add(data.documents())
        report = evaluate_evidence(data, Rag(store, threshold=0.0))
    found = {name: estimate["value"] for name, estimate in report.to_dict().items() if name != "name"}
    assert found["recall"] == found["auroc"] == 1.0
    assert 0.5 <= found["precision"] <= 1.0


def test_on_the_command_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "evidence", "--data", str(file), "--embedder", "minilm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"]["n"] == 2
