"""Tables of a PDF: their rows name their columns, and nothing else is taken for one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdf_tools import one_page
from test_pdf_page import under

from langbert import Document
from langbert.documents import read_document
from langbert.documents.grid import row_line
from langbert.documents.pdf_layout import Line, Word
from langbert.documents.pdf_tables import tabulated

Placed = list[tuple[float, str]]
"""The texts of a line, and where they begin."""

WIDTH = 5.0  # points of a character
HIGH = 12.0


def lines_of(rows: list[Placed]) -> list[Line]:
    """An empty row is a gap."""
    lines = []
    for n, row in enumerate(rows):
        if not row:
            continue
        words: list[Word] = []
        for left, text in row:
            for word in text.split():
                words.append(Word(word, left, left + WIDTH * len(word)))
                left += WIDTH * (len(word) + 0.5)
        bottom = 700 - HIGH * n
        text = " ".join(text for _, text in row)
        lines.append(
            Line(text, words[0].left, bottom, bottom + 10, words[-1].right, bottom, bottom + 10, 10.0, words=words)
        )
    return lines


def texts(rows: list[Placed]) -> list[str]:
    return [line.text for line in tabulated(lines_of(rows))]


REPORT: list[Placed] = [
    [(50, "The figures are those of the year that ended in March, before tax.")],
    [(236, "Three months")],
    [(215, "2024"), (300, "2023")],
    [(50, "Sales, net"), (210, "1,204"), (295, "1,100")],
    [(50, "Costs")],
    [(50, "Wages"), (220, "310"), (305, "295")],
    [(50, "Rent and energy"), (225, "88"), (305, "–")],
    [(50, "All of them were paid in full by the end of the year.")],
]


def test_each_row_says_what_it_says_in_the_table() -> None:
    assert texts(REPORT) == [
        REPORT[0][0][1],
        "| Three months | Three months",
        "| 2024 | 2023",
        "Sales, net | Three months 2024: 1,204 | Three months 2023: 1,100",
        "Costs",
        "Wages | Three months 2024: 310 | Three months 2023: 295",
        "Rent and energy | Three months 2024: 88 | Three months 2023: –",
        REPORT[-1][0][1],
    ]
    assert [line.table for line in tabulated(lines_of(REPORT))] == [0, 1, 1, 1, 1, 1, 1, 0]


def test_chinese_names_and_figures_that_stand_close() -> None:
    rows: list[Placed] = [
        [(50, "地区"), (150, "收入(万元)"), (215, "成本(万元)")],
        [(50, "北京"), (180, "120"), (225, "80")],
        [(50, "上海"), (180, "95"), (225, "60")],
    ]
    assert texts(rows)[1:] == ["北京 | 收入(万元): 120 | 成本(万元): 80", "上海 | 收入(万元): 95 | 成本(万元): 60"]


ADDRESSED: list[Placed] = [
    [(50, "Invoice date"), (150, "3 October 2025"), (260, "Address"), (340, "9 Cliff Lane")],
    [(50, "Due date"), (150, "2 November 2025"), (260, "Order"), (340, "K-117")],
]
AMOUNTS: list[Placed] = [
    [(60, "Description"), (200, "Quantity"), (300, "Amount")],
    [(60, "Oak staircase"), (215, "1"), (300, "£3,850.00")],
    [(60, "Handrail"), (215, "6"), (300, "£288.00")],
    [(200, "Total due"), (300, "£4,138.00")],
]


@pytest.mark.parametrize("above", [ADDRESSED, ADDRESSED[1:], [[(50, "Order"), (150, "open"), (260, "Ann Lee")]]])
def test_lines_of_a_form_above_the_names_are_none(above: list[Placed]) -> None:
    read = texts([*above, [], *AMOUNTS])
    assert read[-3:] == [
        "Oak staircase | Quantity: 1 | Amount: £3,850.00",
        "Handrail | Quantity: 6 | Amount: £288.00",
        "Description: – | Quantity: Total due | Amount: £4,138.00",
    ]


def test_names_may_hold_figures() -> None:
    rows: list[Placed] = [
        [(130, "7B"), (190, "13B")],
        [(50, "All"), (130, "66.0"), (190, "64.7")],
        [(50, "Some"), (130, "65.0"), (190, "66.7")],
        [(50, "None"), (130, "60.8"), (190, "62.5")],
    ]
    assert texts(rows)[1:] == [
        "All | 7B: 66.0 | 13B: 64.7",
        "Some | 7B: 65.0 | 13B: 66.7",
        "None | 7B: 60.8 | 13B: 62.5",
    ]


def test_a_blank_of_a_fixed_pitch_is_wide_and_no_border() -> None:
    code: list[Placed] = [
        [(50, "def"), (74, "solution():")],
        [(50, "toys"), (80, "="), (92, "5")],
        [(50, "mums"), (80, "="), (92, "2")],
        [(50, "dads"), (80, "="), (92, "2")],
    ]
    lines = lines_of(code)
    for line in lines:
        line.fixed_pitch = True
    assert [line.table for line in tabulated(lines)] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "rows",
    [
        [[(50, f"The year {year} was a good one for 12 of us,"), (330, "and 5 others stood by.")] for year in range(5)],
        [[(50, f"{n} Chapter about it"), (300, str(10 * n))] for n in range(1, 6)],
        [[(50, f"{n}."), (70, "Take the lid off and wait for 5 minutes.")] for n in range(1, 6)],
        [[(50, "Ann Lee"), (150, "Bo Chen"), (250, "Cy Diaz")], [(50, "Basel"), (150, "Xi'an"), (250, "Lima")]] * 2,
        [[(50, "Name"), (200, "Value")], [(50, "one"), (200, "1")]],
        [[(300, "Who has 3 of them?")], *([[(50, "Someone"), (200, "2"), (300, "has 3 of these and more")]] * 3)],
    ],
)
def test_what_is_no_table_stays_as_it_is(rows: list[Placed]) -> None:
    assert tabulated(lines_of(rows)) == lines_of(rows)


words = st.text("abcdefgh", min_size=2, max_size=9).map(str.title)
figures = st.integers(0, 99_999).map(lambda n: f"{n:,}" if n > 2100 or n < 1900 else "7")


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(2, 6))
    names = draw(st.lists(words, min_size=width, max_size=width, unique=True))
    rows = draw(st.lists(st.lists(figures, min_size=width, max_size=width), min_size=3, max_size=8))
    return [["Of", *names], *([draw(words), *row] for row in rows)]


@given(tables(), st.sampled_from(["left", "right", "centre"]), st.floats(6, 40))
def test_any_table_of_figures_is_read_as_it_was_set(cells: list[list[str]], set_at: str, gap: float) -> None:
    columns = [max(len(row[n]) for row in cells) * WIDTH for n in range(len(cells[0]))]
    begins = [50.0]
    for width in columns:
        begins.append(begins[-1] + width + gap)
    share = {"left": 0.0, "right": 1.0, "centre": 0.5}[set_at]
    rows = [
        [(begins[n] + (columns[n] - WIDTH * len(cell)) * (share if n else 0), cell) for n, cell in enumerate(row)]
        for row in cells
    ]
    assert texts(rows) == [row_line(cells[0], ()), *(row_line(row, cells[0]) for row in cells[1:])]


def pdf_of(rows: list[Placed]) -> bytes:
    shown = [
        f"1 0 0 1 {x} {700 - HIGH * n} Tm ({text}) Tj".replace("–", "-")
        for n, row in enumerate(rows)
        for x, text in row
    ]
    stream = "BT /F1 10 Tf " + " ".join(shown) + " ET"
    return one_page(stream)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Document:
    file = tmp_path_factory.mktemp("pdf") / "report.pdf"
    file.write_bytes(pdf_of(REPORT))
    return read_document(file)


def test_a_table_is_a_block_of_its_own(report: Document) -> None:
    before, table, after = report.text.split("\n\n")
    assert "Wages | Three months 2024: 310 | Three months 2023: 295" in table.split("\n")
    assert (before, after) == (REPORT[0][0][1], REPORT[-1][0][1])


@pytest.mark.parametrize("value", ["310", "295", "Wages"])
def test_a_value_stands_where_the_page_has_it(report: Document, value: str) -> None:
    start = report.text.index(value)
    (boxes,) = report.boxes(start, start + len(value)).values()
    assert "".join(under(pdf_of(REPORT), 1, list(boxes))).strip() == value


def test_a_row_has_the_boxes_of_its_cells_and_of_their_names(report: Document) -> None:
    start = report.text.index("Wages |")
    boxes = list(report.boxes(start, report.text.index("\n", start))[1])
    assert [text.strip() for text in under(pdf_of(REPORT), 1, boxes)] == ["Wages", "2024", "310", "2023", "295"]
    assert all(after.left > before.left for before, after in pairwise(boxes[::2]))
