"""OpenDocument text and slides (ODF 1.2, part 1): headings and lists with their numbers, paragraphs, tables by rows,
headers and footers once; a page for each slide, with its notes; no hidden text."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import DocumentError
from ..text.numerals import in_form
from .archive import has, member, open_archive, outside, parse_xml
from .extract import MAX_INDENT, Extract, TextBuilder, whole_number
from .grid import Cell, Grid, nested
from .marks import RAISED, STRUCK, as_seen, marked
from .properties import office_properties

if TYPE_CHECKING:
    from lxml.etree import _Element

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_TITLE = ".//{http://purl.org/dc/elements/1.1/}title"
_CHARACTERS = {f"{_TEXT}tab": "\t", f"{_TEXT}line-break": "\n"}
_NUMBER_FORMS = {
    "a": "lowerLetter",
    "A": "upperLetter",
    "i": "lowerRoman",
    "I": "upperRoman",
    "一": "chineseCounting",
    "①": "decimalEnclosedCircle",
}  # by the first of them, as num-format has it
_LEVELS = 10
_MAX_STYLES = 32  # based on each other
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_ALT = tuple(f"{{urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0}}{name}" for name in ("desc", "title"))
_HREF = "{http://www.w3.org/1999/xlink}href"
_BOX = f"{_DRAW}text-box"
_CLASS = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}class"  # what a part of a slide is
_FURNITURE = {"page", "page-number", "date-time", "header", "footer"}
_UNSEEN = {f"{_TEXT}tracked-changes", f"{_OFFICE}annotation", f"{_TEXT}sequence-decls", f"{_TEXT}note-citation"}


@dataclass(frozen=True, slots=True)
class _Level:
    """How the numbers of one level of a list, or of headings, are written."""

    form: str
    before: str
    behind: str
    shown: int  # how many levels
    start: int


@dataclass(slots=True)
class _Styles:
    """What the styles of a document say of its words and numbers."""

    looks: dict[str, _Element] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    lists: dict[str, dict[int, _Level]] = field(default_factory=dict)  # "" has the levels of headings

    def add(self, root: _Element) -> None:
        for style in root.iter(f"{_STYLE}style"):
            name = style.get(f"{_STYLE}name") or ""
            self.parents[name] = style.get(f"{_STYLE}parent-style-name") or ""
            if (found := style.find(f"{_STYLE}text-properties")) is not None:
                self.looks[name] = found
        for style in root.iter(f"{_TEXT}list-style", f"{_TEXT}outline-style"):
            name = "" if style.tag == f"{_TEXT}outline-style" else style.get(f"{_STYLE}name") or "-"
            self.lists[name] = dict(_levels(style))

    def look(self, element: _Element, name: str) -> str:
        """A property of an element's words, by its style or one that this is based on."""
        style = element.get(f"{_TEXT}style-name") or ""
        for _ in range(_MAX_STYLES):
            looks = self.looks.get(style)
            if looks is not None and (value := looks.get(name)):
                return str(value)
            style = self.parents.get(style, "")
        return ""


def _levels(style: _Element) -> Iterator[tuple[int, _Level]]:
    for level in style:
        form = level.get(f"{_STYLE}num-format") or ""
        if form and isinstance(level.tag, str):
            yield (
                whole_number(level.get(f"{_TEXT}level"), 1, most=_LEVELS),
                _Level(
                    _NUMBER_FORMS.get(form[0], "decimal"),
                    level.get(f"{_STYLE}num-prefix") or "",
                    level.get(f"{_STYLE}num-suffix") or "",
                    whole_number(level.get(f"{_TEXT}display-levels"), 1, most=_LEVELS),
                    whole_number(level.get(f"{_TEXT}start-value"), 1),
                ),
            )


class _Numbers:
    """The counters of one list, or of the headings."""

    def __init__(self, levels: dict[int, _Level]) -> None:
        self.levels = levels
        self.counts: dict[int, int] = {}

    def next(self, level: int, start: str | None = None) -> str:
        """The number of the next item at ``level``, from 1, as it is printed; empty for bullets."""
        own = self.levels.get(level)
        self.counts = {other: count for other, count in self.counts.items() if other <= level}
        before = self.counts.get(level, own.start - 1 if own else 0)
        self.counts[level] = whole_number(start, before + 1)
        if own is None:
            return ""
        shown = [
            in_form(self.counts.get(at, above.start), above.form)
            for at in range(max(level - own.shown, 0) + 1, level + 1)
            if (above := self.levels.get(at))
        ]
        return own.before + ".".join(shown) + own.behind


def read(data: bytes) -> Extract:
    archive = open_archive(data)
    if b"encryption-data" in (
        member(archive, "META-INF/manifest.xml") if has(archive, "META-INF/manifest.xml") else b""
    ):
        raise DocumentError("it is encrypted; save it without a password")
    content = parse_xml(member(archive, "content.xml"))
    body = next(content.iter(f"{_OFFICE}text", f"{_OFFICE}presentation"), None)
    if body is None:
        raise DocumentError("it is no OpenDocument text, nor slides; give it the suffix of its real format")
    styles = parse_xml(member(archive, "styles.xml")) if has(archive, "styles.xml") else None
    builder = TextBuilder()
    writer = _Writer(builder, [content] if styles is None else [styles, content])
    writer.margins(styles, "header")
    writer.parts = {*archive.namelist()}  # those of margins are logos
    writer.write(body, depth=-1)
    writer.margins(styles, "footer")
    if not has(archive, "meta.xml"):
        return builder.build()
    said = parse_xml(member(archive, "meta.xml"))
    return builder.build(said.findtext(_TITLE) or "", office_properties(said))


class _Writer:
    def __init__(self, builder: TextBuilder, roots: list[_Element]) -> None:
        self.builder = builder
        self.styles = _Styles()
        for root in roots:
            self.styles.add(root)
        self.headings = _Numbers(self.styles.lists.get("", {}))
        self.last: dict[str, _Numbers] = {}  # the last list of a style
        self.parts: set[str] = set()  # of the file, which may be pictures

    def margins(self, styles: _Element | None, kind: str) -> None:
        """The headers or footers, each once."""
        named = [f"{_STYLE}{kind}{pages}" for pages in ("", "-left", "-first")]
        for element in () if styles is None else styles.iter(*named):
            margin = TextBuilder()
            writer = _Writer(margin, [])
            writer.styles = self.styles
            writer.write(element, depth=-1)
            self.builder.margin(margin.build().text)

    def write(self, parent: _Element, depth: int) -> None:
        """``depth`` counts the lists around ``parent`` from 0; -1 is outside of lists."""
        for element in parent:
            if element.tag == f"{_TEXT}h":
                level = whole_number(element.get(f"{_TEXT}outline-level"), 1, most=10)
                text = self.text(element)
                number = self.headings.next(level, element.get(f"{_TEXT}start-value")) if text.strip() else ""
                self.builder.heading(f"{number} {text}", level)
                self.write_boxes(element)
            elif element.tag == f"{_TEXT}p":
                self.builder.block(self.text(element).rstrip())
                self.write_boxes(element)
            elif element.tag == f"{_TEXT}list":
                self.write_list(element, depth + 1)
            elif element.tag == f"{_TABLE}table":
                self.builder.table(*self.grid(element))
                self.show_pictures(element)
            elif element.get(_CLASS) == "title":
                self.builder.heading(" ".join(self.text(line) for line in element.iter(f"{_TEXT}p")), 2)
            elif (
                element.tag not in _UNSEEN
                and element.get(f"{_TEXT}display") != "none"
                and element.get(_CLASS) not in _FURNITURE
            ):
                if element.tag == f"{_DRAW}page":
                    self.builder.page()
                elif element.tag == f"{_DRAW}frame":
                    self.show_pictures(element)
                self.write(element, depth)

    def show_pictures(self, element: _Element) -> None:
        """But for those of the boxes in it."""
        for image in outside(_BOX, element, f"{_DRAW}image"):
            alt = next(filter(None, (image.getparent().findtext(tag) for tag in _ALT)), "")
            name = posixpath.normpath(image.get(_HREF) or "")
            self.builder.picture(name if name in self.parts else "", alt)

    def write_boxes(self, paragraph: _Element) -> None:
        self.show_pictures(paragraph)
        for box in outside(_BOX, paragraph, _BOX):
            self.write(box, depth=-1)

    def write_list(self, element: _Element, depth: int, numbers: _Numbers | None = None) -> None:
        first = depth == 0
        style = element.get(f"{_TEXT}style-name") or "-"
        if numbers is None:
            if element.get(f"{_TEXT}continue-numbering") != "true" and element.get(f"{_TEXT}continue-list") is None:
                self.last.pop(style, None)
            numbers = self.last.setdefault(style, _Numbers(self.styles.lists.get(style, {})))
        for item in element:
            marked = False
            for child in item:
                if child.tag == f"{_TEXT}list":
                    self.write_list(child, depth + 1, numbers)
                elif child.tag in (f"{_TEXT}p", f"{_TEXT}h"):
                    if text := self.text(child).strip():
                        label = "  "
                        if not marked:
                            counts = item.tag == f"{_TEXT}list-item"
                            label = numbers.next(depth + 1, item.get(f"{_TEXT}start-value")) if counts else ""
                            label = f"{label or '-'} "
                        self.builder.block("  " * min(depth, MAX_INDENT) + label + text, tight=not first)
                        marked, first = True, False
                    self.show_pictures(child)

    def text(self, element: _Element) -> str:
        return as_seen(self._text(element))

    def _text(self, element: _Element) -> str:
        pieces = [element.text or ""]
        for child in element:
            if child.tag == f"{_TEXT}s":  # runs of spaces are written as a count
                pieces.append(" " * whole_number(child.get(f"{_TEXT}c"), 1, most=100))
            elif child.tag in _CHARACTERS:
                pieces.append(_CHARACTERS[child.tag])
            elif child.tag == f"{_TEXT}note":
                pieces.append(f" [{self.text(child).strip()}]")
            elif child.tag in _ALT and element.find(f"{_DRAW}object") is None:  # where that is a formula, it says which
                pass
            elif child.tag not in (*_UNSEEN, _BOX) and isinstance(child.tag, str):
                pieces.append(self._text(child))
            pieces.append(child.tail or "")
        return self._marked("".join(pieces), element)

    def _marked(self, text: str, element: _Element) -> str:
        if f"{_TEXT}style-name" not in element.attrib:
            return text
        if self.styles.look(element, f"{_TEXT}display") == "none":
            return ""
        if self.styles.look(element, f"{_STYLE}text-line-through-style") not in ("", "none"):
            return marked(text, STRUCK)
        raised = self.styles.look(element, f"{_STYLE}text-position").startswith(("super", *"123456789"))
        return marked(text, RAISED) if raised else text

    def cell_texts(self, cell: _Element) -> Iterator[str]:
        for block in cell:
            if block.tag == f"{_TABLE}table":
                yield nested(self.grid(block)[0].lines())
            elif block.tag in (f"{_TEXT}p", f"{_TEXT}h"):
                yield self.text(block)
                for box in outside(_BOX, block, _BOX):
                    yield from self.cell_texts(box)
            elif block.tag not in _UNSEEN:
                yield from self.cell_texts(block)

    def grid(self, table: _Element) -> tuple[Grid, int | None]:
        """The cells, and how many rows are marked as headers, if any; both may stand for several like them."""
        grid, headers = Grid(), 0
        for row in table.iter(f"{_TABLE}table-row"):
            if next(row.iterancestors(f"{_TABLE}table")) is not table:  # of a table within a cell
                continue
            cells: list[Cell] = []
            for cell in row.iterchildren(f"{_TABLE}table-cell"):
                text = " ".join(" ".join(self.cell_texts(cell)).split())
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
