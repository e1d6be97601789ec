"""Word documents: what a reader of the page sees, and nothing else."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from langbert.documents import read_document
from langbert.documents.docx_numbers import Numbers
from langbert.documents.symbols import symbol
from langbert.text.numerals import from_han, in_form, in_han

NUMBERING = """<w:abstractNum {ns} w:abstractNumId="70">
<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="chineseCounting"/><w:pStyle w:val="Heading1"/>
<w:lvlText w:val="第%1章"/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:isLgl/><w:pStyle w:val="Heading2"/>
<w:lvlText w:val="%1.%2"/></w:lvl>
<w:lvl w:ilvl="2"><w:start w:val="3"/><w:numFmt w:val="lowerRoman"/><w:lvlText w:val="(%3)"/></w:lvl>
<w:lvl w:ilvl="3"><w:start w:val="1"/><w:numFmt w:val="bullet"/><w:lvlText w:val="•"/></w:lvl></w:abstractNum>"""


def item(document: Any, text: str, number: int, level: int) -> None:
    paragraph = document.add_paragraph(text)
    properties = f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'
    paragraph._p.get_or_add_pPr().append(parse_xml(properties))


def runs(document: Any, xml: str) -> None:
    document.add_paragraph()._p.extend(parse_xml(f"<w:p {nsdecls('w')}>{xml}</w:p>"))


def saved(document: Any, folder: Path) -> str:
    document.save(str(folder / "a.docx"))
    return read_document(folder / "a.docx").text


def test_automatic_numbers(tmp_path: Path) -> None:
    document = docx.Document()
    root = document.part.numbering_part.element
    root.insert(0, parse_xml(NUMBERING.format(ns=nsdecls("w"))))
    for number, override in ((70, ""), (71, '<w:lvlOverride w:ilvl="2"><w:startOverride w:val="1"/></w:lvlOverride>')):
        root.append(
            parse_xml(f'<w:num {nsdecls("w")} w:numId="{number}"><w:abstractNumId w:val="70"/>{override}</w:num>')
        )
    for style in ("Heading 1", "Heading 2"):
        numbered = parse_xml(f'<w:numPr {nsdecls("w")}><w:numId w:val="70"/></w:numPr>')
        document.styles[style].element.get_or_add_pPr().append(numbered)
    document.add_heading("总则", 1)
    document.add_heading("Scope", 2)
    item(document, "third", 70, 2)
    item(document, "fourth", 70, 2)
    item(document, "point", 70, 3)
    document.add_heading("Terms", 2)
    item(document, "third again", 70, 2)
    document.add_heading("细则", 1)
    document.add_heading("Limits", 2)
    item(document, "from one", 71, 2)
    item(document, "and on", 71, 2)
    text = saved(document, tmp_path)
    assert [line.strip() for line in text.split("\n") if line] == [
        *("第一章 总则", "1.1 Scope", "(iii) third", "(iv) fourth", "- point", "1.2 Terms", "(iii) third again"),
        *("第二章 细则", "2.1 Limits", "(i) from one", "(ii) and on"),
    ]
    assert [heading.text for heading in read_document(tmp_path / "a.docx").headings][1] == "1.1 Scope"


@pytest.mark.parametrize(
    ("count", "form", "said"),
    [
        (28, "lowerLetter", "bb"),
        (14, "upperRoman", "XIV"),
        (12, "ordinal", "12th"),
        (3, "decimalZero", "03"),
        (21, "chineseCountingThousand", "二十一"),
        (10, "japaneseCounting", "十"),
        (3, "ideographTraditional", "丙"),
        (4, "decimalEnclosedCircle", "④"),
        (105, "chineseCounting", "一百零五"),
        (12, "koreanDigital", "십이"),
        (15, "ganada", "가가"),
        (2, "russianUpper", "Б"),
        (3, "aiueoFullWidth", "ウ"),
        (40, "decimalFullWidth", "４０"),
        (4, "decimalEnclosedCircleChinese", "④"),
        (10**6, "lowerLetter", "1000000"),
        (2, "none", ""),
        (5, "unheardOf", "5"),
    ],
)
def test_number_formats(count: int, form: str, said: str) -> None:
    assert in_form(count, form) == said


@pytest.mark.parametrize("value", [0, 7, 10, 19, 20, 101, 110, 350, 1005, 1010, 9999])
def test_chinese_numbers_there_and_back(value: int) -> None:
    assert from_han(in_han(value)) == value


def test_what_is_deleted_or_hidden_takes_its_number_along(tmp_path: Path) -> None:
    document = docx.Document()
    numbering = (
        '<w:abstractNum {ns} w:abstractNumId="70"><w:lvl w:ilvl="0"><w:lvlText w:val="%1."/></w:lvl></w:abstractNum>'
    )
    root = document.part.numbering_part.element
    root.insert(0, parse_xml(numbering.format(ns=nsdecls("w"))))
    root.append(parse_xml(f'<w:num {nsdecls("w")} w:numId="70"><w:abstractNumId w:val="70"/></w:num>'))
    for text, mark in (("Open", ""), ("Gone", "del"), ("Secret", "vanish"), ("Close", "")):
        item(document, "" if mark else text, 70, 0)
        if mark:
            last = document.paragraphs[-1]._p
            last.pPr.append(parse_xml(f"<w:rPr {nsdecls('w')}><w:{mark}/></w:rPr>"))
            words = {
                "del": f"<w:del><w:r><w:delText>{text}</w:delText></w:r></w:del>",
                "vanish": f"<w:r><w:rPr><w:vanish/></w:rPr><w:t>{text}</w:t></w:r>",
            }
            last.extend(parse_xml(f"<w:p {nsdecls('w')}>{words[mark]}</w:p>"))
    item(document, "", 70, 0)  # an empty item has its number
    item(document, "Lock", 70, 0)
    assert saved(document, tmp_path).split() == ["1.", "Open", "2.", "Close", "4.", "Lock"]


def test_without_numbering_there_are_no_numbers() -> None:
    assert Numbers(None).next("1", 0) == ""


def test_header_and_footer_are_read_once(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("Body.")
    document.sections[0].header.paragraphs[0].text = "Order RT-88"
    document.sections[0].footer.paragraphs[0].text = "Page 3 of 7"
    other = document.add_section()
    other.header.is_linked_to_previous = False
    other.header.paragraphs[0].text = "Order RT-88"
    other.footer.is_linked_to_previous = False
    other.footer.paragraphs[0].text = "Valid to 1 May"
    document.add_paragraph("More.")
    assert saved(document, tmp_path) == "Order RT-88\n\nBody.\n\nMore.\n\nValid to 1 May"


def test_hidden_struck_raised_and_symbols(tmp_path: Path) -> None:
    document = docx.Document()
    runs(
        document,
        "<w:r><w:t>Limit 10</w:t></w:r><w:r><w:rPr><w:vertAlign w:val='superscript'/></w:rPr><w:t>-9</w:t></w:r>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>secret</w:t></w:r><w:r><w:rPr><w:vanish w:val='0'/></w:rPr>"
        "<w:t xml:space='preserve'> m, the 5</w:t></w:r><w:r><w:rPr><w:vertAlign w:val='superscript'/></w:rPr>"
        "<w:t>th</w:t></w:r><w:r><w:t xml:space='preserve"
        "'> </w:t><w:sym w:font='Symbol' w:char='F061'/></w:r><w:r><w:rPr><w:strike/></w:rPr><w:t>ol</w:t></w:r>"
        "<w:r><w:rPr><w:dstrike/></w:rPr><w:t>d</w:t></w:r>",
    )
    assert saved(document, tmp_path) == "Limit 10^-9 m, the 5th α[struck out: old]"


def test_styles_hide_and_raise_as_runs_do(tmp_path: Path) -> None:
    document = docx.Document()
    draft = document.styles.add_style("Draft", WD_STYLE_TYPE.PARAGRAPH)
    draft.font.hidden = True
    raised = document.styles.add_style("Raised", WD_STYLE_TYPE.CHARACTER)
    raised.font.superscript = True
    document.add_paragraph("Not for print.", style="Draft").add_run(" But this.").font.hidden = False
    paragraph = document.add_paragraph("k = 10")
    for text in ("-", "7"):
        paragraph.add_run(text, style="Raised")
    paragraph.add_run("0", style="Raised").font.superscript = False
    assert saved(document, tmp_path) == " But this.\n\nk = 10^-70"


def test_comments_are_counted(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("The date is 4 May.")
    document.add_comment(paragraph.runs, text="Is it?", author="A", initials="A")
    assert saved(document, tmp_path) == "The date is 4 May."
    assert read_document(tmp_path / "a.docx").metadata["remarks"] == "1 comment in the margin not read"


def test_symbols() -> None:
    assert [symbol(0xF0B3, "Symbol"), symbol(0xFC, "Wingdings"), symbol(0x2713, "Arial")] == ["≥", "✓", "✓"]
    assert [symbol(0xF052, "Wingdings 2"), symbol(0xF061, "Webdings"), symbol(0x8C, "Wingdings")] == ["☑", "✓", "❶"]


def test_numbers_of_a_hostile_file_are_bounded(tmp_path: Path) -> None:
    document = docx.Document()
    item(document, "x", 1, 0)
    document.save(str(tmp_path / "a.docx"))
    with zipfile.ZipFile(tmp_path / "a.docx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["word/document.xml"] = re.sub(rb'w:ilvl w:val="0"', b'w:ilvl w:val="99999"', parts["word/document.xml"])
    parts["word/numbering.xml"] = parts["word/numbering.xml"].replace(
        b'w:start w:val="1"', b'w:start w:val="9999999999"'
    )
    with zipfile.ZipFile(tmp_path / "b.docx", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert len(read_document(tmp_path / "b.docx").text) < 100


def test_what_a_tracked_change_deletes_of_tables_and_ends_of_paragraphs(tmp_path: Path) -> None:
    document = docx.Document()
    first, second = document.add_paragraph("Open from nine "), document.add_paragraph("to five.")
    first._p.get_or_add_pPr().append(parse_xml(f'<w:rPr {nsdecls("w")}><w:del w:id="1"/></w:rPr>'))
    assert second.text == "to five."
    table = document.add_table(2, 2)
    for row, words in zip(table.rows, (("Old", "1"), ("New", "2")), strict=True):
        row.cells[0].text, row.cells[1].text = words
    table.rows[0]._tr.get_or_add_trPr().append(parse_xml(f'<w:del {nsdecls("w")} w:id="2"/>'))
    assert saved(document, tmp_path) == "Open from nine to five.\n\nNew | 2"


def test_a_row_that_begins_further_right_keeps_its_columns(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(3, 3)
    for row, words in zip(table.rows, ("Item Q1 Q2", "Bolt 1 2", "x y 44"), strict=True):
        for cell, word in zip(row.cells, words.split(), strict=True):
            cell.text = word
    last = table.rows[2]._tr
    for cell in list(last.tc_lst)[:2]:
        last.remove(cell)
    last.get_or_add_trPr().append(parse_xml(f'<w:gridBefore {nsdecls("w")} w:val="2"/>'))
    assert saved(document, tmp_path).split("\n")[2] == "Item: – | Q1: – | Q2: 44"


def test_a_formula_is_written_in_a_line(tmp_path: Path) -> None:
    document = docx.Document()
    text = "<m:r><m:t>{}</m:t></m:r>".format
    power = f"<m:sSup><m:e>{text('c')}</m:e><m:sup>{text('2')}</m:sup></m:sSup>"
    half = f"<m:f><m:num>{text('a+b')}</m:num><m:den>{text('2')}</m:den></m:f>"
    root = f"<m:rad><m:e>{text('5')}</m:e></m:rad>"
    math = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    document.add_paragraph()._p.append(
        parse_xml(f"<m:oMath {math}>{text('E=m')}{power}{text('+')}{half}{root}</m:oMath>")
    )
    assert saved(document, tmp_path) == "E=mc^2+(a+b)/2√5"


FIELD = '<w:r><w:fldChar w:fldCharType="{}">{}</w:fldChar></w:r>'
BEGIN, SHOWN, END = FIELD.format("begin", ""), FIELD.format("separate", ""), FIELD.format("end", "")


def test_of_a_field_what_it_shows_is_read(tmp_path: Path) -> None:
    document = docx.Document()
    asked = f"{BEGIN}<w:r><w:instrText>MERGEFIELD days</w:instrText></w:r>{SHOWN}<w:r><w:t>INNER</w:t></w:r>{END}"
    runs(
        document,
        f"<w:r><w:t>Due in </w:t></w:r>{BEGIN}<w:r><w:instrText>IF</w:instrText></w:r>{asked}{SHOWN}"
        f"<w:r><w:t>14 days</w:t></w:r>{END}<w:r><w:t>.</w:t></w:r>",
    )
    box = "<w:ffData><w:checkBox>{}</w:checkBox></w:ffData>"
    for said, answer in ((box.format("<w:checked/>"), "yes"), (box.format('<w:default w:val="0"/>'), "no")):
        runs(document, f"{FIELD.format('begin', said)}{SHOWN}{END}<w:r><w:t>{answer}</w:t></w:r>")
    choice = '<w:ddList><w:result w:val="1"/><w:listEntry w:val="oak"/><w:listEntry w:val="ash"/></w:ddList>'
    runs(document, f"{FIELD.format('begin', f'<w:ffData>{choice}</w:ffData>')}{END}")
    assert saved(document, tmp_path).split("\n\n") == ["Due in 14 days.", "☒yes", "☐no", "ash"]


def test_boxes_and_tables_in_cells(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(2, 3)
    for cell, text in zip(table._cells, ["Hut", "Beds", "Host", "Alm", "", ""], strict=True):
        cell.text = text
    box = "<w:pict><w:txbxContent><w:p><w:r><w:t>closed</w:t></w:r></w:p></w:txbxContent></w:pict>"
    table.cell(1, 0).paragraphs[0]._p.append(parse_xml(f"<w:r {nsdecls('w')}>{box}</w:r>"))
    inner = table.cell(1, 1).add_table(2, 2)
    for cell, text in zip(inner._cells, ["A", "2", "B", ""], strict=True):
        cell.text = text
    assert saved(document, tmp_path).split("\n")[1] == "Alm closed | Beds: A, 2; B, – | Host: –"


def test_charts_diagrams_and_what_was_put_in(tmp_path: Path) -> None:
    a, c, d = (f"http://schemas.openxmlformats.org/drawingml/2006/{name}" for name in ("main", "chart", "diagram"))
    r = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    point = '<c:pt idx="{}"><c:v>{}</c:v></c:pt>'
    series = "".join(
        f"<c:ser><c:tx>{point.format(0, year)}</c:tx><c:cat>{point.format(0, 'Mill')}{point.format(1, 'Quay')}</c:cat>"
        f"<c:val>{values}</c:val></c:ser>"
        for year, values in ((2023, point.format(0, 5) + point.format(1, 6)), (2024, point.format(1, 8)))
    )
    words = "<a:p xmlns:a='" + a + "'><a:r><a:t>{}</a:t></a:r></a:p>"
    parts = {
        "charts/c.xml": f'<c:chartSpace xmlns:c="{c}"><c:title>{words.format("Tonnes")}</c:title>{series}'
        "</c:chartSpace>",
        "diagrams/d.xml": f'<d:dataModel xmlns:d="{d}"><d:pt modelId="0"/>'
        f'<d:pt modelId="2">{words.format("Yard")}</d:pt>'
        f'<d:pt modelId="1">{words.format("Head")}</d:pt><d:cxn srcId="0" destId="1"/><d:cxn srcId="1" destId="2"/>'
        "</d:dataModel>",
        "put.html": "<p>The gate shuts at 9.</p>",
    }
    document = docx.Document()
    for number, (name, content) in enumerate(parts.items()):
        part = Part(PackURI(f"/word/{name}"), "text/html" if "html" in name else "application/xml", content.encode())
        last = document.part.relate_to(part, "x")
        if number == 2:
            chunk = parse_xml(f'<w:altChunk {nsdecls("w")} xmlns:r="{r}" r:id="{last}"/>')
            document.element.body.insert(0, chunk)
        else:
            drawn = f'<c:chart xmlns:c="{c}" r:id="{last}"/>', f'<d:relIds xmlns:d="{d}" r:dm="{last}"/>'
            runs(document, f'<w:r xmlns:r="{r}"><w:drawing>{drawn[number]}</w:drawing></w:r>')
    assert saved(document, tmp_path).split("\n\n") == [
        "The gate shuts at 9.",
        "Tonnes\n| 2023 | 2024\nMill | 2023: 5 | 2024: –\nQuay | 2023: 6 | 2024: 8",
        "- Head\n  - Yard",
    ]
