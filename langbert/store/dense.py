"""The dense index: the nearest unit vectors by inner product, derived from the truth.

Vectors are brought to unit length here, so an inner product is the cosine whatever was given to the store. What has
settled lies in one :class:`~langbert.store.segment.Segment`, mapped from a file where there is one; what came later is
a tail in memory; a deleted row stays behind as a dead position. Up to :data:`ANN_FROM` vectors every search is exact.
Beyond, the segment is divided into cells (see partition.py) and a search visits those near the query, and as many as
it takes to find ``k``. The tail joins the cells as it comes; they are made anew only after large growth.

Searches use whatever :class:`~langbert.store.view.View` is current, without a lock; only absorbing takes one.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from . import partition as cells
from .codec import Codec, IndexPrecision, one_thread, unit
from .partition import Partition
from .segment import LIST, Damaged, Positions, Segment, in_memory, open_segment, write_segment
from .snapshot import Mark, Rows, Snapshot
from .view import View

__all__ = ["Damaged", "DenseIndex", "unit"]

_LOG = logging.getLogger("langbert")

ANN_FROM = 120_000
"""Vectors from which on cells are made: so many, of 384 dimensions, are searched exactly in 8 ms."""

_GROWN = 4  # times the vectors the cells were trained on: make new ones
_TAIL_SHARE = 4  # a tail of more than a quarter of the segment is settled
_DEAD_SHARE = 4  # as are the living, when more than a quarter is dead
_FEW = 1024  # dead positions that do not matter
_SMALL = 20_000  # vectors up to which closing always writes the file
_SAVED_SHARE = 20  # beyond, when a twentieth is new
_BLOCK = 8192  # vectors handled at a time
_RESCORED = 4  # candidates for each hit whose vectors the truth is asked for, where codes are lossy


class DenseIndex:
    """Nearest neighbours by cosine.

    Thread-safe; searches run beside each other.

    Args:
        file: where to keep a copy that opens quickly; None keeps none.
        read_only: never write the file.
        precision: how vectors are held; None takes what the file has, or float32.

    Attributes:
        distrusted: why the file was last not used, in words; empty where it was.
    """

    def __init__(self, file: Path | None, *, read_only: bool = False, precision: IndexPrecision | None = None) -> None:
        self.distrusted = ""
        self._file = file
        self._read_only = read_only or file is None
        self._precision = precision
        self._lock = threading.Lock()  # of whoever absorbs or writes
        self._loaded = False
        self._unsaved = 0
        self._before = Mark()  # where a store without vectors is
        self._view: View | None = None
        self._tail = _Tail()

    @property
    def mark(self) -> Mark:
        return self._before if (view := self._view) is None else view.mark

    def __len__(self) -> int:
        return 0 if (view := self._view) is None else view.n_alive

    def describe(self) -> dict[str, Any]:
        """What is searched how, as JSON values.

        Probes and recall are those for 10 neighbours; recall is as measured when the cells were made, None where it was
        not.
        """
        view = self._view
        if view is None:
            return {"kind": "none", "vectors": 0}
        partition = view.base.partition
        said = {"kind": "exact", "vectors": view.n_alive, "precision": view.codec.precision}
        said["recall"] = 1.0 if view.codec.lossless else None
        if partition is not None:
            said |= {"kind": "cells", "cells": len(partition), "probes": partition.probes[0]}
            said |= {"recall": partition.recall[0], "trained_on": partition.trained_on}
        return said | {"unsettled": len(view.tail_rows), "dead": len(view.alive) - view.n_alive}

    # --- keeping up --------------------------------------------------------------------------------------------------

    def refresh(self, snapshot: Snapshot) -> None:
        """Absorbs what ``snapshot`` has and this has not; what is ahead of it stays."""
        if self._loaded and self.mark.change >= snapshot.mark.change:
            return
        with self._lock:
            if not self._loaded:
                self._load(snapshot)
                self._loaded = True
            if self.mark.change >= snapshot.mark.change:
                return
            if not self._follows(snapshot):
                self._clear()
                self._load(snapshot)
            try:
                self._catch_up(snapshot)
            except Damaged as error:
                self.distrusted = str(error)
                _LOG.warning("%s: rebuilding it from the store", error)
                self._clear()
                self._catch_up(snapshot)

    def _follows(self, snapshot: Snapshot) -> bool:
        """Whether what is here can be brought up to ``snapshot`` by what it says has changed since."""
        same = self._view is None or self._view.codec.dimension == snapshot.dimension
        return same and snapshot.knows(self.mark)

    def _catch_up(self, snapshot: Snapshot) -> None:
        if self._view is None:
            if snapshot.dimension is None:
                self._before = snapshot.mark
                return
            self._start(Codec(self._precision or "float32", snapshot.dimension))
        if self.mark.change < snapshot.mark.change:
            self._absorb(snapshot)

    def _clear(self) -> None:
        self._view, self._before = None, Mark()
        self._tail = _Tail()

    def _start(self, codec: Codec, base: Segment | None = None, mark: Mark | None = None) -> None:
        base = base or Segment.empty(codec)
        self._tail = _Tail(codec)
        alive = np.ones(len(base), dtype=np.bool_)
        self._view = View(mark or Mark(), codec, base, *self._tail.parts(), alive)

    def _absorb(self, snapshot: Snapshot) -> None:
        view = self._view
        if view is None:
            raise ValueError("there is nothing to absorb into")
        removed = view.locate(snapshot.removed_since(view.mark.change))
        removed = removed[removed >= 0]
        before = len(view.tail_rows)
        self._tail.cut(before)  # if absorbing broke off last time
        self._tail.expect(snapshot.count_since(view.mark.change))
        for rows, vectors in snapshot.vectors_since(view.mark.change):
            units = unit(vectors)
            part = view.base.partition
            self._tail.append(rows, view.codec.encode(units), part.assign(units) if part else None)
        added = len(self._tail) - before
        alive = np.concatenate([view.alive, np.ones(added, dtype=np.bool_)])
        alive[removed] = False
        self._unsaved += added + len(removed)
        view = View(snapshot.mark, view.codec, view.base, *self._tail.parts(), alive)
        if self._is_unsettled(view):
            view = self._settled(view)
        self._view = view

    def _is_unsettled(self, view: View) -> bool:
        dead = len(view.alive) - view.n_alive
        if dead > _FEW and dead * _DEAD_SHARE > len(view.alive):
            return True
        if self._wants_cells(view):
            return True
        return view.base.partition is not None and len(view.tail_rows) * _TAIL_SHARE > len(view.base)

    def _wants_cells(self, view: View) -> bool:
        part = view.base.partition
        return view.n_alive >= (ANN_FROM if part is None else max(ANN_FROM, _GROWN * part.trained_on))

    def _settled(self, view: View) -> View:
        """The living in one segment, in new cells where it is time for them; in the file where that can be written."""
        living = np.flatnonzero(view.alive)
        part, homes = view.base.partition, np.empty(0, np.int32)
        if self._wants_cells(view):
            part, homes = _new_cells(view, living)
        elif part is not None:
            settled_homes = np.repeat(np.arange(len(part), dtype=np.int32), np.diff(view.base.offsets))
            homes = np.concatenate([settled_homes, view.tail_cells])[living]
        if part is None:
            order = living[np.argsort(view.rows_at(living), kind="stable")]
            offsets = np.minimum(np.arange(0, len(order) + LIST, LIST), len(order))
        else:
            order = living[np.lexsort((view.rows_at(living), homes))]
            offsets = np.concatenate([[0], np.cumsum(np.bincount(homes, minlength=len(part)))])
        del living, homes
        settled = self._written(view, order, offsets, part)
        if settled is None:
            settled = in_memory(view.codec, view.rows_at(order), offsets, part, lambda at: _gathered(view, order[at]))
        self._tail = _Tail(view.codec)
        alive = np.ones(len(settled), dtype=np.bool_)
        return View(view.mark, view.codec, settled, *self._tail.parts(), alive)

    # --- searching ---------------------------------------------------------------------------------------------------

    def search(
        self, query: NDArray[np.float32], k: int, rows: Rows | None = None, *, truth: Snapshot | None = None
    ) -> tuple[Rows, NDArray[np.float32]]:
        """The ``k`` nearest rows, best first, equal cosines by row.

        Args:
            query: ``(dim,)`` float32, any length.
            rows: only these; as many come back as there are, up to ``k``.
            truth: has the vectors themselves, which settle the order where this index holds fewer bits of them.

        Returns:
            The row ids and their cosines.

        Raises:
            Damaged: the file was changed under us; the next refresh makes the index anew.
        """
        view = self._view
        if view is None or (rows is not None and len(rows) == 0):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        query = unit(query[None])[0]
        lossy = not view.codec.lossless and truth is not None
        with one_thread(), self._distrusting():
            found, cosines = view.nearest(query, _RESCORED * k + 16 if lossy else k, rows)
        if lossy and truth is not None:
            cosines = _exact(truth, query, found, cosines)
            order = np.lexsort((found, -cosines))[:k]
            found, cosines = found[order], cosines[order]
        return found, cosines

    def cosines(self, query: NDArray[np.float32], rows: Rows, *, truth: Snapshot | None = None) -> NDArray[np.float32]:
        """The cosine of ``query`` ``(dim,)`` with each of ``rows``; 0 where a row is not there.

        Raises:
            Damaged: as in :meth:`search`.
        """
        values = np.zeros(len(rows), dtype=np.float32)
        view = self._view
        if view is None or len(rows) == 0:
            return values
        query = unit(query[None])[0]
        positions = view.locate(rows)
        there = positions >= 0
        with one_thread(), self._distrusting():
            values[there] = view.scores_of(query, positions[there])
        if truth is not None and not view.codec.lossless:
            values[there] = _exact(truth, query, rows[there], values[there])
        return values

    @contextmanager
    def _distrusting(self) -> Iterator[None]:
        """Turns away from the file when that proves damaged."""
        try:
            yield
        except Damaged as error:
            self.distrusted = str(error)
            _LOG.warning("%s: rebuilding it from the store", error)
            self.forget()
            raise

    def forget(self) -> None:
        """Makes the next refresh build everything from the truth."""
        with self._lock:
            self._loaded = True
            self._clear()

    # --- the file ----------------------------------------------------------------------------------------------------

    def save(self, *, always: bool = False) -> None:
        """Writes the file where that will save the next opening more than it costs now, or ``always``. Never raises
        for want of space: the truth is elsewhere."""
        with self._lock:
            view = self._view
            if view is None or self._read_only or self._unsaved == 0:
                return
            if not always and view.n_alive > _SMALL and self._unsaved * _SAVED_SHARE < view.n_alive:
                return
            try:
                self._view = self._settled(view)
            except Damaged as error:
                self.distrusted = str(error)
                _LOG.warning("%s: it will be rebuilt from the store", error)
                self._clear()

    def _written(self, view: View, order: Positions, offsets: Positions, part: Partition | None) -> Segment | None:
        """The new segment, mapped from the new file; None where none could be written."""
        if self._read_only or self._file is None:
            return None
        try:
            self._file.parent.mkdir(self._file.parent.parent.stat().st_mode & 0o777, exist_ok=True)
            rows = view.rows_at(order)
            with replacing(self._file) as fresh, fresh.open("wb") as file:
                write_segment(file, view.mark, view.codec, rows, offsets, part, lambda at: _gathered(view, order[at]))
            segment, _, _ = open_segment(self._file, view.codec.dimension)
        except Damaged:
            raise
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            _LOG.warning("could not write %s (%s); it will be rebuilt when needed", self._file, error)
            return None
        if not np.array_equal(segment.rows, rows):  # another process was quicker
            return None
        self._unsaved = 0
        return segment

    def _load(self, snapshot: Snapshot) -> None:
        """Takes the file if it is whole and of this store's past; otherwise starts from nothing."""
        if self._file is None or snapshot.dimension is None:
            return
        try:
            segment, codec, mark = open_segment(self._file, snapshot.dimension)
            if self._precision not in (None, codec.precision):
                raise ValueError(f"it holds {codec.precision} vectors")
            if not snapshot.knows(mark):
                raise ValueError("it belongs to another history")
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            self.distrusted = str(error)
            _LOG.info("%s is of no use (%s); rebuilding it from the store", self._file, error)
            return
        self._start(codec, segment, mark)


class _Tail:
    """Arrays that grow; what was handed out of them never changes."""

    def __init__(self, codec: Codec | None = None) -> None:
        self._n = 0
        self._rows = np.empty(0, dtype=np.int64)
        self._codes = np.empty((0, codec.width if codec else 0), dtype=codec.dtype if codec else np.float32)
        self._cells = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        return self._n

    def expect(self, more: int) -> None:
        """Makes room at once, so that nothing has to be copied meanwhile."""
        self._reserve(self._n + more, exactly=self._n == 0)

    def append(self, rows: Rows, codes: NDArray[Any], homes: NDArray[np.int32] | None) -> None:
        end = self._n + len(rows)
        self._reserve(end)
        self._rows[self._n : end] = rows
        self._codes[self._n : end] = codes
        self._cells[self._n : end] = 0 if homes is None else homes
        self._n = end

    def cut(self, n: int) -> None:
        self._n = n

    def parts(self) -> tuple[Rows, NDArray[Any], NDArray[np.int32]]:
        return self._rows[: self._n], self._codes[: self._n], self._cells[: self._n]

    def _reserve(self, n: int, *, exactly: bool = False) -> None:
        if n <= len(self._rows):
            return
        capacity = n if exactly else n + n // 4 + 64
        for name in ("_rows", "_codes", "_cells"):
            old = getattr(self, name)
            grown = np.empty((capacity, *old.shape[1:]), dtype=old.dtype)
            grown[: self._n] = old[: self._n]
            setattr(self, name, grown)


def _gathered(view: View, positions: Positions) -> NDArray[Any]:
    """Verified codes."""
    if view.base.unverified is not None:
        view.base.verify(view.base.lists_of(positions[positions < len(view.base)]))
    return view.codes_at(positions)


def _blocks(view: View, positions: Positions) -> Iterator[tuple[Positions, NDArray[np.float32]]]:
    for start in range(0, len(positions), _BLOCK):
        some = positions[start : start + _BLOCK]
        yield some, view.codec.decode(_gathered(view, some))


def _new_cells(view: View, living: Positions) -> tuple[Partition, NDArray[np.int32]]:
    """Cells for the living, with how many of them a search has to visit, and the cell of each."""
    chance = np.random.default_rng(0)

    def sample(most: int) -> NDArray[np.float32]:
        chosen = np.sort(chance.choice(living, min(most, len(living)), replace=False))
        return np.concatenate([vectors for _, vectors in _blocks(view, chosen)])

    part = cells.trained(len(living), sample)
    homes: list[NDArray[np.int32]] = []

    def everything() -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        for _, vectors in _blocks(view, living):
            homes.append(part.assign(vectors))
            yield homes[-1], vectors

    measured = cells.calibrated(part, sample(cells.QUERIES), everything())
    return measured, np.concatenate(homes)


def _exact(truth: Snapshot, query: NDArray[np.float32], rows: Rows, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores by the vectors themselves, of rows that ``truth`` has."""
    found = truth.vectors_there(rows.tolist())
    known = np.array([row in found for row in rows.tolist()], dtype=np.bool_)
    exact = scores.copy()
    if known.any():
        exact[known] = unit(np.stack([found[row] for row in rows[known].tolist()])) @ query
    return exact
