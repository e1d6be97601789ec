"""Tables: every row says by itself what it says in the table, in every format that has some."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from langbert.documents import read_document
from langbert.documents.grid import Cell, Grid
from langbert.text.sentences import sentences

ROWS = [["Depot", "Opens", "Forklifts", "Foreman"], ["Harbour", "06:00", "", "A. Brandt"], ["Mill", "", "4", ""]]
LINES = [
    "Depot | Opens | Forklifts | Foreman",
    "Harbour | Opens: 06:00 | Forklifts: – | Foreman: A. Brandt",
    "Mill | Opens: – | Forklifts: 4 | Foreman: –",
]
_ODF = "urn:oasis:names:tc:opendocument:xmlns"


def html_table(rows: list[list[str]]) -> str:
    return "<table>" + "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows) + "</table>"


def odt(path: Path, table: str) -> Path:
    names = f'xmlns:office="{_ODF}:office:1.0" xmlns:table="{_ODF}:table:1.0" xmlns:text="{_ODF}:text:1.0"'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:text><table:table>{table}</table:table>"
            "</office:text></office:body></office:document-content>",
        )
    return path


def written(folder: Path, kind: str) -> Path:
    path = folder / f"a.{kind}"
    if kind == "docx":
        import docx

        document = docx.Document()
        table = document.add_table(len(ROWS), 4)
        for cell, text in zip(table._cells, [text for row in ROWS for text in row], strict=True):
            cell.text = text
        document.save(str(path))
    elif kind == "odt":
        cells = ["".join(f"<table:table-cell><text:p>{c}</text:p></table:table-cell>" for c in row) for row in ROWS]
        odt(path, "".join(f"<table:table-row>{row}</table:table-row>" for row in cells))
    elif kind == "html":
        path.write_text(f"<html><body>{html_table(ROWS)}</body></html>")
    elif kind == "csv":
        path.write_text("".join(",".join(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("kind", ["docx", "odt", "html", "csv"])
def test_empty_cells_keep_their_place(tmp_path: Path, kind: str) -> None:
    assert read_document(written(tmp_path, kind)).text.strip().split("\n") == LINES


def test_markdown_rows_stay_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text(
        "# Depots\n\n| Depot | Opens | Foreman |\n|---|:-:|--:|\n| Mill | | A. *Brandt* |\n\n## After\n\n"
        "```\n| a | b |\n|---|---|\n| c | d |\n```\n"
    )
    document = read_document(path)
    assert document.text.split("\n")[2:6] == [
        "| Depot | Opens | Foreman |",
        "|---|:-:|--:|",
        "| Mill | Opens: – | Foreman: A. *Brandt* |",
        "",
    ]
    assert document.text.count("\n") == path.read_text().count("\n")
    assert document.text[document.headings[1].start :].startswith("## After")
    assert "| c | d |" in document.text


def test_markdown_may_hold_tables_of_html(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    names = "".join(f"<th>{name}</th>" for name in ("Depot", "Opens", "Foreman"))
    table = f"<table>\n<tr>{names}</tr>\n<tr><td>Mill</td><td></td><td>Ann</td></tr>\n</table>"
    path.write_text(f"# Depots\n\n{table}\n\n## After\n\n```html\n{table}\n```\n")
    document = read_document(path)
    rows = "Depot | Opens | Foreman\nMill | Opens: – | Foreman: Ann"
    assert document.text == f"# Depots\n\n{rows}\n\n## After\n\n```html\n{table}\n```\n"
    assert document.text[document.headings[1].start :].startswith("## After")


def test_merged_cells_count_for_all_they_cover(tmp_path: Path) -> None:
    import docx

    document = docx.Document()
    table = document.add_table(4, 3)
    texts = ["Site", "Shift", "Crew", "Mill", "early", "6", "", "late", "4", "Harbour", "all day", ""]
    for cell, text in zip(table._cells, texts, strict=True):
        cell.text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(3, 1).merge(table.cell(3, 2))
    document.save(str(tmp_path / "a.docx"))
    lines = [
        "Mill | Shift: early | Crew: 6",
        "Mill | Shift: late | Crew: 4",
        "Harbour | Shift: all day | Crew: all day",
    ]
    assert read_document(tmp_path / "a.docx").text.split("\n")[1:] == lines
    page = (
        "<table><tr><th>Site</th><th>Shift</th><th>Crew</th></tr><tr><td rowspan=2>Mill</td><td>early</td><td>6</td>"
        "</tr><tr><td>late</td><td>4</td></tr><tr><td>Harbour</td><td colspan=2>all day</td></tr></table>"
    )
    (tmp_path / "a.html").write_text(page)
    assert read_document(tmp_path / "a.html").text.split("\n")[1:] == lines
    cell = "<table:table-cell{}><text:p>{}</text:p></table:table-cell>"
    covered = "<table:covered-table-cell/>"
    rows = [
        "".join(cell.format("", name) for name in ("Site", "Shift", "Crew")),
        cell.format(' table:number-rows-spanned="2"', "Mill") + cell.format("", "early") + cell.format("", "6"),
        covered + cell.format("", "late") + cell.format("", "4"),
        cell.format("", "Harbour") + cell.format(' table:number-columns-spanned="2"', "all day") + covered,
    ]
    path = odt(tmp_path / "a.odt", "".join(f"<table:table-row>{row}</table:table-row>" for row in rows))
    assert read_document(path).text.split("\n")[1:] == lines


def grid(*rows: list[str]) -> Grid:
    made = Grid()
    for row in rows:
        made.add(Cell(text) for text in row)
    return made


FORM = [
    ["姓名", "张伟", "性别", "男"],
    ["出生日期", "1990-05-12", "民族", "汉族"],
    ["手机", "13800001", "部门", "财务部"],
]


def test_labels_beside_their_values_are_no_names_of_columns() -> None:
    made = grid(*FORM)
    made.add([Cell("家庭住址："), Cell("湖南路12号", 3)])
    assert list(made.lines()) == [
        "姓名: 张伟 | 性别: 男", "出生日期: 1990-05-12 | 民族: 汉族", "手机: 13800001 | 部门: 财务部",
        "家庭住址: 湖南路12号",
    ]  # fmt: skip
    colons = grid(["Berth:", "7", "Tide:", "low"], ["Crew:", "4", "Cargo:", ""])
    assert list(colons.lines()) == ["Berth: 7 | Tide: low", "Crew: 4 | Cargo: –"]


@pytest.mark.parametrize(
    "rows",
    [
        [["Name", "Born", "City", "Phone"], ["Ann", "1990", "Oslo", "555-01"], ["Bo", "1991", "Bonn", "555-02"]],
        [["字段", "类型", "说明", "备注"], ["name", "varchar", "姓名", "必填"], ["tel", "varchar", "手机", "选填"]],
        [["Setting", "Default", "Unit", "Note"], ["width", "5", "mm", "outer"], ["mode", "auto", "–", "see below"]],
        [["", "姓名", "部门", "手机"], ["1", "张伟", "财务部", "13800001111"], ["2", "李娜", "法务部", "13900002222"]],
    ],
)
def test_tables_of_four_columns_are_no_forms(rows: list[list[str]]) -> None:
    found = list(grid(*rows).lines())
    assert found[0] == " | ".join(rows[0]).strip()
    assert f"{rows[0][1]}: {rows[1][1]} | {rows[0][2]}: {rows[1][2]}" in found[1]


def test_a_form_of_a_page(tmp_path: Path) -> None:
    rows = "".join(f"<tr><th>{a}</th><td>{b}</td><th>{c}</th><td>{d}</td></tr>" for a, b, c, d in FORM[:2])
    (tmp_path / "a.html").write_text(f"<body><p>登记表</p><table>{rows}</table></body>", encoding="utf-8")
    assert read_document(tmp_path / "a.html").text.split("\n")[2:] == [
        "姓名: 张伟 | 性别: 男",
        "出生日期: 1990-05-12 | 民族: 汉族",
    ]


def test_two_headings_over_each_other_and_a_title_row() -> None:
    made = Grid()
    made.add([Cell("Region"), Cell("2023", 2), Cell("2024", 2)])
    made.add([Cell(""), Cell("Sales"), Cell("Staff"), Cell("Sales"), Cell("Staff")])
    made.add([Cell("Europe", 5)])
    made.add(Cell(text) for text in ("North", "5", "2", "7", "3"))
    assert list(made.lines(2))[2:] == [
        "Europe",
        "North | 2023 Sales: 5 | 2023 Staff: 2 | 2024 Sales: 7 | 2024 Staff: 3",
    ]


def test_names_over_names_need_no_mark() -> None:
    def made(corner: list[Cell], second: list[str]) -> list[str]:
        grid = Grid()
        grid.add([Cell("Depots", 5)])
        grid.add([*corner, Cell("Summer", 2), Cell("Winter", 2)])
        grid.add(Cell(text) for text in second)
        grid.add(Cell(text) for text in ("Mill", "6", "20", "7", ""))
        return list(grid.lines())

    row = "Mill | Summer Opens: 6 | Summer Shuts: 20 | Winter Opens: 7 | Winter Shuts: –"
    assert made([Cell("Site", 1, 2)], ["Opens", "Shuts", "Opens", "Shuts"])[-1] == row
    assert made([Cell("Site")], ["", "Opens", "Shuts", "Opens", "Shuts"])[-1] == row
    assert made([Cell("Site")], ["Quay", "early", "late", "early", "late"])[-1] == "Mill | 6 | 20 | 7 |"  # no names


def test_one_column_is_a_list_of_lines() -> None:
    assert list(grid(["Monday"], ["six"], ["seven"]).lines()) == ["Monday", "six", "seven"]


def test_a_row_of_units_below_the_names_belongs_to_them() -> None:
    def lines(*rows: tuple[str, ...]) -> list[str]:
        grid = Grid()
        for row in rows:
            grid.add(Cell(text) for text in row)
        return list(grid.lines())

    assert lines(("Form", "Strength", "Price"), ("-", "N/mm 2", "€/kg"), ("Bar", "890", "3")) == [
        "Form | Strength | Price",
        "Bar | Strength (N/mm 2): 890 | Price (€/kg): 3",
    ]
    assert lines(("项目", "收入", "增长"), ("单位", "万元", "%"), ("云服务", "120", "8")) == [
        "项目 | 收入 | 增长",
        "云服务 | 收入 (万元): 120 | 增长 (%): 8",
    ]
    assert lines(("Ship", "Flag", "Size"), ("-", "Red", "L"), ("Kite", "Blue", "M"))[1] == "- | Flag: Red | Size: L"


def test_names_beside_values_are_no_header() -> None:
    assert list(grid(["Owner", "Jane Roe"], ["Floor", "third"]).lines()) == ["Owner | Jane Roe", "Floor | third"]
    assert list(grid(["Item", "Price"], ["Tea", "3"], ["Salt", "1"]).lines())[1] == "Tea | Price: 3"
    assert list(grid(["Region", "2023", "2024"], ["North", "5", "7"]).lines())[1] == "North | 2023: 5 | 2024: 7"
    assert list(grid(["1", "2", "3"], ["4", "", "6"]).lines()) == ["1 | 2 | 3", "4 |  | 6"]


def test_spans_beyond_the_table_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<table><tr><td rowspan=99999999 colspan=99999999>x</td><td>y</td></tr><tr><td>z</td><td>w</td></tr></table>"
    )
    assert len(read_document(tmp_path / "a.html").text) < 20_000


def test_every_row_is_a_sentence() -> None:
    text = "\n".join(LINES)
    assert [text[start:end] for start, end in sentences(text)] == LINES


def test_slides_have_tables_too(tmp_path: Path) -> None:
    a = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    p = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    r = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def row(*cells: tuple[str, str]) -> str:
        made = (
            f"<a:tc {merge}><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>"
            for text, merge in cells
        )
        return f"<a:tr>{''.join(made)}</a:tr>"

    table = row(("Site", ""), ("Shift", ""), ("Crew", "")) + row(("Mill", 'rowSpan="2"'), ("early", ""), ("", ""))
    table += row(("", 'vMerge="1"'), ("closed", 'gridSpan="2"'), ("", 'hMerge="1"'))
    parts = {
        "ppt/presentation.xml": f'<p:presentation {p} xmlns:r="{r}"><p:sldIdLst>'
        '<p:sldId id="256" r:id="r0"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r0" Type="x/slide" Target="slides/s.xml"/></Relationships>',
        "ppt/slides/s.xml": f"<p:sld {p} {a}><a:tbl>{table}</a:tbl></p:sld>",
    }
    with zipfile.ZipFile(tmp_path / "a.pptx", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert read_document(tmp_path / "a.pptx").text.split("\n") == [
        "Site | Shift | Crew",
        "Mill | Shift: early | Crew: –",
        "Mill | Shift: closed | Crew: closed",
    ]


@pytest.mark.parametrize(
    ("above", "separator"),
    [
        ("Stock of May\n\n", ","),
        ("账户;6222\n期间;2024-01\n\n", ";"),
        ("Stock of May,,,\n,,,\n", ","),
        ("# stock list, all depots\n", "\t"),
    ],
)
def test_names_of_a_csv_below_other_lines(tmp_path: Path, above: str, separator: str) -> None:
    rows = "".join(f"{separator.join(row)}\n" for row in ROWS)
    (tmp_path / "a.csv").write_text(above + rows, encoding="utf-8")
    document = read_document(tmp_path / "a.csv")
    assert document.text == above + "\n".join(LINES) + "\n"
    (heading,) = document.headings
    assert document.text[heading.start :].startswith(LINES[0])


@pytest.mark.parametrize("text", ["Ann,,x\nBob,b,c\nCid,d,e\n", "One, two\nthree\nfour, five, six\n", "1,2\n3,4\n"])
def test_a_csv_without_names_stays_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert read_document(tmp_path / "a.csv").text == text
