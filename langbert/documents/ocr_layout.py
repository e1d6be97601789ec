"""Pieces of text that were recognised on a page → its lines in reading order.

A column is what a gutter sets apart that hardly any piece crosses, and whose lines mostly fill it: the cells of a table
do not. Pieces at one height are a line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ..boxes import Box
from ..text.scripts import has_unspaced
from .pdf_layout import Line

_TALL = 1.5  # a piece so many times as high as wide is a line that was turned
_CROSSING = 0.25  # of the pieces may cross a gutter: titles, figures
_FILLED = 0.75  # of its column's width, that a line of prose takes …
_PROSE = 0.5  # … and how many do
_LEAST_LINES = 3
_LEAST_WIDTH = 8  # of a column, in heights of its lines
_DEEPEST = 4  # columns in columns
_CELL = 1.5  # heights between pieces of one line that are cells
_HYPHENATED = re.compile("[^\\W\\d_][-\u00ad‐]$")
_ALIKE = 0.3  # heights of lines differ so much without meaning anything


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text in the picture of a page, in pixels, downwards, of the page turned upright.

    Attributes:
        sure: the recogniser's confidence, 0 to 1.
        box: on the page as it is.
    """

    text: str
    sure: float
    left: float
    top: float
    right: float
    bottom: float
    box: Box

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2

    @classmethod
    def of(cls, text: str, sure: float, quad: Any, shape: tuple[int, ...], *, flipped: bool = False) -> Piece:
        """
        Args:
            quad: ``(4, 2)``, its corners in pixels.
            shape: the picture's height and width.
            flipped: the picture is the page upside down.
        """
        (left, top), (right, bottom) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
        height, width = shape
        box = Box(left / width, top / height, (right - left) / width, (bottom - top) / height)
        if flipped:
            box = replace(box, left=1 - box.left - box.width, top=1 - box.top - box.height)
        return cls(text, sure, left, top, right, bottom, box)


def page_lines(pieces: Sequence[Piece], scale: float) -> list[Line]:
    """
    Args:
        scale: units of a line to the pixel.
    """
    if not pieces:
        return []
    rows = _in_order(_upright(pieces), _DEEPEST)
    usual = median(piece.height for row in rows for piece in row)
    return _hyphenated([_line(row, usual, scale) for row in rows])


def _upright(pieces: Sequence[Piece]) -> list[Piece]:
    """After a quarter turn to the left where most pieces stand on end: the page lies, and the recogniser has turned
    each piece for itself."""
    tall = sum(piece.height > _TALL * (piece.right - piece.left) for piece in pieces)
    if 2 * tall <= len(pieces):
        return list(pieces)
    return [replace(p, left=p.top, right=p.bottom, top=-p.right, bottom=-p.left) for p in pieces]


def _in_order(pieces: Sequence[Piece], deepest: int) -> list[list[Piece]]:
    """Rows, column after column; what crosses the columns parts what is above it from what is below."""
    gutter = _gutter(pieces) if deepest else None
    if gutter is None:
        return _rows(pieces)
    crossing = sorted((p for p in pieces if p.left < gutter < p.right), key=lambda p: p.middle)
    rows: list[list[Piece]] = []
    rest = [p for p in pieces if not p.left < gutter < p.right]
    for edge in [*crossing, None]:
        above = [p for p in rest if edge is None or p.middle < edge.middle]
        rest = [p for p in rest if edge is not None and p.middle >= edge.middle]
        for side in ([p for p in above if p.right <= gutter], [p for p in above if p.left >= gutter]):
            rows += _in_order(side, deepest - 1)
        rows += [[edge]] if edge is not None else []
    return _rejoined(rows)


def _rejoined(rows: list[list[Piece]]) -> list[list[Piece]]:
    """Pieces that cross the gutter and stand side by side are one row."""
    joined: list[list[Piece]] = []
    for row in rows:
        if joined and len(row) == 1 and _level(joined[-1][-1], row[0]) and joined[-1][-1].right <= row[0].left:
            joined[-1].append(row[0])
        else:
            joined.append(row)
    return joined


def _gutter(pieces: Sequence[Piece]) -> float | None:
    """Between two columns; None where there is one column."""
    if len(pieces) < 2 * _LEAST_LINES:
        return None
    height = median(piece.height for piece in pieces)
    best: tuple[int, float, float] | None = None
    for x, width in _gaps(pieces, height):
        left, right = [p for p in pieces if p.right <= x], [p for p in pieces if p.left >= x]
        crossing = len(pieces) - len(left) - len(right)
        if crossing <= _CROSSING * len(pieces) and _is_prose(left, height) and _is_prose(right, height):
            best = min(best or (crossing, -width, x), (crossing, -width, x))
    return best[2] if best else None


def _gaps(pieces: Sequence[Piece], height: float) -> list[tuple[float, float]]:
    """Where a line may go down between the end of a piece and the next start of one, and how wide the way is."""
    starts = sorted(piece.left for piece in pieces)
    gaps = {}
    for end in sorted(piece.right for piece in pieces):
        start = next((left for left in starts if left > end), None)
        if start is not None and start - end >= 0.6 * height:
            gaps[start] = end  # the last end before this start
    return [((end + start) / 2, start - end) for start, end in gaps.items()]


def _is_prose(pieces: Sequence[Piece], height: float) -> bool:
    if len(pieces) < _LEAST_LINES:
        return False
    width = max(p.right for p in pieces) - min(p.left for p in pieces)
    if width < _LEAST_WIDTH * height:
        return False
    return sum(p.right - p.left >= _FILLED * width for p in pieces) >= _PROSE * len(pieces)


def _level(one: Piece, other: Piece) -> bool:
    """Whether two stand at one height."""
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    return overlap > 0.5 * min(one.height, other.height)


def _rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.middle):
        row = next((row for row in reversed(rows[-3:]) if _level(row[-1], piece)), None)
        if row is None:
            rows.append([piece])
        else:
            row.append(piece)
    return [sorted(row, key=lambda piece: piece.left) for row in rows]


def _line(row: Sequence[Piece], usual: float, scale: float) -> Line:
    text, boxes = "", []
    for before, piece in zip([None, *row], row, strict=False):
        if before is not None:
            gap = piece.left - before.right
            close = gap < 0.5 * usual and has_unspaced(before.text[-1]) and has_unspaced(piece.text[0])
            text += " | " if gap > _CELL * usual else "" if close else " "
        boxes.append((len(text), piece.box))
        text += piece.text
    first, last = row[0], row[-1]
    height = median(piece.height for piece in row)
    size = usual if abs(height - usual) < _ALIKE * usual else height
    return Line(
        text,
        left=first.left * scale,
        bottom=-first.bottom * scale,
        top=-first.top * scale,
        end_right=last.right * scale,
        end_bottom=-last.bottom * scale,
        end_top=-last.top * scale,
        size=max(math.floor(size * scale * 2) / 2, 0.5),
        boxes=boxes,
    )


def _hyphenated(lines: list[Line]) -> list[Line]:
    """One line of two between which a word is split, as pdfium has it: U+FFFE in place of the hyphen."""
    result: list[Line] = []
    for line in lines:
        before = result[-1] if result else None
        if before and _HYPHENATED.search(before.text) and line.text[0].islower():
            at = len(before.text)
            before.text = before.text[:-1] + "\ufffe" + line.text
            before.boxes += [(at + more, box) for more, box in line.boxes]
            before.end_right, before.end_bottom, before.end_top = line.end_right, line.end_bottom, line.end_top
        else:
            result.append(line)
    return result
