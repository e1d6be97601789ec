"""Files → Documents: every format, every kind of bad file, the walk through folders."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.documents import FORMATS, find_files, read_document, read_documents, supported_suffixes
from langbert.documents.encoding import decode
from langbert.documents.extract import with_title
from langbert.documents.rst import find_sections
from langbert.errors import DocumentError
from langbert.records import Document, Heading

SAMPLES = Path(__file__).parent / "samples"


def headings(document: Document) -> list[tuple[int, str]]:
    """Levels and words, after checking that every offset lies in the text."""
    assert all(0 <= heading.start <= len(document.text) for heading in document.headings)
    return [(heading.level, heading.text) for heading in document.headings]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Text formats: the text is that of the file


def test_plain_text_is_kept_as_it_is(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a.txt", "One.\r\n\r\n  Two\t .\n"))
    assert document.text == "One.\n\n  Two\t .\n"
    assert document.source == "a.txt"
    assert document.page_starts == ()
    assert document.metadata["format"] == "text"
    assert document.metadata["path"] == str(tmp_path / "a.txt")
    assert document.metadata["modified"].endswith("+00:00")


def test_the_id_is_that_of_the_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.txt", "one")
    first = read_document(path)
    path.write_text("two")
    monkeypatch.chdir(tmp_path)
    assert read_document("a.txt").id == first.id
    assert read_document(write(tmp_path, "b.txt", "one")).id != first.id


MARKDOWN = """---
title: "A guide: part 1"
summary: not a heading
---

# First `code` *and* [a link](x.html)

Text.

```sh
# no heading
```

Setext
------

- # in a list

> ## in a quote

    # indented code

## 二级标题 {#anchor}

<h3 align="center">In <b>HTML</b></h3>
"""


def test_markdown_headings(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a.md", MARKDOWN))
    assert document.text == MARKDOWN
    assert headings(document) == [(1, "First code and a link"), (2, "Setext"), (2, "二级标题"), (3, "In HTML")]
    assert [document.text[heading.start :].split("\n")[0] for heading in document.headings] == [
        "# First `code` *and* [a link](x.html)",
        "Setext",
        "## 二级标题 {#anchor}",
        '<h3 align="center">In <b>HTML</b></h3>',
    ]
    assert document.metadata["title"] == "A guide: part 1"


def test_front_matter_gives_the_title_that_the_text_lacks(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a.md", "---\ntitle: 标题\n---\n\n## One\n\ntext\n\n## Two\n"))
    assert headings(document) == [(1, "标题"), (2, "One"), (2, "Two")]


PEP = """PEP: 8
Title: Style Guide for
       Python Code
Author: Somebody
Status: Active


Introduction
============

Text::

    Not a title
    ===========

====  ====
a     b
====  ====

Sub ``code`` and :pep:`20`
--------------------------

Again
=====

One line
"""


def test_a_pep_header_is_the_title() -> None:
    document = read_document(SAMPLES / "pep.rst")
    assert document.text == PEP
    assert headings(document) == [
        (1, "PEP 8 – Style Guide for Python Code"),
        (2, "Introduction"),
        (3, "Sub code and 20"),
        (2, "Again"),
    ]
    assert document.text[document.headings[0].start :].startswith("Title: Style")
    assert document.text[document.headings[2].start :].startswith("Sub ``code``")
    assert document.metadata["pep"] == "8"


def test_rst_sections_by_order_of_adornment() -> None:
    text = "=====\nTitle\n=====\n\n中文标题\n========\n\nx\n\nDeeper\n......\n\nBack\n====\n\nShort\n===\n"
    assert [(heading.level, heading.text) for heading in find_sections(text)] == [
        (1, "Title"),
        (2, "中文标题"),
        (3, "Deeper"),
        (2, "Back"),
    ]


def test_rst_sections_are_those_of_docutils() -> None:
    docutils = pytest.importorskip("docutils.core")
    from docutils import nodes

    text = PEP.partition("\n\n\n")[2]
    settings = {"report_level": 5, "halt_level": 6, "doctitle_xform": False}
    tree = docutils.publish_doctree(text.replace(":pep:", ""), settings_overrides=settings)

    def depth(node: nodes.Node) -> int:
        return 1 + depth(node.parent) if isinstance(node.parent, nodes.section) else 1

    theirs = [(depth(section), section[0].astext()) for section in tree.findall(nodes.section)]
    assert [(heading.level, heading.text) for heading in find_sections(text)] == theirs


# HTML


HTML = """<!DOCTYPE html><html><head><title>The page | Site</title><style>p {}</style></head><body>
<nav><ul><li><a href="/">Home</a></li></ul></nav>
<header>Banner</header>
<h1>The  page<a class="headerlink" href="#x">¶</a></h1>
<p>One <b>bo</b>ld
line.<br>Next line.</p><script>var x = "<p>no</p>";</script>
<div hidden>hidden</div><div style="display: none">hidden</div>
<ul><li>first</li><li>second<ol><li>deep</li></ol></li></ul>
<table><caption>Prices</caption><tr><th>Item</th><th>Price</th></tr><tr><td>Tea</td><td>$</td><td>2<br>3</td></tr></table>
<pre>  a
    b &lt; c</pre>
<table><tr><td><h2>Layout</h2><p>Cell text</p></td></tr></table>
<p>中文段落。</p>
<footer>Imprint</footer></body></html>"""

HTML_TEXT = """The page

One bold line.
Next line.

- first
- second
  1. deep

Prices
Item | Price
Tea | Price: $ 2 3

  a
    b < c

Layout

Cell text

中文段落。"""


def test_html(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a.html", HTML))
    assert document.text == HTML_TEXT
    assert headings(document) == [(1, "The page"), (2, "Layout")]
    assert document.metadata["title"] == "The page | Site"


def test_html_main_is_the_content(tmp_path: Path) -> None:
    body = "<div>Advert</div><main><h1>T</h1><p>" + "Words of the article. " * 20 + "</p></main><div>More</div>"
    text = read_document(write(tmp_path, "a.html", body)).text
    assert text.startswith("T\n\nWords")
    assert "Advert" not in text
    assert "More" not in text


def test_html_of_nothing_but_furniture_is_read_after_all(tmp_path: Path) -> None:
    assert read_document(write(tmp_path, "a.htm", "<footer><p>Only this</p></footer>")).text == "Only this"


@pytest.mark.parametrize(
    ("encoding", "declaration"),
    [
        ("utf-8", ""),
        ("utf-16", ""),
        ("utf-16-le", ""),
        ("gb18030", '<meta charset="gb2312">'),
        ("big5", '<meta http-equiv="Content-Type" content="text/html; charset=big5">'),
        ("utf-8", '<?xml version="1.0" encoding="utf-8"?>'),
    ],
)
def test_html_encodings(tmp_path: Path, encoding: str, declaration: str) -> None:
    page = f"{declaration}<html><body><p>資料庫說明文件</p></body></html>"
    assert read_document(write(tmp_path, "a.html", page.encode(encoding))).text == "資料庫說明文件"


# Encodings of plain text

CHINESE = "数据库的事务由提交或回滚结束。隔离级别决定事务之间能看到什么。" * 3
TEXTS = {
    "utf-8-sig": "Naïve café 数据库",
    "utf-16": "Naïve café 数据库",
    "utf-32": "Naïve café 数据库",
    "utf-16-be": "An ASCII text without a mark, long enough to tell.",
    "utf-32-le": "An ASCII text without a mark, long enough to tell.",
    "gb18030": CHINESE,
    "big5": "資料庫的交易由提交或回復結束。隔離層級決定交易之間能看到什麼。" * 3,
    "shift_jis": "これは日本語の文章です。文字コードの判定を試験しています。" * 3,
    "euc_kr": "이것은 한국어 문장입니다. 문자 인코딩 판별을 시험하고 있습니다. " * 3,
    "cp1252": "Une façon d’assister l’analyse des entrepôts de données. Die schöne Brücke über den Fluß kostet 15 €. ",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy. Praha je největší město České republiky. " * 3,
    "cp1251": "Население Москвы составляет тринадцать миллионов человек. " * 3,
    "iso-8859-8": "זהו טקסט בעברית לבדיקת קידוד התווים. תל אביב היא עיר גדולה בישראל. " * 3,
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_told_apart(tmp_path: Path, encoding: str) -> None:
    assert read_document(write(tmp_path, "a.txt", TEXTS[encoding].encode(encoding))).text == TEXTS[encoding]


def test_an_encoding_is_told_from_the_part_that_is_not_ascii() -> None:
    text = "plain ASCII line\n" * 10_000 + CHINESE
    assert decode(text.encode("gb18030")) == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
def test_marked_text_survives(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@given(st.binary(max_size=400))
def test_any_bytes_give_text_or_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(DocumentError):
        assert "\r" not in decode(data)


# Office formats


@pytest.fixture
def word(tmp_path: Path) -> Path:
    import docx

    document = docx.Document()
    document.core_properties.title = ""
    document.add_heading("Report", 0)
    document.add_heading("Results", 1)
    document.add_paragraph("Before the table.")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Name", "Value", "a\nb", ""], strict=True):
        cell.text = text
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("two", style="List Bullet")
    document.add_heading("结论", 2)
    document.add_paragraph("完。")
    path = tmp_path / "报告.docx"
    document.save(str(path))
    return path


def test_docx(word: Path) -> None:
    document = read_document(word)
    assert document.text == (
        "Report\n\nResults\n\nBefore the table.\n\nName | Value\na b |\n\n- one\n- two\n\n结论\n\n完。"
    )
    assert headings(document) == [(1, "Report"), (2, "Results"), (3, "结论")]
    assert document.source == "报告.docx"


def test_docx_tracked_changes_controls_and_links(word: Path) -> None:
    w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    body = (
        f"<w:document {w}><w:body><w:p><w:r><w:t>It </w:t></w:r><w:del><w:r><w:delText>was</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>is</w:t></w:r></w:ins><w:hyperlink><w:r><w:t> linked</w:t></w:r></w:hyperlink>"
        "<w:r><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r></w:p>"
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>Controlled</w:t></w:r></w:p></w:sdtContent></w:sdt></w:body></w:document>"
    )
    replace_part(word, "word/document.xml", body.encode())
    assert read_document(word).text == "It is linked\tx\ny\n\nControlled"


def replace_part(path: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    parts[name] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)


def zipped(folder: Path, name: str, parts: dict[str, str]) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    return write(folder, name, buffer.getvalue())


_ODF = "urn:oasis:names:tc:opendocument:xmlns"
ODT = f"""<office:document-content xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0"
 xmlns:table="{_ODF}:table:1.0"><office:body><office:text><text:h text:outline-level="1">Head</text:h>
<text:p>A<text:s text:c="2"/>b<text:line-break/>c</text:p>
<text:list><text:list-item><text:p>one</text:p></text:list-item><text:list-item><text:p>two</text:p></text:list-item>
</text:list><table:table><table:table-row><table:table-cell><text:p>x</text:p></table:table-cell><table:table-cell>
<text:p>y</text:p></table:table-cell></table:table-row></table:table></office:text></office:body>
</office:document-content>"""


def test_odt(tmp_path: Path) -> None:
    document = read_document(zipped(tmp_path, "a.odt", {"content.xml": ODT}))
    assert document.text == "Head\n\nA  b\nc\n\n- one\n- two\n\nx | y"
    assert headings(document) == [(1, "Head")]


ODT_STYLES = f"""<office:document-styles xmlns:office="{_ODF}:office:1.0" xmlns:style="{_ODF}:style:1.0"
 xmlns:text="{_ODF}:text:1.0"><text:outline-style><text:outline-level-style text:level="1" style:num-format="I"
 style:num-suffix="."/><text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/>
</text:outline-style><text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="1"
 style:num-suffix=")"/><text:list-level-style-bullet text:level="2"/><text:list-level-style-number text:level="3"
 style:num-format="a" style:num-prefix="("  style:num-suffix=")"/></text:list-style>
<style:style style:name="Base"><style:text-properties text:display="none"/></style:style>
<style:style style:name="Draft" style:parent-style-name="Base"/>
<style:style style:name="Up"><style:text-properties style:text-position="33% 58%"/></style:style>
<style:style style:name="Out"><style:text-properties style:text-line-through-style="solid"/></style:style>
<style:master-page><style:header><text:p>File 17</text:p></style:header><style:header-left><text:p>File 17</text:p>
</style:header-left><style:footer><text:p>Seite <text:page-number>2</text:page-number></text:p></style:footer>
</style:master-page></office:document-styles>"""
ODT_STYLED = f"""<office:document-content xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0"><office:body>
<office:text><text:h text:outline-level="1">Rent</text:h><text:h text:outline-level="2">Due</text:h>
<text:p text:style-name="Draft">ask Eva</text:p><text:p>10<text:span text:style-name="Up">3</text:span> at
 <text:span text:style-name="Out">30</text:span> 25</text:p><text:list text:style-name="L"><text:list-item><text:p>one
</text:p><text:list><text:list-item><text:p>dot</text:p><text:list><text:list-item><text:p>deep</text:p></text:list-item>
</text:list></text:list-item></text:list></text:list-item></text:list><text:p>Between.</text:p>
<text:list text:style-name="L" text:continue-numbering="true"><text:list-item><text:p>two</text:p></text:list-item>
<text:list-item text:start-value="7"><text:p>seven</text:p></text:list-item></text:list>
<text:list text:style-name="L"><text:list-item><text:p>anew</text:p></text:list-item></text:list>
<text:section text:display="none"><text:p>never</text:p></text:section></office:text></office:body>
</office:document-content>"""


def test_odt_is_read_as_it_is_seen(tmp_path: Path) -> None:
    document = read_document(zipped(tmp_path, "a.odt", {"content.xml": ODT_STYLED, "styles.xml": ODT_STYLES}))
    assert [" ".join(line.split()) for line in document.text.split("\n") if line] == [
        *("File 17", "I. Rent", "I.1 Due", "10^3 at", "[struck out: 30] 25", "1) one", "- dot", "(a) deep"),
        *("Between.", "2) two", "7) seven", "1) anew"),
    ]


def test_odt_boxes_stand_below_and_tables_within_cells(tmp_path: Path) -> None:
    odf = "urn:oasis:names:tc:opendocument:xmlns"
    names = " ".join(f'xmlns:{name}="{odf}:{name}:1.0"' for name in ("office", "text", "table", "drawing"))

    def table(*rows: tuple[str, ...]) -> str:
        cells = ("".join(f"<table:table-cell>{cell}</table:table-cell>" for cell in row) for row in rows)
        return f"<table:table>{''.join(f'<table:table-row>{row}</table:table-row>' for row in cells)}</table:table>"

    def words(*texts: str) -> tuple[str, ...]:
        return tuple(f"<text:p>{text}</text:p>" for text in texts)

    rows = table(words("Hut", "Beds", "Host"), (*words("Alm"), table(words("A", ""), words("B", "2")), *words("")))
    box = f"<drawing:text-box>{''.join(words('Keep dry.', 'Keep cool.'))}</drawing:text-box>"
    content = (
        f"<office:document-content {names}><office:body><office:text><text:p>Paper{box} burns.</text:p>{rows}"
        "</office:text></office:body></office:document-content>"
    )
    assert read_document(zipped(tmp_path, "a.odt", {"content.xml": content})).text.split("\n\n") == [
        "Paper burns.",
        "Keep dry.",
        "Keep cool.",
        "Hut | Beds | Host\nAlm | Beds: A, –; B, 2 | Host: –",
    ]


def test_pptx_hidden_shapes_are_not_read(tmp_path: Path) -> None:
    parts = pptx_parts("Start/MORE")
    slide = parts["ppt/slides/s0.xml"].replace(
        "<p:sp><p:nvSpPr>", '<p:sp><p:nvSpPr><p:cNvPr id="1" name="a" hidden="1"/>', 1
    )
    assert read_document(zipped(tmp_path, "a.pptx", {**parts, "ppt/slides/s0.xml": slide})).text == "Start"


def pptx_parts(*slides: str) -> dict[str, str]:
    p = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    a = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    r = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    ids = "".join(f'<p:sldId id="{256 + i}" r:id="r{i}"/>' for i in range(len(slides)))
    relations = "".join(
        f'<Relationship Id="r{i}" Type="x/slide" Target="slides/s{i}.xml"/>' for i in range(len(slides))
    )
    package = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    parts = {
        "ppt/presentation.xml": f"<p:presentation {p} {r}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": f"<Relationships {package}>{relations}</Relationships>",
    }
    for i, slide in enumerate(slides):
        title, _, text = slide.partition("/")
        parts[f"ppt/slides/s{i}.xml"] = (
            f"<p:sld {p} {a}><p:sp><p:nvSpPr><p:nvPr/></p:nvSpPr><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p>"
            '</p:txBody></p:sp><p:sp><p:nvSpPr><p:nvPr><p:ph type="title"/></p:nvPr></p:nvSpPr><p:txBody><a:p><a:r>'
            f"<a:t>{title}</a:t></a:r></a:p></p:txBody></p:sp></p:sld>"
        )
    return parts


def test_pptx_numbers_and_raised_and_struck_words(tmp_path: Path) -> None:
    parts = pptx_parts("Start/MORE")
    item = '<a:p><a:pPr lvl="{}">{}</a:pPr><a:r><a:t>{}</a:t></a:r></a:p>'
    number = '<a:buAutoNum type="{}"/>'
    items = [
        item.format(0, number.format("arabicPeriod"), "lock"),
        item.format(1, number.format("alphaLcParenBoth"), "left"),
        item.format(1, number.format("alphaLcParenBoth"), "right"),
        item.format(0, number.format("arabicPeriod"), "lift"),
        item.format(0, "", "rest"),
        item.format(0, number.format("romanUcParenR"), "anew"),
        '<a:p><a:r><a:t>10</a:t></a:r><a:r><a:rPr baseline="30000"/><a:t>6</a:t></a:r><a:r><a:t> at </a:t></a:r>'
        '<a:r><a:rPr strike="sngStrike"/><a:t>30</a:t></a:r><a:r><a:t> 25</a:t></a:r></a:p>',
    ]
    slide = parts["ppt/slides/s0.xml"].replace("<a:p><a:r><a:t>MORE</a:t></a:r></a:p>", "".join(items))
    document = read_document(zipped(tmp_path, "a.pptx", {**parts, "ppt/slides/s0.xml": slide}))
    assert document.text.split("\n")[2:] == [
        *("1. lock", "(a) left", "(b) right", "2. lift", "rest", "I) anew", "10^6 at [struck out: 30] 25")
    ]


def test_pptx_bullets_are_those_of_the_layout_and_the_master(tmp_path: Path) -> None:
    parts = pptx_parts("Plan/MORE")
    names = parts["ppt/slides/s0.xml"].partition(">")[0].removeprefix("<p:sld")
    package = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
    relation = f'<Relationships {package}><Relationship Id="r" Type="x/{{}}" Target="{{}}"/></Relationships>'
    holder = '<p:sp><p:nvSpPr><p:nvPr><p:ph idx="{}"/></p:nvPr></p:nvSpPr><p:txBody>{}</p:txBody></p:sp>'
    said = "<a:p>{}<a:r><a:t>{}</a:t></a:r></a:p>"
    first = holder.format(1, said.format("", "hire") + said.format('<a:pPr lvl="1"/>', "two")
                          + said.format("<a:pPr><a:buNone/></a:pPr>", "soon"))  # fmt: skip
    second = holder.format(2, said.format("", "by Ann"))
    slide = parts["ppt/slides/s0.xml"].replace("</p:sld>", f"{first}{second}</p:sld>")
    none = "<a:lstStyle><a:lvl1pPr><a:buNone/></a:lvl1pPr></a:lstStyle>"
    levels = "".join(f'<a:lvl{n}pPr><a:buChar char="•"/></a:lvl{n}pPr>' for n in (1, 2))
    parts |= {
        "ppt/slides/s0.xml": slide,
        "ppt/slides/_rels/s0.xml.rels": relation.format("slideLayout", "../l.xml"),
        "ppt/l.xml": f"<p:sldLayout {names}>{holder.format(2, none)}</p:sldLayout>",
        "ppt/_rels/l.xml.rels": relation.format("slideMaster", "m.xml"),
        "ppt/m.xml": f"<p:sldMaster {names}><p:txStyles><p:bodyStyle>{levels}</p:bodyStyle></p:txStyles></p:sldMaster>",
    }
    document = read_document(zipped(tmp_path, "a.pptx", parts))
    assert document.text == "Plan\n\nMORE\n\n- hire\n  - two\nsoon\n\nby Ann"


def test_pptx_slides_are_pages(tmp_path: Path) -> None:
    document = read_document(zipped(tmp_path, "a.pptx", pptx_parts("First/one", "Second/two")))
    assert document.text == "First\n\none\n\nSecond\n\ntwo"
    assert headings(document) == [(2, "First"), (2, "Second")]
    assert [document.page_at(document.text.index(word)) for word in ("one", "two")] == [1, 2]


def test_epub_follows_the_spine(tmp_path: Path) -> None:
    parts = {
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="O/p.opf"/></rootfiles></container>',
        "O/p.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>Book</dc:title><dc:creator>Ann</dc:creator></metadata><manifest>"
        '<item id="b" href="b%20.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>',
        "O/a.xhtml": '<?xml version="1.0" encoding="utf-8"?><html><body><h1>I</h1><p>first</p></body></html>',
        "O/b .xhtml": "<html><body><h1>II</h1><p>second</p></body></html>",
    }
    document = read_document(zipped(tmp_path, "a.epub", parts))
    assert document.text == "I\n\nfirst\n\nII\n\nsecond"
    assert headings(document) == [(1, "Book"), (2, "I"), (2, "II")]
    assert document.metadata["authors"] == ["Ann"]


def test_email(tmp_path: Path) -> None:
    mail = (
        "Subject: =?utf-8?b?5oql5ZGK?=\nFrom: A <a@example.org>\nMIME-Version: 1.0\n"
        "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>Hello <b>you</b></p>\n"
    )
    document = read_document(write(tmp_path, "a.eml", mail))
    assert document.text == "Subject: 报告\nFrom: A <a@example.org>\n\nHello you"
    assert headings(document) == [(1, "报告")]


def test_notebook(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Text"]},
        {"cell_type": "code", "source": "# no heading\nx = 1", "outputs": [{"text": "noise"}]},
        {"cell_type": "markdown", "source": "## Part"},
    ]
    document = read_document(write(tmp_path, "a.ipynb", json.dumps({"cells": cells})))
    assert document.text == "# Title\nText\n\n# no heading\nx = 1\n\n## Part"
    assert headings(document) == [(1, "Title"), (2, "Part")]
    assert document.text[document.headings[1].start :] == "## Part"


def test_what_the_cells_of_a_notebook_gave(tmp_path: Path) -> None:
    outputs: list[dict[str, object]] = [
        {"output_type": "stream", "name": "stdout", "text": ["accuracy ", "\x1b[1m0.91\x1b[0m\n"]},
        {"output_type": "execute_result", "data": {"text/plain": "   a\n0  甲", "text/html": "<table></table>"}},
        {"output_type": "display_data", "data": {"text/plain": ["<Figure size 640x480 with 1 Axes>"]}},
        {"output_type": "error", "ename": "KeyError", "evalue": "'b'", "traceback": ["long"]},
        {"output_type": "stream", "text": "x" * 20_000},
    ]
    cells = [{"cell_type": "code", "source": "fit()", "outputs": outputs[:4]}]
    file = write(tmp_path, "a.ipynb", json.dumps({"cells": cells}))
    assert read_document(file).text == "fit()\n\naccuracy 0.91\n   a\n0  甲\nKeyError: 'b'"
    cells[0]["outputs"] = outputs[4:]
    long = read_document(write(tmp_path, "b.ipynb", json.dumps({"cells": cells})))
    assert len(long.text) == len("fit()\n\n") + 10_000
    assert long.metadata["remarks"] == "of what cell 1 gave, 10,000 characters not read"


TEX = r"""\documentclass{article}
\title{Growth of \emph{Kelp}\\ in Arran}\author{R. Lee\thanks{Oban} \and 王芳}
% nobody reads this
\begin{document}
\section*{Method}
Twelve sites, 5\% of them deep.
  \subsection[Short]{Limits \& {errors}}
Storms.
\end{document}
"""
ORG = """#+TITLE: Garden
#+AUTHOR: Ann Lee
* Spring :beds:
** TODO [#A] Sow 豌豆
- with fleece
*bold* words
"""


@pytest.mark.parametrize(
    ("name", "text", "title", "authors", "found"),
    [
        ("a.tex", TEX, "Growth of Kelp in Arran", ["R. Lee", "王芳"], [(3, "Method"), (4, "Limits & errors")]),
        ("a.org", ORG, "Garden", ["Ann Lee"], [(2, "Spring"), (3, "Sow 豌豆")]),
    ],
)
def test_latex_and_org(
    tmp_path: Path, name: str, text: str, title: str, authors: list[str], found: list[tuple[int, str]]
) -> None:
    document = read_document(write(tmp_path, name, text))
    assert (document.metadata["title"], document.metadata["authors"]) == (title, authors)
    assert headings(document) == [(1, title), *found]
    assert "nobody" not in document.text
    for heading in document.headings[1:]:
        assert document.text[heading.start :].startswith(("\\", "*"))


def test_csv_rows_say_their_columns_and_the_header_is_the_title(tmp_path: Path) -> None:
    document = read_document(write(tmp_path, "a.csv", 'Team,City\n"Blues, the",STL\nFlyers,PHI\n'))
    assert document.text == "Team | City\nBlues, the | City: STL\nFlyers | City: PHI\n"
    assert headings(document) == [(1, "Team | City")]
    assert read_document(write(tmp_path, "b.csv", "1,2\n3,4\n")).headings == ()


# PDF


def test_pdf_pages_title_and_headings() -> None:
    document = read_document(SAMPLES / "two-pages.pdf")
    assert document.metadata["title"] == "A Study of Small Things"
    assert headings(document) == [
        (1, "A Study of Small Things"),
        (2, "1 Introduction"),
        (3, "1.1 Scope"),
        (2, "2 Results"),
    ]
    assert len(document.page_starts) == 2
    assert document.page_at(document.text.index("2 Results")) == 2
    assert "Small things are small. They are\noften overlooked" in document.text
    assert not set(document.text) & {"\r", "\0", "\ufffe", "\uffff"}


def test_pdf_paragraphs_are_set_apart() -> None:
    assert "\n\nA second paragraph follows after a gap.\n\n" in read_document(SAMPLES / "two-pages.pdf").text


def test_pdf_hyphens_at_line_ends() -> None:
    from langbert.documents.pdf import _join_hyphens
    from langbert.documents.pdf_layout import Line

    lines = [Line("repre\ufffesentation and fine\ufffetuning, GPT\ufffe2"), Line("fine-tuning of a representation")]
    _join_hyphens([lines])
    assert lines[0].text == "representation and fine-tuning, GPT-2"


def test_pdf_readers_take_turns() -> None:
    """pdfium is not thread-safe; without the lock this crashes the process."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        texts = set(pool.map(lambda _: read_document(SAMPLES / "two-pages.pdf").text, range(16)))
    assert len(texts) == 1


# Bad input


def test_a_pdf_of_blank_pages_says_so(tmp_path: Path) -> None:
    import pypdfium2

    pdf = pypdfium2.PdfDocument.new()
    pdf.new_page(100, 100)
    pdf.save(str(tmp_path / "scan.pdf"))
    pdf.close()
    with pytest.raises(DocumentError, match=r"scan\.pdf: there is no text on its 1 page, they are blank"):
        read_document(tmp_path / "scan.pdf")


def test_encrypted_pdf() -> None:
    with pytest.raises(DocumentError, match="encrypted; save a copy without a password"):
        read_document(SAMPLES / "encrypted.pdf")


@pytest.mark.parametrize("suffix", [".pdf", ".docx", ".odt", ".pptx", ".epub"])
@pytest.mark.parametrize("content", [b"no such thing", b"PK\x03\x04 cut off", b"%PDF-1.7\nnothing", os.urandom(300)])
def test_broken_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    with pytest.raises(DocumentError, match=rf"broken{suffix}: .*(broken|encrypted)"):
        read_document(write(tmp_path, f"broken{suffix}", content))


def test_broken_xml_and_missing_parts(tmp_path: Path, word: Path) -> None:
    replace_part(word, "word/document.xml", b"<w:document")
    with pytest.raises(DocumentError, match="docx"):
        read_document(word)
    for name in ("a.docx", "a.odt", "a.pptx", "a.epub"):
        with pytest.raises(DocumentError, match=name):
            read_document(zipped(tmp_path, name, {"other.xml": "<a/>"}))


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n ", b"\xef\xbb\xbf", "\u3000\u00a0".encode()])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.html", "a.csv"])
def test_empty_files(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DocumentError, match="it is empty"):
        read_document(write(tmp_path, name, content))


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02\x03" * 100, b"%PDF-1.7 ...", b"PK\x03\x04abc", b"\x89PNG\r\n\x1a\n"]
)
def test_a_binary_posing_as_text(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DocumentError, match=r"a\.txt: .*not text; .*(suffix|rename)"):
        read_document(write(tmp_path, "a.txt", content))


def test_unsupported_formats_say_so_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"a\.djvu: \.djvu files are not read; convert it to pdf and try again$"):
        read_document(write(tmp_path, "a.djvu", b"x"))


@pytest.mark.parametrize(
    "name", ["a.mdx", "a.adoc", "a.json", "a.yaml", "v1.2.3 release notes", "Release 4.2", "README"]
)
def test_what_is_text_by_another_name(tmp_path: Path, name: str) -> None:
    assert read_document(write(tmp_path, name, "port: 8080\n")).text == "port: 8080\n"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.md", "<h1>"),
        ("a.md", "<h1 "),
        ("a.md", "# a {#" * 3),
        ("a.md", "# " + "*a_" * 50_000),
        ("a.eml", "Subject: x\nTo: " + "a," * 50_000 + "\n\nx"),
        ("a.eml", "Content-Type: text/plain; a*0=" + ";a*1=" * 25_000 + "\n\nx"),
        ("a.txt", "\ud800"),
    ],
)
def test_what_would_take_the_square_of_its_length_ends(tmp_path: Path, name: str, unit: str) -> None:
    data = (unit * max(1, 100_000 // len(unit))).encode("utf-8", "surrogatepass").replace(b"\xed\xa0\x80", b"\x81")
    with contextlib.suppress(DocumentError):
        read_document(write(tmp_path, name, data))


def test_missing_folder_pipe_and_too_large(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"gone\.txt: there is no such file"):
        read_document(tmp_path / "gone.txt")
    with pytest.raises(DocumentError, match="it is a folder"):
        read_document(tmp_path)
    with pytest.raises(DocumentError, match="over the limit of 3; split it, or raise max_bytes"):
        read_document(write(tmp_path, "a.txt", "four"), max_bytes=3)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(DocumentError, match="not a regular file"):
            read_document(tmp_path / "pipe.txt")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "x")
    path.chmod(0)
    with pytest.raises(DocumentError, match="no permission"):
        read_document(path)


def test_what_no_database_takes_is_replaced_in_place(tmp_path: Path) -> None:
    cells = [{"cell_type": "markdown", "source": "a\ud83d b\0c"}]
    assert read_document(write(tmp_path, "a.ipynb", json.dumps({"cells": cells}))).text == "a\ufffd b\ufffdc"


@given(st.sampled_from(supported_suffixes()), st.binary(max_size=300))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, suffix: str, data: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), f"fuzz{suffix}", data)
    with contextlib.suppress(DocumentError):
        assert read_document(path).text.strip()


# Folders


def tree(folder: Path) -> Path:
    for name in ("b.txt", "a/z.md", "a/文档.txt", ".hidden.txt", ".git/x.txt", "a/__pycache__/y.txt", "~$lock.docx"):
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("text")
    return folder


def test_find_files_walks_in_order(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    (root / "a" / "again.md").symlink_to(root / "a" / "z.md")
    found = find_files([root])
    assert [source for _, source in found] == ["b.txt", "a/again.md", "a/文档.txt"]
    assert found == find_files(str(root)) == find_files([root, root / "b.txt"])
    assert find_files(root / ".hidden.txt") == [(root / ".hidden.txt", ".hidden.txt")]


def test_links_out_of_the_folder_are_named_and_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path, "secret.txt", "SECRET").parent
    root = tree(tmp_path / "root")
    (root / "a" / "link.txt").symlink_to(outside / "secret.txt")
    (root / "up").symlink_to(outside, target_is_directory=True)
    (root / "rootless").symlink_to(tmp_path / "root2", target_is_directory=True)
    write(tree(tmp_path / "root2"), "other.txt", "other")
    (tmp_path / "named").symlink_to(root, target_is_directory=True)
    skipped: list[str] = []
    found = find_files(root, on_skip=lambda path, error: skipped.append(f"{path.name} {error}"))
    assert [source for _, source in found] == ["b.txt", "a/z.md", "a/文档.txt"]
    assert sorted(line.split()[0] for line in skipped) == ["link.txt", "rootless", "up"]
    assert all("leads out of the folder; name its target too, or follow links" in line for line in skipped)
    followed = [source for _, source in find_files(root, follow_links=True)]
    assert {"a/link.txt", "rootless/other.txt"} <= set(followed)
    assert len(find_files(tmp_path / "named")) == 3  # one that is named is meant


def test_a_missing_path_raises_at_once(tmp_path: Path) -> None:
    for find in (find_files, read_documents):
        with pytest.raises(DocumentError, match="there is no such file or folder"):
            find([tree(tmp_path), tmp_path / "missing"])


def test_bad_files_are_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tree(tmp_path), "bad.pdf", b"nothing")
    write(tmp_path, "empty.txt", b"")
    skipped: list[tuple[Path, DocumentError]] = []
    documents = list(read_documents(tmp_path, on_skip=lambda path, error: skipped.append((path, error))))
    assert [document.source for document in documents] == ["b.txt", "a/z.md", "a/文档.txt"]
    assert [path.name for path, _ in skipped] == ["bad.pdf", "empty.txt"]
    assert all(path.name in str(error) for path, error in skipped)
    with caplog.at_level(logging.WARNING, "langbert"):
        assert len(list(read_documents(tmp_path))) == 3
    assert "bad.pdf" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.txt"), "wb") as file:
        file.write(b"x")
    (document,) = read_documents(tmp_path)
    assert document.source == "caf\ufffd.txt"
    json.dumps(dict(document.metadata)).encode()


# The package


def test_titles() -> None:
    one, two, sub = Heading(0, 1, "One"), Heading(9, 1, "Two"), Heading(5, 2, "Sub")
    assert with_title([one, sub], "T") == (one, sub)
    assert with_title([one, sub, two], "") == (one, sub, two)
    assert [h.level for h in with_title([one, sub, two], "T")] == [1, 2, 3, 2]
    assert [h.level for h in with_title([one, sub, two], "one")] == [1, 3, 2]
    assert with_title([sub], "report_final.docx") == (sub,)


def test_every_format_has_its_reader() -> None:
    from importlib import import_module

    for entry in FORMATS:
        assert callable(import_module(f"langbert.documents.{entry.module}").read)


def test_import_loads_no_parser() -> None:
    code = (
        "import sys, langbert.documents, langbert.chunking;"
        "print(sorted({'lxml','bs4','docx','docutils','pypdfium2','markdown_it','chardet','torch','numpy'}"
        " & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
