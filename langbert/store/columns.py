"""What filters ask about, held by column: derived from the truth, made when filters turn out to differ, or by writers.

Reading the metadata of every chunk takes 1.6 s for a million; looking up which of a field's distinct values pass a
test, and then each chunk's value by its number, takes 2 ms. A test is put to each distinct value by the plain-Python
reference of filters.py, so nothing can mean something else here. Fields of very many values are kept as numbers if
they are numbers, and otherwise left to SQL. Writers keep a copy in a file (columns_file.py), as of the dense index.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns_file import UNREADABLE, StoredColumn, read_columns, write_columns
from .filters import Condition, Scalar, Test, parse_where
from .snapshot import Mark, Rows, Snapshot

__all__ = ["Columns"]

_LOG = logging.getLogger("langbert")

COLUMNS_FROM = 4096
"""Chunks below which SQL answers at once: nothing is held."""

_WIDE = 10_000  # distinct values from which on a field is not held as a list of them
_EXACT_INTEGERS = 2**53  # in a float64
_LEFT_TO_SQL = ("id", "document_id")  # every chunk another, and SQLite has an index
_MISSING = -1
_SAVED_SHARE = 20  # written anew when a twentieth is new

Mask = NDArray[np.bool_]


class _Unsupported(Exception):
    """A field that is not held."""


@dataclass(slots=True)
class _Listed:
    """A field of few values: each row's place in the list of them."""

    places: dict[Any, int] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)

    dtype = np.int32
    missing = _MISSING

    def place(self, value: Any) -> int:
        """In ``values``, where equal ones of equal type stand once."""
        key = value
        if type(value) is not str:
            key = (type(value), json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value)
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = len(self.values)
            self.values.append(value)
        return place

    @property
    def values_held(self) -> list[Any]:
        return self.values

    def holds(self, cell: Any, there: bool, value: Any) -> bool:
        """Whether ``cell`` says what a chunk's field is."""
        return bool(cell == (self.place(value) if there else _MISSING))

    def mask(self, test: Test, codes: NDArray[Any]) -> Mask:
        passes = [test.holds({test.field: value}) for value in self.values]
        if passes.count(True) == 1:  # a table takes ten times as long
            return np.asarray(codes == passes.index(True), dtype=np.bool_)
        table = np.array([*passes, False], dtype=np.bool_)  # missing, -1, is the last
        return np.asarray(table[codes], dtype=np.bool_)


@dataclass(slots=True)
class _Numbers:
    """A field of many values, all of them numbers that a float64 holds exactly; missing is NaN."""

    dtype = np.float64
    missing = np.nan

    @property
    def values_held(self) -> None:
        return None

    def holds(self, cell: Any, there: bool, value: Any) -> bool:
        """Whether ``cell`` says what a chunk's field is."""
        return bool(cell == value) if there else bool(np.isnan(cell))

    def mask(self, test: Test, numbers: NDArray[Any]) -> Mask:
        match test.operator:
            case "exists":
                return np.asarray(~np.isnan(numbers), dtype=np.bool_)
            case "contains":
                return np.zeros(len(numbers), dtype=np.bool_)
            case "in":
                wanted = [_exactly(value) for value in test.values if _is_number(value)]
                return np.isin(numbers, wanted)
        (bound,) = test.values
        if not _is_number(bound):
            return np.zeros(len(numbers), dtype=np.bool_)
        limit = _exactly(bound)
        compare = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal}[test.operator]
        return np.asarray(compare(numbers, limit), dtype=np.bool_)


@dataclass(slots=True)
class _Column:
    kind: _Listed | _Numbers
    cells: NDArray[Any]  # at least as many as there are rows


@dataclass(frozen=True, slots=True)
class _State:
    """All rows at one commit; never changed once made, save that arrays grow behind what it looks at."""

    mark: Mark
    rows: Rows
    alive: Mask
    columns: Mapping[str, tuple[_Listed | _Numbers | None, NDArray[Any]]]

    def test(self, test: Test) -> Mask:
        if test.field in _LEFT_TO_SQL:
            raise _Unsupported
        kind, cells = self.columns.get(test.field, (_Listed(), np.full(len(self.rows), _MISSING, np.int32)))
        if kind is None:
            raise _Unsupported
        return kind.mask(test, cells)


class Columns:
    """The fields of all chunks.

    Thread-safe; filters are looked up beside each other.

    Args:
        file: where a copy is kept that opens quickly; None keeps none.
        read_only: never write it.

    Attributes:
        distrusted: why the file was last not used, in words; empty where it was.
    """

    def __init__(self, file: Path | None = None, *, read_only: bool = False) -> None:
        self.distrusted = ""
        self._file = file
        self._read_only = read_only or file is None
        self._unsaved = 0  # rows that the file does not have, or has otherwise
        self._lock = threading.Lock()
        self._asked = 0
        self._state: _State | None = None
        self._reset()

    def _reset(self) -> None:
        self._state = None
        self._n = 0
        self._rows: Rows = np.empty(0, dtype=np.int64)
        self._columns: dict[str, _Column | None] = {}

    def matching(self, where: Mapping[str, Any], snapshot: Snapshot) -> Rows:
        """The rows of ``snapshot`` that satisfy ``where``, ascending.

        Raises:
            FilterError: ``where`` cannot be understood.
        """
        condition = parse_where(where)
        self._asked += 1
        worth_it = self._asked > 1 or (self._file is not None and self._file.exists())
        if worth_it and snapshot.keeps_touched and snapshot.n_chunks >= COLUMNS_FROM:
            found = self._looked_up(condition, snapshot)
            if found is not None:
                return found
        return snapshot.matching(where)

    def _looked_up(self, condition: Condition, snapshot: Snapshot) -> Rows | None:
        """None where a field is not held, or this has absorbed more than ``snapshot`` has."""
        state = self._state
        if state is None or state.mark.change < snapshot.mark.change:
            with self._lock:
                self._refresh(snapshot)
                state = self._state
        if state is None or state.mark != snapshot.mark:
            return None
        try:
            places = np.flatnonzero(condition.mask(state.test, len(state.rows)))
            return np.asarray(state.rows[places[state.alive[places]]], dtype=np.int64)
        except _Unsupported:
            return None

    # --- keeping up --------------------------------------------------------------------------------------------------

    def _refresh(self, snapshot: Snapshot) -> None:
        state = self._state
        if state is not None and state.mark.change >= snapshot.mark.change:
            return
        if state is not None and not snapshot.knows(state.mark):
            state = None
        if state is None:
            self._reset()
            state = self._load(snapshot)
        since = Mark() if state is None else state.mark
        alive = np.ones(0, dtype=np.bool_) if state is None else state.alive
        if state is not None:
            removed = snapshot.removed_since(since.change)
            self._unsaved += len(removed)
            alive = alive & ~np.isin(state.rows, removed) if len(removed) else alive
        before = self._n
        for row, fields in snapshot.fields_since(since.change):
            self._append(row, fields)
        if state is not None:
            self._unsaved += self._change(snapshot.fields_touched_since(since.change), len(state.rows))
        self._unsaved += self._n - before
        alive = np.concatenate([alive, np.ones(self._n - len(alive), dtype=np.bool_)])
        self._state = self._frozen(snapshot.mark, alive)
        if np.count_nonzero(alive) * 2 < len(alive):
            self._reset()  # mostly dead: the next question makes everything anew

    def _frozen(self, mark: Mark, alive: Mask) -> _State:
        held = {
            name: (None, np.empty(0)) if column is None else (column.kind, column.cells[: self._n])
            for name, column in self._columns.items()
        }
        return _State(mark, self._rows[: self._n], alive, held)

    def _append(self, row: int, fields: Mapping[str, Any]) -> None:
        if self._n == len(self._rows):
            capacity = max(1024, self._n + self._n // 2)
            self._rows = _grown(self._rows, capacity, 0)
            for column in self._columns.values():
                if column is not None:
                    column.cells = _grown(column.cells, capacity, column.kind.missing)
        self._rows[self._n] = row
        self._n += 1
        for name, value in fields.items():
            self._put(name, self._n - 1, value)

    def _put(self, name: str, position: int, value: Any) -> None:
        column = self._columns.get(name)
        if column is None:
            if name in self._columns or name in _LEFT_TO_SQL:
                return
            column = self._columns[name] = _Column(_Listed(), np.full(len(self._rows), _MISSING, dtype=np.int32))
        kind = column.kind
        if type(kind) is _Listed:
            column.cells[position] = kind.place(value)
            if len(kind.values) > _WIDE:
                self._columns[name] = _as_numbers(column)
        elif type(value) is float or _is_exact(value):
            column.cells[position] = value
        else:
            self._columns[name] = None

    def _change(self, touched: Iterable[tuple[int, Mapping[str, Any]]], n: int) -> int:
        """Rows whose metadata changed in place: on copies, for others may be looking at the arrays. How many."""
        found = [(position, row, fields) for row, fields in touched if (position := self._position(row, n)) >= 0]
        if not found:
            return 0
        for column in self._columns.values():
            if column is not None:
                column.cells = column.cells.copy()
                column.cells[[position for position, _, _ in found]] = column.kind.missing
        for position, _, fields in found:
            for name, value in fields.items():
                self._put(name, position, value)
        return len(found)

    def _position(self, row: int, n: int) -> int:
        position = int(np.searchsorted(self._rows[:n], row))
        return position if position < n and self._rows[position] == row else -1

    # --- the file ----------------------------------------------------------------------------------------------------

    def save(self, snapshot: Snapshot, *, written: int) -> None:
        """Writes the file where that will save the next process more than it costs now. Never raises for want of
        space: the truth is elsewhere.

        Args:
            written: changes that this process has made to the store.
        """
        if self._read_only or self._file is None or not snapshot.keeps_touched or snapshot.n_chunks < COLUMNS_FROM:
            return
        if self._state is None and written * _SAVED_SHARE < snapshot.n_chunks:
            return
        with self._lock:
            self._refresh(snapshot)
            state = self._state
            if state is None or self._unsaved * _SAVED_SHARE < len(state.rows):
                return
            columns = {
                name: None if kind is None else StoredColumn(kind.values_held, cells[state.alive])
                for name, (kind, cells) in state.columns.items()
            }
            try:
                self._file.parent.mkdir(self._file.parent.parent.stat().st_mode & 0o777, exist_ok=True)
                write_columns(self._file, state.mark, state.rows[state.alive], columns)
                self._unsaved = 0
            except (OSError, ValueError) as error:
                _LOG.warning("could not write %s (%s); it will be made again when needed", self._file, error)

    def _load(self, snapshot: Snapshot) -> _State | None:
        """Takes the file if it is whole and of this store's past."""
        if self._file is None:
            return None
        try:
            mark, rows, columns = read_columns(self._file)
            if not snapshot.knows(mark) or mark.change > snapshot.mark.change:
                raise ValueError("it belongs to another history")
            held = {
                name: None if stored is None else _Column(_kind_of(stored.values), stored.cells)
                for name, stored in columns.items()
            }
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            self.distrusted = str(error)
            _LOG.info("%s is of no use (%s); reading the metadata of every chunk", self._file, error)
            return None
        self._rows, self._n, self._columns = rows, len(rows), held
        return self._frozen(mark, np.ones(self._n, dtype=np.bool_))

    def differing(self, snapshot: Snapshot) -> int:
        """How many chunks have other fields than are held here; reads them all."""
        with self._lock:
            self._refresh(snapshot)
            state = self._state
        if state is None:
            return 0
        places = {int(row): place for place, row in enumerate(state.rows) if state.alive[place]}
        wrong = 0
        for row, fields in snapshot.fields_since(0):
            place = places.pop(row, None)
            wrong += place is None or any(
                kind is not None and not kind.holds(cells[place], name in fields, fields.get(name))
                for name, (kind, cells) in state.columns.items()
            )
        return wrong + len(places)


def _kind_of(values: list[Any] | None) -> _Listed | _Numbers:
    if values is None:
        return _Numbers()
    kind = _Listed()
    if [kind.place(value) for value in values] != list(range(len(values))):
        raise ValueError("its values are not different")
    return kind


def _as_numbers(column: _Column) -> _Column | None:
    """None if its values are not all numbers that a float64 holds."""
    if not isinstance(column.kind, _Listed) or not all(map(_is_exact, column.kind.values)):
        return None
    table = np.array([*column.kind.values, np.nan], dtype=np.float64)
    return _Column(_Numbers(), table[column.cells])


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_exact(value: Any) -> bool:
    return _is_number(value) and (isinstance(value, float) or abs(value) <= _EXACT_INTEGERS)


def _exactly(value: Any) -> float:
    if not _is_exact(value):
        raise _Unsupported
    return float(value)


def _grown(array: NDArray[Any], capacity: int, filler: Any) -> NDArray[Any]:
    grown = np.full(capacity, filler, dtype=array.dtype)
    grown[: len(array)] = array
    return grown
