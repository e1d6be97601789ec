"""Spreadsheets, rich text, source code and archives: what a reader of them sees, each row readable alone."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.chunking import Chunker
from langbert.documents import read_document
from langbert.documents.code import find_definitions
from langbert.documents.reader import parse_as
from langbert.errors import DocumentError
from langbert.records import Document

SAMPLES = Path(__file__).parent / "samples"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
Value = str | float | None


def cell(row: int, column: int, value: Value) -> str:
    place = f"{chr(65 + column)}{row + 1}"
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return "" if value is None else f'<c r="{place}"><v>{value}</v></c>'


CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
CORE = (
    '<c:coreProperties xmlns:c="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>年报</dc:title><dc:creator>王小明</dc:creator>'
    "</c:coreProperties>"
)


def workbook(
    sheets: dict[str, list[list[Value]]], *, merged: tuple[str, ...] = (), hidden: tuple[str, ...] = ()
) -> bytes:
    """An xlsx with these sheets."""
    numbered = list(enumerate(sheets.items(), 1))
    states = {name: ' state="hidden"' if name in hidden else "" for name in sheets}
    names = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"{states[name]}/>' for n, (name, _) in numbered)
    links = "".join(
        f'<Relationship Id="r{n}" Type="{RELATION}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n, _ in numbered
    )
    joined = "".join(f'<mergeCell ref="{ref}"/>' for ref in merged)
    joined = f'<mergeCells count="{len(merged)}">{joined}</mergeCells>' if merged else ""
    parts = {
        "[Content_Types].xml": CONTENT_TYPES,
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r" Type="{RELATION}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{RELATION}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">{links}</Relationships>',
        "docProps/core.xml": CORE,
    }
    for n, (_, rows) in numbered:
        cells = ("".join(cell(r, c, value) for c, value in enumerate(row)) for r, row in enumerate(rows))
        data = "".join(f'<row r="{r}">{row}</row>' for r, row in enumerate(cells, 1))
        sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{data}</sheetData>{joined}</worksheet>'
        parts[f"xl/worksheets/sheet{n}.xml"] = sheet
    return zip_of({name: part.encode() for name, part in parts.items()})


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def lines(data: bytes, name: str = "a.xlsx") -> list[str]:
    return [line for line in parse_as(data, name).text.split("\n") if line]


@pytest.mark.parametrize(
    ("sheet", "said"),
    [
        (  # other rows
            "Fruit Price  Staff Phone/Fig 3  Ann 11/Plum 4  Bob 22/x 5/y 5",
            ["Fruit | Price", "Fig | Price: 3", "Staff | Phone", "Ann | Phone: 11", "Bob | Phone: 22"],
        ),
        (  # the same names
            "资产 2023 2024  负债 2023 2024/现金 1 2  借款 5 6/存货 3 4  股本 7 8",
            ["资产 | 2023 | 2024", "存货 | 2023: 3 | 2024: 4", "负债 | 2023 | 2024", "借款 | 2023: 5 | 2024: 6"],
        ),
        (  # titles of their own
            "Fees   Desk/Room Fee  Hour Who/A 1  early Ann/B 2  late Bo",
            ["Fees", "Room | Fee", "A | Fee: 1", "Desk", "Hour | Who", "late | Bo"],
        ),
        (  # remarks on the rows
            "Stock/Fruit Price  Remark By/Fig 3  old x/Plum 4/Kiwi 6  new y",
            ["Stock", "Fig | Price: 3 | Remark: old | By: x", "Kiwi | Price: 6 | Remark: new | By: y"],
        ),
        (  # a column for looks
            "Fruit Price  Colour Shape/Fig 3  blue round/Plum 4  red long",
            ["Fig | Price: 3 | Colour: blue | Shape: round"],
        ),
    ],
)
def test_tables_beside_each_other_in_a_sheet_are_read_one_by_one(sheet: str, said: list[str]) -> None:
    rows: list[list[Value]] = [
        [int(value) if len(value) < 3 and value.isdigit() else value or None for value in row.split(" ")]
        for row in sheet.split("/")
    ]
    found = lines(workbook({"Sheet": [["All"], [], *rows, [], ["End", "x"]]}))
    assert [line for line in found if line in said] == said
    assert (found[1], found[-1]) == ("All", "End | x")


def test_every_row_of_a_spreadsheet_names_its_columns(tmp_path: Path) -> None:
    rows: list[list[Value]] = [
        ["销售 2024", None, None],
        ["地区", "收入", "成本"],
        ["北方", 12.5, 7],
        ["南方", None, 1234567],
        [],
        ["Branch", "Phone", "Fax"],
        ["North", "555-0101", None],
        ["South", "555-0102", "555-0103"],
    ]
    (tmp_path / "a.xlsx").write_bytes(workbook({"Sheet1": rows, "空": [], "Notes": [["All figures in CNY."]]}))
    document = read_document(tmp_path / "a.xlsx")
    assert document.text.split("\n\n") == [
        "Sheet1",
        "销售 2024\n地区 | 收入 | 成本\n北方 | 收入: 12.5 | 成本: 7\n南方 | 收入: – | 成本: 1234567",
        "Branch | Phone | Fax\nNorth | Phone: 555-0101 | Fax: –\nSouth | Phone: 555-0102 | Fax: 555-0103",
        "Notes",
        "All figures in CNY.",
    ]
    assert [(heading.level, heading.text) for heading in document.headings] == [
        (1, "年报"),
        (2, "Sheet1"),
        (2, "Notes"),
    ]
    assert document.metadata["authors"] == ["王小明"]
    assert all(document.text[heading.start :].startswith(heading.text) for heading in document.headings[1:])


def test_lines_of_a_form_above_the_names_of_a_sheet() -> None:
    names: list[list[Value]] = [
        ["序号", "名称", "型号", "数量", "单价", "质保"],
        [1, "服务器", "SR650", 6, 48500, "三年"],
    ]
    row = "1 | 名称: 服务器 | 型号: SR650 | 数量: 6 | 单价: 48500 | 质保: 三年"
    form: list[list[Value]] = [
        ["报价单"],
        ["日期：", "2025年9月18日", "有效期", "30天"],
        ["客户", "云杉公司", "联系人", "王工"],
    ]
    said = ["报价单", "日期: 2025年9月18日 | 有效期: 30天", "客户: 云杉公司 | 联系人: 王工"]
    for between in ([], [[]]):
        found = lines(workbook({"S": [*form, *between, *names, ["合计", None, None, 6, 48500, None]]}))
        assert found[1:4] == said
        assert row in found


def test_long_names_above_an_empty_row() -> None:
    long = "Impairment of goodwill and of intangible assets that were not commercialised"
    rows: list[list[Value]] = [["", long, "Other"], [], ["North", 4, 5], ["South", 6, 7]]
    assert lines(workbook({"S": rows}))[-1] == f"South | {long}: 6 | Other: 7"


def test_years_with_a_word_name_columns() -> None:
    rows: list[list[Value]] = [
        ["Team", "Head", "2025 actual", "2026年预算"],
        ["Ops", "Ann", 4, 5],
        ["Law", "Bob", 6, 7],
    ]
    assert lines(workbook({"S": rows}))[2:] == [
        "Ops | Head: Ann | 2025 actual: 4 | 2026年预算: 5", "Law | Head: Bob | 2025 actual: 6 | 2026年预算: 7",
    ]  # fmt: skip


def test_merged_names_count_for_all_they_cover() -> None:
    rows: list[list[Value]] = [
        ["CNY", "2023", None, None, "2024", None],
        [None, "Sales", "Profit", None, "Sales", "Profit"],
        [],
        ["North", 1, 2, None, 3, 4],
        ["Total", 10, 20, None, 30, 40],
    ]
    assert lines(workbook({"S": rows}, merged=("B1:C1", "E1:F1")))[-2:] == [
        "North | 2023 Sales: 1 | 2023 Profit: 2 | 2024 Sales: 3 | 2024 Profit: 4",
        "Total | 2023 Sales: 10 | 2023 Profit: 20 | 2024 Sales: 30 | 2024 Profit: 40",
    ]


def test_an_old_excel_file_and_its_dates(tmp_path: Path) -> None:
    assert lines((SAMPLES / "sales.xls").read_bytes(), "sales.xls") == [
        "销售",
        "2024 年销售",
        "地区 | 收入 | 日期",
        "北方 | 收入: 12.5 | 日期: 2024-03-05",
        "南方 | 收入: 7 | 日期: 2024-03-06",
    ]


_ODF = "urn:oasis:names:tc:opendocument:xmlns"
ODP = f"""<office:document-content xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0"
 xmlns:draw="{_ODF}:drawing:1.0" xmlns:table="{_ODF}:table:1.0" xmlns:show="{_ODF}:presentation:1.0"><office:body>
<office:presentation><draw:page><draw:frame show:class="title"><draw:text-box><text:p>Goals 目标</text:p>
</draw:text-box></draw:frame>
<draw:frame show:class="outline"><draw:text-box><text:list><text:list-item><text:p>Open two depots</text:p>
</text:list-item></text:list></draw:text-box></draw:frame><show:notes><draw:page-thumbnail show:class="page"/>
<draw:frame show:class="notes"><draw:text-box><text:p>Thank Ann.</text:p></draw:text-box></draw:frame>
<draw:frame show:class="page-number"><draw:text-box><text:p>1</text:p></draw:text-box></draw:frame></show:notes>
</draw:page><draw:page><draw:frame><table:table><table:table-row><table:table-cell><text:p>Item</text:p></table:table-cell>
<table:table-cell><text:p>2024</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell>
<text:p>租金</text:p></table:table-cell><table:table-cell><text:p>100</text:p></table:table-cell></table:table-row>
</table:table></draw:frame></draw:page></office:presentation></office:body></office:document-content>"""


def test_open_document_slides() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("content.xml", ODP)
    document = parse_as(packed.getvalue(), "a.odp")
    assert document.text == "Goals 目标\n\n- Open two depots\n\nThank Ann.\n\nItem | 2024\n租金 | 100"
    assert [(heading.level, heading.text) for heading in document.headings] == [(2, "Goals 目标")]
    assert [document.text[start:][:4] for start in document.page_starts] == ["Goal", "Item"]


OLD_WORD = """Confidential header

仓库指南

开放时间

仓库六点开门，九点关门。

1. 按铃。
2. 出示工牌。
3. 签名。

仓库 | 电话 | 传真
北仓 | 电话: 555-0101 | 传真: –
南仓 | 电话: – | 传真: 555-0102

钥匙

钥匙由保安保管。 Bold end."""


def test_a_word_file_of_before_2007(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_bytes(lzma.decompress((SAMPLES / "depot-zh.doc.xz").read_bytes()))
    document = read_document(tmp_path / "a.doc")
    assert document.text == OLD_WORD
    assert [(heading.level, heading.text) for heading in document.headings] == [
        (1, "仓库指南"), (2, "开放时间"), (3, "钥匙"),
    ]  # fmt: skip
    assert (document.metadata["title"], document.metadata["authors"]) == ("仓库指南", ["Ann Lee"])


@pytest.mark.parametrize(
    ("code_page", "encoding"),
    [(936, "gbk"), (1200, "utf-16-le"), (10000, "mac_roman"), (54936, "gb18030"), (99, "cp1252")],
)
def test_properties_of_an_old_file_in_any_code_page(code_page: int, encoding: str) -> None:
    """10000 is what Word for Mac writes."""
    title = "仓库".encode(encoding) if encoding.startswith(("gb", "utf")) else "Dépôt".encode(encoding)
    data = lzma.decompress((SAMPLES / "depot-zh.doc.xz").read_bytes())
    changed = data.replace(b"\x02\0\0\0\xe9\xfd\0\0", b"\x02\0\0\0" + code_page.to_bytes(4, "little"))
    changed = changed.replace("仓库指南".encode(), title.ljust(12, b"\0"))
    assert changed != data
    assert parse_as(changed, "a.doc").title == title.decode(encoding)


def test_slides_of_before_2007(tmp_path: Path) -> None:
    (tmp_path / "a.ppt").write_bytes(lzma.decompress((SAMPLES / "deck.ppt.xz").read_bytes()))
    document = read_document(tmp_path / "a.ppt")
    ends = [*document.page_starts[1:], len(document.text)]
    pages = [document.text[start:end] for start, end in zip(document.page_starts, ends, strict=True)]
    assert [page.split() for page in pages] == [
        ["Depot", "plan", "仓库计划", "Spring", "2025"],
        ["Goals", "Open", "two", "depots", "第二季度招聘十人", "Say", "thanks", "to", "Ann."],
        ["Costs", "Item", "2024", "2025", "Rent", "100", "120", "Wages", "300"],
    ]
    assert document.metadata["created"] == "2013-01-27T09:14:16+00:00"


@pytest.mark.parametrize(
    "data", [rb"{\rtf1\ansi The depot opens at six.\par}", b"<html><p>The depot opens at six.</html>"]
)
def test_what_bears_the_suffix_of_an_old_word_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.doc").write_bytes(data)
    assert read_document(tmp_path / "a.doc").text.strip() == "The depot opens at six."


def test_what_is_no_old_office_file_is_named(tmp_path: Path) -> None:
    whole = lzma.decompress((SAMPLES / "depot-zh.doc.xz").read_bytes())
    for data, reason in (
        (b"a text", "it is no Word or PowerPoint file"),
        (whole[:3000], "broken"),
        ((SAMPLES / "sales.xls").read_bytes(), "it holds no document of Word's, nor slides"),
    ):
        (tmp_path / "a.doc").write_bytes(data)
        with pytest.raises(DocumentError, match=reason):
            read_document(tmp_path / "a.doc")


def test_an_open_document_spreadsheet() -> None:
    office, table, text = (f"urn:oasis:names:tc:opendocument:xmlns:{name}:1.0" for name in ("office", "table", "text"))

    def row(*cells: str) -> str:
        return "<table:table-row>" + "".join(cells) + "</table:table-row>"

    def words(said: str) -> str:
        return f'<table:table-cell office:value-type="string"><text:p>{said}</text:p></table:table-cell>'

    number = '<table:table-cell office:value-type="float" office:value="{0}"><text:p>{0}</text:p></table:table-cell>'
    rows = row(words("城市"), words("人口"), words("面积"))
    rows += row(words("上海"), number.format("24"), number.format("6341"))
    content = (
        f'<office:document-content xmlns:office="{office}" xmlns:table="{table}" xmlns:text="{text}"><office:body>'
        f'<office:spreadsheet><table:table table:name="表">{rows}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>"
    )
    manifest = '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    parts = {
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": content,
        "META-INF/manifest.xml": manifest,
    }
    data = zip_of({name: part.encode() for name, part in parts.items()})
    assert lines(data, "a.ods") == ["表", "城市 | 人口 | 面积", "上海 | 人口: 24 | 面积: 6341"]


@pytest.mark.parametrize("value", ["", "<v></v>", "<v/>"])
def test_formulas_that_nobody_computed_are_told_of(tmp_path: Path, value: str) -> None:
    rows: list[list[Value]] = [["Item", "Total"], ["Fig", 7], ["Plum", 8], ["All", 15]]
    with zipfile.ZipFile(io.BytesIO(workbook({"Prices": rows}))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    assert sheet.count("<v>8</v>") == sheet.count("<v>15</v>") == 1
    sheet = sheet.replace("<v>8</v>", f"<f>2*4</f>{value}").replace("<v>15</v>", "<f>B2+B3</f><v>15</v>")
    (tmp_path / "a.xlsx").write_bytes(zip_of({**parts, "xl/worksheets/sheet1.xml": sheet.encode()}))
    document = read_document(tmp_path / "a.xlsx")
    assert document.text.endswith("Plum\nAll | Total: 15")
    assert document.metadata["remarks"].startswith("a formula without a value")


def test_hidden_sheets_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(workbook({"Seen": [["yes"]], "Not": [["no"]]}, hidden=("Not",)))
    document = read_document(tmp_path / "a.xlsx")
    assert document.text == "Seen\n\nyes"
    assert document.metadata["remarks"] == "1 hidden sheet not read"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xd0\xcf\x11\xe0" + bytes(600), "encrypted, broken"),
        (b"PK\x03\x04nothing", "zip container"),
        (b"no spreadsheet at all", "no spreadsheet"),
        (workbook({"S": [["x"]]})[:-30], "broken"),
    ],
)
def test_what_is_no_spreadsheet_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_as(data, "a.xlsx")


def test_a_cell_far_away_does_not_fill_the_memory() -> None:
    far = workbook({"S": [["x"]]})
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(far)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'r="A1"', b'r="XFD1048576"'))
    with pytest.raises(DocumentError, match="1,048,576 rows and 16,384 columns"):
        parse_as(file.getvalue(), "a.xlsx")


def test_rich_text(tmp_path: Path) -> None:
    chinese = "".join(f"\\'{byte:02x}" for byte in "长江很长。".encode("gb18030"))
    (tmp_path / "a.rtf").write_text(
        r"{\rtf1\ansi\ansicpg936\deff0{\fonttbl{\f0\fnil\fcharset134 SimSun;}{\f1\fcharset204 Arial;}}"
        r"{\info{\title \u27827? Rivers}{\author Ann Lee}{\creatim\yr2024\mo3\dy5\hr10\min11}}"
        rf"\pard\f0 {chinese}\par The \b Danube\b0  is long.\par"
        r"\trowd\cellx1\cellx2\cellx3 River\cell Length\cell Sea\cell\row"
        r"\trowd\cellx1\cellx2\cellx3 Danube\cell 2850\cell Black\cell\row\pard "
        r"""{\f1 \'d0\'e5\'ea\'e0} {\field{\*\fldinst{HYPERLINK "http://a"}}{\fldrslt ends}}.\par}"""
    )
    document = read_document(tmp_path / "a.rtf")
    assert document.text.split("\n\n") == [
        "长江很长。",
        "The Danube is long.",
        "River | Length | Sea\nDanube | Length: 2850 | Sea: Black",
        "Река ends.",
    ]
    assert document.metadata.items() >= {"title": "河 Rivers", "authors": ["Ann Lee"], "created": "2024-03-05"}.items()


def test_rtf_is_read_as_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.rtf").write_text(
        r"{\rtf1\ansi{\stylesheet{\s1\v Secret;}}{\header\pard File 17\par}{\headerl File 17\par}{\footer Seite 2\par}"
        r"\pard The dose is 5 mg{\v , ask Eva}{\deleted , or six}\v , once\v0 .\par 10{\super \u8722?}{\super 6} and"
        r" CO{\sub 2}\super{ x}\nosupersub{\footnote{\super 1} See A.} at {\strike 30} 25"
        r"{\*\ours{\strike 9}}\par{\pntext\f0 1.\tab}lock}"
    )
    assert read_document(tmp_path / "a.rtf").text.split("\n\n") == [
        *("File 17", "The dose is 5 mg.", "10^−6 and CO2 x [1 See A.] at [struck out: 30] 25", "1.\tlock")
    ]


PYTHON = '''"""Doc."""

import os


# Reads things.
@cached
class Reader:
    """Reads."""

    def read(self) -> str:
        return "def not_me():"

    async def close(self): ...


def main() -> None:
    pass
'''
JAVA = """package a;

/** 读取文件。 */
public class Reader {
    private int size = of(1);

    // 关闭
    public void close(int how) {
        if (open) {
            run(how);
        }
    }
}
"""
TYPESCRIPT = """import x;
export interface A {
  b: string;
}
export const run = async (a) => {
  call(a);
};
function go() {
}
"""
C = """#include <a.h>
static int add(int a,
               int b)
{
    return sum(a, b);
}
struct point { int x; };
"""
CODE = {
    "python": (PYTHON, ["class Reader", "def read(self) -> str", "async def close(self): ...", "def main() -> None"]),
    "java": (JAVA, ["public class Reader", "public void close(int how)"]),
    "typescript": (
        TYPESCRIPT,
        ["export interface A", "export const run = async (a) =>", "function go()"],
    ),
    "go": (
        "package a\n\ntype T struct {\n}\n\nfunc (t *T) Run() {\n\tcall()\n}\n",
        ["type T struct", "func (t *T) Run()"],
    ),
    "c": (
        C,
        ["static int add(int a,"],
    ),
    "rust": (
        "pub struct A;\nimpl A {\n    pub fn run(&self) {\n        go();\n    }\n}\n",
        ["impl A", "pub fn run(&self)"],
    ),
    "sql": ("-- 用户\nCREATE TABLE users (\n  id INT\n);\nselect 1;\n", ["CREATE TABLE users ("]),
    "shell": ("#!/bin/sh\nset -e\nrun() {\n  echo 1\n}\n", ["run()"]),
}


@pytest.mark.parametrize("language", CODE)
def test_definitions_are_the_headings_of_code(language: str) -> None:
    text, expected = CODE[language]
    headings = find_definitions(text, language)
    assert [heading.text for heading in headings] == expected
    assert all(not heading.start or text[heading.start - 1] == "\n" for heading in headings)


def test_code_is_cut_at_definitions_with_what_stands_above_them() -> None:
    body = "\n".join(f"    step_{i}(what, where)" for i in range(8))
    code = "\n\n\n".join(f"# 第{i}步\n@cached\ndef part_{i}(what, where):\n{body}" for i in range(4))
    extract = parse_as(code.encode(), "parts.py")
    assert (extract.text, extract.metadata) == (code, {"programming_language": "python"})
    document = Document("p", code, "parts.py", headings=extract.headings)
    chunks = Chunker(lambda text: [(i, min(i + 4, len(text))) for i in range(0, len(text), 4)], 80).split(document)
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"# 第{i}步" for i in range(4)]
    assert [chunk.headings for chunk in chunks] == [(f"def part_{i}(what, where)",) for i in range(4)]


@given(st.text(max_size=2_000), st.sampled_from(sorted(CODE)))
def test_any_text_can_be_taken_for_code(text: str, language: str) -> None:
    starts = [heading.start for heading in find_definitions(text, language)]
    assert starts == sorted(starts)
    assert all(0 <= start <= len(text) for start in starts)


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("secret.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return out.getvalue()


FILES = {
    "notes/河.md": "# 河\n\n长江很长。".encode(),
    "a.txt": b"The fox sleeps.",
    "song.ogg": b"OggS",
    ".hidden.txt": b"no",
    "__MACOSX/a.txt": b"no",
}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", zip_of(FILES)),
        ("a.tar", tar_of(FILES)),
        ("a.tgz", gzip.compress(tar_of(FILES))),
        ("a.tar.bz2", bz2.compress(tar_of(FILES))),
        ("a.tar.xz", lzma.compress(tar_of(FILES))),
    ],
)
def test_files_in_an_archive_are_sections(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    document = read_document(tmp_path / name)
    assert document.text == "notes/河.md\n\n# 河\n\n长江很长。\n\na.txt\n\nThe fox sleeps."
    assert [(heading.level, heading.text) for heading in document.headings] == [
        (2, "notes/河.md"),
        (3, "河"),
        (2, "a.txt"),
    ]
    assert document.text[document.headings[1].start :].startswith("# 河")
    assert document.metadata["remarks"].startswith("1 files in it not read: song.ogg (.ogg files are not read")


def test_a_packed_file_is_read_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "河.md.gz").write_bytes(gzip.compress("# 河\n\n长江很长。".encode()))
    assert read_document(tmp_path / "河.md.gz").text == "河.md\n\n# 河\n\n长江很长。"


def test_archives_made_to_do_harm_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of({"a.txt": bytes(300_000_000)}))
    with pytest.raises(DocumentError, match="bomb"):
        read_document(tmp_path / "a.zip")
    monkeypatch.setattr("langbert.documents.packed._MOST_BYTES", 1_000_000)
    with pytest.raises(DocumentError, match="over 1,000,000 bytes"):
        parse_as(gzip.compress(bytes(2_000_000)), "a.gz")
    with pytest.raises(DocumentError, match="cannot be unpacked"):
        parse_as(gzip.compress(b"text" * 1000)[:-20], "a.gz")
    with pytest.raises(DocumentError, match="no archive"):
        parse_as(b"no archive at all", "a.tar")
    data = b"The innermost text."
    name = "a.txt"
    for _ in range(12):
        data, name = zip_of({name: data}), "a.zip"
    with pytest.raises(DocumentError, match="no text in it"):
        parse_as(data, "a.zip")


DATA = """<?xml version="1.0"?><!DOCTYPE list [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<list xmlns="urn:parts"><part id="p7"><name>Valve</name><price unit="EUR">4.5</price><fits><m>A1</m><m>A2</m></fits>
</part><part id="p8"><name>Seal</name><price unit="EUR">1</price><!-- old --></part>
<note>&x; &amp; more</note></list>"""
PROSE = """<book><title>泵</title><section><title>Safety</title><para>Close the <b>red</b> valve\nfirst.</para>
<note>Hot.</note></section><section><title>保养</title><para>每六个月更换<em>滤芯</em>，不要\n等到报警。</para></section></book>"""


def test_xml_data_are_records() -> None:
    text = parse_as(DATA.encode(), "parts.xml").text
    assert text.split("\n\n") == [
        "list | note: &x; & more",
        "part | id: p7 | name: Valve | price: 4.5 (unit EUR) | fits: A1, A2",
        "part | id: p8 | name: Seal | price: 1 (unit EUR)",
    ]


def test_xml_prose_is_paragraphs_under_titles() -> None:
    extract = parse_as(PROSE.encode("utf-16"), "book.xml")
    assert extract.text.split("\n\n") == [
        "泵", "Safety", "Close the red valve first.", "Hot.", "保养", "每六个月更换滤芯，不要等到报警。",
    ]  # fmt: skip
    assert [(heading.level, heading.text) for heading in extract.headings] == [(1, "泵"), (2, "Safety"), (2, "保养")]
    declared = '<?xml version="1.0" encoding="gb2312"?><d><标题>保修</标题>期限为<b>两年</b></d>'
    assert parse_as(declared.encode("gb18030"), "d.xml").text == "保修期限为两年"


def test_xml_that_is_none_or_nests_without_end_is_refused() -> None:
    for data in (b"no mark-up", b"<a><b></a>", b"<a>" * 100_000):
        with pytest.raises(DocumentError, match="XML"):
            parse_as(data, "a.xml")


SRT = """1
00:00:01,000 --> 00:00:03,500
<i>Welcome to the</i>
depot.

2
00:00:04,000 --> 00:00:06,000
{\\an8}It opens at six.

3
01:02:10,000 --> 01:02:14,000
The crane lifts

4
01:02:14,000 --> 01:02:16,000
nine tons.
"""
VTT = """WEBVTT

NOTE not said

STYLE
::cue { color: red }

intro
00:01.000 --> 00:04.000 align:start
<v Ann>Hello &amp; welcome.</v>

00:04.000 --> 00:05.000
Hello & welcome.
欢迎来到

00:30.500 --> 00:34.000
本站的
仓库。
"""


def test_subtitles_are_what_is_said_under_the_time_when_it_is() -> None:
    extract = parse_as(SRT.encode(), "tour.srt")
    assert extract.text == "Welcome to the depot. It opens at six.\n\nThe crane lifts nine tons."
    times = ["0:00:01–0:00:06", "1:02:10–1:02:16"]
    assert [(heading.start, heading.text) for heading in extract.headings] == list(zip((0, 40), times, strict=True))
    extract = parse_as(VTT.encode(), "tour.vtt")
    assert extract.text.split("\n\n")[1] == "本站的仓库。"
    assert extract.text.startswith("Ann: Hello & welcome. ")
    assert [heading.text for heading in extract.headings] == ["0:00:01–0:00:05", "0:00:30–0:00:34"]
    with pytest.raises(DocumentError, match="no cues"):
        parse_as(b"words alone", "a.srt")


def test_a_long_talk_has_a_time_a_minute() -> None:
    cues = "\n".join(
        f"00:{n // 60:02}:{n % 60:02}.000 --> 00:{n // 60:02}:{n % 60:02}.900\nWord {n}.\n" for n in range(600)
    )
    headings = parse_as(f"WEBVTT\n\n{cues}".encode(), "talk.vtt").headings
    assert len(headings) in (9, 10)


def test_what_each_speaker_says_is_a_line() -> None:
    said = [
        "Ann: When do you",
        "harvest?",
        "Bo: In May.",
        "Bo: Not later.",
        "Ann: Why?",
        "主持人：为什么？",
        "主持人：请讲。",
        "P.S.: end",
    ]
    cues = "\n".join(f"00:00:{n:02}.000 --> 00:00:{n:02}.900\n{words}\n" for n, words in enumerate(said))
    assert parse_as(f"WEBVTT\n\n{cues}".encode(), "talk.vtt").text.split("\n") == [
        "Ann: When do you harvest?", "Bo: In May. Not later.", "Ann: Why?", "主持人： 为什么？ 请讲。 P.S.: end",
    ]  # fmt: skip


def test_a_calendar_is_its_events() -> None:
    calendar = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Board\\, long na\r\n me\r\nDTSTART:20240305T140000Z\r\n"
    calendar += "END:VEVENT\r\n"
    calendar += (
        "BEGIN:VALARM\r\nSUMMARY:ring\r\nEND:VALARM\r\nBEGIN:VTODO\r\nSUMMARY:体检\r\nEND:VTODO\r\nEND:VCALENDAR"
    )
    text = parse_as(calendar.encode(), "work.ics").text
    assert text == "Event: Board, long name\nBegins: 2024-03-05 14:00 UTC\n\nEvent: 体检"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.properties"])
def test_letters_written_as_numbers_are_read(name: str) -> None:
    written = r'{"say": "\u95e8\u7981 \ud83d\udd11", "mark": "\u0022", "no": "\\u95e8", "half": "\ud83d"}'
    said = r'{"say": "门禁 🔑", "mark": "\u0022", "no": "\\u95e8", "half": "\ud83d"}'
    assert parse_as(written.encode(), name).text == said
    assert parse_as(rb"\u95e8", "a.txt").text == r"\u95e8"


def test_an_exponent_at_the_end_of_a_line_of_rich_text() -> None:
    assert parse_as(rb"{\rtf1 5 m{\super 2}\par next}", "a.rtf").text == "5 m^2\n\nnext"


def test_who_how_often_and_whether_at_all() -> None:
    event = (
        'BEGIN:VEVENT\nSUMMARY:Fair\nDTSTART;VALUE=DATE:20250301\nDTEND;VALUE=DATE:20250303\nORGANIZER;CN="Ito: A, B":'
        "mailto:i@x.org\nATTENDEE:MAILTO:u@x.org\nRRULE:FREQ=YEARLY;COUNT=3\nSTATUS:CANCELLED\nEND:VEVENT\n"
        "BEGIN:VTODO\nSUMMARY:Tax\nDUE:20250531T120000Z\nEND:VTODO"
    )
    assert parse_as(event.encode(), "a.ics").text.split("\n") == [
        *("Event: Fair", "Begins: 2025-03-01", "Ends: 2025-03-02", "Organiser: Ito: A, B", "Attendee: u@x.org"),
        *("Repeats: yearly, count 3", "Status: cancelled", "", "Event: Tax", "Due: 2025-05-31 12:00 UTC"),
    ]


@pytest.mark.parametrize(
    ("data", "last"),
    [
        ("sep=;\nHut;Beds;Host\nAlm;4;\n", "Alm | Beds: 4 | Host: –"),
        ("Hut,2023,2024\nAlm,,7\n", "Alm | 2023: – | 2024: 7"),
        (",Mon,Tue\nEarly,Eva,\n", "Early | Mon: Eva | Tue: –"),
    ],
)
def test_names_of_a_csv(data: str, last: str) -> None:
    assert parse_as(data.encode(), "a.csv").text.strip().split("\n")[-1] == last


@pytest.mark.parametrize(
    "name", ["notes.2024-03-05", "read.1st", "app.conf", "v2.1 notes", "a.toml", "b.jsonl", "c.ps1"]
)
def test_such_a_name_is_a_text(name: str) -> None:
    assert parse_as(b"limit = 5", name).text == "limit = 5"
