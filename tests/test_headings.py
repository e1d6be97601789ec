"""Documents alone teach what is relevant: headings ask, sections answer."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from langbert.errors import DataError
from langbert.evaluation import read_questions
from langbert.training.evidence import EvidenceTask, reading_sets
from langbert.training.headings import as_question

SHEETS = """# Sheets

## Inserting rows

Rows go in above the cell that is selected, and everything under them moves down by as many as were put in there.

1. Select as many rows as you need.
2. Choose Insert, then Rows above.

## Notes

See the other chapter for what else there is to know about cells and rows, which is a great deal more than fits here.

## 3. Why do formulas change?

A reference is relative unless a dollar sign stands before it, so that a copied formula points at other cells.
"""
TABLES = """# 表格

## 合并单元格

先选中要合并的单元格，再点击工具栏上的“合并”按钮。合并之后只保留左上角单元格的内容，其余单元格的内容会被清除，无法恢复。

## Notes

另请参阅后面的章节，那里介绍了单元格与行列的其他操作，内容比这里能写下的要多得多，请务必仔细阅读之后再继续操作。
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "help").mkdir()
    (tmp_path / "help" / "sheets.md").write_text(SHEETS, encoding="utf-8")
    (tmp_path / "help" / "tables.md").write_text(TABLES, encoding="utf-8")
    return tmp_path


def test_headings_ask_and_whole_sections_answer(folder: Path) -> None:
    (made,) = reading_sets(folder)
    data = read_questions(made)
    asked = {question.question: question for question in data.questions}
    assert len(data.paragraphs) == 5  # the notes, too, which look like answers
    assert len(asked) == 3  # but what is called notes twice asks nothing
    why = asked["Why do formulas change?"]
    assert why.answers == (data.paragraphs[why.paragraph][1],)
    assert why.title == "Sheets"
    assert "formulas change" not in why.answers[0]
    (rows,) = (question for question in data.questions if "row" in question.question.lower())
    assert rows.answers[0].endswith("2. Choose Insert, then Rows above.")
    assert any("合并单元格" in question for question in asked)


def test_a_section_that_answers_is_told_from_others_and_teaches_no_span(folder: Path) -> None:
    (made,) = reading_sets(folder)
    paragraphs = read_questions(made)
    lines = [
        json.dumps(
            {"id": question.id, "negatives": [name for name in paragraphs.paragraphs if name != question.paragraph]}
        )
        for question in paragraphs.questions
    ]
    made.with_suffix(".negatives.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = EvidenceTask(folder, base="minilm", holdout=0, unanswerable=1.0, made=0)
    batch = task.collate(range(len(task)), seed=3)
    assert (batch["starts"] == -1).all()
    for group in range(len(task)):
        assert sorted(batch["relevant"][batch["groups"] == group].tolist()) == [0, 0, 0, 1]
    assert torch_is_finite(task, batch)


def torch_is_finite(task: EvidenceTask, batch: dict) -> bool:
    return bool(task.loss(task.network, batch).isfinite())


@pytest.mark.parametrize(
    ("heading", "some"),
    [
        ("Inserting Rows from HTML", {"How do I insert rows from HTML?", "How to insert rows from HTML"}),
        ("To Export a Master Document", {"how can I export a master document?"}),
        ("Pivot Table", {"Pivot Table", "What is pivot table?"}),
        ("合并单元格", {"怎么合并单元格？", "合并单元格要怎么做？"}),
        ("段前分页", {"什么是段前分页？", "段前分页"}),
        ("为什么会报错", {"为什么会报错"}),
    ],
)
def test_a_heading_is_put_as_people_ask(heading: str, some: set[str]) -> None:
    assert some <= {as_question(heading, random.Random(i)) for i in range(60)}


def test_documents_without_headings_ask_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.txt").write_text("One line of text, and no heading over it.", encoding="utf-8")
    with pytest.raises(DataError, match="no section under a heading"):
        reading_sets(tmp_path)
