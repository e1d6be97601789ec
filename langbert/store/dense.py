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
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from ..errors import StoreError
from .checked_file import Damaged
from .faiss_index import Floats, build, inner_products, one_thread, precision_of, unit
from .index_file import Record, Writing, open_index, write_index
from .postings import Rows
from .snapshot import Mark, Snapshot
from .view import Growing, View, ordered

_LOG = logging.getLogger("langbert")

IndexPrecision = Literal["float32", "float16", "int8"]
"""``"float32"``: 4 bytes a dimension. ``"float16"``: 2. ``"int8"``: 1."""

TAIL = 20_000
"""Vectors that may stand beside the FAISS index, or without one, and be compared one by one; an eighth of it where
that is more."""

_TAIL_SHARE = 8
_DEAD_SHARE = 4  # all is built anew when more than a quarter is dead
_FEW = 1024  # dead positions that do not matter
_SAVED_SHARE = 20  # closing writes the file when a twentieth is new, or there are at most TAIL
_BLOCK = 8192  # vectors given at a time
_LOCK_SECONDS = 10.0


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
        self._guard = None if file is None else FileLock(file.with_name(file.name + ".lock"))
        self._begin = writing
        self._wanted = spec
        self._spec = spec or "auto"
        self._lock = threading.Lock()  # of whoever absorbs or writes
        self._view: View | None = None
        self._tail, self._cells = Growing(), Growing()

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
        said: dict[str, Any] = {
            "kind": "exact",
            "index": self._spec,
            "precision": precision_of(self._spec),
            "recall": 1.0,
        }
        if view.base is not None:
            said |= view.base.describe()
        return said | {"vectors": view.n_alive, "unsettled": len(view.tail), "dead": view.n_dead}

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
        if self._file is None or snapshot.dimension is None:
            return View()
        try:
            record = Record.of(snapshot)
            self._spec = self._wanted or (record.spec if record else "auto")
            if not self._file.exists():
                return View()
            if record is None:
                raise ValueError("the store does not know this file")
            if record.spec != self._spec:
                raise ValueError(f"it is of the kind {record.spec!r}")
            if not snapshot.knows(record.mark):
                raise ValueError("it belongs to another history")
            base, rows = open_index(self._file, record)
            if base.faiss.d != snapshot.dimension:
                raise ValueError(f"its vectors have {base.faiss.d} dimensions")
        except (OSError, ValueError, Damaged) as error:
            self._distrust(error, logging.INFO)
            return View()
        return View.of(base, rows, record.mark, saved=True)

    def _absorbed(self, view: View, snapshot: Snapshot) -> View:
        """What came since ``view`` joins its tail, what went dies."""
        if len(view.tail) == 0:  # nor may earlier views lose theirs
            self._tail, self._cells = Growing(), Growing()
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
                with self._alone():
                    record = write_index(self._file, base, rows, snapshot.mark, self._spec, self._begin)
                    base, rows = open_index(self._file, record)
                saved = True
            except Timeout:
                _LOG.info("another process is writing %s", self._file)
            except (OSError, StoreError, Damaged) as error:
                _LOG.warning("could not write %s (%s); it will be rebuilt when needed", self._file, error)
        return View.of(base, rows, snapshot.mark, saved=saved)

    def save(self, snapshot: Snapshot, *, always: bool = False) -> None:
        """Writes the file where that will save the next opening more than it costs now and nobody else is at it, or
        ``always``. Never raises for want of space: the vectors are elsewhere.

        Raises:
            StoreCorrupt: a vector is damaged.
        """
        with self._lock:
            view = self._view
            if view is None or self._begin is None or view.n_unsaved == 0 or snapshot.mark.change < view.mark.change:
                return
            if not (always or view.n_alive <= TAIL or view.n_unsaved * _SAVED_SHARE >= view.n_alive):
                return
            try:
                with self._alone(_LOCK_SECONDS if always else 0):
                    if not always and (there := self._opened(snapshot)).mark.change >= view.mark.change:
                        self._view = there  # somebody has done the work
                    else:
                        self._view = self._settled(snapshot, always=True)
            except OSError as error:
                _LOG.info("%s is not written now (%s)", self._file, error)

    @contextmanager
    def _alone(self, seconds: float = 0) -> Iterator[None]:
        """Keeps other processes from writing the file.

        Raises:
            Timeout: one has been at it for ``seconds``.
            OSError: the folder cannot be written.
        """
        if self._guard is None:
            yield
            return
        folder = Path(self._guard.lock_file).parent
        folder.mkdir(folder.parent.stat().st_mode & 0o777, exist_ok=True)
        with self._guard.acquire(timeout=seconds):
            yield

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
            found, values = ordered(found, _exact(snapshot, query, found, values), k)
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
