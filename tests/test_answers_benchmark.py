"""What ``benchmarks/answers.py`` asks, and the tables it makes of what it was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langbert.evaluation import Question, QuestionSet, Run
from langbert.evaluation.answers import score_answer
from langbert.records import Answer, Citation

pytest.importorskip("psutil")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def data() -> QuestionSet:
    questions = [
        Question(f"q{i}", f"Question {i}?", ("Normandy",) if i % 2 else (), (0,) if i % 2 else (), "p0", "Normans")
        for i in range(20)
    ]
    return QuestionSet("normans", questions, {"p0": ("Normans", "Normandy is in France.")})


def test_each_kind_of_question_is_asked_from_the_beginning(data: QuestionSet) -> None:
    from answers import plan

    asked = plan(data, 8)
    kinds = [kind for _, kind in asked]
    assert {kind: kinds.count(kind) for kind in kinds} == {"answerable": 8, "unanswerable": 4, "absent": 4}
    assert set(kinds[:4]) == set(kinds)  # also in a run that is broken off early
    assert asked == plan(data, 8)
    assert all(bool(question.answers) == (kind != "unanswerable") for question, kind in asked)


def run_of(data: QuestionSet, label: str, seconds: list[float], quote: str) -> Run:
    rows: dict[str, Any] = {}
    for question, taken in zip([q for q in data.questions if q.answers], seconds, strict=False):
        citation = Citation("Normans", "p0", None, 0, len(quote), quote, 0.5)
        answer = Answer("Normandy [1]", (citation,), timings={"total": taken})
        row = score_answer(question, "answerable", answer, "Normandy is in France.")
        rows[row.id] = row.to_dict()
    settings = {"kind": "answers", "label": label, "data": "normans", "passages": 1, "machine": {"cores": "2"}}
    return Run(settings, rows)


def test_the_table_compares_the_questions_that_everybody_answered(data: QuestionSet) -> None:
    from answering.tables import TABLES, answers_table

    ours = run_of(data, "ours", [1.0, 2.0, 1.0], "Normandy is in France.")
    theirs = run_of(data, "theirs", [3.0, 4.0, 5.0, 99.0], "It is in France.")
    table = answers_table({"answers": {"langbert": ours, "langchain": theirs}})
    lines = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("|")}
    assert "100.0 (100.0–100.0) | 0.0 (0.0–0.0)" in lines["source shown holds the answer, %"]
    assert lines["times as fast, median of the questions"].endswith("| 3.00× | 1.00× |")  # of 3, 2 and 5
    assert "time to the answer, p50, s | 1.00 | 4.00 |" in lines["time to the answer, p50, s"]
    assert "3 questions that are answered there" in table
    assert all(made({}) == "" for made in TABLES.values())  # what was not measured leaves the page as it is
    assert TABLES["machine"]({"answers": {"langbert": ours}}) == "cores 2."


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("I don't know.", True),
        ("The context does not mention it.", True),
        ("This is not specified in the text.", True),
        ("Nobody knows the Normans better than they do.", False),
        ("Normandy", False),
    ],
)
def test_a_refusal_in_words_is_seen(text: str, unknown: bool) -> None:
    from answering.contenders import says_unknown

    assert says_unknown(text) is unknown


def test_misses_are_listed() -> None:
    from answering.tables import aragog_misses, aragog_table

    def row(number: int, cited: list[str], *, here: bool = True) -> dict[str, Any]:
        right = float(cited[:1] == ["a.pdf"])
        names = ("cited", "cited_first", "found_first", "found", "similarity", "f1")
        return {
            "id": str(number),
            "question": f"Which | one, {number}?",
            "paper": "a.pdf",
            "here": here,
            "cited": cited,
            "refused": not cited,
            "seconds": 1.0,
            "scores": dict.fromkeys(names, right),
        }

    rows = [row(0, ["a.pdf"]), row(1, ["b.pdf"]), row(2, []), row(3, [], here=False)]
    settings = {"kind": "papers", "papers": 2, "chunks": 9, "mode": "auto", "machine": {}}
    data = {"aragog": Run(settings, {each["id"]: each for each in rows})}
    assert "| right paper cited | 33.3 % (1 of 3) |" in aragog_table(data)
    assert "| refused, of those whose paper is not there | 100.0 % (1 of 1) |" in aragog_table(data)
    misses = aragog_misses(data).splitlines()[2:]
    assert misses == [r"| Which \| one, 1? | a.pdf | b.pdf |", r"| Which \| one, 2? | a.pdf | refused |"]
