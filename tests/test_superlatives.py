"""The most and the least of a table: told where there is no doubt, else left to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert import Document, Embedder, Rag, Store
from langbert.answering.cells import Row, rows_of
from langbert.answering.superlatives import extreme_cell

TEAMS = """\
Team | Head | Members | Budget (EUR) | Founded
Sales | Head: Ann Lee | Members: 31 | Budget (EUR): 1,180 | Founded: 2004
Support | Head: Bo Ek | Members: 54 | Budget (EUR): 470.5 | Founded: 2011
Law | Head: Cy Orr | Members: 5 | Budget (EUR): 205 | Founded: 2019
Total | Head: – | Members: 90 | Budget (EUR): 1,855.5 | Founded: –
"""
部门 = """\
部门 | 人数 | 单价
生产部 | 人数: 86人 | 单价: 5元
研发部 | 人数: 54人 | 单价: 7元
合计 | 人数: 140人 | 单价: –
"""


def rows(table: str) -> list[Row]:
    units, start = [], 0
    for line in table.splitlines(keepends=True):
        units.append((start, start + len(line.rstrip())))
        start += len(line)
    return list(rows_of(table, units[1:], units[0]))


@pytest.mark.parametrize(
    ("table", "question", "said"),
    [
        (TEAMS, "Which team has the most members?", "Support"),
        (TEAMS, "which team has the smallest budget", "Law"),
        (TEAMS, "What is the highest budget of a team?", "1,180"),
        (TEAMS, "Who heads the team with the smallest budget?", "Cy Orr"),
        (部门, "哪个部门人数最多？", "生产部"),
        (部门, "哪种部门单价最低？", "生产部"),
        (部门, "哪个部门的单价最高", "研发部"),
        (TEAMS, "Which team has the most windows?", None),  # no such column
        (TEAMS, "Which team did most of the work on the budget?", None),
        (TEAMS, "How many members has the Law team at most?", None),
        (TEAMS, "Which team has most of the members in Oslo and the least rent in Bergen?", None),
        (TEAMS.replace("54", "31"), "Which team has the most members?", None),  # two have
        (TEAMS.replace("54", "many"), "Which team has the most members?", None),  # nobody knows
        (部门.replace("54人", "54组"), "哪个部门人数最多？", None),  # of another kind
    ],
)
def test_what_has_the_most(table: str, question: str, said: str | None) -> None:
    cell = extreme_cell(question, rows(table), "Teams 各部门")
    assert (cell and cell.said) == said
    if cell is not None:
        assert cell.row.text[cell.start : cell.end] == said


@given(st.lists(st.integers(-9999, 9999), min_size=2, max_size=9, unique=True), st.booleans())
def test_the_greatest_of_any_figures(figures: list[int], most: bool) -> None:
    table = "Well | Depth (m)\n" + "".join(f"W{i} | Depth (m): {figure:,}\n" for i, figure in enumerate(figures))
    cell = extreme_cell(f"Which well has the {'highest' if most else 'lowest'} depth?", rows(table))
    assert cell is not None
    assert cell.said == f"W{figures.index((max if most else min)(figures))}"


@pytest.mark.models
def test_an_answer_is_the_row(minilm: Embedder) -> None:
    document = Document("teams", f"Teams in 2025\n\n{TEAMS}", source="teams.md")
    with Store.open(embedder=minilm) as store:
        store.add([document])
        answer = Rag(store).ask("Which team has the most members?")
    assert answer.short == "Support"
    assert answer.citations[0].quote == "Support | Head: Bo Ek | Members: 54 | Budget (EUR): 470.5 | Founded: 2011"
