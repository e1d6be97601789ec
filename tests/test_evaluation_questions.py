"""People's questions: the scoring beside the program its rules come from, the page, and the command on real models."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from langbert.cli import run
from langbert.errors import DataError
from langbert.evaluation import (
    AskedQuestion,
    GivenAnswer,
    QuestionRow,
    Quoted,
    ask_questions,
    compare_runs,
    questions_run,
    read_asked_questions,
    read_given_answers,
    read_run,
    report_questions,
)
from langbert.evaluation.estimates import calibration_bins, estimate_calibration_error
from langbert.evaluation.nuggets import nuggets_held, read_lengths, wording_pattern
from langbert.evaluation.questions import REFUSAL
from langbert.evaluation.questions_html import write_questions_report
from langbert.records import Answer, Citation

pytest.importorskip("scipy")

GOLDEN = Path(__file__).parent / "golden"
QUESTIONS, ANSWERS = GOLDEN / "questions.jsonl", GOLDEN / "question_answers.jsonl"


@pytest.fixture
def rows() -> list[QuestionRow]:
    given = read_given_answers(ANSWERS)
    return [QuestionRow(asked, given.get(asked.id, REFUSAL)) for asked in read_asked_questions(QUESTIONS)]


def test_every_score_is_that_of_the_program_the_rules_come_from(rows: list[QuestionRow]) -> None:
    golden = json.loads((GOLDEN / "questions.json").read_text(encoding="utf-8"))
    for row, wanted in zip(rows, golden["rows"], strict=True):
        told = (row.question.id, row.given.refused, row.nuggets, row.cites_right, row.given.confidence)
        assert told == tuple(wanted[key] for key in ("id", "refused", "nuggets", "source", "conf"))
    report = report_questions(rows, name="sample", mode="given")
    assert list(report.groups) == list(golden["groups"])
    for group, measures in golden["groups"].items():
        found = {name: estimate.value for name, estimate in report.groups[group].items() if name != "ece"}
        wanted = {name: value for name, value in measures.items() if name != "n" and value is not None}
        assert found == pytest.approx(wanted, abs=1e-12), group
        assert report.groups[group]["wrong"].n == measures["n"]


@pytest.mark.parametrize(
    ("text", "wording", "held"),
    [
        ("Limit lines to 79 characters.", "79 character", True),  # an ending may follow
        ("Limit lines to 790 characters.", "79", False),  # a number is whole
        ("reflowing text", "flow", False),  # a word begins where it begins
        ("Guido_van-Rossum", "guido van rossum", True),
        ("大小限制为64 MiB", "64 MiB", True),
        ("大小限制为64MiB", "64 MiB", False),  # two words are not one
        ("最多 500\u3000条", "500 条", True),
        ("cafe\u0301", "CAFÉ", True),
    ],
)
def test_a_wording_is_found_as_it_is_read(text: str, wording: str, held: bool) -> None:
    assert nuggets_held([text], [[wording]]) == (held,)
    if "\u0301" not in text:  # marks are put into the text as it is
        assert bool(re.search(wording_pattern(wording), text, re.IGNORECASE)) is held


def test_what_stands_too_far_down_is_not_read() -> None:
    assert read_lengths(["one two", "three four five", "six"], 4) == [7, 11, 0]
    assert read_lengths(["一二三 four", "五"], 2) == [4, 0]
    assert nuggets_held(["word " * 119, "here there"], [["here"], ["there"]]) == (True, False)


def test_calibration_error_is_that_worked_out_by_hand() -> None:
    confidences, right = [0.95, 0.91, 0.55, 1.0], [True, False, False, True]
    assert calibration_bins(confidences, right) == [(0.55, 0, 1), (pytest.approx(2.86 / 3), pytest.approx(2 / 3), 3)]
    estimate = estimate_calibration_error(confidences, right)
    assert estimate is not None
    assert estimate.value == pytest.approx(0.25 * 0.55 + 0.75 * (2.86 - 2) / 3)
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate_calibration_error([], []) is None
    # as sure as right: nothing but what chance does
    draws = random.Random(0)
    sure = [draws.random() for _ in range(4000)]
    found = estimate_calibration_error(sure, [draws.random() < confidence for confidence in sure])
    assert found is not None
    assert found.value < 0.03


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "q"}', "expected an object with id"),
        (
            '{"id": "q", "question": "?", "lang": "en", "kind": "k", "corpus": "c", "sources": [], "nuggets": [[]]}',
            "wordings",
        ),
        (
            '{"id": "q", "question": "?", "lang": "en", "kind": "k", "corpus": "c", "sources": [], "nuggets": [[" "]]}',
            "expected an object",
        ),
        ("", "is empty"),
        ("\n".join([QUESTIONS.read_text(encoding="utf-8").splitlines()[0]] * 2), "came before"),
    ],
)
def test_questions_that_cannot_be_scored_are_named(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        read_asked_questions(file)


class Quoting:
    """Answers with the words it was given, and counts how often it is asked."""

    def __init__(self, quote: str, dies_at: int = 99) -> None:
        self.asked = 0
        self.quote = quote
        self.dies_at = dies_at

    def ask(self, question: str, *, mode: str = "auto", where: Mapping[str, Any] | None = None) -> Answer:
        self.asked += 1
        if self.asked == self.dies_at:
            raise KeyboardInterrupt
        cited = Citation("pep-0008.rst", "pep-0008.rst", None, 0, len(self.quote), self.quote, 0.9)
        return Answer(f"{self.quote} [1]", (cited,), confidence=0.7, timings={"total": 0.5}, question=question)


def test_a_killed_run_goes_on_and_is_compared(tmp_path: Path) -> None:
    questions = read_asked_questions(QUESTIONS)
    file, other = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    with pytest.raises(KeyboardInterrupt), questions_run(file, {"mode": "auto"}) as kept:
        ask_questions(questions, Quoting("79 characters", dies_at=4), file=kept)
    rest, seen = Quoting("79 characters"), []
    with questions_run(file, {"mode": "auto"}, resume=True) as kept:
        rows = ask_questions(questions, rest, file=kept, progress=seen.append)
    assert (rest.asked, len(seen)) == (len(questions) - 3, len(questions))
    assert rows[0].given == GivenAnswer(
        "79 characters [1]", (Quoted("pep-0008.rst", "79 characters"),), False, 0.7, {"total": 0.5}
    )
    assert read_given_answers(file) == {row.question.id: row.given for row in rows}
    with pytest.raises(DataError, match="mode 'auto', now 'extract'"):
        questions_run(file, {"mode": "extract"}, resume=True)
    with questions_run(other, {"mode": "auto"}) as kept:
        ask_questions(questions, Quoting("64 MiB"), file=kept)
    found = compare_runs(read_run(file), read_run(other))
    assert found.measure == "nuggets"
    assert {change.id for change in found.changes} == {"q1", "q4"}


def test_each_corpus_has_its_own() -> None:
    questions = read_asked_questions(QUESTIONS)
    peps, manual = Quoting("79 characters"), Quoting("64 MiB")
    rows = ask_questions(questions, {"peps": peps, "manual": manual})
    assert (peps.asked, manual.asked) == (5, 6)
    assert [row.nuggets for row in rows if row.question.id in ("q1", "q4")] == [1, 1]
    with pytest.raises(DataError, match="manual; there is only peps"):
        ask_questions(questions, {"peps": peps})


# --- the page --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_everything_and_obeys_nothing(rows: list[QuestionRow], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    evil = "<script>alert(1)</script><img src=http://evil.example/x onerror=y>\"'{{ 7*7 }}</style>"
    asked = AskedQuestion(evil, evil, evil, evil, evil, (evil,), ((evil,),), note=evil)
    given = GivenAnswer(f"{evil} [1]", (Quoted(evil, f"{evil} {'word ' * 130}tail"),), False, 0.5)
    report = report_questions([*rows, QuestionRow(asked, given)], name=evil, mode="given")
    file = tmp_path / "page.html"
    write_questions_report(report, file, plot=True)
    html = file.read_text(encoding="utf-8")
    assert "<script" not in html
    assert html.count("<img") == 1  # the plot
    page = Page(html)
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert [str(link)[:5] for link in links] == ["data:"]  # nothing is fetched
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert html.count("</style>") == 2
    assert "{{ 7*7 }}" in html
    assert "default-src 'none'" in html
    assert "每张缓存表的大小限制为 <mark>64 MiB</mark>。" in html
    assert '<li class="held">79 characters / seventy-nine</li>' in html
    assert '<li class="missing">anything</li>' in html
    assert re.search(r"<span class='unread'[^>]*>\S.*tail</span>", html)
    # every kind and every verdict can be chosen, and every question belongs to one of each
    cases = re.findall(r'<details class="case k(\d+) is(\d)">', html)
    assert len(cases) == len(rows) + 1
    assert all(f'id="k{kind}"' in html and f'for="v{verdict}"' in html for kind, verdict in cases)
    write_questions_report(report, file, plot=True)
    assert file.read_text(encoding="utf-8") == html


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("LANGBERT_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "140")

    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run(["eval", "questions", *(str(argument) for argument in arguments)])
        return code, capsys.readouterr().out

    return call


def test_answers_of_another_tool_are_scored(cli: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out = cli("--data", QUESTIONS, "--answers", ANSWERS, "--json", "--html", page)
    assert code == 0, out
    found = json.loads(out)
    golden = json.loads((GOLDEN / "questions.json").read_text(encoding="utf-8"))["groups"]
    assert found["groups"]["all"]["nuggets"]["value"] == golden["all"]["nuggets"]  # to the last digit
    assert page.is_file()
    code, out = cli("--data", QUESTIONS, "--answers", ANSWERS, "--limit", 3)
    assert code == 0
    assert re.search(r"facts held +\d+\.\d", out)
    assert re.search(r"^corpus=peps +\d", out, re.MULTILINE)


def test_what_does_not_go_together_is_said(cli: Any, tmp_path: Path) -> None:
    assert cli("--data", QUESTIONS)[0] == 2
    assert cli("--data", QUESTIONS, "--store", tmp_path, "--resume")[0] == 2
    assert cli("--data", QUESTIONS, "--answers", ANSWERS, "--plot")[0] == 2
    code, out = cli("--data", QUESTIONS, "--store", f"peps={tmp_path}", "--json")
    assert code == 2
    assert "--store manual=DIR" in out
    assert cli("--data", QUESTIONS, "--store", tmp_path / "nowhere", "--json")[0] == 1


@pytest.mark.models
def test_a_store_is_asked_corpus_by_corpus(cli: Any, peps: Any, tmp_path: Path) -> None:
    questions = [
        *QUESTIONS.read_text(encoding="utf-8").splitlines()[:3],
        json.dumps(
            {
                "id": "z",
                "question": "诺曼人定居在哪里？",
                "lang": "zh",
                "kind": "factoid",
                "corpus": "history",
                "sources": ["诺曼人.txt"],
                "nuggets": [["法国北部"]],
            }
        ),
    ]
    data, answers, page = tmp_path / "asked.jsonl", tmp_path / "given.jsonl", tmp_path / "page.html"
    data.write_text("\n".join(questions), encoding="utf-8")
    folder = peps.path
    arguments = ("--data", data, "--store", folder, "--store", f"history={folder}", "--mode", "extract")
    code, out = cli(*arguments, "--answers", answers, "--html", page, "--json")
    assert code == 0, out
    found = json.loads(out)["groups"]
    assert found["corpus=history"]["nuggets"]["value"] == 1
    assert found["corpus=peps"]["source"]["value"] >= 0.5
    assert found["all"]["refused"]["value"] == 1  # of football no PEP says a word
    given = read_given_answers(answers)
    assert list(given) == ["q1", "q2", "q3", "z"]
    assert "法国北部" in "".join(given["z"].parts)
    assert "<mark>79 characters</mark>" in page.read_text(encoding="utf-8")
    assert cli(*arguments, "--answers", answers)[0] == 1  # it is there already
    code, again = cli(*arguments, "--answers", answers, "--resume", "--json")
    assert json.loads(again)["groups"] == found
