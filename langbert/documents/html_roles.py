"""Tables that a page builds of other elements, said by their roles (WAI-ARIA 1.2), as those of HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

_TAGS = {
    "table": "table", "grid": "table", "treegrid": "table", "row": "tr",
    "cell": "td", "gridcell": "td", "columnheader": "th", "rowheader": "th",
}  # fmt: skip


def with_tables(root: _Element) -> None:
    """Gives the elements that are tables, rows and cells by their roles the tags of these, in place."""
    if root.find(".//*[@role='row']") is None:
        return
    tables: dict[_Element, list[_Element]] = {}  # table → its rows
    rows: dict[_Element, list[_Element]] = {}  # row → its cells
    around: dict[_Element, tuple[_Element | None, _Element | None]] = {}  # the table and the row an element is in
    for element in [*root.iter()]:
        parent = element.getparent()
        table, row = around.get(parent, (None, None)) if parent is not None else (None, None)
        tag = _tag(element)
        if tag == "table":
            table, row = element, None
        elif tag == "tr" and table is not None:
            tables.setdefault(table, []).append(element)
            row = element
        elif tag in ("td", "th") and row is not None:
            rows.setdefault(row, []).append(element)
            row = None
        around[element] = table, row
    for table, own in tables.items():
        if table.tag != "table" and all(_holds(row, rows.get(row, ())) for row in own):
            table.tag = "table"
            for row in own:
                row.tag = "tr"
                row[:] = [_cell(cell) for cell in rows[row]]  # without what is between


def _tag(element: _Element) -> str:
    return _TAGS.get((element.get("role") or "").strip().lower(), "") if isinstance(element.tag, str) else ""


def _holds(row: _Element, cells: list[_Element] | tuple[()]) -> bool:
    """Whether a row is cells and nothing else that is said."""
    return bool(cells) and _words(row) == "".join(map(_words, cells))


def _words(element: _Element) -> str:
    return "".join("".join(map(str, element.itertext())).split())


def _cell(element: _Element) -> _Element:
    element.tag = _tag(element)
    for name in ("colspan", "rowspan"):
        if (covered := element.get(f"aria-{name}")) is not None:
            element.set(name, covered)
    return element
