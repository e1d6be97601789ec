"""reStructuredText: the text stays as it is in the file, a line scanner finds the section titles.

docutils would parse it all, at a hundredth of the speed and with a complaint for every Sphinx role it does not know;
the rules for titles are few (reStructuredText specification, "Sections"). A PEP's header names its title.
"""

from __future__ import annotations

import re
from unicodedata import combining, east_asian_width

from ..records import Heading
from .encoding import decode
from .extract import Extract, one_line, with_title
from .header_block import header_block

_ADORNMENT = re.compile(r"""([!-/:-@\[-`{-~])\1*[ \t]*""")
_PEP_HEADER = re.compile(
    r"\A\s*PEP:[ \t]*(?P<number>\d+|[A-Z]\w*)[ \t]*\n(?P<fields>(?:[A-Z][\w-]*:.*\n|[ \t]+\S.*\n)+)"
)
_TITLE_FIELD = re.compile(r"^Title:[ \t]*(?P<title>.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_ROLE = re.compile(r"(?<![\w:.+-]):[\w:.+-]+:`([^`]*)`")
_MARKUP = re.compile(r"``?|\*\*?|(?<=\w)_\b|\|")


def read(data: bytes) -> Extract:
    text = decode(data)
    sections = find_sections(text)
    header = _PEP_HEADER.match(text)
    named = _TITLE_FIELD.search(header.group("fields")) if header else None
    said = header_block(text)
    if header is None or named is None:
        return Extract(text, with_title(sections, said.title), (), said.title, said.metadata)
    title = one_line(f"PEP {header.group('number')} – {named.group('title')}")
    start = header.start("fields") + named.start()
    headings = (Heading(start, 1, title), *(Heading(h.start, h.level + 1, h.text) for h in sections))
    return Extract(text, headings, (), title, said.metadata)


def find_sections(text: str) -> list[Heading]:
    """Section titles with their levels, numbered from 1 in the order in which their adornments first appear."""
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    styles: list[tuple[str, bool]] = []
    headings: list[Heading] = []
    index = 0
    while index < len(lines) - 1:
        over = _is_overlined(lines, index)
        if not over and not _is_underlined(lines, index):
            index += 1
            continue
        style = (lines[index if over else index + 1][0], over)
        if style not in styles:
            styles.append(style)
        title = lines[index + 1] if over else lines[index]
        headings.append(Heading(starts[index], styles.index(style) + 1, _words(title)))
        index += 3 if over else 2
    return [heading for heading in headings if heading.text]


def _is_underlined(lines: list[str], index: int) -> bool:
    title, under = lines[index], lines[index + 1]
    if not title or title[0].isspace() or not _ADORNMENT.fullmatch(under) or _ADORNMENT.fullmatch(title):
        return False
    # A title stands after a blank line (or another title); a shorter underline of four or more is docutils' "too short"
    # warning, yet still a title.
    after_blank = index == 0 or not lines[index - 1].strip() or bool(_ADORNMENT.fullmatch(lines[index - 1]))
    return after_blank and len(under.rstrip()) >= min(4, _columns(title))


def _is_overlined(lines: list[str], index: int) -> bool:
    if index + 2 >= len(lines):
        return False
    over, title, under = (line.rstrip() for line in lines[index : index + 3])
    if not title or not _ADORNMENT.fullmatch(over) or over != under or _ADORNMENT.fullmatch(title):
        return False
    after_blank = index == 0 or not lines[index - 1].strip()
    return after_blank and len(over) >= min(4, _columns(title)) and not lines[index].startswith(" ")


def _columns(title: str) -> int:
    """The width on a terminal: Chinese characters take two columns, and underlines are as long as that."""
    title = title.rstrip()
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in title)


def _words(title: str) -> str:
    return one_line(_MARKUP.sub("", _ROLE.sub(r"\1", title)))
