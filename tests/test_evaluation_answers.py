"""Answers end to end: scores worked by hand, runs that resume, the HTML report, the command line on real models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from langbert.cli import run
from langbert.errors import DataError
from langbert.evaluation import AnswerRow, AnswersReport, QuestionSet, evaluate_answers, read_questions, read_run
from langbert.evaluation.html import worst_answers, write_answers_report
from langbert.evaluation.plots import risk_coverage
from langbert.evaluation.question_words import question_word
from langbert.records import Answer, Citation
from langbert.text.scripts import is_chinese

pytest.importorskip("scipy")

NORMANS = "The Normans gave their name to Normandy. They spoke <i>Norman</i> French. They came from Denmark & Norway."
RIVERS = "The Rhine ends in the North Sea. It is 1,233 km long."


def qa(name: str, question: str, *answers: str, context: str = NORMANS) -> dict[str, Any]:
    marked = [{"text": answer, "answer_start": context.index(answer)} for answer in answers]
    return {"id": name, "question": question, "answers": marked, "is_impossible": not answers}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    articles = [
        {
            "title": "Normans",
            "paragraphs": [
                {
                    "context": NORMANS,
                    "qas": [
                        qa("q1", "What did the Normans give their name to?", "Normandy"),
                        qa("q2", "Where did they come from?", "Denmark & Norway", "Denmark"),
                        qa("q3", "When did the Normans leave?"),
                    ],
                }
            ],
        },
        {
            "title": "Rivers",
            "paragraphs": [
                {
                    "context": RIVERS,
                    "qas": [
                        qa("q4", "How long is the Rhine?", "1,233 km", context=RIVERS),
                        qa("q5", "Why is the Rhine long?", context=RIVERS),
                    ],
                }
            ],
        },
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")
    return path


@pytest.fixture
def data(file: Path) -> QuestionSet:
    return read_questions(file)


def cited(source: str, quote: str) -> Citation:
    return Citation(source, source, None, 0, len(quote), quote, 0.9)


# q1: one quote of two holds the answer. q2: half of the words. q4: refused. q3: answered though nothing is there.
GIVEN = {
    "What did the Normans give their name to?": Answer(
        "Normandy [1] [2]",
        (cited("Normans", "The Normans gave their name to Normandy."), cited("Rivers", "It is 1,233 km long.")),
        confidence=0.9,
    ),
    "Where did they come from?": Answer(
        "from Denmark [1]", (cited("Normans", "They came from  Denmark & Norway."),), confidence=0.8
    ),
    "When did the Normans leave?": Answer(
        "Norman [1]", (cited("Normans", "They spoke <i>Norman</i> French."),), confidence=0.7
    ),
    "How long is the Rhine?": Answer("This is not in these documents.", refused=True, confidence=0.4),
    "Why is the Rhine long?": Answer("This is not in these documents.", refused=True, confidence=0.1),
}


class Scripted:
    """Gives the answers above, and counts; refuses where the article is left out."""

    def __init__(self, dies_at: int = 99) -> None:
        self.asked = 0
        self.dies_at = dies_at

    def ask(self, question: str, *, mode: str = "auto", where: Mapping[str, Any] | None = None) -> Answer:
        self.asked += 1
        if self.asked == self.dies_at:
            raise KeyboardInterrupt
        given = GIVEN[question]
        if where is not None:
            assert where in ({"source": {"$ne": "Normans"}}, {"source": {"$ne": "Rivers"}})
            given = Answer("This is not in these documents.", refused=True, confidence=0.05)
        timings = {"retrieve": 0.1, "total": float(self.asked)}
        return Answer(given.text, given.citations, given.refused, given.confidence, timings, question)


def values(report: AnswersReport) -> dict[str, float]:
    return {name: estimate.value for name, estimate in report.measures.items()}


def test_measures_agree_with_values_worked_by_hand(data: QuestionSet) -> None:
    seen: list[int] = []
    report = evaluate_answers(data, Scripted(), absent=True, progress=seen.append)
    assert seen == [1] * 8
    rows = {row.id: row for row in report.rows}
    assert rows["q1"].answer == "Normandy"
    shares = {"evidence": 1.0, "cited_answer": 0.5, "cited_passage": 0.5}
    assert rows["q1"].scores == {"exact": 1, "f1": 1, "contained": 1, "answered": 1, **shares}
    assert rows["q2"].scores["f1"] == pytest.approx(2 / 3)  # "from Denmark" against "Denmark"
    assert rows["q2"].scores["contained"] == 1
    assert rows["q2"].citations[0].right  # blanks do not count
    assert rows["q3"].scores == {"exact": 0, "f1": 0, "rightly_refused": 0}
    assert rows["q4"].scores == {"exact": 0, "f1": 0, "contained": 0, "answered": 0}
    assert rows["q5"].scores == {"exact": 1, "f1": 1, "rightly_refused": 1}
    assert rows["q1 absent"].scores == {"absent_refused": 1}
    assert values(report) == pytest.approx(
        {
            "exact": 1 / 3,
            "f1": (1 + 2 / 3) / 3,
            "contained": 2 / 3,
            "evidence": 1,
            "citation_precision": 3 / 4,
            "citation_passage": 3 / 4,
            "refused": 5 / 8,
            "wrongly_refused": 1 / 3,
            "rightly_refused": 1 / 2,
            "auroc": 5 / 6,  # of 3 x 2 pairs only (0.4, 0.7) is the wrong way round
            "absent_refused": 1,
            "absent_auroc": 1,
            "exact_2.0": 2 / 5,
            "f1_2.0": (1 + 2 / 3 + 0 + 0 + 1) / 5,
        }
    )
    assert report.stages["total"]["p50"].value == 4.5
    assert list(report.stages) == ["retrieve", "total"]
    assert report.to_dict()["questions"] == {"answerable": 3, "absent": 3, "unanswerable": 2}
    json.dumps(report.to_dict())


def test_what_the_data_cannot_tell_is_left_out(data: QuestionSet) -> None:
    answerable = [question for question in data.questions if question.answers]
    report = evaluate_answers(data, Scripted(), questions=answerable)
    assert not {"auroc", "absent_auroc", "rightly_refused", "f1_2.0"} & set(report.measures)
    assert report.to_dict()["questions"] == {"answerable": 3}


def test_a_killed_run_goes_on(data: QuestionSet, tmp_path: Path) -> None:
    results = tmp_path / "run.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate_answers(data, Scripted(dies_at=4), absent=True, results=results)
    assert len(read_run(results).rows) == 3
    rest = Scripted()
    seen: list[int] = []
    resumed = evaluate_answers(data, rest, absent=True, results=results, resume=True, progress=seen.append)
    assert (rest.asked, len(seen)) == (5, 8)
    whole = evaluate_answers(data, Scripted(), absent=True)
    assert values(resumed) == values(whole)
    assert [row.citations for row in resumed.rows] == [row.citations for row in whole.rows]
    assert [AnswerRow.from_dict(json.loads(json.dumps(row.to_dict()))) for row in resumed.rows] == list(resumed.rows)
    with pytest.raises(DataError, match="mode 'auto', now 'extract'"):
        evaluate_answers(data, rest, mode="extract", results=results, resume=True)
    with pytest.raises(DataError, match="resume"):
        evaluate_answers(data, rest, results=results)


def test_numbers_in_brackets_that_are_no_citation_belong_to_the_answer(data: QuestionSet) -> None:
    class Bracketed:
        def ask(self, question: str, *, mode: str = "auto", where: Mapping[str, Any] | None = None) -> Answer:
            return Answer("array[3] and more [1].", (cited("Normans", NORMANS),))

    (row,) = evaluate_answers(data, Bracketed(), questions=data.questions[:1]).rows
    assert row.answer == "array[3] and more."


def test_risk_is_that_of_the_answers_given(data: QuestionSet) -> None:
    rows = evaluate_answers(data, Scripted()).rows
    coverage, risk = risk_coverage(rows)
    assert coverage == pytest.approx([1 / 5, 2 / 5, 3 / 5])  # two of five were refused
    assert risk == pytest.approx([0, (1 / 3) / 2, (1 / 3 + 1) / 3])
    assert risk_coverage([row for row in rows if row.refused]) == ([], [])


def test_the_worst_come_first_and_the_surest_of_them(data: QuestionSet) -> None:
    rows = evaluate_answers(data, Scripted(), absent=True).rows
    assert [row.id for row in worst_answers(rows, 20)] == ["q3", "q4", "q2"]
    assert [row.id for row in worst_answers(rows, 1)] == ["q3"]


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("How many Normans came?", "how many"),
        ("To whom did they sell?", "who"),
        ("In what year did it happen?", "when"),
        ("What is shown here?", "what"),
        ("Name a river.", "other"),
        ("范廷颂是什么时候被任为主教的？", "何时"),
        ("谁写了这本书？", "谁"),
        ("为什么这么做？", "为什么"),
        ("有多少人？", "多少"),
    ],
)
def test_questions_are_told_apart_by_their_word(question: str, word: str) -> None:
    assert question_word(question) == word
    assert is_chinese(question) == (word not in ("how many", "who", "when", "what", "other")) or word == "谁"


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_stands_by_itself_and_escapes_what_it_shows(data: QuestionSet, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = evaluate_answers(data, Scripted(), absent=True)
    file = tmp_path / "report.html"
    write_answers_report(report, data, file)
    html = file.read_text(encoding="utf-8")
    page = Page(html)
    names = [tag for tag, _ in page.tags]
    assert names.count("img") == 3
    assert not {"script", "link", "iframe", "i-"} & set(names)
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(value is not None and value.startswith("data:") for value in links)
    assert "&lt;i&gt;Norman&lt;/i&gt;" in html  # of the passage, not a tag
    assert "Denmark &amp; Norway" in html
    assert "<mark>Denmark</mark>" in html or "<mark>Denmark &amp; Norway</mark>" in html
    assert "When did the Normans leave?" in page.text
    assert "83.3" in page.text  # the AUROC
    write_answers_report(report, data, file)
    assert file.read_text(encoding="utf-8") == html


def test_a_report_of_refusals_alone_is_drawn_too(data: QuestionSet, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = evaluate_answers(data, Scripted(), questions=[data.questions[4]])
    write_answers_report(report, data, tmp_path / "report.html")
    assert "The 0 worst" in (tmp_path / "report.html").read_text(encoding="utf-8")


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("LANGBERT_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    return call


@pytest.mark.models
@pytest.mark.usefixtures("minilm_folder")
def test_eval_answers_and_compare(cli: Any, file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    command = ("eval", "answers", "--data", file, "--mode", "extract", "--absent")
    code, out = cli(*command, "--results", first, "--report", tmp_path / "r.html", "--json")
    assert code == 0, out
    found = json.loads(out)
    assert found["questions"] == {"answerable": 3, "absent": 3, "unanswerable": 2}
    assert found["measures"]["contained"]["value"] >= 2 / 3
    assert found["measures"]["absent_refused"]["value"] == 1
    assert "<mark>" in (tmp_path / "r.html").read_text(encoding="utf-8")
    code, out = cli(*command, "--results", first)
    assert (code, out) == (1, "")
    code, out = cli(*command, "--results", first, "--resume")
    assert code == 0
    assert re.search(r"answer contained +\d+\.\d", out)
    code, out = cli(*command, "--results", second, "--threshold", "1", "--json")
    assert json.loads(out)["measures"]["refused"]["value"] == 1
    code, out = cli("eval", "compare", first, second, "--json", "--report", tmp_path / "c.html")
    assert code == 0
    differences = json.loads(out)["differences"]
    assert differences["contained"]["first"] > differences["contained"]["second"] == 0
    assert differences["absent_refused"]["same"] == 3
    assert "What changed most" in (tmp_path / "c.html").read_text(encoding="utf-8")
    code, out = cli("eval", "compare", first, second)
    assert "What did the Normans give their name to?" in out


def test_eval_retrieval_is_saved_and_compared(cli: Any, file: Path, minilm_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    for mode in ("lexical", "dense"):
        code, out = cli(
            "eval", "retrieval", "--data", file, "--mode", mode, "--save", tmp_path / f"{mode}.jsonl", "--json"
        )
        assert code == 0, out
    saved = read_run(tmp_path / "dense.jsonl")
    assert (saved.settings["kind"], saved.settings["mode"]) == ("retrieval", "dense")
    assert saved.rows["q4"]["scores"] == {"R@1": 1.0, "R@5": 1.0, "R@20": 1.0, "RR@10": 1.0, "nDCG@10": 1.0}
    code, out = cli("eval", "compare", tmp_path / "lexical.jsonl", tmp_path / "dense.jsonl", "--json")
    assert json.loads(out)["measure"] == "nDCG@10"


def test_options_that_do_not_go_together_are_refused(cli: Any, file: Path, tmp_path: Path) -> None:
    assert cli("eval", "answers", "--data", file, "--resume")[0] == 2
    assert cli("eval", "answers", "--data", file, "--absent", "--store", tmp_path)[0] == 2
