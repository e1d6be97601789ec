"""The dense index: the nearest unit vectors by inner product, derived from what SQLite holds.

Vectors are brought to unit length here, so an inner product is the cosine whatever was given to the store. What has
settled lies in a FAISS index, mapped from a file where there is one; what came later is a tail in memory, of which a
search looks at the part in the cells that it visits; what was deleted stays as a dead position. When the tail or the
dead are many, all is built anew. Which kind of FAISS index is built, the user says or its size decides
(:func:`~langbert.store.faiss_index.factory_for`).

Searches use whatever :class:`View` is current, without a lock; only absorbing takes one.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from .checked_file import Damaged
from .faiss_index import EXHAUSTIVE, FaissIndex, build, inner_products, one_thread, precision_of, unit
from .index_file import Record, Writing, open_index, write_index
from .snapshot import Mark, Rows, Snapshot

__all__ = ["Damaged", "DenseIndex", "IndexPrecision", "spec_for", "unit"]

_LOG = logging.getLogger("langbert")

IndexPrecision = Literal["float32", "float16", "int8"]
"""``"float32"``: 4 bytes a dimension. ``"float16"``: 2. ``"int8"``: 1."""

TAIL = 20_000
"""Vectors that may stand beside the FAISS index, or without one, and be compared one by one; an eighth of it where
that is more."""

EXACT = 20_000
"""Allowed vectors up to which a search compares all of them: 3 ms for 384 dimensions."""

_TAIL_SHARE = 8
_DEAD_SHARE = 4  # all is built anew when more than a quarter is dead
_FEW = 1024  # dead positions that do not matter
_SAVED_SHARE = 20  # closing writes the file when a twentieth is new, or there are at most TAIL
_BLOCK = 8192  # vectors given at a time
_EQUAL = 2e-6  # cosines no further apart may be of equal vectors
_TIED = 4096  # candidates among which those of equal cosines are put in order

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]


def spec_for(index: str | None, precision: IndexPrecision | None) -> str | None:
    """What to build, in a word: ``"auto"``, ``"auto,SQ8"`` or a factory string; None for what there was.

    Raises:
        ValueError: the factory string says already how vectors are held.
    """
    if index not in (None, "auto"):
        if precision is not None:
            raise ValueError(f"index={index!r} says how vectors are held, so index_precision={precision!r} cannot")
        return index
    codes = {"float32": "", "float16": ",SQfp16", "int8": ",SQ8"}
    return index if precision is None else "auto" + codes[precision]


@dataclass(frozen=True)
class View:
    """One state of the index. Positions count through the FAISS index (``base``), then the tail.

    Attributes:
        rows: ``(n,)`` row ids, ascending.
        alive: ``(n,)``; the rest was deleted.
        tail: ``(m, dim)`` unit vectors.
        tail_cells: ``(m,)`` the cell of each; None where the base has no cells.
        saved: whether the base is in the file.
    """

    mark: Mark = field(default_factory=Mark)
    base: FaissIndex | None = None
    rows: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    alive: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    tail: Floats = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    tail_cells: Positions | None = None
    saved: bool = False

    @classmethod
    def of(cls, base: FaissIndex, rows: Rows, mark: Mark, *, saved: bool) -> View:
        """All that is in ``base``, which has absorbed ``mark``."""
        tail, cells = np.empty((0, base.faiss.d), dtype=np.float32), np.empty(0, dtype=np.int64)
        alive = np.ones(len(rows), dtype=np.bool_)
        return cls(mark, base, rows, alive, tail, None if base.n_cells is None else cells, saved)

    @property
    def n_base(self) -> int:
        return len(self.rows) - len(self.tail)

    @cached_property
    def n_alive(self) -> int:
        return int(np.count_nonzero(self.alive))

    @property
    def n_dead(self) -> int:
        return len(self.rows) - self.n_alive

    @property
    def dimension(self) -> int | None:
        return self.base.faiss.d if self.base is not None else self.tail.shape[1] or None

    @property
    def lossless(self) -> bool:
        return self.base is None or self.base.lossless

    @property
    def n_unsaved(self) -> int:
        """What the file does not know, about."""
        return len(self.tail) + self.n_dead if self.saved else len(self.rows)

    def locate(self, rows: Rows) -> Positions:
        """The position of each of ``rows``; -1 where it is not alive."""
        if len(self.rows) == 0 or len(rows) == 0:
            return np.full(len(rows), -1, dtype=np.int64)
        first, last = self.rows[0], self.rows[-1]
        if last - first + 1 == len(self.rows):  # none is missing between them: no need to search
            places = np.clip(rows, first, last) - first
        else:
            places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where((self.rows[places] == rows) & self.alive[places], places, -1)

    def nearest(self, query: Floats, k: int, rows: Rows | None) -> tuple[Rows, Floats]:
        """Row ids and cosines of at least ``k`` neighbours of the unit vector ``query`` ``(dim,)``, if there are so
        many among ``rows``; best first, equal cosines by row."""
        wide = k if self.base is None else self.base.candidates(k)
        allowed, n = self.alive, self.n_alive
        if rows is not None:
            places = self.locate(rows)
            places = places[places >= 0]
            n = len(places)
            if n <= EXACT:
                found, cosines = _ordered(self.rows[places], self.cosines_at(places, query))
                return found[:wide], cosines[:wide]
            allowed = np.zeros(len(self.rows), dtype=np.bool_)
            allowed[places] = True
        effort = EXHAUSTIVE
        if self.base is not None and n > 8 * k:
            effort = self.base.effort_for(math.ceil(k * len(self.rows) / n))  # so deep lie k of the allowed ones
        while True:
            positions, cosines, last = self._found(query, wide, effort, allowed, n)
            kth = np.partition(cosines, -k)[-k] if len(cosines) >= k else -1.0
            if effort != EXHAUSTIVE and len(cosines) < min(k, n):
                effort = EXHAUSTIVE
            elif last is not None and last >= kth - _EQUAL and wide < max(_TIED, k):
                wide *= 4
            else:
                return _ordered(self.rows[positions], cosines)

    def cosines_at(self, positions: Positions, query: Floats) -> Floats:
        """As far as the codes tell."""
        cosines = np.empty(len(positions), dtype=np.float32)
        late = positions >= self.n_base
        cosines[late] = inner_products(query, self.tail, positions[late] - self.n_base)
        if self.base is not None:
            cosines[~late] = self.base.scores_at(positions[~late], query)
        return cosines

    def _found(
        self, query: Floats, k: int, effort: int, allowed: NDArray[np.bool_], n: int
    ) -> tuple[Positions, Floats, float | None]:
        """Positions and cosines of the ``k`` nearest in the base and of all in the tail, of those that are visited;
        and the least cosine from the base, if it may have more like it."""
        positions, cosines, cells = np.empty(0, np.int64), np.empty(0, np.float32), None
        if self.base is not None and n > 0:
            chosen = None if n == len(self.rows) else allowed[: self.n_base]
            positions, cosines, cells = self.base.search(query, k, effort, chosen)
        last = float(cosines[-1]) if 0 < k == len(cosines) < self.n_base else None
        if len(self.tail):
            near = allowed[self.n_base :]
            if cells is not None and self.tail_cells is not None:
                near = near & np.isin(self.tail_cells, cells)
            places = np.flatnonzero(near)
            positions = np.concatenate([positions, places + self.n_base])
            cosines = np.concatenate([cosines, inner_products(query, self.tail, places)])
        return positions, cosines, last


def _ordered(rows: Rows, cosines: Floats) -> tuple[Rows, Floats]:
    """Best first, equal ones by row; to six decimals, since the order of summing decides about more."""
    cosines = np.round(cosines, 6)
    order = np.lexsort((rows, -cosines))
    return rows[order], cosines[order]


class _Growing:
    """An array that grows at its end; what was handed out of it never changes."""

    def __init__(self) -> None:
        self._array: NDArray[Any] = np.empty(0)

    def extended(self, n: int, more: NDArray[Any]) -> NDArray[Any]:
        """The first ``n`` entries, then ``more``."""
        end = n + len(more)
        if end > len(self._array):
            grown = np.empty((end + end // 4, *more.shape[1:]), dtype=more.dtype)
            if n:
                grown[:n] = self._array[:n]
            self._array = grown
        self._array[n:end] = more
        return self._array[:end]


class DenseIndex:
    """Nearest neighbours by cosine.

    Thread-safe; searches run beside each other.

    Args:
        file: where to keep a copy that opens quickly; None keeps none.
        writing: begins a transaction, in which it is recorded which file to believe; None never writes the file.
        spec: what to build (see :func:`spec_for`); None takes what the file has, or ``"auto"``.

    Attributes:
        distrusted: why the file was last not used, in words; empty where it was.
    """

    def __init__(self, file: Path | None, *, writing: Writing | None = None, spec: str | None = None) -> None:
        self.distrusted = ""
        self._file = file
        self._begin = writing
        self._wanted = spec
        self._spec = spec or "auto"
        self._lock = threading.Lock()  # of whoever absorbs or writes
        self._view: View | None = None
        self._tail, self._cells = _Growing(), _Growing()

    @property
    def mark(self) -> Mark:
        return Mark() if (view := self._view) is None else view.mark

    def __len__(self) -> int:
        return 0 if (view := self._view) is None else view.n_alive

    def describe(self) -> dict[str, Any]:
        """What is searched how, as JSON values.

        Probes and recall are those for 10 neighbours; recall is as measured when the index was built.
        """
        view = self._view
        if view is None or not len(view.rows):
            return {"kind": "none", "vectors": 0}
        said: dict[str, Any] = {"kind": "exact", "vectors": view.n_alive, "index": self._spec}
        base = view.base
        if base is None:
            return said | {
                "precision": precision_of(self._spec),
                "recall": 1.0,
                "unsettled": len(view.tail),
                "dead": view.n_dead,
            }
        said |= {
            "index": base.facts.factory,
            "precision": precision_of(base.facts.factory),
            "recall": base.facts.recall[0],
        }
        if base.n_cells is not None:
            said |= {"kind": "cells", "cells": base.n_cells, "probes": base.facts.effort[0]}
        elif not base.exact:
            said |= {"kind": "approximate", "effort": base.facts.effort[0]}
        said["trained_on"] = base.facts.trained_on
        return said | {"unsettled": len(view.tail), "dead": view.n_dead}

    # --- keeping up --------------------------------------------------------------------------------------------------

    def refresh(self, snapshot: Snapshot) -> None:
        """Absorbs what ``snapshot`` has and this has not; what is ahead of it stays.

        Raises:
            StoreError: the index that was asked for cannot be made.
        """
        if self._is_beyond(snapshot):
            return
        with self._lock:
            if not self._is_beyond(snapshot):
                self._view = self._caught_up(snapshot)

    def _is_beyond(self, snapshot: Snapshot) -> bool:
        return self._view is not None and self._view.mark.change >= snapshot.mark.change

    def _caught_up(self, snapshot: Snapshot) -> View:
        view = self._view
        if view is None or not _follows(view, snapshot):
            view = self._opened(snapshot)
        if view.mark.change >= snapshot.mark.change:
            return view
        room = max(TAIL, view.n_base // _TAIL_SHARE) - len(view.tail)
        if snapshot.born_since(view.mark.change) <= room:
            view = self._absorbed(view, snapshot)
            if view.n_dead <= max(_FEW, len(view.rows) // _DEAD_SHARE):
                return view
        return self._settled(snapshot)

    def _opened(self, snapshot: Snapshot) -> View:
        """From the file if it is whole and of this store's past, otherwise nothing."""
        if self._file is None or snapshot.dimension is None or not self._file.exists():
            return View()
        try:
            if (record := Record.of(snapshot)) is None:
                raise ValueError("the store does not know this file")
            if self._wanted not in (None, record.spec):
                raise ValueError(f"it is of the kind {record.spec!r}")
            if not snapshot.knows(record.mark):
                raise ValueError("it belongs to another history")
            base, rows = open_index(self._file, record)
            if base.faiss.d != snapshot.dimension:
                raise ValueError(f"its vectors have {base.faiss.d} dimensions")
        except (OSError, ValueError, Damaged) as error:
            self._distrust(error, logging.INFO)
            return View()
        self._spec = record.spec
        return View.of(base, rows, record.mark, saved=True)

    def _absorbed(self, view: View, snapshot: Snapshot) -> View:
        """What came since ``view`` joins its tail, what went dies."""
        if len(view.tail) == 0:  # nor may earlier views lose theirs
            self._tail, self._cells = _Growing(), _Growing()
        alive, tail, cells, born = view.alive.copy(), view.tail, view.tail_cells, [view.rows]
        removed = view.locate(snapshot.removed_since(view.mark.change))
        alive[removed[removed >= 0]] = False
        for rows, vectors in snapshot.vectors_since(view.mark.change):
            units = unit(vectors)
            if view.base is not None and cells is not None:
                cells = self._cells.extended(len(tail), view.base.cells_of(units))
            tail = self._tail.extended(len(tail), units)
            born.append(rows)
        rows = np.concatenate(born)
        alive = np.concatenate([alive, np.ones(len(rows) - len(alive), dtype=np.bool_)])
        return View(snapshot.mark, view.base, rows, alive, tail, cells, view.saved)

    def _settled(self, snapshot: Snapshot, *, always: bool = False) -> View:
        """All of ``snapshot`` and nothing dead: in a FAISS index and its file, where they are many, or ``always``."""
        if snapshot.dimension is None or (snapshot.n_chunks <= TAIL and not always):
            return self._absorbed(View(), snapshot)
        try:
            base, rows = build(snapshot, self._spec)
        except ValueError as error:
            raise StoreError(str(error)) from error
        saved = False
        if self._file is not None and self._begin is not None:
            try:
                record = write_index(self._file, base, rows, snapshot.mark, self._spec, self._begin)
                base, rows = open_index(self._file, record)
                saved = True
            except (OSError, StoreError, Damaged) as error:
                _LOG.warning("could not write %s (%s); it will be rebuilt when needed", self._file, error)
        return View.of(base, rows, snapshot.mark, saved=saved)

    def save(self, snapshot: Snapshot, *, always: bool = False) -> None:
        """Writes the file where that will save the next opening more than it costs now, or ``always``. Never raises
        for want of space: the vectors are elsewhere.

        Raises:
            StoreCorrupt: a vector is damaged.
        """
        with self._lock:
            view = self._view
            if view is None or self._begin is None or view.n_unsaved == 0 or snapshot.mark.change < view.mark.change:
                return
            if always or view.n_alive <= TAIL or view.n_unsaved * _SAVED_SHARE >= view.n_alive:
                self._view = self._settled(snapshot, always=True)

    # --- searching ---------------------------------------------------------------------------------------------------

    def search(self, query: Floats, k: int, rows: Rows | None = None, *, snapshot: Snapshot) -> tuple[Rows, Floats]:
        """The ``k`` nearest rows, best first, equal cosines by row.

        Args:
            query: ``(dim,)`` float32, any length.
            rows: only these; as many come back as there are, up to ``k``.
            snapshot: has the vectors themselves, which settle the order where this index holds fewer bits of them.

        Returns:
            The row ids and their cosines.

        Raises:
            Damaged: the file was changed under us; the next refresh makes the index anew.
        """
        view = self._view
        if view is None:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = unit(query[None])[0]
        with one_thread(), self._distrusting():
            found, values = view.nearest(query, k, rows)
        if not view.lossless:
            found, values = _ordered(found, _exact(snapshot, query, found, values))
        return found[:k], values[:k]

    def cosines(self, query: Floats, rows: Rows, *, snapshot: Snapshot) -> Floats:
        """The cosine of ``query`` ``(dim,)`` with each of ``rows``; 0 where a row is not there.

        Raises:
            Damaged: as in :meth:`search`.
        """
        values = np.zeros(len(rows), dtype=np.float32)
        if (view := self._view) is None:
            return values
        query = unit(query[None])[0]
        places = view.locate(rows)
        there = places >= 0
        with one_thread(), self._distrusting():
            values[there] = view.cosines_at(places[there], query)
        return np.round(values if view.lossless else _exact(snapshot, query, rows, values), 6)

    def contents(self) -> Iterator[tuple[Rows, Floats]]:
        """All that is held, in blocks: row ids, and unit vectors ``(n, dim)`` as far as their codes tell.

        Raises:
            Damaged: as in :meth:`search`.
        """
        view = self._view or View()
        n = view.n_base
        for start in range(0, len(view.rows), _BLOCK):
            places = start + np.flatnonzero(view.alive[start : start + _BLOCK])
            held = view.tail[places[places >= n] - n]
            if view.base is not None:
                held = np.concatenate([view.base.vectors_at(places[places < n]), held])
            yield view.rows[places], held

    @contextmanager
    def _distrusting(self) -> Iterator[None]:
        """Turns away from the file when that proves damaged."""
        try:
            yield
        except Damaged as error:
            self._distrust(error, logging.WARNING)
            with self._lock:
                self._view = View()  # not the file again
            raise

    def _distrust(self, error: Exception, level: int) -> None:
        self.distrusted = str(error)
        _LOG.log(level, "%s is of no use (%s): rebuilding it from the store", self._file, error)


def _exact(snapshot: Snapshot, query: Floats, rows: Rows, cosines: Floats) -> Floats:
    """The cosines by the stored vectors, of the rows that ``snapshot`` has."""
    found = snapshot.vectors_there(rows.tolist())
    known = np.array([row in found for row in rows.tolist()], dtype=np.bool_)
    exact = cosines.copy()
    if known.any():
        exact[known] = inner_products(query, unit(np.stack([found[row] for row in rows[known].tolist()])))
    return exact


def _follows(view: View, snapshot: Snapshot) -> bool:
    """Whether ``view`` can be brought up to ``snapshot`` by what that says has changed since."""
    return view.dimension in (None, snapshot.dimension) and snapshot.knows(view.mark)
