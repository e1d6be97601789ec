"""One state of the dense index, and searching it. Never changed once made, so any number of threads search it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .faiss_index import EXHAUSTIVE, FaissIndex, Floats, Positions, inner_products
from .postings import Rows
from .snapshot import Mark

EXACT = 20_000
"""Allowed vectors up to which a search compares all of them: 3 ms for 384 dimensions."""

_EQUAL = 2e-6  # cosines no further apart may be of equal vectors
_TIED = 4096  # candidates among which those of equal cosines are put in order


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
                return ordered(self.rows[places], self.cosines_at(places, query), wide)
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
                return ordered(self.rows[positions], cosines, wide)

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


def ordered(rows: Rows, cosines: Floats, k: int) -> tuple[Rows, Floats]:
    """The best ``k``, equal ones by row; to six decimals, since the order of summing decides about more."""
    cosines = np.round(cosines, 6)
    if len(cosines) > k:
        kept = np.flatnonzero(cosines >= np.partition(cosines, -k)[-k])
        rows, cosines = rows[kept], cosines[kept]
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]


class Growing:
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
