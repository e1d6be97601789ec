"""What the charts and diagrams of Word documents and slides say; their parts lie beside the text (ISO/IEC 29500-1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .archive import parse_xml
from .grid import Cell, Grid

if TYPE_CHECKING:
    from lxml.etree import _Element

_C, _D, _A = (f"{{http://schemas.openxmlformats.org/drawingml/2006/{name}}}" for name in ("chart", "diagram", "main"))
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
DRAWINGS = (f"{_C}chart", f"{_D}relIds")
_DEEPEST = 32


def words_of(drawing: _Element, part: Callable[[str], bytes]) -> str:
    """The rows of a chart, or the points of a diagram, a line each.

    Args:
        part: what is in the part that a relation, by its id, leads to; empty where there is none.
    """
    data = part(drawing.get(f"{_R}id") or drawing.get(f"{_R}dm") or "")
    if not data:
        return ""
    return "\n".join((_chart if drawing.tag == DRAWINGS[0] else _points)(parse_xml(data)))


def _chart(root: _Element) -> Iterator[str]:
    title = root.find(f".//{_C}title")
    if title is not None and (text := _text(title)):
        yield text
    names: list[str] = []
    rows: dict[str, dict[int, str]] = {}
    for series in root.iter(f"{_C}ser"):
        labels = _values(series, "cat") or _values(series, "xVal")
        for index, value in (_values(series, "val") or _values(series, "yVal")).items():
            rows.setdefault(labels.get(index, str(index + 1)), {})[len(names)] = value
        names.append(next(iter(_values(series, "tx").values()), series.findtext(f"{_C}tx/{_C}v") or "Value"))
    grid = Grid()
    grid.add([Cell(""), *map(Cell, names)])
    for label, said in rows.items():
        grid.add([Cell(label), *(Cell(said.get(column, "")) for column in range(len(names)))])
    yield from grid.lines(1) if rows else ()


def _values(series: _Element, name: str) -> dict[int, str]:
    """The words or figures of a series, by their place."""
    points = series.findall(f"{_C}{name}//{_C}pt")
    values = {place: point.findtext(f"{_C}v") or "" for place, point in enumerate(points)}
    places = [point.get("idx") or "" for point in points]
    if all(place.isascii() and place.isdigit() and len(place) < 9 for place in places):
        return dict(zip(map(int, places), values.values(), strict=True))
    return values


def _points(root: _Element) -> Iterator[str]:
    """The points, each below the one it belongs to."""
    points = {point.get("modelId"): _text(point) for point in root.iter(f"{_D}pt")}
    below: dict[str | None, list[str | None]] = {}
    for link in root.iter(f"{_D}cxn"):
        if link.get("type", "parOf") == "parOf":
            below.setdefault(link.get("srcId"), []).append(link.get("destId"))
    deeper_ones = {point for children in below.values() for point in children}
    open_points = [(point, 0) for point in reversed(points) if point not in deeper_ones]
    while open_points:
        point, depth = open_points.pop()
        text = points.pop(point, "")
        if text:
            yield f"{'  ' * depth}- {text}"
        depth = min(depth + bool(text), _DEEPEST)
        open_points += [(child, depth) for child in reversed(below.pop(point, []))]


def _text(element: _Element) -> str:
    return " ".join("".join(run.text or "" for run in p.iter(f"{_A}t")) for p in element.iter(f"{_A}p")).strip()
