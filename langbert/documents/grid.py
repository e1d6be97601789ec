"""Tables as lines: every row says by itself what it says in the table, the names of the columns beside its values.

    Branch | Phone | Fax
    North | Phone: 555-0101 | Fax: –

A merged cell counts for every row and column it covers, an empty one keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cell_words import EMPTY, MAX_NAME, QUANTITY, SEPARATOR, UNIT, is_quantity
from .forms import MOST_ROWS, form_text, is_form
from .limits import spend

_MAX_COLUMNS = 1_000  # a row may say that it is wider, and cost more than it holds
_UNITS_NAMED = frozenset({"", "unit", "units", "单位"})


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's words in one line, how many columns and rows it covers, and whether the file says that it is a label."""

    text: str
    columns: int = 1
    rows: int = 1
    label: bool = False


class Grid:
    """The cells of a table, row by row, as they come from a file."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self._whole: set[int] = set()  # rows that are one cell
        self._naming: set[int] = set()  # rows below the first ones that name the columns anew
        self._wide: dict[int, set[int]] = {}  # row → columns under a cell that covers several of them
        self._covered: dict[int, set[int]] = {}  # row → columns that a cell from above covers
        self._labels: set[tuple[int, int]] = set()  # row and column of cells that are labels
        self._open: dict[int, tuple[int, str]] = {}  # column → rows still to cover, words

    def add(self, cells: Iterable[Cell], *, names: bool = False) -> None:
        """The next row; columns that a cell from above covers are not among ``cells``.

        Args:
            names: it names the columns of the rows below it anew.
        """
        row: list[str] = []
        given = list(cells)
        if names:
            self._naming.add(len(self.rows))
        for cell in given:
            self._fill(row)
            across = max(1, min(cell.columns, _MAX_COLUMNS - len(row)))
            if across > 1:
                self._wide.setdefault(len(self.rows), set()).update(range(len(row), len(row) + across))
            if cell.label:
                self._labels.add((len(self.rows), len(row)))
            for _ in range(across):
                if cell.rows > 1:
                    self._open[len(row)] = (cell.rows - 1, cell.text)
                row.append(cell.text)
        self._fill(row)
        spend(len(row) + sum(map(len, row)) - sum(len(cell.text) for cell in given))
        if len(given) == 1 and len(row) > 1 and len(set(row)) == 1:
            self._whole.add(len(self.rows))
        self.rows.append(row)

    def lines(self, headers: int | None = None) -> Iterator[str]:
        """The rows as text, one after the other, empty ones left out.

        Args:
            headers: how many of the first rows name the columns; None where the file does not say.
        """
        width = max((len(row) for row in self.rows), default=0)
        while width and not any(row[width - 1] for row in self.rows if len(row) >= width):
            width -= 1
        spend(width * len(self.rows))
        rows = [[*row, *[""] * (width - len(row))][:width] for row in self.rows]
        if headers is None and len(rows) <= MOST_ROWS and (form := self._form(rows)):
            yield from form
            return
        if headers is None:
            body = [row for i, row in enumerate(rows) if i not in self._whole and any(row)]
            named = bool(body) and _are_names(body[0], body[1:])
            headers = rows.index(body[0]) + 1 if named else 0
        headers = max(headers, self._depth(rows))
        names = _column_names([row for i, row in enumerate(rows[:headers]) if i not in self._whole])
        if 0 < headers < len(rows) - 1 and _are_units(rows[headers]):
            units = (f" ({unit})" if unit.strip("-– ") else "" for unit in ("", *rows[headers][1:]))
            names = [name + unit for name, unit in zip(names, units, strict=True)]
            rows[headers] = []  # every row says them
        for i, row in enumerate(rows):
            if i in self._naming:
                names = _column_names([rows[i - 1], row] if i - 1 in self._naming else [row])
            if not any(row):
                continue
            if i in self._whole:
                yield row[0]
            elif i < headers or i in self._naming:
                yield row_line(row, ()).rstrip(" |")
            else:
                yield row_line(row, names)

    def _form(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The lines of a form: labels, each with its value beside it; nothing if it is none."""
        said: list[list[tuple[int, str]]] = []
        for i, row in enumerate(rows):
            wide = self._wide.get(i, set())
            said.append(
                [(j, text) for j, text in enumerate(row) if not j or text != row[j - 1] or not {j - 1, j} <= wide]
            )
        body = [(i, row) for i, row in enumerate(said) if i not in self._whole and any(text for _, text in row)]
        marked = all(((i, j) in self._labels) == (j % 2 == 0) for i, row in body for j, _ in row)
        if not is_form([[text for _, text in row] for _, row in body], marked):
            return []
        lines = (form_text([text for _, text in row]) for row in said)
        return [rows[i][0] if i in self._whole else line for i, line in enumerate(lines) if any(rows[i])]

    def _depth(self, rows: Sequence[Sequence[str]]) -> int:
        """How many rows name the columns, where the first of them has names over several and the next those below."""
        first = next((i for i, row in enumerate(rows) if any(row) and i not in self._whole), 0)
        last = first
        while last + 2 < len(rows) and (wide := self._wide.get(last)):
            row, covered = rows[last + 1], self._covered.get(last + 1, set())
            below = [row[column] for column in wide if column < len(row)]
            beside = [row[column] for column in {*range(len(row))} - wide - covered]
            if len(wide) == len(row) or any(beside) or not all(0 < len(name) <= MAX_NAME for name in below):
                break
            if any(map(is_quantity, below)):
                break
            last += 1
        return last + 1 if last > first else 0

    def _fill(self, row: list[str]) -> None:
        while len(row) in self._open:
            self._covered.setdefault(len(self.rows), set()).add(len(row))
            left, text = self._open.pop(len(row))
            if left > 1:
                self._open[len(row)] = (left - 1, text)
            row.append(text)


def nested(lines: Iterable[str]) -> str:
    """The rows of a table within a cell, in one line."""
    return "; ".join(", ".join(cell.strip() or EMPTY for cell in line.split("|")) for line in lines)


def row_line(row: Sequence[str], names: Sequence[str]) -> str:
    """A row in one line: its first cell is what the row is about, the others follow behind their column's name."""
    if not any(names[1:]):
        return SEPARATOR.join(row).strip()
    said = [row[0] or (f"{names[0]}: {EMPTY}" if names[0] else EMPTY)]
    previous = ""
    for i, text in enumerate(row[1:], 1):
        name = names[i] if i < len(names) else ""
        if name and name == previous:  # one heading over several cells: "$" and the sum
            said[-1] = f"{said[-1].removesuffix(EMPTY).rstrip()} {text or EMPTY}"
        else:
            said.append(f"{name}: {text or EMPTY}" if name else text)
        previous = name
    return SEPARATOR.join(said)


def _column_names(headers: list[list[str]]) -> list[str]:
    """Names over each other become one: "2024" above "Sales" is "2024 Sales"."""
    return [" ".join(dict.fromkeys(name for name in column if name)) for column in zip(*headers, strict=True)]


def _are_units(row: Sequence[str]) -> bool:
    """Whether a row below the names says in which units the values of its columns are."""
    units = [unit for text in row[1:] if (unit := text.strip("()（）[] "))]
    return row[0].strip("-–:： ").lower() in _UNITS_NAMED and bool(units) and all(map(UNIT.fullmatch, units))


def _are_names(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns, as far as the words tell.

    Two columns may well be names and values throughout, so the values have to be numbers under a word.
    """
    names = [name for name in first[1:] if name]
    if not body or len(first) < 2 or len(names) < len(first) - 1 or len({*first}) < len(first):
        return False
    if any(len(name) > MAX_NAME or is_quantity(name) for name in first):
        return False
    values = [row[1] for row in body if row[1]]
    return len(first) > 2 or (len(values) > 1 and all(QUANTITY.match(value) for value in values))
