"""PowerPoint: one page per slide, in the order of the show: title, text, tables by rows, speaker notes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING
from zipfile import ZipFile

from ..errors import DocumentError
from .archive import has, member, open_archive, parse_xml
from .drawings import DRAWINGS, words_of
from .extract import Extract, TextBuilder, whole_number
from .grid import Cell, Grid
from .inner_pictures import InnerPictures
from .marks import RAISED, STRUCK, as_seen, marked
from .pptx_lists import Lists
from .properties import office_properties

if TYPE_CHECKING:
    from lxml.etree import _Element

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_PACKAGE = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_TITLE = ".//{http://purl.org/dc/elements/1.1/}title"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_FURNITURE = {"dt", "ftr", "hdr", "sldNum", "sldImg"}
_JUNK_TITLES = {"powerpoint presentation", "slide 1"}


def read(data: bytes) -> Extract:
    archive = open_archive(data)
    names = set(archive.namelist())
    if "ppt/presentation.xml" not in names:
        raise DocumentError(
            "it is a zip archive, but no PowerPoint presentation; give it the suffix of its real format"
        )
    slides = {relation: target for relation, (_, target) in _relations(archive, "ppt/presentation.xml").items()}
    builder = TextBuilder()
    pictures = InnerPictures()
    made_of = cache(partial(_made_of, archive))
    for entry in parse_xml(member(archive, "ppt/presentation.xml")).iter(f"{_P}sldId"):
        name = slides.get(entry.get(f"{_R}id") or "", "")
        builder.page()
        if name in names:  # a slide that is missing leaves an empty page, so that the numbers stay right
            _write_slide(archive, name, builder, pictures, made_of)
    if "docProps/core.xml" not in names:
        return builder.build("", pictures.metadata({}))
    said = parse_xml(member(archive, "docProps/core.xml"))
    title = said.findtext(_TITLE) or ""
    about = pictures.metadata(office_properties(said))
    return builder.build("" if title.strip().lower() in _JUNK_TITLES else title, about)


def _relations(archive: ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Relation id → (type, part it points at)."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if not has(archive, relations):
        return {}
    root = parse_xml(member(archive, relations))
    return {
        relation.get("Id") or "": (
            relation.get("Type") or "",
            posixpath.normpath(posixpath.join("/", folder, relation.get("Target") or "")).lstrip("/"),
        )
        for relation in root.iter(f"{_PACKAGE}Relationship")
        if relation.get("TargetMode") != "External"
    }


def _write_slide(
    archive: ZipFile,
    name: str,
    builder: TextBuilder,
    pictures: InnerPictures,
    made_of: Callable[[str], tuple[_Element, ...]],
) -> None:
    related = _relations(archive, name)

    def part(relation: str) -> bytes:
        _, target = related.get(relation, ("", ""))
        return member(archive, target) if has(archive, target) else b""

    def seen(shape: _Element) -> None:
        frame = next(shape.iterancestors(f"{_P}graphicFrame"), shape)
        about = frame.find(f"./*/{_P}cNvPr")
        alt = "" if about is None else about.get("descr") or ""
        if shape.tag in DRAWINGS:
            builder.picture("", alt, words_of(shape, part))
            return
        blip = shape.find(f".//{_A}blip")
        _, target = related.get("" if blip is None else blip.get(f"{_R}embed") or "", ("", ""))
        there = has(archive, target)
        words = pictures.text(target, partial(member, archive, target)) if there else ""
        builder.picture(target if there else "", alt, words)

    layout = next((target for kind, target in related.values() if kind.endswith("/slideLayout")), "")
    _write_shapes(parse_xml(member(archive, name)), builder, seen, made_of(layout))
    for kind, target in related.values():
        if kind.endswith("/notesSlide") and has(archive, target):
            _write_shapes(parse_xml(member(archive, target)), builder, lambda _: None)


def _made_of(archive: ZipFile, layout: str) -> tuple[_Element, ...]:
    """A layout and its master, if they are there."""
    masters = (target for kind, target in _relations(archive, layout).values() if kind.endswith("/slideMaster"))
    return tuple(parse_xml(member(archive, name)) for name in (layout, next(masters, "")) if has(archive, name))


def _write_shapes(
    slide: _Element, builder: TextBuilder, seen: Callable[[_Element], None], above: tuple[_Element, ...] = ()
) -> None:
    """What a slide says.

    Args:
        seen: told of each picture, chart and diagram.
        above: its layout and its master.
    """
    shapes = [
        shape
        for shape in slide.iter(f"{_P}sp", f"{_P}pic", f"{_A}tbl", *DRAWINGS)
        if next(shape.iterancestors(_FALLBACK), None) is None and not _is_hidden(shape)
    ]
    # The title comes first, wherever it stands among the shapes.
    for shape in sorted(shapes, key=lambda shape: not _is_title(shape)):
        if shape.tag == f"{_A}tbl":
            builder.table(*_grid(shape))
        elif shape.tag == f"{_P}pic" or shape.tag in DRAWINGS:
            seen(shape)
        elif _is_title(shape):
            builder.heading(" ".join(_paragraphs(shape)), 2)
        elif _placeholder(shape) not in _FURNITURE:
            builder.block("\n".join(text for text in _paragraphs(shape, above) if text.strip()))


def _is_hidden(shape: _Element) -> bool:
    """Whether it, or a group that it is in, is not shown."""
    around = (shape, *shape.iterancestors(f"{_P}grpSp", f"{_P}graphicFrame"))
    about = (element.find(f"./*/{_P}cNvPr") for element in around)
    return any(properties is not None and properties.get("hidden") in ("1", "true") for properties in about)


def _placeholder(shape: _Element) -> str:
    placeholder = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return "" if placeholder is None else placeholder.get("type") or "body"


def _is_title(shape: _Element) -> bool:
    return shape.tag == f"{_P}sp" and _placeholder(shape) in ("title", "ctrTitle")


def _paragraphs(element: _Element, above: tuple[_Element, ...] = ()) -> list[str]:
    texts = []
    lists = Lists(element, above)
    for paragraph in element.iter(f"{_A}p"):
        pieces = [
            "\n" if node.tag == f"{_A}br" else _marked(node.text or "", node.getparent())
            for node in paragraph.iter(f"{_A}t", f"{_A}br")
        ]
        text = as_seen("".join(pieces))
        mark = lists.mark(paragraph) if text.strip() else ""
        texts.append(f"{mark} {text}" if mark else text)
    return texts


def _marked(text: str, run: _Element) -> str:
    looks = run.find(f"{_A}rPr")
    if looks is None:
        return text
    if looks.get("strike", "noStrike") != "noStrike":
        return marked(text, STRUCK)
    return marked(text, RAISED) if whole_number(looks.get("baseline"), 0) else text


def _grid(table: _Element) -> tuple[Grid, int | None]:
    """The cells, and whether the first row is set apart as the header."""
    grid = Grid()
    for row in table.iter(f"{_A}tr"):
        grid.add(
            Cell(
                " ".join(" ".join(_paragraphs(cell)).split()),
                _count(cell.get("gridSpan")),
                _count(cell.get("rowSpan")),
            )
            for cell in row.iter(f"{_A}tc")
            if not {"1", "true"} & {cell.get("hMerge"), cell.get("vMerge")}
        )
    properties = table.find(f"{_A}tblPr")
    return grid, 1 if properties is not None and properties.get("firstRow") in ("1", "true") else None


def _count(value: str | None) -> int:
    return whole_number(value, 1, most=1_000)
