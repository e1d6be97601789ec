"""Word documents: headings by style, lists, tables by rows, text boxes and notes, in the order of the document.

python-docx opens the package and its styles; the text is gathered from the XML itself, since python-docx's own
iterators leave out content controls, inserted text of tracked changes and text boxes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from .archive import open_archive, parse_xml
from .extract import Extract, TextBuilder
from .grid import Cell, Grid

if TYPE_CHECKING:
    from lxml.etree import _Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Deleted text, and drawings in the form for old programs, are not what the reader sees.
_UNSEEN = {f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}pPr", f"{_W}rPr", f"{_W}txbxContent", _FALLBACK}
_CHARACTERS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_HEADING_STYLE = re.compile(r"heading (\d)", re.I)
_JUNK_TITLES = {"", "word document"}


def read(data: bytes) -> Extract:
    from docx import Document
    from docx.opc.exceptions import OpcError, PackageNotFoundError

    names = open_archive(data).namelist()
    if not any(name.startswith("word/") for name in names):
        raise DocumentError("it is a zip archive, but no Word document; give it the suffix of its real format")
    try:
        document: Any = Document(io.BytesIO(data))
    except (KeyError, ValueError, OpcError, PackageNotFoundError) as error:
        raise DocumentError(f"the file is broken ({error}); open it in Word and save it again") from error

    builder = TextBuilder()
    styles = _Styles(document.styles.element) if "word/styles.xml" in names else _Styles(None)
    _write_blocks(document.element.body, builder, styles)
    _write_notes(document.part, builder, styles)
    if builder.headings and min(heading.level for heading in builder.headings) == 0:  # a Title paragraph
        builder.headings = [replace(heading, level=heading.level + 1) for heading in builder.headings]
    title = document.core_properties.title or "" if "docProps/core.xml" in names else ""
    return builder.build("" if title.strip().lower() in _JUNK_TITLES else title)


class _Styles:
    """Which paragraph styles are headings or list items, inheritance followed."""

    def __init__(self, root: _Element | None) -> None:
        self.by_id = {} if root is None else {style.get(f"{_W}styleId"): style for style in root.iter(f"{_W}style")}

    def heading_level(self, paragraph: _Element) -> int | None:
        """0 for Title, 1–9 for headings, else None. Word names its own styles in English in any language."""
        own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if own is not None:
            return _outline(own)
        for style in self._chain(paragraph):
            name = _value(style.find(f"{_W}name")).lower()
            if name == "title":
                return 0
            if match := _HEADING_STYLE.match(name):
                return int(match.group(1))
            outline = style.find(f"{_W}pPr/{_W}outlineLvl")
            if outline is not None:
                return _outline(outline)
        return None

    def list_depth(self, paragraph: _Element) -> int | None:
        """How deep in a list the paragraph stands, from 0; None outside of lists."""
        for element in (paragraph, *self._chain(paragraph)):
            numbering = element.find(f"{_W}pPr/{_W}numPr")
            if numbering is not None:
                if _value(numbering.find(f"{_W}numId")) == "0":  # a style's numbering switched off
                    return None
                depth = _value(numbering.find(f"{_W}ilvl"))
                return int(depth) if depth.isdigit() else 0
        return None

    def _chain(self, paragraph: _Element) -> Iterator[_Element]:
        name = _value(paragraph.find(f"{_W}pPr/{_W}pStyle"))
        seen: set[str] = set()
        while name in self.by_id and name not in seen:
            seen.add(name)
            style = self.by_id[name]
            yield style
            name = _value(style.find(f"{_W}basedOn"))


def _value(element: _Element | None) -> str:
    return "" if element is None else element.get(f"{_W}val") or ""


def _outline(element: _Element) -> int | None:
    value = _value(element)
    return int(value) + 1 if value.isdigit() and int(value) < 9 else None  # 9 is body text


def _write_blocks(parent: _Element, builder: TextBuilder, styles: _Styles) -> None:
    in_list = False
    for block in _blocks(parent):
        if block.tag == f"{_W}tbl":
            in_list = False
            builder.table(*_grid(block))
            continue
        text = _text(block).strip("\n")
        level = styles.heading_level(block)
        depth = styles.list_depth(block) if level is None else None
        if level is not None:
            builder.heading(text, level)
        elif depth is not None and text.strip():
            builder.block("  " * depth + "- " + text.strip(), tight=in_list)
        else:
            builder.block(text.rstrip())
        if text.strip():
            in_list = depth is not None
        for box in block.iter(f"{_W}txbxContent"):
            if next(box.iterancestors(_FALLBACK), None) is None:
                _write_blocks(box, builder, styles)


def _blocks(parent: _Element) -> Iterator[_Element]:
    """Paragraphs and tables, through content controls and the like."""
    for child in parent:
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins", f"{_W}smartTag"):
            yield from _blocks(child)


def _text(element: _Element) -> str:
    pieces: list[str] = []

    def gather(node: _Element) -> None:
        for child in node:
            if child.tag in (f"{_W}t", f"{_M}t"):
                pieces.append(child.text or "")
            elif child.tag in _CHARACTERS:
                pieces.append(_CHARACTERS[child.tag])
            elif child.tag not in _UNSEEN:
                gather(child)

    gather(element)
    return "".join(pieces)


def _grid(table: _Element) -> tuple[Grid, int | None]:
    """The cells, and how many rows are marked as repeated on each page, if any."""
    rows = list(_within(table, "tr"))
    cells = [list(_cells(row)) for row in rows]
    continued = [{column for column, cell in row if _continues(cell)} for row in cells]
    grid = Grid()
    for number, row in enumerate(cells):
        given = []
        for column, cell in row:
            if column in continued[number]:
                continue
            below = 1
            while number + below < len(cells) and column in continued[number + below]:
                below += 1
            given.append(Cell(" ".join(" ".join(_cell_texts(cell)).split()), _span(cell), below))
        grid.add(given)
    marked = 0
    while marked < len(rows) and rows[marked].find(f"{_W}trPr/{_W}tblHeader") is not None:
        marked += 1
    return grid, marked or None


def _cells(row: _Element) -> Iterator[tuple[int, _Element]]:
    """The cells with the columns where they begin."""
    before = _value(row.find(f"{_W}trPr/{_W}gridBefore"))
    column = int(before) if before.isdigit() else 0
    for cell in _within(row, "tc"):
        yield column, cell
        column += _span(cell)


def _span(cell: _Element) -> int:
    columns = _value(cell.find(f"{_W}tcPr/{_W}gridSpan"))
    return int(columns) if columns.isdigit() else 1


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


def _cell_texts(cell: _Element) -> Iterator[str]:
    for block in _blocks(cell):
        if block.tag == f"{_W}tbl":
            yield " ".join(_grid(block)[0].lines())
        else:
            yield _text(block)


def _write_notes(part: Any, builder: TextBuilder, styles: _Styles) -> None:
    """Footnotes and endnotes, after the text."""
    for relation in part.rels.values():
        if not relation.is_external and relation.reltype.endswith(("/footnotes", "/endnotes")):
            for note in parse_xml(relation.target_part.blob):
                if not note.get(f"{_W}type"):  # separators have one
                    _write_blocks(note, builder, styles)
