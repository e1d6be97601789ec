"""What the layout of a PDF page says: which lines belong together, where paragraphs begin, what is a heading."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from ..boxes import Box
from .pdfium import box_on

_NUMBERED = re.compile(
    r"(?:(?P<number>\d{1,2}(?:\.\d{1,2}){0,3})|(?P<letter>[A-Z](?:\.\d{1,2}){0,3}))\.?\s+(?=\S*[^\W\d_])"
)
_KNOWN = re.compile(
    r"abstract|introduction|related work|background|methods?|results|discussion|conclusions?|acknowledge?ments?"
    r"|references|bibliography|appendix|appendices|summary|contents|table of contents"
    r"|摘要|引言|结论|参考文献|附录|目录",
    re.I,
)
_SENTENCE_END = (".", "!", "?", ":", ";", "。", "！", "？", "”", '"', ")", "]")
_MAX_HEADING = 120
_NEAR = 4  # lines from a row of figures to the next
_NAMES = 5  # lines above a row of figures in which the names of its columns may stand
_FIXED_PITCH = 1  # of a font's flags (ISO 32000-1, table 123)
_BOLD = re.compile(rb"bold|black|heavy|-bd|-medi|cmbx", re.IGNORECASE)
_FIXED = re.compile(rb"courier|mono|nimbusmon|typewriter|cmtt|consol", re.IGNORECASE)
_WORD = re.compile(r"[^\s]+")
_TITLE_LINES = 15  # a title stands among the first lines; figures further down may have larger type


class Word(NamedTuple):
    """Characters without a blank between them, and from where to where they stand, in points."""

    text: str
    left: float
    right: float


@dataclass(slots=True)
class Line:
    """One line of the text of a page. Lengths are points, heights grow upwards; ``size`` is the font's, 0 if unknown.

    ``left``, ``bottom`` and ``top`` are those of the first character, ``end_…`` those of the last: pdfium makes one
    line of two where a word is split between them, and then they stand at different heights. ``boxes`` are those of
    the parts that stand at one height, each with the place in ``text`` where it begins. ``words`` are known of lines
    that may be rows of a ``table``, whose number they have if they are.
    """

    text: str
    left: float = 0.0
    bottom: float = 0.0
    top: float = 0.0
    end_right: float = 0.0
    end_bottom: float = 0.0
    end_top: float = 0.0
    size: float = 0.0
    bold: bool = False
    upright: bool = True
    heading: int = 0
    continues_heading: bool = False
    boxes: list[tuple[int, Box]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    fixed_pitch: bool = False
    table: int = 0


@dataclass(frozen=True, slots=True)
class Outline:
    """A bookmark: depth from 0, title, page index where it points at one."""

    level: int
    title: str
    page: int | None


def page_lines(pdf: Any, index: int) -> list[Line]:
    """The lines of a page in reading order, superscripts and the like put back into their line."""
    page = pdf[index]
    try:
        text_page = page.get_textpage()
        try:
            return _joined(_read_lines(page, text_page))
        finally:
            text_page.close()
    finally:
        page.close()


def _read_lines(page: Any, text_page: Any) -> list[Line]:
    text = characters(text_page)
    lines = []
    spans = []
    for match in re.finditer(r"[^\r\n]+", text):
        words = match.group()
        kept = words.rstrip()
        start = match.start() + len(kept) - len(kept.lstrip())
        if kept:
            line = _measured(text_page, words.replace("\ue000", ""), start, match.start() + len(kept) - 1)
            line.boxes = list(_boxes(page, text_page, kept.lstrip(), start))
            lines.append(line)
            spans.append(match.span())
    for i in _perhaps_rows(lines):
        lines[i].words = list(_words(text_page, text, *spans[i]))
    return [line for line in lines if line.text.strip()]


def _perhaps_rows(lines: list[Line]) -> set[int]:
    """Those near which figures stand below each other: measuring every word would take half as long again."""
    held = [i for i, line in enumerate(lines) if _has_figures(line.text.split())]
    near = (i for before, i in pairwise(held) if i - before <= _NEAR for i in (before, i))
    return {at for i in near for at in range(max(i - _NAMES, 0), min(i + _NEAR, len(lines)))}


def _has_figures(words: list[str]) -> bool:
    figures = sum(any(map(str.isdigit, word)) for word in words)
    return len(words) > 1 and figures >= max(1, 0.2 * len(words))


def _words(text_page: Any, text: str, start: int, end: int) -> Iterator[Word]:
    for match in _WORD.finditer(text, start, end):
        left, *_ = text_page.get_charbox(match.start())
        _, _, right, _ = text_page.get_charbox(match.end() - 1)
        yield Word(match[0].replace("\ue000", "").replace("\ufffe", "-"), left, right)


def _boxes(page: Any, text_page: Any, words: str, first: int) -> Iterator[tuple[int, Box]]:
    """Those of a line, or of two where it is split within a word, which U+FFFE marks."""
    for part in re.finditer("[^\ufffe]+", words):
        count = text_page.count_rects(first + part.start(), len(part[0]))
        rects = [text_page.get_rect(i) for i in range(count)]
        if rects:
            left, bottom, right, top = zip(*rects, strict=True)
            yield part.start(), box_on(page, min(left), min(bottom), max(right), max(top))


def characters(text_page: Any) -> str:
    """The text of a page, a character for each of pdfium's, so that places in the one are places in the other.

    pdfium counts in UTF-16 units, and leaves characters out of the text that it has no Unicode value for: then the two
    do not run parallel, and the text is put together unit by unit.
    """
    text: str = text_page.get_text_range()
    count: int = text_page.count_chars()
    return text if not text or len(text) == count else _by_unit(text_page, count)


def _by_unit(text_page: Any, count: int) -> str:
    """One character per pdfium index; what has none is U+E000, and the low half of a surrogate pair too."""
    import pypdfium2.raw as pdfium

    units = [pdfium.FPDFText_GetUnicode(text_page, i) for i in range(count)]
    characters = []
    for i, unit in enumerate(units):
        if 0xD800 <= unit < 0xDC00 and i + 1 < count and 0xDC00 <= units[i + 1] < 0xE000:
            characters.append(chr(0x10000 + ((unit - 0xD800) << 10) + units[i + 1] - 0xDC00))
        elif 0xD800 <= unit < 0xE000 or (unit < 0x20 and unit not in (0x2, 0x9, 0xA, 0xD)):
            characters.append("\ue000")
        else:
            characters.append("\ufffe" if unit == 0x2 else chr(unit))
    return "".join(characters)


def _measured(text_page: Any, text: str, first: int, last: int) -> Line:
    import pypdfium2.raw as pdfium

    left, bottom, _, top = text_page.get_charbox(first, loose=True)
    _, end_bottom, end_right, end_top = text_page.get_charbox(last, loose=True)
    matrix = pdfium.FS_MATRIX()
    pdfium.FPDFText_GetMatrix(text_page, first, matrix)
    scale = (matrix.c**2 + matrix.d**2) ** 0.5
    size = round(2 * pdfium.FPDFText_GetFontSize(text_page, first) * scale) / 2
    (bold, fixed), (bold_end, _) = _font(text_page, first), _font(text_page, last)
    upright = abs(matrix.b) < 0.1 * abs(matrix.a or 1)
    return Line(
        text, left, bottom, top, end_right, end_bottom, end_top, size, bold and bold_end, upright, fixed_pitch=fixed
    )


def _font(text_page: Any, index: int) -> tuple[bool, bool]:
    """Whether a character is bold, and whether all of its font are as wide."""
    import pypdfium2.raw as pdfium

    name, flags = ctypes.create_string_buffer(64), ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(text_page, index, name, 64, flags)
    bold = pdfium.FPDFText_GetFontWeight(text_page, index) >= 600 or _BOLD.search(name.value) is not None
    return bold, bool(flags.value & _FIXED_PITCH) or _FIXED.search(name.value) is not None


def _joined(lines: list[Line]) -> list[Line]:
    """Lines that go on at the same height are one: pdfium breaks them where the baseline moves, as at superscripts."""
    result: list[Line] = []
    for line in lines:
        before = result[-1] if result else None
        if before is None or not _goes_on(before, line):
            result.append(line)
            continue
        gap = line.left - before.end_right
        space = "" if gap < 0.12 * max(before.size, line.size) or before.text.endswith(" ") else " "
        before.boxes += [(len(before.text + space) + at, box) for at, box in line.boxes]
        before.text += space + line.text
        if before.words and line.words:
            last, first = before.words[-1], line.words[0]
            if not space:
                before.words[-1:] = [Word(last.text + first.text, last.left, first.right)]
            before.words += line.words[0 if space else 1 :]
        before.end_right = line.end_right
        # The height of the larger type is that of the line: a superscript must not decide for it.
        if line.size >= before.size or line.end_bottom < before.end_bottom - before.size:
            before.end_bottom, before.end_top = line.end_bottom, line.end_top
        if line.size > before.size:
            before.size, before.bold, before.bottom, before.top = line.size, line.bold, line.bottom, line.top
    return result


def _goes_on(before: Line, line: Line) -> bool:
    if not (before.upright and line.upright and before.size and line.size):
        return False
    height = min(before.end_top - before.end_bottom, line.top - line.bottom)
    overlap = min(before.end_top, line.top) - max(before.end_bottom, line.bottom)
    size = max(before.size, line.size)
    return overlap > 0.4 * height and -0.3 * size < line.left - before.end_right < size


def body_size(pages: list[list[Line]]) -> float:
    """The font size that most characters have; 0 if none is known."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            if line.size and line.upright:
                sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def paragraph_starts(lines: list[Line], body: float) -> set[int]:
    """Indices of lines that begin a paragraph: after a wider gap, at an indent after a full stop, at a new column."""
    starts = set()
    for i in range(1, len(lines)):
        before, line = lines[i - 1], lines[i]
        size = max(line.size, before.size, 1.0)
        gap = before.end_bottom - line.top
        ends = before.text.rstrip().endswith(_SENTENCE_END)
        if line.table or before.table:
            if line.table != before.table:
                starts.add(i)
        elif gap > 0.8 * size or (line.upright != before.upright):
            starts.add(i)
        elif gap < -2 * size:  # up again: the next column, or a caption
            if ends or abs(line.size - before.size) >= 1:
                starts.add(i)
        elif abs(line.size - before.size) >= 1.5 and max(line.size, before.size) > 1.1 * body:
            starts.add(i)
        elif ends and 0.5 * size < line.left - before.left < 4 * size:
            after = lines[i + 1] if i + 1 < len(lines) else None
            if after is None or after.left < line.left - 0.5 * size:
                starts.add(i)
    return starts


def find_title(pages: list[list[Line]], body: float) -> list[Line]:
    """The lines of the title: the largest upright type on the first page, if it is clearly larger than the body."""
    first = [line for line in (pages[0] if pages else []) if line.upright and line.size][:_TITLE_LINES]
    if not first or not body:
        return []
    largest = max(line.size for line in first)
    if largest < 1.15 * body:
        return []
    start = next(i for i, line in enumerate(first) if line.size == largest)
    lines = []
    for line in first[start : start + 4]:
        if line.size < largest:
            break
        lines.append(line)
    words = "".join(line.text for line in lines)
    return lines if 4 <= len(words.strip()) <= 250 and _wordy(words) else []


def mark_headings(pages: list[list[Line]], body: float, outline: list[Outline], title: list[Line]) -> None:
    """Set ``heading`` on the lines that are headings: by the bookmarks if they point at pages, else by the type."""
    if title:
        title[0].heading = 1
        for line in title[1:]:
            line.continues_heading = True
    if sum(entry.page is not None for entry in outline) >= 3 and _mark_outline(pages, outline):
        return
    if body:
        _mark_by_type(pages, body)


def _mark_outline(pages: list[list[Line]], outline: list[Outline]) -> bool:
    found = 0
    for entry in outline:
        key = _key(entry.title)
        if entry.page is None or not 0 <= entry.page < len(pages) or len(key) < 2:
            continue
        line = next((line for line in pages[entry.page] if _matches(_key(line.text), key)), None)
        if line is not None and not line.heading and not line.continues_heading:
            line.heading = entry.level + 2
            found += 1
    return found >= 3


def _key(text: str) -> str:
    """Letters only, so that numbering and spacing may differ."""
    return re.sub(r"[\W\d_]+", "", text).casefold()


def _matches(line: str, title: str) -> bool:
    return bool(line) and (line == title or (len(line) >= 12 and title.startswith(line)))


def _mark_by_type(pages: list[list[Line]], body: float) -> None:
    candidates: list[tuple[Line, re.Match[str] | None]] = []
    for page in pages:
        for i, line in enumerate(page):
            if line.heading or line.continues_heading or not _looks_like_heading(line, body):
                continue
            number = _NUMBERED.match(line.text.strip())
            if number or _KNOWN.fullmatch(line.text.strip(" .:")) or _stands_over_body(page, i, body):
                candidates.append((line, number))
    total = sum(len(page) for page in pages)
    if len(candidates) > max(4, total // 5):  # a form or a poster: everything is bold or large there
        return
    numbered = sum(number is not None for _, number in candidates) >= 3
    sizes = sorted({line.size for line, number in candidates if number is None}, reverse=True)
    for line, number in candidates:
        if number:
            line.heading = 2 + number.group().rstrip(" .").count(".")
        elif not numbered:
            line.heading = min(2 + sizes.index(line.size), 4)
        elif _KNOWN.fullmatch(line.text.strip(" .:")):  # where sections are numbered, only these go without
            line.heading = 2
    for page in pages:
        for line, below in pairwise(page):
            if (line.heading > 1 or line.continues_heading) and _same_heading(line, below):
                below.continues_heading = True


def _same_heading(line: Line, below: Line) -> bool:
    """The second line of a heading: same type, right below, and no heading of its own."""
    return (
        not below.heading
        and not below.table
        and below.upright
        and below.size == line.size
        and below.bold == line.bold
        and len(below.text) <= _MAX_HEADING
        and -0.2 * line.size < line.end_bottom - below.top < 0.6 * line.size
        and not _NUMBERED.match(below.text.strip())
        and not below.text.rstrip().endswith((".", "。"))
    )


def _looks_like_heading(line: Line, body: float) -> bool:
    text = line.text.strip()
    if (
        line.table
        or not line.upright
        or not 2 <= len(text) <= _MAX_HEADING
        or text.endswith((".", ",", ";", "。", "，", "…"))
    ):
        return False
    first = next((char for char in text if char.isalnum()), "")
    if first.islower() or not _wordy(_NUMBERED.sub("", text, count=1)):
        return False
    if line.size >= 1.08 * body:
        return True
    return line.bold and line.size >= 0.98 * body and bool(_NUMBERED.match(text) or _KNOWN.fullmatch(text.strip(" .:")))


def _wordy(text: str) -> bool:
    letters = sum(char.isalpha() for char in text)
    return letters >= 2 and letters > 0.5 * len(text.replace(" ", ""))


def _stands_over_body(page: list[Line], index: int, body: float) -> bool:
    """Author lines and figures are large too, but have no body text right below."""
    if index + 1 >= len(page):
        return False
    line, below = page[index], page[index + 1]
    return (
        0.85 * body <= below.size <= 1.05 * body
        and below.size < line.size
        and 0 < line.end_bottom - below.bottom < 5 * line.size
    )
