"""CSV and TSV: a row per line, the names of the columns beside the values; without names it stays as it is.

The header row is also the title: it stands above every chunk.
"""

from __future__ import annotations

import csv
import io
import re

from ..records import Heading
from .encoding import decode
from .extract import Extract, one_line
from .grid import is_quantity, row_line
from .limits import spend

_SEPARATOR = re.compile(r"\A\s*sep=.\n", re.I)  # said to Excel
_SAMPLE = 8192
_MAX_CELL = 1 << 24  # characters; csv's own limit would refuse a cell with a long text


def read(data: bytes) -> Extract:
    text = _SEPARATOR.sub("", decode(data))
    names, dialect = _header(text)
    if not names or dialect is None:
        return Extract(text)
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
        return Extract(text, (Heading(0, 1, _title(names)),))
    finally:
        csv.field_size_limit(previous)
    return Extract("\n".join(lines) + "\n", (Heading(0, 1, _title(names)),))


def read_verbatim(data: bytes) -> Extract:
    """The lines as they are, below the names of the columns."""
    text = decode(data)
    names, _ = _header(text)
    return Extract(text, (Heading(0, 1, _title(names)),) if names else ())


def _title(names: list[str]) -> str:
    return one_line(" | ".join(names))


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
