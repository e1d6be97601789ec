"""Word documents: headings by style, lists with their numbers, tables by rows, text boxes, then the notes.

Read is what a reader of the page sees: tracked changes as accepted, headers and footers once, no hidden text; text that
is struck out is marked so. Comments are not part of the text: a remark counts them.

python-docx opens the package and its styles; the text is gathered from the XML itself, since python-docx's own
iterators leave out content controls, inserted text of tracked changes and text boxes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from .archive import member, open_archive, outside, parse_xml, spend_on_all
from .docx_fields import FIELD_CHARACTER, Fields
from .docx_numbers import Numbers
from .drawings import DRAWINGS, words_of
from .extract import Extract, TextBuilder, whole_number
from .grid import Cell, Grid, nested
from .illustrations import telling
from .inner_pictures import InnerPictures
from .marks import RAISED, STRUCK, as_seen, marked
from .properties import office_properties
from .remarks import remark
from .symbols import symbol

if TYPE_CHECKING:
    from lxml.etree import _Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_BOX = f"{_W}txbxContent"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Deleted text, and drawings in the form for old programs, are not what the reader sees.
_UNSEEN = {
    *(f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "pPr", "rPr", "txbxContent", "rt")),
    _FALLBACK,
}
_CHARACTERS = {f"{_W}tab": "\t", f"{_W}ptab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_CHUNK = f"{_W}altChunk"  # a page or a document of another kind, put in as it is
_FORMULAS = {f"{_M}num": "", f"{_M}den": "/", f"{_M}sup": "", f"{_M}e": "√"}
_LOOKS = {"vanish", "strike", "dstrike", "vertAlign"}
_OFF = {"0", "false", "off", "none", "baseline", "subscript"}
_Looks = dict[str, bool]
_MAX_STYLES = 32  # based on each other
_PRIVATE = re.compile("[\uf020-\uf0ff]")
_HEADING_STYLE = re.compile(r"heading (\d)", re.I)
_JUNK_TITLES = {"", "word document"}


def read(data: bytes) -> Extract:
    archive = open_archive(data)
    names = archive.namelist()
    if not any(name.startswith("word/") for name in names):
        raise DocumentError("it is a zip archive, but no Word document; give it the suffix of its real format")
    spend_on_all(archive)
    document = _opened(data)
    body, part = document.element.body, document.part
    builder = TextBuilder()
    styles = _Styles(
        document.styles.element if "word/styles.xml" in names else None,
        parse_xml(member(archive, "word/numbering.xml")) if "word/numbering.xml" in names else None,
    )
    _write_margins(body, part, "header", builder, styles)
    styles.pictured = part.rels  # those of margins and notes are logos
    _write_blocks(body, builder, styles)
    styles.pictured = {}
    _write_notes(part, builder, styles)
    _write_margins(body, part, "footer", builder, styles)
    if builder.headings and min(heading.level for heading in builder.headings) == 0:  # a Title paragraph
        builder.headings = [replace(heading, level=heading.level + 1) for heading in builder.headings]
    if "docProps/core.xml" not in names:
        return builder.build("", styles.pictures.metadata({}))
    try:
        title = document.core_properties.title or ""
    except AttributeError:  # what should hold them is some other XML
        title = ""
    said = office_properties(parse_xml(archive.read("docProps/core.xml")))
    return builder.build("" if title.strip().lower() in _JUNK_TITLES else title, styles.pictures.metadata(said))


def _opened(data: bytes) -> Any:
    """The package, as python-docx sees it."""
    from docx import Document

    try:
        document: Any = Document(io.BytesIO(data))
        if document.element.body is None:
            raise ValueError("it has no body")
    except Exception as error:  # whatever the part that is missing or damaged leads python-docx to
        raise DocumentError(f"the file is broken ({error}); open it in Word and save it again") from error
    return document


class _Styles:
    """Which paragraph styles are headings, list items or hidden, inheritance followed; and the numbers of lists."""

    def __init__(self, root: _Element | None, numbering: _Element | None) -> None:
        self.numbers = Numbers(numbering)
        self.by_id = {} if root is None else {style.get(f"{_W}styleId"): style for style in root.iter(f"{_W}style")}
        self.known: dict[str, _Looks] = {}
        self.pictures = InnerPictures()
        self.pictured: Mapping[str, Any] = {}  # relations that lead to them

    def part(self, relation: str | None) -> Any | None:
        """The part of the file that a relation leads to."""
        named = self.pictured.get(relation or "")
        return None if named is None or named.is_external else named.target_part

    def heading_level(self, paragraph: _Element) -> int | None:
        """0 for Title, 1–9 for headings, else None. Word names its own styles in English in any language."""
        own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if own is not None:
            return _outline(own)
        for style in self._chain(_value(paragraph.find(f"{_W}pPr/{_W}pStyle"))):
            name = _value(style.find(f"{_W}name")).lower()
            if name == "title":
                return 0
            if match := _HEADING_STYLE.match(name):
                return int(match.group(1))
            outline = style.find(f"{_W}pPr/{_W}outlineLvl")
            if outline is not None:
                return _outline(outline)
        return None

    def numbering(self, paragraph: _Element) -> tuple[str, int] | None:
        """The numbering and the depth, from 0, of a list item or a numbered heading."""
        depth = ""
        for element in (paragraph, *self._chain(_value(paragraph.find(f"{_W}pPr/{_W}pStyle")))):
            numbering = element.find(f"{_W}pPr/{_W}numPr")
            if numbering is None:
                continue
            depth = depth or _value(numbering.find(f"{_W}ilvl"))
            name = _value(numbering.find(f"{_W}numId"))
            if name == "0":  # a style's numbering switched off
                return None
            if name:
                linked = self.numbers.level_of(name, element.get(f"{_W}styleId") or "-")
                return name, whole_number(depth, linked or 0, most=8)
        return None

    def is_caption(self, paragraph: _Element) -> bool:
        """Word names this style in English, too."""
        chain = self._chain(_value(paragraph.find(f"{_W}pPr/{_W}pStyle")))
        return any(_value(style.find(f"{_W}name")).lower() == "caption" for style in chain)

    def looks(self, style: str) -> _Looks:
        """How the runs of a paragraph or character style look."""
        if style not in self.known:
            self.known[style] = {}
            for element in reversed([*self._chain(style)]):
                self.known[style].update(_looks(element.find(f"{_W}rPr")))
        return self.known[style]

    def is_gone(self, paragraph: _Element) -> bool:
        """Whether nothing is left of a paragraph, nor of its number: its mark is deleted, or hidden, with all of it."""
        mark = paragraph.find(f"{_W}pPr/{_W}rPr")
        gone = mark is not None and any(mark.find(f"{_W}{name}") is not None for name in ("del", "moveFrom", "vanish"))
        return gone and not _text(paragraph, self).strip()

    def _chain(self, name: str) -> Iterator[_Element]:
        """A style and those it is based on."""
        seen: set[str] = set()
        while name in self.by_id and name not in seen:
            seen.add(name)
            style = self.by_id[name]
            yield style
            if len(seen) == _MAX_STYLES:
                return
            name = _value(style.find(f"{_W}basedOn"))


def _value(element: _Element | None) -> str:
    return "" if element is None else element.get(f"{_W}val") or ""


def _looks(properties: _Element | None) -> _Looks:
    """What the properties of a run say of how it looks: True or False by name."""
    said: _Looks = {}
    for element in () if properties is None else properties:
        if (name := element.tag.removeprefix(_W)) in _LOOKS:
            said[name] = element.get(f"{_W}val", "on") not in _OFF
    return said


def _outline(element: _Element) -> int | None:
    value = _value(element)
    return level + 1 if (level := whole_number(value, 9)) < 9 else None  # 9 is body text


def _write_blocks(parent: _Element, builder: TextBuilder, styles: _Styles) -> None:
    in_list, before = False, ""
    for block in _blocks(parent):
        if block.tag == f"{_W}tbl":
            in_list = False
            builder.table(*_grid(block, styles))
            for name, *_ in _pictures(block, styles):
                builder.picture(name)
            continue
        if block.tag == _CHUNK:
            builder.block(_put_in(block, styles))
            continue
        if styles.is_gone(block):
            continue
        text = (before + _text(block, styles)).strip("\n")
        before = text if block.find(f"{_W}pPr/{_W}rPr/{_W}del") is not None else ""
        if before:  # its end was deleted: what it says begins the next paragraph
            continue
        level = styles.heading_level(block)
        numbering = styles.numbering(block)
        label = styles.numbers.next(*numbering) if numbering is not None else ""
        depth = numbering[1] if numbering is not None and level is None else None
        if level is not None:
            builder.heading(f"{label} {text}" if text.strip() else "", level)
        elif depth is not None and text.strip():
            builder.block(f"{'  ' * depth}{label or '-'} {text.strip()}", tight=in_list)
        else:
            builder.block(text.rstrip(), caption=styles.is_caption(block))
        if text.strip():
            in_list = depth is not None
        for picture in _pictures(block, styles):
            builder.picture(*picture)
        for box in _boxes(block):
            _write_blocks(box, builder, styles)  # and the boxes in it


def _boxes(block: _Element) -> Iterator[_Element]:
    """The text boxes of a paragraph, those in others of them left out."""
    return (box for box in outside(_BOX, block, _BOX) if next(box.iterancestors(_FALLBACK), None) is None)


def _put_in(chunk: _Element, styles: _Styles) -> str:
    from .reader import parse_as

    part = styles.part(chunk.get(f"{_R}id"))
    if part is None:
        return ""
    try:
        return parse_as(part.blob, str(part.partname)).text
    except DocumentError as error:
        remark(f"a part put in from another file not read ({error})")
        return ""


def _pictures(block: _Element, styles: _Styles) -> Iterator[tuple[str, str, str]]:
    """The pictures and drawings of a paragraph, those of the boxes in it left out: their parts, what is said of them,
    and what is written in them."""

    def data(relation: str) -> bytes:
        part = styles.part(relation)
        return b"" if part is None else part.blob

    for drawn in outside(_BOX, block, f"{_A}blip", *DRAWINGS):
        about = next(drawn.iterancestors(f"{_DRAWING}inline", f"{_DRAWING}anchor"), drawn).find(f"{_DRAWING}docPr")
        alt = "" if about is None else about.get("descr") or ""
        if drawn.tag in DRAWINGS:
            yield "", alt, words_of(drawn, data)
        elif part := styles.part(drawn.get(f"{_R}embed")):
            name = str(part.partname)
            yield name, alt, styles.pictures.text(name, partial(getattr, part, "blob"))


def _blocks(parent: _Element) -> Iterator[_Element]:
    """Paragraphs, tables and what was put in, through content controls and the like."""
    for child in parent:
        if child.tag in (f"{_W}p", f"{_W}tbl", _CHUNK):
            yield child
        elif child.tag not in _UNSEEN:
            yield from _blocks(child)


def _text(element: _Element, styles: _Styles) -> str:
    pieces: list[str] = []
    fields = Fields()
    around = styles.looks(_value(element.find(f"{_W}pPr/{_W}pStyle")))

    def gather(node: _Element) -> None:
        for child in node:
            if child.tag == f"{_W}r":
                own = child.find(f"{_W}rPr")
                style = "" if own is None else _value(own.find(f"{_W}rStyle"))
                looks = around if own is None else {**around, **styles.looks(style), **_looks(own)}
                if not looks.get("vanish"):
                    begin = len(pieces)
                    gather(child)
                    pieces[begin:] = [_marked("".join(pieces[begin:]), looks)]
            elif child.tag == FIELD_CHARACTER:
                pieces.append(fields.next(child))
            elif fields.are_told and len(child) == 0:
                continue
            elif child.tag in (f"{_W}t", f"{_M}t"):
                pieces.append(_in_unicode(child.text or "", node))
            elif child.tag in _FORMULAS:
                begin = len(pieces)
                gather(child)
                pieces[begin:] = [_in_formula("".join(pieces[begin:]), child.tag, node.tag)]
            elif child.tag == f"{_W}sym":
                pieces.append(_symbol(child))
            elif child.tag in _CHARACTERS:
                pieces.append(_CHARACTERS[child.tag])
            elif child.tag not in _UNSEEN:
                gather(child)

    gather(element)
    return as_seen("".join(pieces))


def _in_formula(text: str, tag: str, around: str) -> str:
    """A part of a formula as it is written in a line: ``(a+b)/2``, ``x^2``, ``√2``."""
    if tag == f"{_M}sup":
        return marked(text, RAISED)
    if tag == f"{_M}e" and around != f"{_M}rad":
        return text
    whole = text if text.isalnum() else f"({text})" if text else ""
    return f"{_FORMULAS[tag]}{whole}"


def _marked(text: str, looks: _Looks) -> str:
    if looks.get("strike") or looks.get("dstrike"):
        return marked(text, STRUCK)
    return marked(text, RAISED) if looks.get("vertAlign") else text


def _symbol(element: _Element) -> str:
    try:
        return symbol(int(element.get(f"{_W}char") or "", 16), element.get(f"{_W}font") or "")
    except ValueError:
        return ""


def _in_unicode(text: str, run: _Element) -> str:
    if not _PRIVATE.search(text):
        return text
    fonts = run.find(f"{_W}rPr/{_W}rFonts")
    font = "Symbol" if fonts is None else fonts.get(f"{_W}ascii") or "Symbol"
    return _PRIVATE.sub(lambda found: symbol(ord(found.group()), font), text)


def _grid(table: _Element, styles: _Styles) -> tuple[Grid, int | None]:
    """The cells, and how many rows are marked as repeated on each page, if any."""
    rows = [row for row in _within(table, "tr") if row.find(f"{_W}trPr/{_W}del") is None]
    cells = [list(_cells(row)) for row in rows]
    continued = [{column for column, cell in row if _continues(cell)} for row in cells]
    grid = Grid()
    for number, row in enumerate(cells):
        given = [Cell("")] * row[0][0] if row else []  # columns that the row leaves out at its beginning
        for column, cell in row:
            if column in continued[number]:
                continue
            below = 1
            while number + below < len(cells) and column in continued[number + below]:
                below += 1
            given.append(Cell(" ".join(" ".join(_cell_texts(cell, styles)).split()), _span(cell), below))
        grid.add(given)
    marked = 0
    while marked < len(rows) and rows[marked].find(f"{_W}trPr/{_W}tblHeader") is not None:
        marked += 1
    return grid, marked or None


def _cells(row: _Element) -> Iterator[tuple[int, _Element]]:
    """The cells with the columns where they begin."""
    column = whole_number(_value(row.find(f"{_W}trPr/{_W}gridBefore")), 0, most=1_000)
    for cell in _within(row, "tc"):
        yield column, cell
        column += _span(cell)


def _span(cell: _Element) -> int:
    return whole_number(_value(cell.find(f"{_W}tcPr/{_W}gridSpan")), 1)


def _continues(cell: _Element) -> bool:
    """Whether the cell belongs to the one above it."""
    merge = cell.find(f"{_W}tcPr/{_W}vMerge")
    return merge is not None and _value(merge) != "restart"


def _within(parent: _Element, name: str) -> Iterator[_Element]:
    for child in parent:
        if child.tag == f"{_W}{name}":
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins"):
            yield from _within(child, name)


def _cell_texts(cell: _Element, styles: _Styles) -> Iterator[str]:
    for block in _blocks(cell):
        if block.tag == f"{_W}tbl":
            yield nested(_grid(block, styles)[0].lines())
        elif block.tag == _CHUNK:
            yield _put_in(block, styles)
        else:
            yield _numbered(block, styles)
            for _, alt, words in _pictures(block, styles):
                yield from (telling(alt), words)
            for box in _boxes(block):
                yield from _cell_texts(box, styles)


def _numbered(paragraph: _Element, styles: _Styles) -> str:
    numbering = styles.numbering(paragraph)
    label = styles.numbers.next(*numbering) if numbering is not None else ""
    return f"{label} {_text(paragraph, styles)}".lstrip(" ")


def _write_margins(body: _Element, part: Any, kind: str, builder: TextBuilder, styles: _Styles) -> None:
    """The headers or footers of all sections, each text once; bare page numbers are none."""
    read: set[str] = set()
    for section in body.iter(f"{_W}sectPr"):
        for reference in section.iter(f"{_W}{kind}Reference"):
            if reference.get(f"{_W}type") == "first" and section.find(f"{_W}titlePg") is None:
                continue
            named = part.rels.get(reference.get(f"{_R}id") or "")
            if named is None or named.is_external or named.rId in read:
                continue
            read.add(named.rId)
            margin = TextBuilder()
            _write_blocks(parse_xml(named.target_part.blob), margin, styles)
            builder.margin(margin.build().text)


def _write_notes(part: Any, builder: TextBuilder, styles: _Styles) -> None:
    """Footnotes and endnotes, after the text; comments are counted."""
    relations = {id(relation.target_part): relation for relation in part.rels.values() if not relation.is_external}
    for relation in relations.values():
        if relation.reltype.endswith("/comments"):
            count = sum(1 for _ in parse_xml(relation.target_part.blob).iter(f"{_W}comment"))
            remark(f"{count} comment{'s' if count > 1 else ''} in the margin not read")
        if relation.reltype.endswith(("/footnotes", "/endnotes")):
            for note in parse_xml(relation.target_part.blob):
                if not note.get(f"{_W}type"):  # separators have one
                    _write_blocks(note, builder, styles)
