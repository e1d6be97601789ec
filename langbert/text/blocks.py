"""Text → Blocks: paragraphs, lists, tables, fields and code, as they are set, each with what introduces it.

What a person would underline follows the layout: sentences of a paragraph, the items of a list with the line before
them, the rows of a table, a piece of code with the sentence that announces it. Rules, no model, one pass over the
lines; what formats have in common is enough (Markdown, reStructuredText, what our readers make of tables, PDF's lines).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..records import Heading
from .layout import FRONT_MATTER, ITEM
from .scripts import HAN, letters, reading_length
from .sentences import is_code_line, sentences, stripped

BlockKind = Literal["text", "list", "table", "fields", "code"]
Span = tuple[int, int]

_MARKED_HEADING = re.compile(r"#{1,6}[ \t]+\S")
_UNDERLINES = "=-~^*+#"
_UNDERLINE = re.compile(r"(?P<mark>[=\-~^\"'`+*#.:_])(?P=mark){2,}[ \t]*")
_FENCE = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})")
_ITEM = re.compile(rf"[ \t\u3000]*{ITEM}(?=\s*\S)")
_ROW = re.compile(r"[ \t]*\|.*\||[^|\n]*\S \| \S")
_RULE = re.compile(rf"(?=.{{3}})[|+:\-= \t]+$|[ \t]*{_UNDERLINE.pattern}$")
_COLUMNS = re.compile(r"[ \t]*={2,}(?:[ \t]+={2,})+[ \t]*$")  # of a simple table of reStructuredText
_FIELD = re.compile(rf":?(?:[A-Z][\w-]{{1,30}}(?: [\w-]{{1,20}})?: {{1,20}}|[{HAN}]{{2,8}}[:：] ?)\S")
_DIRECTIVE = re.compile(r"[ \t]*\.\. (?:(?P<name>[\w-]+)::[ \t]*|_|\[[#\w]*\])")
_OPTION = re.compile(r"[ \t]*:(?P<name>[\w-]{1,30}):")
_CODE_DIRECTIVES = frozenset({"code", "code-block", "sourcecode", "parsed-literal", "doctest"})
_PROSE_DIRECTIVES = frozenset(
    "note warning important caution tip hint attention danger deprecated versionadded versionchanged".split()  # noqa: SIM905
)
_LINK = re.compile(
    r"!?\[[^\[\]\n]{0,300}\](?:\([^()\n]{0,600}\)|\[[^\[\]\n]{0,300}\])|<?https?://\S+|`[^`<\n]{0,300}<[^<>\n]{0,600}>`_*"
)
_TAG = re.compile(r"[ \t]*(?:</?[A-Za-z][^<>]*>|\{\{.*\}\}|\{%.*%\})[ \t]*$")
_QUOTED = re.compile(r"[ \t]{0,3}>(?!>>)[ \t]?")
_ANNOUNCES = re.compile(r"[:：][\"'”’*_`）)]*$")
_ASKS = re.compile(r"[?？][\"'”’*_`）)」』]*$")
_FEWEST_FIELDS = 3
_LONGEST_LEAD = 400  # characters
_FIGURE = re.compile(r"(?<![\w-])\d")
_LONGEST_TERM = 80
_LONGEST_TITLE = 8  # words
_ENDS = (*".!?。！？；;,，、…\"'”’)）」』`",)
_LONGEST_LABEL = 8  # letters beside a link


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a text that is set in one way; all offsets are the text's.

    Attributes:
        units: what it is made of, in order: sentences, items, rows, fields; code is one.
        lead: the sentence before a list, a table or code that announces it, or the table's header where its rows do
            not name their columns; None where there is none.
        section: which heading it stands under, counted from 1; 0 is before the first.
    """

    kind: BlockKind
    units: tuple[Span, ...]
    lead: Span | None
    section: int

    @property
    def start(self) -> int:
        return self.units[0][0]

    @property
    def end(self) -> int:
        return self.units[-1][1]


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    text: str

    @property
    def blank(self) -> bool:
        return not self.text or self.text.isspace()

    @property
    def indent(self) -> int:
        text = self.text.expandtabs(4)
        return len(text) - len(text.lstrip())


def blocks(text: str, headings: Sequence[Heading] = (), start: int = 0, end: int | None = None) -> list[Block]:
    """The blocks of ``text[start:end]`` in order, disjoint, without headings, rules and directives.

    Args:
        headings: of the whole text, in order; no block reaches over one. Without any, lines that Markdown marks as
            headings, or that are underlined, are taken for them.
        start, end: where lines begin and end.
    """
    return _Blocks(text, headings, start, len(text) if end is None else end).found


class _Blocks:
    """The work on one text."""

    def __init__(self, text: str, headings: Sequence[Heading], start: int, end: int) -> None:
        self.text = text
        self.found: list[Block] = []
        self._section = sum(heading.start < start for heading in headings)
        self._announced = False  # the last paragraph ended with "::"
        if start == 0 and (front := FRONT_MATTER.match(text, 0, end)):
            start = front.end()
            own = _lines(text, *front.span("fields"))
            self._add("fields", [(line.start, line.end) for line in own])
            self._section = sum(heading.start < start for heading in headings)
        titles = {heading.start: letters(heading.text) for heading in headings if start <= heading.start < end}
        lines: list[_Line] = []
        every = list(_lines(text, start, end))
        below = -1
        for i, line in enumerate(every):
            if i == below:
                continue
            title = next((titles.pop(at) for at in [*titles] if at <= line.end), None)
            if title is None and not headings and _looks_like_heading(line, every[i + 1 : i + 2]):
                title = letters(line.text)
            if title is None or _is_among_fields(every, i):  # the title may be one of the fields at the top
                self._section += title is not None
                lines.append(line)
                continue
            if i + 1 < len(every) and _UNDERLINE.fullmatch(every[i + 1].text):
                below = i + 1  # of "~" it would fence what follows
                if lines and _UNDERLINE.fullmatch(lines[-1].text):
                    lines.pop()
            self._take(lines)
            lines = []
            self._section += 1
            self._announced = False
            if title and not letters(line.text).startswith(title[: len(letters(line.text)) or 1]):
                lines.append(line)  # a heading that no line says: the title of a table
        self._take(lines)

    def _take(self, lines: Sequence[_Line]) -> None:
        """The blocks of a section."""
        i = 0
        while i < len(lines):
            line = lines[i]
            if line.blank:
                i += 1
            elif fence := _FENCE.match(line.text):
                i = self._fenced(lines, i, fence["mark"])
            elif _COLUMNS.match(line.text):
                i = self._columns(lines, i)
            elif _RULE.match(line.text) or _TAG.match(line.text):
                i += 1
            elif _is_row(lines, i):
                i = self._table(lines, i)
            elif self._is_code(line):
                i = self._code(lines, i)
            elif _ITEM.match(line.text):
                i = self._list(lines, i)
            elif _fields_end(lines, i) - i >= _FEWEST_FIELDS:
                i = self._fields(lines, i)
            elif directive := _DIRECTIVE.match(line.text):
                i = self._directive(lines, i, directive)
            elif _is_term(lines, i):
                i = self._definitions(lines, i)
            else:
                i = self._paragraph(lines, i)

    def _add(self, kind: BlockKind, units: Sequence[Span], lead: Span | None = None) -> None:
        spans = tuple(span for span in (self._stripped(*unit) for unit in units) if span)
        if spans:
            self.found.append(Block(kind, spans, lead, self._section))
        self._announced = False

    def _stripped(self, start: int, end: int) -> Span | None:
        start, end = stripped(self.text, start, end)
        return (start, end) if start < end else None

    def _lead(self, *, any_sentence: bool = False) -> Span | None:
        """The last sentence before, if it announces what follows."""
        if not self.found or self.found[-1].section != self._section or self.found[-1].kind not in ("text", "list"):
            return None
        start, end = self.found[-1].units[-1]
        said = self.text[start:end]
        alone = len(self.found[-1].units) == 1
        announces = self._announced or announces_more(said) or (alone and (is_label(said) or is_question(said)))
        return (start, end) if len(said) <= _LONGEST_LEAD and (announces or any_sentence) else None

    def _fenced(self, lines: Sequence[_Line], i: int, mark: str) -> int:
        lead = self._lead(any_sentence=True)
        first = i + 1
        i = first
        while i < len(lines) and not lines[i].text.strip().startswith(mark):
            i += 1
        if first < i:
            self._add("code", [(lines[first].start, lines[i - 1].end)], lead)
        return i + 1

    def _is_code(self, line: _Line) -> bool:
        if self._announced and line.indent:
            return True
        return line.text.lstrip().startswith((">>> ", "$ ")) or is_code_line(line.text)

    def _code(self, lines: Sequence[_Line], i: int) -> int:
        lead, literal = self._lead(any_sentence=True), self._announced and lines[i].indent > 0
        first = last = i
        while i < len(lines):
            line = lines[i]
            if not line.blank:
                goes_on = literal or not lines[i - 1].blank or self._is_code(line)
                if i > first and (line.indent < lines[first].indent or not goes_on):
                    break
                last = i
            i += 1
        self._add("code", [(lines[first].start, lines[last].end)], lead)
        return last + 1

    def _table(self, lines: Sequence[_Line], i: int) -> int:
        rows: list[_Line] = []
        ruled = False
        while i < len(lines) and (_ROW.match(lines[i].text) or _RULE.match(lines[i].text)) and not lines[i].blank:
            if _RULE.match(lines[i].text):
                ruled = ruled or len(rows) == 1
            else:
                rows.append(lines[i])
            i += 1
        self._rows(rows, ruled=ruled)
        return i

    def _columns(self, lines: Sequence[_Line], i: int) -> int:
        """A simple table of reStructuredText: rows between rules of ``===  ===``."""
        rows: list[_Line] = []
        ruled = False
        i += 1
        while i < len(lines) and not (lines[i].blank and ruled) and not _COLUMNS.match(lines[i].text):
            rows.append(lines[i])
            i += 1
        if i < len(lines) and _COLUMNS.match(lines[i].text) and len(rows) <= 2:
            ruled = True
            i += 1
            while i < len(lines) and not _COLUMNS.match(lines[i].text):
                rows.append(lines[i])
                i += 1
        self._rows([row for row in rows if not row.blank and not _RULE.match(row.text)], ruled=ruled)
        return i + 1

    def _rows(self, rows: Sequence[_Line], *, ruled: bool) -> None:
        lead = self._lead()
        spans = [(row.start, row.end) for row in rows]
        if len(rows) > 1:
            named = ": " in rows[1].text or "：" in rows[1].text
            if named and ": " not in rows[0].text:
                spans = spans[1:]  # rows that name their columns need no header
            elif ruled:
                lead, spans = self._stripped(*spans[0]), spans[1:]
        self._add("table", spans, lead)

    def _list(self, lines: Sequence[_Line], i: int) -> int:
        lead = self._lead()
        indent = lines[i].indent
        items: list[list[_Line]] = []
        while i < len(lines):
            line = lines[i]
            if line.blank:
                behind = next((later for later in lines[i + 1 :] if not later.blank), None)
                again = behind is not None and (behind.indent > indent or _ITEM.match(behind.text) is not None)
                if not again or (behind is not None and behind.indent < indent):
                    break
            elif _ITEM.match(line.text) and line.indent >= indent:
                items.append([line])
            elif line.indent > indent or (not lines[i - 1].blank and line.indent >= indent):
                items[-1].append(line)
            else:
                break
            i += 1
        self._add("list", [(item[0].start, item[-1].end) for item in items], lead)
        return i

    def _fields(self, lines: Sequence[_Line], i: int) -> int:
        end = _fields_end(lines, i)
        units: list[Span] = []
        for line in lines[i:end]:
            if line.indent and units:
                units[-1] = (units[-1][0], line.end)
            else:
                units.append((line.start, line.end))
        self._add("fields", units)
        return end

    def _directive(self, lines: Sequence[_Line], i: int, directive: re.Match[str]) -> int:
        """What a directive of reStructuredText holds is code, or prose, or no words at all."""
        line = lines[i]
        if directive["name"] in _PROSE_DIRECTIVES and line.text[directive.end() :].strip():
            begun = _Line(line.start + directive.end(), line.end, line.text[directive.end() :])
            return i + self._paragraph([begun, *lines[i + 1 :]], 0)
        if directive["name"] == "csv-table":
            return self._csv(lines, i + 1, line.indent)
        self._announced = directive["name"] in _CODE_DIRECTIVES
        return i + 1

    def _csv(self, lines: Sequence[_Line], i: int, indent: int) -> int:
        """Rows with commas between their cells, below the options of their table."""
        lead, rows = None, []
        while i < len(lines) and (lines[i].blank or lines[i].indent > indent):
            line = lines[i]
            if option := _OPTION.match(line.text):
                if option["name"] == "header":
                    lead = self._stripped(line.start + option.end(), line.end)
            elif not line.blank:
                rows.append((line.start, line.end))
            i += 1
        self._add("table", rows, lead)
        return i

    def _definitions(self, lines: Sequence[_Line], i: int) -> int:
        """Terms, each on a line of its own, what they mean being indented below them."""
        lead, items = self._lead(), [lines[i : i + 1]]
        indent, last = lines[i].indent, i
        i += 1
        while i < len(lines):
            line = lines[i]
            if not line.blank:
                if line.indent > indent:
                    last = i
                elif line.indent == indent and _is_term(lines, i):
                    items.append([line])
                    last = i
                else:
                    break
                if items[-1][-1] is not line:
                    items[-1] = [items[-1][0], line]
            i += 1
        self._add("list", [(item[0].start, item[-1].end) for item in items], lead)
        return last + 1

    def _paragraph(self, lines: Sequence[_Line], i: int) -> int:
        first = i
        i += 1
        while i < len(lines) and not lines[i].blank and not self._begins(lines, i):
            i += 1
        start, end = lines[first].start, lines[i - 1].end
        lead = self._lead()
        said = self.text[start:end].rstrip()
        spans = [(start + a, start + b) for a, b in sentences(said)]
        self._add("text", [span for span in spans if letters(self.text[slice(*span)])], lead)
        self._announced = said.endswith("::")
        return i

    @staticmethod
    def _begins(lines: Sequence[_Line], i: int) -> bool:
        """Whether a line within a paragraph begins something else."""
        said = lines[i].text
        if _is_row(lines, i):  # a line of a sentence that speaks of a bar is none
            return _is_row(lines, i + 1) or said.lstrip().startswith("|") or announces_more(lines[i - 1].text)
        return any(form.match(said) for form in (_FENCE, _COLUMNS, _ITEM, _TAG, _RULE))


def _is_among_fields(lines: Sequence[_Line], i: int) -> bool:
    near = [lines[j] for j in (i - 1, i + 1) if 0 <= j < len(lines)]
    return _FIELD.match(lines[i].text) is not None and any(_FIELD.match(line.text) for line in near)


def _looks_like_heading(line: _Line, following: Sequence[_Line]) -> bool:
    """Whether Markdown marks a line as a heading, or the next line underlines it."""
    if _MARKED_HEADING.match(line.text):
        return True
    under = following[0].text.strip() if following else ""
    underlined = len(under) >= 3 and len(set(under)) == 1 and under[0] in _UNDERLINES
    return underlined and not line.blank and not line.indent and 2 * len(under) >= len(line.text.strip())


def announces_more(said: str) -> bool:
    """Whether a sentence, a label or a line only announces what follows: it ends with a colon."""
    return _ANNOUNCES.search(said.rstrip()) is not None


def is_question(said: str) -> bool:
    """Whether a sentence asks, and so says nothing: that of a list of questions and answers, which stand below.

    >>> is_question("Can I cancel a ticket?"), is_question("“可以退票吗？”"), is_question("Why? Because it is so.")
    (True, True, False)
    """
    return _ASKS.search(said.rstrip()) is not None


def is_label(said: str) -> bool:
    """Whether a line is a title that no format marks as one: a few words, no sentence, no figure.

    >>> [is_label(line) for line in ("Hardness of grade X22-3", "NOTE 3. REVENUE", "Revenue: 5 million", "It rose.")]
    [True, True, False, False]
    """
    said = said.strip()
    if reading_length(said) > _LONGEST_TITLE or said.endswith(_ENDS) or ": " in said or "：" in said:
        return False
    return said.isupper() or _FIGURE.search(said) is None


def is_only_links(said: str) -> bool:
    """Whether a unit is nothing but links: a line of a table of contents, a "see also"."""
    rest, links = _LINK.subn("", said)
    return links > 0 and len(letters(rest)) <= _LONGEST_LABEL * links


def _is_row(lines: Sequence[_Line], i: int) -> bool:
    """Whether line ``i`` is a row of a table; between bars, or with nothing but rows and rules around it."""
    if i >= len(lines) or not _ROW.match(lines[i].text):
        return False
    after = lines[i + 1].text if i + 1 < len(lines) else ""
    return lines[i].text.lstrip().startswith("|") or not after.strip() or bool(_ROW.match(after) or _RULE.match(after))


def _is_term(lines: Sequence[_Line], i: int) -> bool:
    """Whether line ``i`` is a term whose definition is indented below it."""
    if i + 1 == len(lines) or lines[i + 1].blank or len(lines[i].text) > _LONGEST_TERM:
        return False
    return lines[i].indent < lines[i + 1].indent and not lines[i].text.rstrip().endswith((".", ",", "。", "，"))


def _fields_end(lines: Sequence[_Line], i: int) -> int:
    """Behind the fields that begin at line ``i``: "Name: value", further lines of a value being indented."""
    while i < len(lines) and (_FIELD.match(lines[i].text) or (lines[i].indent and not lines[i].blank)):
        i += 1
    return i


def _lines(text: str, start: int, end: int) -> Iterator[_Line]:
    """The lines, without the ``>`` that Markdown quotes with."""
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        quoted = _QUOTED.match(text, start, stop)
        begins = quoted.end() if quoted else start
        yield _Line(begins, stop, text[begins:stop])
        start = stop + 1
