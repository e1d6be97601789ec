"""Tables that stand beside each other in a sheet, told from one that leaves a column empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Row = Sequence[Any]
Place = tuple[int, int, int, int]  # first row and the one after the last, first column and the one after the last


def parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """The sheet, as often as needed for no two tables to stand beside each other in it: each time with the rows and
    columns alone that are one table's, the others being empty."""
    found: list[Sequence[Row]] = []
    begin = 0
    for first, last in blocks(rows):
        beside = _beside_each_other(rows[first:last])
        if len(beside) > 1:
            if begin < first:
                found.append(_only(rows, (begin, first, 0, beside[-1][1])))
            found += (_only(rows, (first, last, *columns)) for columns in beside)
            begin = last
    if not found:
        return [rows]
    return [*found, _only(rows, (begin, len(rows), 0, max(map(len, rows))))]


def blocks(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """The first row and the one after the last of each run of rows that are not empty."""
    first = None
    for number, row in enumerate([*rows, ()]):
        if any(value != "" for value in row):
            first = number if first is None else first
        elif first is not None:
            yield first, number
            first = None


def columns_of(rows: Sequence[Row]) -> list[int]:
    """Those in which anything stands."""
    return sorted({column for row in rows for column, value in enumerate(row) if value != ""})


def _only(rows: Sequence[Row], place: Place) -> list[Row]:
    top, bottom, left, right = place
    return [
        ["" if i < left else value for i, value in enumerate(row[:right])] if top <= n < bottom else ()
        for n, row in enumerate(rows)
    ]


def _beside_each_other(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """The columns of each table in a block of rows: the first one and the one after the last."""
    filled = columns_of(rows)
    runs = [(filled[0], filled[0] + 1)]
    for column in filled[1:]:
        if column == runs[-1][1]:
            runs[-1] = runs[-1][0], column + 1
        else:
            runs.append((column, column + 1))
    found = runs[:1]
    for run in runs[1:]:
        if _is_apart(rows, found[-1], run):
            found.append(run)
        else:
            found[-1] = found[-1][0], run[1]
    return found


def _is_apart(rows: Sequence[Row], one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether columns behind an empty one are a table of their own, not remarks on the rows of the one before: its
    first column says what each row is about, and it has other rows, the same names or a title of its own."""
    mine, theirs = _rows_in(rows, one), _rows_in(rows, other)
    titles = [_drop_title(mine), _drop_title(theirs)]
    if other[1] - other[0] < 2 or min(len(mine), len(theirs)) < 2:
        return False
    labels = [row[0] for row in theirs.values()]
    if not all(isinstance(label, str) and label for label in labels) or len({*labels}) < len(labels):
        return False
    if any(number - 1 not in theirs and number + 1 not in theirs for number in theirs):  # here and there
        return False
    names = [{value for value in next(iter(table.values())) if isinstance(value, str)} for table in (mine, theirs)]
    return all(titles) or len(mine.keys() ^ theirs.keys()) > 1 or not names[0].isdisjoint(names[1])


def _rows_in(rows: Sequence[Row], columns: tuple[int, int]) -> dict[int, list[Any]]:
    """What stands in these columns, by row; rows in which nothing does are left out."""
    cut = {number: [*row[slice(*columns)]] for number, row in enumerate(rows)}
    return {number: row for number, row in cut.items() if any(value != "" for value in row)}


def _drop_title(rows: dict[int, list[Any]]) -> bool:
    """Takes out a first row of one cell above wider ones; whether there was one."""
    first = min(rows)
    titled = max(_filled(row) for row in rows.values()) > 1 and _filled(rows[first]) == 1
    if titled:
        del rows[first]
    return titled


def _filled(row: Row) -> int:
    return sum(value != "" for value in row)
