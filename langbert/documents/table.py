"""CSV and TSV: kept as they are, so that line numbers are those of the file; the header row is the title.

As the title it stands above every chunk, so that a row far down still says what its columns are.
"""

from __future__ import annotations

import csv

from ..records import Heading
from .encoding import decode
from .extract import Extract, one_line


def read(data: bytes) -> Extract:
    text = decode(data)
    header = _header(text)
    return Extract(text, (Heading(0, 1, header),) if header else ())


def _header(text: str) -> str:
    """The first row, if it has a name for each of several columns and none of them is a number."""
    sample = text[:8192]
    try:
        dialect = csv.Sniffer().sniff(sample, delimiters=",;\t|")
        row = next(csv.reader(sample.splitlines(), dialect))
    except (csv.Error, StopIteration):
        return ""
    names = [name.strip() for name in row]
    while names and not names[-1]:
        names.pop()
    if len(names) < 2 or not all(names) or any(name[0].isdigit() for name in names):
        return ""
    return one_line(" | ".join(names))
