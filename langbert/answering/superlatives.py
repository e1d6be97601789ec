"""Rows → Cell: of a table, what has the most or the least of what one of its columns says.

A cross-encoder reads one row at a time, and cannot tell. It is told only where there is no doubt: each row has a figure
in that column, all in one unit, and one of them is the greatest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .cells import Cell, Row, column_fits, explains
from .conditions import NUMBER

__all__ = ["extreme_cell"]

_MOST = re.compile(
    r"\b(?:most|highest|largest|biggest|greatest|longest|tallest|heaviest|oldest|fastest|dearest|maximum)\b"
    r"|最(?:多|高|大|长|長|贵|貴|重|久|快|老)",
    re.IGNORECASE,
)
_LEAST = re.compile(
    r"\b(?:least|lowest|smallest|fewest|shortest|lightest|youngest|slowest|cheapest|minimum)\b"
    r"|最(?:少|低|小|短|便宜|轻|輕|慢)",
    re.IGNORECASE,
)
_PRICED = re.compile(r"\b(?:cheapest|dearest|most expensive|least expensive)\b|最(?:贵|貴|便宜)", re.IGNORECASE)
_ASKING = re.compile(r"哪(?:一?[个种款家位条项年月天]|里)?|\b(?:which|what|who|has|have|had)\b", re.IGNORECASE)
_WHICH = re.compile(r"\b(?:who(?:se|m)?|which|what)\b(?! (?:is|are|was|were) the\b)|谁|誰|哪|什么|什麼", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"\b(?:recent|until|before|after|at (?:most|least)|most (?:of|likely)|(?<!the )most people)\b"
    r"|最(?:多|少|大|长|高)(?:能|可|是|为|保|存|几)",
    re.IGNORECASE,
)
_SUM = re.compile(
    r"(?:sub|grand )?totals?\b.*|sum|all|average|mean|overall|合计|总计|总和|小计|共计|平均.*|全部", re.IGNORECASE
)
_FEWEST = 2  # rows that can be compared


def extreme_cell(question: str, rows: Sequence[Row], around: str = "") -> Cell | None:
    """The row with the most, or the least, of what ``question`` asks for: what it is of, or how much it is; None where
    no most is asked for, or that is in doubt.

    Args:
        rows: all of a table.
        around: as for :func:`.cells.asked_cell`.

    >>> from .cells import rows_of
    >>> text = "N1 | Riders: 70\\nN4 | Riders: 1,066"
    >>> [extreme_cell(q, list(rows_of(text, [(0, 15), (16, 34)]))).said for q in (
    ...     "Which line has the most riders?", "What is the highest number of riders?")]
    ['N4', '1,066']
    """
    most, least = _MOST.search(question), _LEAST.search(question)
    if (most is None) == (least is None) or _OTHERWISE.search(question):
        return None
    asked = f"{question} price" if _PRICED.search(question) else question
    compared = [row for row in rows if not _SUM.fullmatch(_text(row, 0))]
    width = min((len(row.cells) for row in compared), default=0)
    fits = column_fits(asked, compared[0])[:width] if len(compared) >= _FEWEST else []
    named = [column for column, fit in enumerate(fits) if fit > 0]
    measured = {column: figures for column in named if (figures := _figures(compared, column))}
    best = max((fits[column] for column in measured), default=0.0)
    columns = [column for column in measured if fits[column] == best]
    if len(columns) != 1:
        return None
    figures = measured[columns[0]]
    wanted = (max if most else min)(figures)
    rest = _ASKING.sub(" ", _LEAST.sub(" ", _MOST.sub(" ", question)))
    if figures.count(wanted) > 1 or not explains(rest, row := compared[figures.index(wanted)], around):
        return None
    at = columns[0]
    if _WHICH.search(question):
        said = [column for column in named if column not in measured]
        numbered = all(NUMBER.fullmatch(_text(one, 0)) for one in compared)
        at = said[0] if len(said) == 1 else int(numbered and at != 1)
    _, start, end = row.cells[at]
    return Cell(row, start, end, _text(row, at))


def _figures(rows: Sequence[Row], column: int) -> list[float]:
    """A column's figures, row by row, if all that is said in it are such, in one unit; else nothing."""
    found = [_figure(_text(row, column)) for row in rows]
    if any(one is None for one in found) or len({one[1] for one in found if one}) > 1:
        return []
    return [one[0] for one in found if one]


def _text(row: Row, column: int) -> str:
    _, start, end = row.cells[column]
    return row.text[start:end].strip(" *`")


def _figure(text: str) -> tuple[float, str] | None:
    """A cell's figure and its unit, if that is all there is."""
    found = NUMBER.findall(text)
    if len(found) != 1 or ":" in found[0]:
        return None
    before, _, behind = text.partition(found[0])
    try:
        value = float(found[0].replace(",", ""))
    except ValueError:  # 1.2.3
        return None
    sign = -1.0 if before.strip() in ("-", "−") else 1.0
    return sign * value, f"{before.strip(' -−+')} {behind.strip()}"
