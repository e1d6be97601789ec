"""Where sentences begin and end, in English and other Western languages, Chinese and Japanese.

Rules, no model: a few regular expressions over the text, some MB/s. Lists, headings, tables and code end
sentences by their lines; wrapped prose does not.
"""

from __future__ import annotations

import re

from .layout import ITEM
from .scripts import CJK

_CLOSERS = "\"'”’»)\\]】」』）》〉］｝〕"

# A sentence may end: at CJK punctuation anywhere, at Western punctuation before white space.
_END = re.compile(
    rf"(?P<cjk>[。！？；｡]+[{_CLOSERS}…]*|(?<!…)…{{2,}}[{_CLOSERS}]*(?=[{CJK}]))"
    # The lookbehind keeps a page full of dots from being tried at every dot.
    rf"|(?P<western>(?<![.!?…։؟۔।॥])[.!?…։؟۔।॥]+[{_CLOSERS}*_`]*)(?=\s|\Z)"
)
# A line break ends a sentence where a blank line follows, or a line that begins something of its own.
_BREAK = re.compile(
    r"\n(?=[ \t\u3000]*(?:\n|\Z)"  # blank line
    rf"|[ \t\u3000]*(?:{ITEM}|[–—][ \t\u00a0])"
    r"|[ \t]*(?:#{1,6}[ \t]|```|~~~|>>>|\.\. |\||<[/!a-zA-Z])"  # heading, fence, prompt, directive, table row, mark-up
    r"|\f)"
)
_OWN_LINE = re.compile(r"[ \t]*(?:#{1,6}[ \t]|```|~~~|>>> |\|.*\|[ \t]*$|\$ |[=\-~^\"'`+*#]{4,}[ \t]*$)")
# Indented, or set off by punctuation that prose does not have.
_CODE = re.compile(r"(?=(?: {4}|\t))(?=.*(?:[={}<>;]|\w\(|\)[:;]?[ \t]*$|\w:[ \t]*$|->|::|\w\.\w+\[))")

_ABBREVIATIONS = frozenset(
    """
    e.g i.e cf v vs viz al resp approx ca etc dr mr mrs ms prof st jr sr rev gen col sgt capt lt hon gov sen rep pres
    fig figs eq eqs eqn sec sect ch chap vol vols no nos p pp ed eds trans ref refs tab app par para art ex def thm
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun
    inc ltd co corp dept univ assn bros est ave blvd rd mt ft oz lb lbs min max avg ext tel
    u.s u.k u.n e.u a.m p.m ph.d m.d b.a m.a b.sc m.sc d.c b.c a.d
    z.b d.h u.a bzw usw vgl nr bd hrsg evtl ggf inkl abb mme mlle
    """.split()  # noqa: SIM905
)
# These may well stand at the end of a sentence: a capital after them begins a new one.
_MAY_END = frozenset("etc al inc ltd co corp jr sr a.m p.m u.s u.k u.n e.u ph.d m.d b.c a.d d.c usw est".split())  # noqa: SIM905
_STARTERS = frozenset(
    """
    a an the this that these those it its he she they we you i there here in on at by for from with without to of as
    if when while where after before since although though because however but and or nor so yet also then thus hence
    therefore moreover furthermore finally first second third next many most some all each every both no not what who
    why how which is are was were do does did can may must should would could let see note one our their his her my
    """.split()  # noqa: SIM905
)
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«（【「]*\Z")
_NUMBER_AT_LINE_START = re.compile(r"(?:\A|\n)[ \t]*(?:\d{1,3}(?:\.\d{1,3})*|[a-zA-Z]|[ivxIVX]{1,5})\Z")
_CELLS = " | "  # a row of a table
_UNDERLINE = re.compile(r"[ \t]*\n(?P<mark>[=\-~^\"'`+*#.:_])(?P=mark){2,}[ \t]*(?:\n|\Z)")
_NEXT_WORD = re.compile(r"\s*[\"'“‘(]*([^\W\d_]+)")
_DOTTED = re.compile(r"(?:[a-z]\.)+[a-z]")
_QUOTING = re.compile(r"[」』”](?:と|って)")


def sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of ``text`` as ``(start, end)``, in order, disjoint, without white space at either end.

    Every character that is not white space lies in exactly one of them. Blank lines, list items, headings, table rows
    and lines of code end a sentence; abbreviations, initials, decimals and list numbers do not.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for end in _ends(text):
        _append_stripped(spans, text, start, end)
        start = end
    _append_stripped(spans, text, start, len(text))
    return spans


def is_code_line(line: str) -> bool:
    """Whether a line by itself looks like code: indented, with signs that prose does not have."""
    return _CODE.match(line) is not None


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The offsets of ``text[start:end]`` without white space at either end.

    >>> stripped(" a b ", 0, 5)
    (1, 4)
    """
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _append_stripped(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    start, end = stripped(text, start, end)
    if start < end:
        spans.append((start, end))


def _ends(text: str) -> list[int]:
    """Ascending offsets behind which a new sentence may begin."""
    ends = {match.start() for match in _BREAK.finditer(text)}
    ends |= _line_ends(text)
    for match in _END.finditer(text):
        if match["cjk"] is not None:
            if not _QUOTING.match(text, match.end() - 1):
                ends.add(match.end())
        elif _is_western_end(text, match.start(), match.end(), match["western"]):
            ends.add(match.end())
    return sorted(ends)


def _line_ends(text: str) -> set[int]:
    """Ends of lines that stand for themselves: headings, table rows, rules and code, in fences or indented."""
    ends: set[int] = set()
    start = 0
    fenced = previous_code = False
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start : min(end, start + 400)]
        stripped = line.lstrip(" \t")
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
        code = fenced or _CODE.match(line) is not None
        if code or _CELLS in line or (stripped[:1] in "#`~>|$=-^\"'+*" and _OWN_LINE.match(line)):
            ends.add(end)
            if code and not previous_code and not fenced and start and text[start - 1] == "\n":
                ends.add(start)
        previous_code = code
        start = end + 1
    return ends


def _is_western_end(text: str, start: int, end: int, mark: str) -> bool:
    following = _next_visible(text, end)
    if following == "":
        return True
    if following.islower() or following in ",;:)]}»" or _UNDERLINE.match(text, end):
        return False
    if mark[0] != "." or mark.startswith(".."):
        return True
    word = _LAST_WORD.search(text, max(0, start - 40), start)
    last = word.group() if word else ""
    if not last:
        return True
    if _NUMBER_AT_LINE_START.search(text, max(0, start - 12), start):
        return False
    plain = last.lower()
    abbreviation = plain in _ABBREVIATIONS or _DOTTED.fullmatch(plain) is not None
    if abbreviation and (following.isdigit() or (plain in _ABBREVIATIONS and plain not in _MAY_END)):
        return False
    # An initial too: "J. Smith", but "vitamin C. It"; and "the U.S. Navy", but "in the U.S. The".
    if abbreviation or (len(plain) == 1 and last.isupper() and last != "I"):
        word = _NEXT_WORD.match(text, end)
        return word is not None and word.group(1).lower() in _STARTERS
    return True


def _next_visible(text: str, offset: int) -> str:
    """The next character that is neither white space nor an opening quote or bracket."""
    while offset < len(text) and (text[offset].isspace() or text[offset] in "\"'“‘«([{*_`"):
        offset += 1
    return text[offset : offset + 1]
