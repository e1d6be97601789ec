"""Lines of a PDF page → the same, rows of tables as of other formats: the names of the columns beside the values.

A PDF knows no tables. What is told by the layout is taken for one: rows below each other whose words stand in the same
columns, most of them figures, under one to three rows of names. Tables of words alone stay as they are: nothing tells
them from text that is set in columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from ..boxes import Box
from .cell_words import EMPTY, is_quantity
from .grid import Cell, Grid
from .pdf_layout import Line, Word

_GAP = 0.5  # of the type's size: more than a blank
_GAP_FIXED = 1.0  # the same, where each character is as wide: more than one blank
_BETWEEN = 2  # lines between two rows of one table: the title of a group, the rest of a long name
_FEWEST = 2  # rows, three where there are but two columns
_MOST_HEADERS = 3
_FARTHER = 1.3  # times as far
_LONGEST_NAME = 40  # characters
_NOTHING = frozenset({"", "-", "–", "—", "−", "n/a", "N/A", "✓", "✗", "×"})
_BARE = re.compile(r"[^\w\s]{0,3}\s?\d[\d.,:/\s]*[^\w\s]{0,3}")  # a figure without a unit
_NO_NAME = re.compile(r"(?:table|figure|fig\.|表|图|圖)\s*\d.*|.*[.?!。？！]", re.IGNORECASE)  # a caption, a sentence


class _Cell(NamedTuple):
    """Words that stand together in a line."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def left(self) -> float:
        return self.words[0].left

    @property
    def right(self) -> float:
        return self.words[-1].right


_Column = tuple[float, float]
"""From where to where."""


def tabulated(lines: Sequence[Line]) -> list[Line]:
    """The lines of a page; rows of a table written out, with its number on the page as their ``table``."""
    result = list(lines)
    cells = [_cells(line) for line in lines]
    tables = 0
    for run in _runs(lines):
        for top, body in _bodies(lines, cells, run):
            written = _written(lines, cells, top, body)
            tables += bool(written)
            for i, (text, boxes) in written.items():
                result[i] = replace(lines[i], text=text, boxes=boxes, table=tables)
    return result


def _runs(lines: Sequence[Line]) -> Iterator[range]:
    """Stretches of lines that stand below each other."""
    start = 0
    for i in range(1, len(lines) + 1):
        if i == len(lines) or not _below(lines[i - 1], lines[i]):
            if i - start > _FEWEST:
                yield range(start, i)
            start = i


def _below(line: Line, other: Line) -> bool:
    size = max(line.size, other.size)
    gap = line.end_bottom - other.top
    return bool(line.words and other.words) and line.upright and other.upright and -0.6 * size < gap < 3 * size


def _bodies(lines: Sequence[Line], cells: Sequence[Sequence[_Cell]], run: range) -> Iterator[tuple[int, list[int]]]:
    """The rows of figures of one table each, and from which line on names may stand above them."""
    top = run.start
    body: list[int] = []
    for i in run:
        anew = body and i + 1 in run and _name_anew(cells[i], cells[i + 1]) and _is_farther(lines[i - 1 : i + 2])
        if not anew and not _holds_figures(cells[i]):
            continue
        if body and (anew or i - body[-1] > _BETWEEN + 1):
            yield top, body
            top = body[-1] + 1 if anew else top
            body = []
        if not anew:
            body.append(i)
    if body:
        yield top, body


def _name_anew(cells: Sequence[_Cell], below: Sequence[_Cell]) -> bool:
    """Whether a row below others names each column of the next one: another table begins with it."""
    return _are_words(cells) and len(cells) >= max(3, len(below)) and _holds_figures(below)


def _are_words(cells: Sequence[_Cell]) -> bool:
    return not any(is_quantity(cell.text) or cell.text in _NOTHING for cell in cells)


def _cells(line: Line) -> list[_Cell]:
    """The words of a line, cut where more than a blank is empty; none where they do not run to the right."""
    if not line.words or any(after.left < before.left for before, after in pairwise(line.words)):
        return []
    cells = [[line.words[0]]]
    gap = _gap(line)
    for before, after in pairwise(line.words):
        if after.left - before.right > gap:
            cells.append([])
        cells[-1].append(after)
    return [_Cell(tuple(words)) for words in cells]


def _gap(line: Line) -> float:
    """Points between two words that are more than a blank."""
    return (_GAP_FIXED if line.fixed_pitch else _GAP) * (line.size or 10)


def _holds_figures(cells: Sequence[_Cell]) -> bool:
    values = [cell.text for cell in cells[1:]]
    figures = sum(map(is_quantity, values))
    return figures > 0 and 2 * (figures + sum(value in _NOTHING for value in values)) >= len(values)


def _written(
    lines: Sequence[Line], cells: Sequence[Sequence[_Cell]], top: int, body: Sequence[int]
) -> dict[int, tuple[str, list[tuple[int, Box]]]]:
    """The rows of a table and the names above them, down from ``top``: by their index what they say and where that
    stands; empty where it is none."""
    if len(body) > _FEWEST and _names_with_figures(cells[body[0]], cells[body[1]]):
        body = body[1:]
    columns = _columns([lines[i] for i in body])
    if len(columns) < 2 or len(body) < (_FEWEST if len(columns) > 2 else _FEWEST + 1):
        return {}
    first = body[0]
    while first > top and body[0] - first < _MOST_HEADERS and _are_names(cells[first - 1], columns):
        is_full = first < body[0] and len(cells[first]) >= len(columns) > 2 and _are_words(cells[first])
        if is_full and _is_farther(lines[first - 1 : first + 2]):
            break  # what stands above a full row of names, at a distance, is not of this table
        first -= 1
    names = [_names(cells[i], columns, (lines[i].size or 10) / 2) for i in range(first, body[0])]
    named = sum(any(row[column] for row in names) for column in range(1, len(columns)))
    if 2 * named < len(columns) - 1 or not named:
        return {}
    grid = Grid()
    for row in names:
        grid.add(map(Cell, row))
    for i in range(body[0], body[-1] + 1):
        alone = [Cell(cells[i][0].text, len(columns))] if len(cells[i]) == 1 else None
        grid.add(alone or map(Cell, _values(lines[i], columns)))
    rows = range(first, body[-1] + 1)
    boxes = {i: _boxes(lines[i], columns) for i in rows}
    above = [boxes[i] for i in range(body[0] - 1, first - 1, -1)]
    titles = [next((row[n] for row in above if n in row), None) for n in range(len(columns))]
    return {
        i: (text, _placed(text, row, boxes[i], titles if i >= body[0] else ()))
        for i, text, row in zip(rows, grid.lines(headers=len(names)), grid.rows, strict=True)
    }


def _names_with_figures(cells: Sequence[_Cell], below: Sequence[_Cell]) -> bool:
    """Whether the first row of figures is names after all: 7B, 13B; 0-shot, 5-shot."""
    values = [cell.text for cell in cells if is_quantity(cell.text)]
    bare = [cell.text for cell in below if _BARE.fullmatch(cell.text)]
    return len(values) > 1 and len(bare) > 1 and not any(map(_BARE.fullmatch, values))


def _columns(rows: Sequence[Line]) -> list[_Column]:
    """From where to where there are words in any row, but for what is no wider than a blank."""
    columns: list[_Column] = []
    least = max(map(_gap, rows))
    for _, left, right in sorted((word for row in rows for word in row.words), key=lambda word: word.left):
        if columns and left - columns[-1][1] < least:
            columns[-1] = (columns[-1][0], max(right, columns[-1][1]))
        else:
            columns.append((left, right))
    return columns


def _is_farther(lines: Sequence[Line]) -> bool:
    """Whether the first of three lines stands farther above the second than that above the third."""
    first, second, third = (line.top for line in lines)
    return first - second > _FARTHER * (second - third)


def _overlap(left: float, right: float, column: _Column) -> float:
    """Positive where they overlap, else how far apart they are."""
    return min(right, column[1]) - max(left, column[0])


def _are_names(cells: Sequence[_Cell], columns: Sequence[_Column]) -> bool:
    """Whether a line above the figures can name their columns."""
    if not cells or any(len(cell.text) > _LONGEST_NAME for cell in cells) or _NO_NAME.fullmatch(cells[-1].text):
        return False
    if len(cells) == 1:  # over several columns, but not over the first
        return cells[0].left > columns[0][1] and cells[0].right > columns[1][0] and not is_quantity(cells[0].text)
    return not any(is_quantity(cell.text) and _BARE.fullmatch(cell.text) for cell in cells)


def _names(cells: Sequence[_Cell], columns: Sequence[_Column], tolerance: float) -> list[str]:
    """The names in a line above the figures: each counts for all columns that it stands over."""
    row: list[list[str]] = [[] for _ in columns]
    over = [
        [n for n, column in enumerate(columns) if _overlap(cell.left, cell.right, column) > 0]
        or [_nearest(cell.left, cell.right, columns)]
        for cell in cells
    ]
    taken = {0, *(n for those in over for n in those)}
    for cell, those in zip(cells, over, strict=True):
        for n in _centred(cell, those, columns, taken, tolerance):
            row[n].append(cell.text)
    return [" ".join(words) for words in row]


def _centred(
    cell: _Cell, over: list[int], columns: Sequence[_Column], taken: set[int], tolerance: float
) -> Sequence[int]:
    """The columns in whose middle a name stands: it may be short, and stand over some of them only."""
    best: Sequence[int] = over
    first, last = over[0], over[-1]
    while first - 1 > 0 and first - 1 not in taken:
        first -= 1
    while last + 1 < len(columns) and last + 1 not in taken:
        last += 1
    for begin in range(first, over[0] + 1):
        for end in range(over[-1], last + 1):
            middle = (columns[begin][0] + columns[end][1]) / 2
            if abs(middle - (cell.left + cell.right) / 2) < tolerance and end - begin >= len(best):
                best = range(begin, end + 1)
    return best


def _values(line: Line, columns: Sequence[_Column]) -> list[str]:
    """The words of each column in a row."""
    row: list[list[str]] = [[] for _ in columns]
    for word in line.words:
        row[_nearest(word.left, word.right, columns)].append(word.text)
    return [" ".join(words) for words in row]


def _nearest(left: float, right: float, columns: Sequence[_Column]) -> int:
    return max(range(len(columns)), key=lambda n: _overlap(left, right, columns[n]))


def _boxes(line: Line, columns: Sequence[_Column]) -> dict[int, Box]:
    """Where the words of each column stand on the page."""
    if not line.boxes or not line.words:
        return {}
    begin = min(box.left for _, box in line.boxes)
    width = max(box.left + box.width for _, box in line.boxes) - begin
    left, right = line.words[0].left, max(word.right for word in line.words)
    scale = width / max(right - left, 1e-6)
    found: dict[int, list[Word]] = {}
    for word in line.words:
        found.setdefault(_nearest(word.left, word.right, columns), []).append(word)
    box = line.boxes[0][1]
    return {
        n: Box(
            round(begin + (words[0].left - left) * scale, 5),
            box.top,
            round((words[-1].right - words[0].left) * scale, 5),
            box.height,
        )
        for n, words in found.items()
    }


def _placed(
    text: str, row: Sequence[str], boxes: dict[int, Box], titles: Sequence[Box | None]
) -> list[tuple[int, Box]]:
    """Where the parts of a written row stand: its values in their cells, the names of the columns above them."""
    placed: list[tuple[int, Box]] = []
    end = 0
    for n, value in enumerate(row):
        at = text.find(value or EMPTY, end)
        if at < 0 or n not in boxes:
            continue
        title = titles[n] if n < len(titles) else None
        if placed and title is not None and at > end:
            placed.append((end, title))
        placed.append((at if placed else 0, boxes[n]))
        end = at + len(value or EMPTY)
    return placed
