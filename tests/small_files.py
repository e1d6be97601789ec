"""One small file of every format, made here, and files like them with something broken."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from pathlib import Path

import docx

SAMPLES = Path(__file__).parent / "samples"

_ODF = "urn:oasis:names:tc:opendocument:xmlns"
ODT = f"""<office:document-content xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0"
 xmlns:table="{_ODF}:table:1.0"><office:body><office:text><text:h text:outline-level="1">Opening hours 营业时间</text:h>
<text:p>The depot<text:s text:c="2"/>opens at six.<text:note>
<text:note-body>Not on Sundays.</text:note-body></text:note>
</text:p><text:list><text:list-item><text:p>bring the key</text:p></text:list-item></text:list>
<table:table><table:table-row table:number-rows-repeated="2"><table:table-cell table:number-columns-repeated="3">
<text:p>six</text:p></table:table-cell></table:table-row></table:table></office:text></office:body>
</office:document-content>"""
CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OPS/book.opf"/></rootfiles></container>"""
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>The depot</dc:title></metadata><manifest>
<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine>{spine}</spine></package>"""
HTML = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Depot</title></head><body>
<nav><a href="/">Home</a></nav>
<main><h1>Opening hours</h1><p>The depot opens at <b>six</b>, 仓库六点开门.<ul><li>key<ol start=3><li>lamp</ol></ul>
<table><tr><th>Day<th colspan=2>Hours<tr><td rowspan=2>Monday<td>6<td>18<tr><td>7<td>19</table>
<div hidden class="answer"><p>On Sundays it is closed.</div><pre>a  b</pre></main></body></html>"""
MARKDOWN = """---
title: Depot
---
# Opening hours {#hours}

The depot opens at *six*. 仓库六点开门。

| Day | Opens |
|-----|-------|
| Monday | 6 |

- bring [the key](a.html)
  1. and a lamp

<h2>Sundays</h2>
"""
RST = "Depot\n=====\n\nThe depot opens at :time:`six`. 仓库六点开门。\n\nSundays\n-------\n\n* closed\n"
_TEXT_CELL = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
SHEET = (
    f'<office:document-content xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0" '
    f'xmlns:table="{_ODF}:table:1.0"><office:body><office:spreadsheet><table:table table:name="Hours 时间">'
    f"<table:table-row>{_TEXT_CELL.format('Day')}{_TEXT_CELL.format('Opens')}</table:table-row>"
    f'<table:table-row table:number-rows-repeated="3">{_TEXT_CELL.format("Monday")}'
    '<table:table-cell office:value-type="float" office:value="6"><text:p>6</text:p></table:table-cell>'
    "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
)
RTF = (
    r"{\rtf1\ansi\ansicpg936\deff0{\fonttbl{\f0\fnil\fcharset134 SimSun;}}{\info{\title \u27827? Hours}"
    r"{\author Ann Lee}{\creatim\yr2024\mo3\dy5}}\pard\f0 \'b2\'d6\'bf\'e2 The \b depot\b0  opens at six.\par"
    r"\trowd\cellx1\cellx2 Day\cell Opens\cell\row\trowd\cellx1\cellx2 Monday\cell 6\cell\row\pard End.\par}"
)
PYTHON = '"""Opening hours 营业时间."""\n\nclass Depot:\n    """At six."""\n\n    def opens(self):\n        return 6\n'
CSV = 'Day,Opens,Note\nMonday,6,"with, comma"\nTuesday,7,星期二\n'
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
_SHOW = "http://schemas.openxmlformats.org/presentationml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"


def zipped(parts: dict[str, str | bytes]) -> bytes:
    """A zip archive of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unzipped(data: bytes) -> dict[str, str | bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def word() -> bytes:
    """Headings, a list, a table, a header."""
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "Harbour depot, all staff"
    document.add_heading("Opening hours", 1)
    document.add_paragraph("The depot opens at six. 仓库六点开门。")
    document.add_paragraph("bring the key", style="List Number")
    table = document.add_table(2, 3)
    table.cell(0, 0).merge(table.cell(1, 0)).text = "Monday"
    table.cell(0, 1).text = "6"
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def show() -> bytes:
    """A presentation of one slide with a title and a table."""
    names = f'xmlns:a="{_DRAWING}" xmlns:p="{_SHOW}" xmlns:r="{_RELATIONS}"'
    cell = "<a:tc><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"
    relation = f'<Relationships xmlns="{_PACKAGE_RELATIONS}"><Relationship Id="r1" Type="{_RELATIONS}/slide" Target='
    return zipped(
        {
            "ppt/presentation.xml": f'<p:presentation {names}><p:sldIdLst><p:sldId id="256" r:id="r1"/></p:sldIdLst>'
            "</p:presentation>",
            "ppt/_rels/presentation.xml.rels": relation + '"slides/slide1.xml"/></Relationships>',
            "ppt/slides/slide1.xml": f"<p:sld {names}><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr>"
            '<p:ph type="title"/></p:nvPr></p:nvSpPr><p:txBody><a:p><a:r><a:t>Opening hours 营业时间</a:t></a:r></a:p>'
            f'</p:txBody></p:sp><a:tbl><a:tblPr firstRow="1"/><a:tr>{cell.format("Day")}{cell.format("Opens")}</a:tr>'
            f"<a:tr>{cell.format('Monday')}{cell.format('6')}</a:tr></a:tbl></p:spTree></p:cSld></p:sld>",
        }
    )


def book(chapter: str = HTML, spine: str = '<itemref idref="a"/>') -> bytes:
    return zipped(
        {
            "META-INF/container.xml": CONTAINER,
            "OPS/book.opf": PACKAGE.format(spine=spine),
            "OPS/a.xhtml": chapter,
        }
    )


def mail() -> bytes:
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Opening hours 营业时间", "a@example.org", "b@example.org"
    message.set_content("The depot opens at six.")
    message.add_alternative(HTML, subtype="html")
    message.add_attachment(CSV, subtype="csv", filename="hours.csv")
    message.add_attachment(
        zipped({"content.xml": ODT}), maintype="application", subtype="octet-stream", filename="a.odt"
    )
    return message.as_bytes()


def notebook() -> bytes:
    cells = [
        {"cell_type": "markdown", "source": ["# Opening hours\n", "at six"]},
        {"cell_type": "code", "source": "open(6)"},
    ]
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def workbook() -> bytes:
    """A sheet with merged cells, shared strings and a date."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relation = f'<Relationships xmlns="{_PACKAGE_RELATIONS}"><Relationship Id="r1" Type="{_RELATIONS}/'
    return zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="xml" ContentType="application/xml"/></Types>',
            "_rels/.rels": relation + 'officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{_RELATIONS}"><sheets>'
            '<sheet name="Hours" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relation + 'worksheet" Target="worksheets/sheet1.xml"/>'
            f'<Relationship Id="r2" Type="{_RELATIONS}/sharedStrings" Target="sharedStrings.xml"/>'
            f'<Relationship Id="r3" Type="{_RELATIONS}/styles" Target="styles.xml"/></Relationships>',
            "xl/sharedStrings.xml": f'<sst xmlns="{main}"><si><t>Hours 时间</t></si><si><t>Since</t></si></sst>',
            "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
            "</styleSheet>",
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c>'
            '</row><row r="2"><c r="A2" t="inlineStr"><is><t>Day</t></is></c><c r="B2" t="s"><v>1</v></c></row>'
            '<row r="3"><c r="A3" t="inlineStr"><is><t>Monday</t></is></c><c r="B3" s="1"><v>45356</v></c></row>'
            '</sheetData><mergeCells count="1"><mergeCell ref="A1:B1"/></mergeCells></worksheet>',
        }
    )


def spreadsheet() -> bytes:
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": SHEET,
            "META-INF/manifest.xml": '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        }
    )


_PACKED = {"a/notes.txt": b"The depot opens at six.\n" * 3, "a/hours.csv": CSV.encode(), "page.html": HTML.encode()}


def tape() -> bytes:
    """A tar of three files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in _PACKED.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


def small_files() -> dict[str, bytes]:
    """Suffix → a small file that can be read."""
    return {
        ".txt": "The depot opens at six. 仓库六点开门,星期日休息。\n".encode("gb18030") * 3,
        ".md": MARKDOWN.encode(),
        ".rst": RST.encode(),
        ".html": HTML.encode(),
        ".csv": CSV.encode(),
        ".ipynb": notebook(),
        ".tex": b"\\title{Hours \\emph{of} work}\n% no\n\\section[a]{Opening}\nAt six.\n",
        ".org": "#+TITLE: Hours\n* TODO Opening 营业 :a:\nAt six.\n".encode(),
        ".eml": mail(),
        ".msg": (SAMPLES / "letter.msg").read_bytes(),
        ".pdf": (SAMPLES / "two-pages.pdf").read_bytes(),
        ".docx": word(),
        ".odt": zipped({"content.xml": ODT}),
        ".pptx": show(),
        ".epub": book(),
        ".xlsx": workbook(),
        ".xls": (SAMPLES / "sales.xls").read_bytes(),
        ".doc": lzma.decompress((SAMPLES / "depot-zh.doc.xz").read_bytes()),
        ".ppt": lzma.decompress((SAMPLES / "deck.ppt.xz").read_bytes()),
        ".ods": spreadsheet(),
        ".rtf": RTF.encode(),
        ".py": PYTHON.encode(),
        ".zip": zipped({**_PACKED, "table.ods": spreadsheet()}),
        ".tar": tape(),
        ".tgz": gzip.compress(tape(), mtime=0),
        ".gz": gzip.compress(CSV.encode(), mtime=0),
        ".bz2": bz2.compress(tape()),
        ".xz": lzma.compress(HTML.encode()),
    }


def broken(data: bytes, chance: random.Random) -> bytes:
    """The same file with something wrong in it; of an archive, half of the time in one of its parts."""
    if data.startswith(b"PK") and chance.random() < 0.7:
        parts = unzipped(data)
        name = chance.choice(sorted(parts))
        if chance.random() < 0.1:
            del parts[name]
        else:
            content = parts[name]
            parts[name] = _garbled(content if isinstance(content, bytes) else content.encode(), chance)
        return zipped(parts)
    return _garbled(data, chance)


def _garbled(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 2, 8, 60, 500)))
        part = data[at:to]
        new = chance.choice(
            (
                b"",
                part * 2,
                part * 200 if len(data) < 100_000 else part,
                part[::-1],
                bytes(byte ^ 1 << chance.randrange(8) for byte in part),
                chance.randbytes(len(part)),
                b"0",
                b"-1",
                b"99999999999999999999",
                b"<" + part,
                b">",
                b"&#0;",
                b"\x00\xff\xfe",
                "²".encode(),
                data[chance.randrange(len(data) + 1) :][:200],
            )
        )
        data = data[:at] + new + data[to:]
    return data if chance.random() > 0.1 else data[: chance.randrange(len(data) + 1)]
