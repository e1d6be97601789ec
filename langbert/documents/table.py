"""CSV and TSV: a row per line, the names of the columns beside the values; without names it stays as it is.

The header row is also the title: it stands above every chunk. Lines above it (the name of a report, "Account: 12")
stay as they are.
"""

from __future__ import annotations

import csv
import io
import re

from ..records import Heading
from .cell_words import is_quantity
from .encoding import decode
from .extract import Extract, one_line
from .grid import row_line
from .limits import spend

_SEPARATOR = re.compile(r"\A\s*sep=.\n", re.I)  # said to Excel
_CELLS = re.compile("[,;\t|]")
_SAMPLE = 8192
_MOST_ABOVE = 10  # lines
_ALIKE = 5  # rows below the header that have as many cells
_MAX_CELL = 1 << 24  # characters; csv's own limit would refuse a cell with a long text


def read(data: bytes) -> Extract:
    text = _SEPARATOR.sub("", decode(data))
    above = _above(text)
    names, dialect = _header(text[above:])
    if not names or dialect is None:
        return Extract(text)
    before, text = text[:above], text[above:]
    headings = (Heading(above, 1, _title(names)),)
    previous = csv.field_size_limit(_MAX_CELL)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), dialect)
        cells = ([" ".join(cell.split()) for cell in row] for row in rows)
        lines = []
        for number, row in enumerate(cells):
            if any(row):
                lines.append(row_line(row, names if number else ()))
                spend(len(lines[-1]))
    except csv.Error:  # quotes that do not pair
        return Extract(before + text, headings)
    finally:
        csv.field_size_limit(previous)
    return Extract(before + "\n".join(lines) + "\n", headings)


def read_verbatim(data: bytes) -> Extract:
    """The lines as they are, below the names of the columns."""
    text = decode(data)
    names, _ = _header(text)
    return Extract(text, (Heading(0, 1, _title(names)),) if names else ())


def _title(names: list[str]) -> str:
    return one_line(" | ".join(names))


def _above(text: str) -> int:
    """Where the header row begins, if lines that say something else stand above it, each of one cell, or of a name and
    its value; else 0."""
    start = widest = 0
    for line in text[:_SAMPLE].splitlines(keepends=True)[:_MOST_ABOVE]:
        names, dialect = _header(text[start:])
        if dialect is not None and len(names) > widest:
            rows = csv.reader(text[start : start + _SAMPLE].splitlines()[: _ALIKE + 1], dialect)
            try:
                alike = [len(row) == len(names) for row in rows if any(row)]
            except csv.Error:
                return 0
            if len(alike) > 1 and all(alike):
                return start
        width = max((n for n, cell in enumerate(_CELLS.split(line), 1) if cell.strip(' "\n')), default=0)
        if width > 2:
            return 0
        widest = max(widest, width)
        start += len(line)
    return 0


def _header(text: str) -> tuple[list[str], type[csv.Dialect] | None]:
    """The first row, if it has a name for each of several columns and none of them is a number."""
    sample = text[:_SAMPLE]
    try:
        dialect = csv.Sniffer().sniff(sample, delimiters=",;\t|")
        row = next(csv.reader(sample.splitlines(), dialect))
    except (csv.Error, StopIteration):
        return [], None
    names = [name.strip() for name in row]
    while names and not names[-1]:
        names.pop()
    if len(names) < 2 or not all(names[1:]) or any(map(is_quantity, names)):
        return [], None
    return names, dialect
