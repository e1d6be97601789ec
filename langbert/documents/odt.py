"""OpenDocument text (ODF 1.2, part 1): headings, paragraphs, lists and tables by rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DocumentError
from .archive import has, member, open_archive, parse_xml
from .extract import MAX_INDENT, Extract, TextBuilder, whole_number
from .grid import Cell, Grid
from .properties import office_properties

if TYPE_CHECKING:
    from lxml.etree import _Element

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TITLE = ".//{http://purl.org/dc/elements/1.1/}title"
_CHARACTERS = {f"{_TEXT}tab": "\t", f"{_TEXT}line-break": "\n"}
_UNSEEN = {f"{_TEXT}tracked-changes", f"{_OFFICE}annotation", f"{_TEXT}sequence-decls", f"{_TEXT}note-citation"}


def read(data: bytes) -> Extract:
    archive = open_archive(data)
    if b"encryption-data" in (
        member(archive, "META-INF/manifest.xml") if has(archive, "META-INF/manifest.xml") else b""
    ):
        raise DocumentError("it is encrypted; save it without a password")
    body = parse_xml(member(archive, "content.xml")).find(f".//{_OFFICE}text")
    if body is None:
        raise DocumentError("it is no OpenDocument text; give it the suffix of its real format")
    builder = TextBuilder()
    _write(body, builder, depth=-1)
    if not has(archive, "meta.xml"):
        return builder.build()
    said = parse_xml(member(archive, "meta.xml"))
    return builder.build(said.findtext(_TITLE) or "", office_properties(said))


def _write(parent: _Element, builder: TextBuilder, depth: int) -> None:
    """``depth`` counts the lists around ``parent`` from 0; -1 is outside of lists."""
    for element in parent:
        if element.tag == f"{_TEXT}h":
            builder.heading(_text(element), whole_number(element.get(f"{_TEXT}outline-level"), 1, most=10))
        elif element.tag == f"{_TEXT}p":
            builder.block(_text(element).rstrip())
        elif element.tag == f"{_TEXT}list":
            _write_list(element, builder, depth + 1)
        elif element.tag == f"{_TABLE}table":
            builder.table(*_grid(element))
        elif element.tag not in _UNSEEN:
            _write(element, builder, depth)


def _write_list(element: _Element, builder: TextBuilder, depth: int) -> None:
    first = depth == 0
    for item in element:
        marked = False
        for child in item:
            if child.tag == f"{_TEXT}list":
                _write_list(child, builder, depth + 1)
            elif child.tag in (f"{_TEXT}p", f"{_TEXT}h") and (text := _text(child).strip()):
                builder.block("  " * min(depth, MAX_INDENT) + ("  " if marked else "- ") + text, tight=not first)
                marked, first = True, False


def _text(element: _Element) -> str:
    pieces = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":  # runs of spaces are written as a count
            pieces.append(" " * whole_number(child.get(f"{_TEXT}c"), 1, most=100))
        elif child.tag in _CHARACTERS:
            pieces.append(_CHARACTERS[child.tag])
        elif child.tag == f"{_TEXT}note":
            pieces.append(f" [{_text(child).strip()}]")
        elif child.tag not in _UNSEEN and isinstance(child.tag, str):
            pieces.append(_text(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


def _grid(table: _Element) -> tuple[Grid, int | None]:
    """The cells, and how many rows are marked as headers, if any. Cells and rows may stand for several like them."""
    grid, headers = Grid(), 0
    for row in table.iter(f"{_TABLE}table-row"):
        if next(row.iterancestors(f"{_TABLE}table")) is not table:  # of a table within a cell
            continue
        cells: list[Cell] = []
        for cell in row.iterchildren(f"{_TABLE}table-cell"):
            text = " ".join(" ".join(_text(p) for p in cell.iter(f"{_TEXT}p", f"{_TEXT}h")).split())
            span, below = _count(cell, "number-columns-spanned"), _count(cell, "number-rows-spanned")
            cells += [Cell(text, span, below)] * _count(cell, "number-columns-repeated")
        repeated = _count(row, "number-rows-repeated") if any(cell.text for cell in cells) else 1
        for _ in range(repeated):
            grid.add(cells)
        if next(row.iterancestors(f"{_TABLE}table-header-rows"), None) is not None:
            headers += repeated
    return grid, headers or None


def _count(element: _Element, name: str) -> int:
    return whole_number(element.get(f"{_TABLE}{name}"), 1, most=1_000)
