"""Rich text (RTF 1.9): its words and the rows of its tables, through striprtf, page headers and footers once, notes in
brackets; no hidden and no deleted text.

striprtf knows nothing of how words look, so their marks (:mod:`.marks`) are written into the source for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import DocumentError
from .extract import Extract, TextBuilder
from .grid import Cell, Grid
from .marks import RAISED, STRUCK, as_seen
from .properties import properties

_ROW = re.compile(r"[^\n|]*(?:\|[^\n|]*)+\|")
_FONT_TABLE = re.compile(r"\{[^{}]*\\fonttbl")
_BRACE = re.compile(r"[{}]")
_FONT = re.compile(r"\\f(\d{1,6})|\\fcharset(\d{1,3})")
_TOKEN = re.compile(
    r"\\(?P<word>[a-z]{1,32})(?P<value>-?\d{1,10})? ?|(?P<text>\\'[\da-f]{2}|\\[{}\\]|[^\\{}]+)|\\[^a-z]|[{}\\]", re.I
)
_LOOKS = {"v": "unseen", "deleted": "unseen", "super": "raised", "strike": "struck", "striked": "struck"}
_ENDS = {"sub": {"raised"}, "nosupersub": {"raised"}, "plain": {"unseen", "raised", "struck"}}
_MARKS = {"raised": RAISED, "struck": STRUCK}
_DESTINATIONS = {
    **dict.fromkeys(
        (f"{margin}{pages}" for margin in ("header", "footer") for pages in ("", "l", "r", "f")),
        ("\\par\x12 ", "\\par\x13 "),
    ),
    "footnote": (" [", "]"),
    "pntext": ("", ""),  # the number of an item
}
_TIME = r"\\yr(\d+)\\mo(\d+)\\dy(\d+)"


def read(data: bytes) -> Extract:
    if not data.lstrip().startswith(b"{\\rtf"):
        raise DocumentError("it is no RTF; give it the suffix of its real format")
    source = data.decode("latin-1")  # RTF is ASCII; other characters are written as \'xx or \u
    text = as_seen(_plain(_marked(source)))
    builder = TextBuilder()
    table = Grid()
    in_margin = False
    for line in [*text.split("\n"), ""]:
        in_margin = (in_margin or "\x12" in line) and "\x13" not in line
        if in_margin:
            builder.margin(line.strip("\x12 "))
            continue
        if _ROW.fullmatch(line):
            table.add(Cell(" ".join(cell.split())) for cell in line[:-1].split("|"))
            continue
        if table.rows:
            builder.table(table)
            table = Grid()
        builder.block(line.strip("\x13 \t"))
    return builder.build(
        _said(source, "title"),
        properties(authors=[_said(source, "author")], created=_day(source, "creatim"), modified=_day(source, "revtim")),
    )


def _marked(source: str) -> str:
    """The source without what is unseen, with marks where words look otherwise than those before, and with page headers
    and notes as text."""
    out: list[str] = []
    looks: frozenset[str] = frozenset()
    groups: list[tuple[frozenset[str], str]] = []  # how words looked before a group, and what ends it
    mark = ("", "")
    for token in _TOKEN.finditer(source):
        said, word = token[0], token["word"]
        if said == "{":
            groups.append((looks, ""))
        elif said == "}" and groups:
            looks, end = groups.pop()
            out.append(end)
        elif word in _LOOKS:
            looks = looks - {_LOOKS[word]} if token["value"] == "0" else looks | {_LOOKS[word]}
        elif word in _ENDS:
            looks -= _ENDS[word]
        elif word in _DESTINATIONS and groups:
            said, end = _DESTINATIONS[word]
            groups[-1] = (groups[-1][0], end)
        elif word == "u" or token["text"]:
            if "unseen" in looks:
                continue
            own = next((_MARKS[look] for look in ("struck", "raised") if look in looks), ("", ""))
            if own != mark:
                out.append(mark[1] + own[0])
                mark = own
        out.append(said)
    return "".join(out)


def _plain(source: str) -> str:
    from striprtf import striprtf

    to_text: Callable[..., str] = striprtf.rtf_to_text
    # its pattern for links takes a power of a line's length; it finds no field before a space
    return to_text(_short_font_table(source).replace("\\field{", "\\field {"), errors="replace")


def _short_font_table(source: str) -> str:
    """The same with each font on a line of its own: striprtf's pattern takes the cube of a line's length."""
    begin = _FONT_TABLE.search(source)
    if begin is None:
        return source
    depth, end = 1, len(source)
    for brace in _BRACE.finditer(source, begin.end()):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            end = brace.end()
            break
    charsets: dict[str, str] = {}
    font = ""
    for word in _FONT.finditer(source, begin.end(), end):
        font = word[1] or font
        if word[2] and font:
            charsets.setdefault(font, word[2])
    fonts = "".join(f"{{\\f{font}\\fcharset{charset} -;}}\n" for font, charset in charsets.items())
    return f"{source[: begin.start()]}{{\\fonttbl\n{fonts}}}{source[end:]}"


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
