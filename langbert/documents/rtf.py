"""Rich text (RTF 1.9): its words and the rows of its tables, through striprtf; page headers and notes are left out."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import DocumentError
from .extract import Extract, TextBuilder
from .grid import Cell, Grid
from .properties import properties

_ROW = re.compile(r"[^\n|]*(?:\|[^\n|]*)+\|")
_TIME = r"\\yr(\d+)\\mo(\d+)\\dy(\d+)"


def read(data: bytes) -> Extract:
    if not data.lstrip().startswith(b"{\\rtf"):
        raise DocumentError("it is no RTF; give it the suffix of its real format")
    source = data.decode("latin-1")  # RTF is ASCII; other characters are written as \'xx or \u
    text = _plain(source)
    builder = TextBuilder()
    table = Grid()
    for line in [*text.split("\n"), ""]:
        if _ROW.fullmatch(line):
            table.add(Cell(" ".join(cell.split())) for cell in line[:-1].split("|"))
            continue
        if table.rows:
            builder.table(table)
            table = Grid()
        builder.block(line.strip())
    return builder.build(
        _said(source, "title"),
        properties(authors=[_said(source, "author")], created=_day(source, "creatim"), modified=_day(source, "revtim")),
    )


def _plain(source: str) -> str:
    from striprtf import striprtf

    to_text: Callable[..., str] = striprtf.rtf_to_text
    return to_text(source, errors="replace")


def _said(source: str, name: str) -> str:
    """What the information group says of its title or author (page 25 of the specification)."""
    begin = source.find("{\\info")
    found = (
        re.compile(r"\{\\" + name + r"\b ?((?:[^{}\\]|\\[^{}])*)\}").search(source, begin, begin + 20_000)
        if begin >= 0
        else None
    )
    if found is None:
        return ""
    head = source[:begin] if begin < 4_000 else source[:4_000]  # the code page and the fonts
    codepage = re.search(r"\\ansicpg\d+", head)
    return _plain("{\\rtf1\\ansi" + (codepage.group() if codepage else "") + " " + found[1] + "}").strip()


def _day(source: str, name: str) -> str:
    found = re.search(r"\\" + name + _TIME, source)
    return "-".join(part.zfill(2) for part in found.groups()) if found else ""
