"""Rows → Cell: of a table, the value of the row that the question names under the column it asks for.

A row is read as our readers write it, the names of the columns beside the values (:mod:`langbert.documents.grid`). The
row is the one whose values hold words of the question that no other row holds; the column the one whose name does, or,
where the question only says which row is meant ("Which part has a lead time of 21 days?"), the first one, which says
what the row is about. Where either is in doubt there is no cell, and the rows answer whole; where the question says the
first cell of some ("What does E3 mean?"), these.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..text.scripts import has_unspaced
from ..text.sentences import stripped
from .asked_names import asked_names, tokens
from .conditions import NUMBER, quarters

__all__ = ["Cell", "NamedRows", "Row", "asked_cell", "column_fits", "explains", "named_rows", "rows_of"]

_EMPTY = frozenset({"", "–", "-", "—", "n/a"})  # what stands in a cell that says nothing

_BARRED = re.compile(r"[^|]*[^|\s][^|]*")
_SPACED = re.compile(r"\S+(?: \S+)*")
_COMMAS = re.compile(r"[ \t]{0,9}\"[^\"\n]{0,999}\"[ \t]{0,9}(?=,|$)|[^,\"\s][^,\n]*", re.MULTILINE)
_UNIT = re.compile(r"(?<!\s)\s*[(（](?P<unit>[^()（）]{1,12})[)）]$")
_EXPLAINED = 0.5  # of a question's words, by the row, its columns and what the table stands under
_ALIKE = 5  # letters that words of one kin begin with: supplies, supplier
_KIN = tuple(
    frozenset(kin.split())
    for kin in (
        "cost price fee rate charge 价格 单价 价钱 费用 多少钱 售价",
        "heavi weigh weight mass 重量 多重",
        "long length durat 长度 多长 时长",
        "high tall height 高度 多高",
        "wide width breadth 宽度 多宽",
        "when date deadlin 日期 时间",
        "where place locat citi address 地点 地址 位置",
        "who person name owner own owns manag lead head contact 负责 责人 姓名",
        "call phone telephon 电话",
        "mani number count quantiti amount stock 数量 多少 库存",
        "old age 年龄 多大",
    )
)
"""Words of one kin, by one of which a column is named and by another asked for: stems, and pairs in Chinese."""
_ASKED_WITH = re.compile(r"\b(?:who|when|where|owns?|how (?:many|long|heavy|high|tall|wide|old))\b", re.IGNORECASE)
_HOW_MUCH = re.compile(r"\bhow much (?:is|are|for)\b|多少钱|什么价|多贵", re.IGNORECASE)
_WHICH = re.compile(r"\b(?:who(?:se|m)?|which|we[rmn]|welche[rsnm]?)\b|谁|哪", re.IGNORECASE)
_ASKS = frozenset({"how", "mani"})
_ASKING = re.compile(
    r"什么时候|哪些|什么意思|能不能|能否|可不可以|可以|是否|怎么办|怎么样?|怎样|如何|什么|为何|几天|几年|多久|多少"
    r"|各有?|分别|显示|出现|[和与跟要吗呢]"
    r"|\b(?:mean(?:s|ing)?|stands? for|do|shown?|displays?|appears?)\b",
    re.IGNORECASE,
)
"""What a row is asked for with, where it is meant by its name."""
_COMPARES = re.compile(
    r"\b(?:than|except|besides|others?|without|before|after|above|below|most|least)\b"
    r"|比|除|以外|之外|以上|以下|超过|最|其他|其它",
    re.IGNORECASE,
)
_MEANT = 0.65  # of a question's words, by a row that it means by its name
_LONGEST_KEY = 40  # letters of a first cell that names its row
_SAY_LITTLE = frozenset("的是有了吗呢多少几在谁哪个一")


class Row(NamedTuple):
    """A row of a table: ``text[start:end]``, its cells as ``(name, start, end)`` of their values; the first has no
    name."""

    text: str
    start: int
    end: int
    cells: tuple[tuple[str, int, int], ...]


class Cell(NamedTuple):
    """The cell that is asked for.

    Attributes:
        start, end: of its value.
        said: the value with its unit; empty where the cell is.
    """

    row: Row
    start: int
    end: int
    said: str


class NamedRows(NamedTuple):
    """What a question's words tell of the rows of a table.

    Attributes:
        rows: those that it names.
        others: those that it does not, and that say nothing of these.
        are_meant: whether it speaks of little else.
    """

    rows: Sequence[Row] = ()
    others: Sequence[Row] = ()
    are_meant: bool = False


def rows_of(text: str, units: Iterable[tuple[int, int]], header: tuple[int, int] | None = None) -> Iterator[Row]:
    """The rows among ``units`` of a table that name their columns, or whose columns the ``header`` names."""
    names = [text[start:end] for start, end in _cells(text, *header)] if header else []
    for start, end in units:
        cells: list[tuple[str, int, int]] = []
        for first, last in _cells(text, start, end):
            name, colon, _ = text[first:last].partition(": ")
            at = first + len(name) + len(colon) if colon and cells else first
            cells.append((name.strip() if at > first else "", *stripped(text, at, last)))
        if len(cells) == len(names) and not any(name for name, _, _ in cells):
            cells = [cells[0], *((name, *cell[1:]) for name, cell in zip(names[1:], cells[1:], strict=True))]
        if len(cells) > 1 and any(name for name, _, _ in cells):
            yield Row(text, start, end, tuple(cells))


def _cells(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """What stands between bars; where there are none, between two blanks or more, or else between commas."""
    row = text[start:end]
    form = _BARRED if "|" in row else _SPACED if "  " in row.strip() or "," not in row else _COMMAS
    for cell in form.finditer(text, start, end):
        first, last = stripped(text, *cell.span())
        yield (first + 1, last - 1) if form is _COMMAS and text[first] == '"' else (first, last)


def asked_cell(question: str, rows: Sequence[Row], around: str = "") -> Cell | None:
    """The cell that ``question`` asks for; None where it names no row of these, or none of its columns.

    Args:
        around: what the table stands under, its headings and title: words that need not stand in it.

    >>> text = "X1 | Weight (kg): 4 | Price: 31\\nX2 | Weight (kg): 5 | Price: 30"
    >>> asked_cell("How heavy is the X2?", list(rows_of(text, [(0, 31), (32, 63)]))).said
    '5 kg'
    """
    asked = _asked(question)
    held = [[tokens(row.text[start:end]) for _, start, end in row.cells] for row in rows]
    of_rows = [frozenset[str]().union(*cells) for cells in held]
    counts = Counter(word for words in of_rows for word in words)
    fits = [_fit(asked, cells, row, counts, len(rows)) for cells, row in zip(held, rows, strict=True)]
    best = max(fits, default=0.0)
    if len(rows) != 1 and (best <= 0 or sum(fit > best - 1e-9 for fit in fits) > 1):
        return None
    row, cells = rows[fits.index(best)], held[fits.index(best)]
    telling = asked & of_rows[fits.index(best)]
    if len(rows) != 1 and all(counts[word] > 1 for word in telling) and len(telling) < 2:
        return None
    at = _column(asked, row, [bool(telling & words) for words in cells], _WHICH.search(question) is not None)
    if at is None:
        return None
    name, start, end = row.cells[at]
    explained = telling | _of_columns(asked, row) | (asked & tokens(around))
    said = tokens(question) - _ASKS
    if len(_letters(explained)) < _EXPLAINED * len(_letters(said)) or not asked_names(question) <= explained:
        return None
    value = row.text[start:end]
    unit = _UNIT.search(name)
    if unit and NUMBER.fullmatch(value):
        value = f"{value} {unit['unit']}"
    return Cell(row, start, end, "" if value in _EMPTY else value)


def named_rows(question: str, rows: Sequence[Row], around: str = "") -> NamedRows:
    """The rows whose first cell ``question`` says whole, or, where it asks which, some other cell; none where it says
    those of all, or compares.

    Args:
        around: as for :func:`asked_cell`.

    >>> text = "E3 | Cause: lid open\\nE5 | Cause: no water"
    >>> found = named_rows("What does E3 mean?", list(rows_of(text, [(0, 20), (21, 41)])))
    >>> [text[row.start : row.end] for row in found.rows], found.are_meant
    (['E3 | Cause: lid open'], True)
    """
    if _COMPARES.search(question):
        return NamedRows()
    width = min((len(row.cells) for row in rows), default=0)
    for column in range(1, width) if _WHICH.search(question) else range(min(width, 1)):
        keys = [_key(row, column) for row in rows]
        found = {key for key in keys if key and _says(question.lower(), key)}
        found -= {key for key in found for other in found if key != other and key in other}
        named = [row for row, key in zip(rows, keys, strict=True) if key in found]
        if named:
            break
    else:
        return NamedRows()
    if len(named) == len(rows):
        return NamedRows()
    others = [
        row
        for row, key in zip(rows, keys, strict=True)
        if key not in found and not any(_says(row.text[row.start : row.end].lower(), name) for name in found)
    ]
    asked, names = tokens(_ASKING.sub(" ", question)), asked_names(question)
    known = tokens(" ".join((around, *(row.text[row.start : row.end] for row in named))))
    known |= _of_columns(asked | names, named[0])
    enough = len(_letters(asked & known)) >= _MEANT * len(_letters(asked))
    return NamedRows(named, others, enough and names <= known)


def column_fits(question: str, row: Row) -> list[float]:
    """How well each column of a row is named by ``question``: the share of its name that it says."""
    asked = _asked(question)
    return [_named(asked, name) if name else 0.0 for name, _, _ in row.cells]


def explains(question: str, row: Row, around: str = "") -> bool:
    """Whether a row, the names of its columns and what the table stands under hold half of a question's words, and its
    names."""
    known = tokens(" ".join((around, row.text[row.start : row.end]))) | _of_columns(_asked(question), row)
    said = tokens(_ASKING.sub(" ", question)) - _ASKS
    return len(_letters(said & known)) >= _EXPLAINED * len(_letters(said)) and asked_names(question) <= known


def _key(row: Row, column: int) -> str:
    """What stands in a cell without brackets, where that is a name: in the first one, what the row is known by."""
    _, start, end = row.cells[column]
    key = _UNIT.sub("", row.text[start:end]).strip(" *`").lower()
    return key if 1 < len(key) <= _LONGEST_KEY and not NUMBER.fullmatch(key) else ""


def _says(question: str, key: str) -> bool:
    """Whether ``key`` stands in ``question`` as a word; a table may have thousands."""
    at = question.find(key)
    while at >= 0:
        around = question[at - 1 : at] if at else "", question[at + len(key) : at + len(key) + 1]
        if not any(letter.isascii() and (letter.isalnum() or letter == "_") for letter in around):
            return True
        at = question.find(key, at + 1)
    return False


def _fit(asked: frozenset[str], cells: Sequence[frozenset[str]], row: Row, counts: Counter[str], rows: int) -> float:
    """How well a row's values fit: by words that few rows hold, best under a column that is named; a cell that the
    question names whole counts a little more."""
    score = 0.0
    for (name, _, _), words in zip(row.cells, cells, strict=True):
        common = asked & words
        weight = sum(
            math.log(1.0 + rows / counts[word]) if counts[word] < rows or rows == 1 else 0.0 for word in common
        )
        under = 1.5 if name and common and _named(asked, name) else 1.0
        score += weight * under + (0.01 * len(common) / len(words) if weight else 0.0)
    return score


def _column(asked: frozenset[str], row: Row, meant: Sequence[bool], which: bool) -> int | None:
    """Which column is asked for; one that holds what the row is known by is none, but tells that the first one is, as
    ``which`` does: whether the question asks which row is meant."""
    named = [_named(asked, name) if name else 0.0 for name, _, _ in row.cells]
    others = [0.0 if known else fit for fit, known in zip(named, meant, strict=True)]
    best = max(others)
    if not meant[0] and any(known and fit and fit >= best for fit, known in zip(named, meant, strict=True)):
        return 0
    if best <= 0 and which and not meant[0]:
        return 0
    return others.index(best) if best > 0 and others.count(best) == 1 else None


def _of_columns(asked: frozenset[str], row: Row) -> frozenset[str]:
    """The words of a question that stand in the names of a row's columns, or are of their kin."""
    names = [name for name, _, _ in row.cells if name]
    return frozenset(word for word in asked if any(_named(frozenset({word}), name) for name in names))


def _named(asked: frozenset[str], name: str) -> float:
    """Which share of a column's name a question says, in these words or in others of their kin."""
    words = tokens(_UNIT.sub("", name))
    return sum(any(_akin(word, other) for other in asked) for word in words) / max(len(words), 1)


def _akin(word: str, other: str) -> bool:
    if word == other or (word.isascii() and word[:_ALIKE] == other[:_ALIKE] and len(word) >= _ALIKE <= len(other)):
        return True
    return any(word in kin and other in kin for kin in _KIN)


def _asked(question: str) -> frozenset[str]:
    """The words of a question, with those that it asks with."""
    asking = " ".join(found.lower() for found in _ASKED_WITH.findall(question)).replace("heavy", "heavi")
    if _HOW_MUCH.search(question):
        asking += " price"
    asking += "".join(f" q{number}" for number in quarters(question))
    return tokens(question) | (frozenset(asking.split()) - {"how"})


def _letters(words: Iterable[str]) -> set[str]:
    """Words, pairs of characters taken apart, which overlap."""
    return {part for word in words for part in (set(word) - _SAY_LITTLE if has_unspaced(word) else {word})}
