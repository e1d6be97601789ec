"""One state of the dense index, and searching it. Never changed once made, so any number of threads search it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codec import Codec
from .partition import Partition
from .segment import Positions, Segment, located
from .snapshot import Mark, Rows

__all__ = ["View", "best"]

GATHER = 20_000
"""Allowed vectors up to which a filtered search compares all of them: it is exact, and takes 3 ms for 384 dimensions.
Where more are allowed, a search of cells goes on until it has compared so many."""

Found = tuple[Positions, NDArray[np.float32]]


@dataclass(frozen=True)
class View:
    """What has settled (``base``) and, at the positions after it, what came later (``tail``).

    Attributes:
        tail_rows: ``(m,)`` ascending.
        tail_codes: ``(m, width)``.
        tail_cells: ``(m,)`` where the base has cells, otherwise empty.
        alive: ``(len(base) + m,)``; the rest was deleted.
    """

    mark: Mark
    codec: Codec
    base: Segment
    tail_rows: Rows
    tail_codes: NDArray[Any]
    tail_cells: NDArray[np.int32]
    alive: NDArray[np.bool_]

    @cached_property
    def n_alive(self) -> int:
        return int(np.count_nonzero(self.alive))

    @cached_property
    def _alive_by_list(self) -> Positions:
        return self._by_list(self.alive)

    def rows_at(self, positions: Positions) -> Rows:
        n = len(self.base)
        rows = np.empty(len(positions), dtype=np.int64)
        settled = positions < n
        rows[settled] = self.base.rows[positions[settled]]
        rows[~settled] = self.tail_rows[positions[~settled] - n]
        return rows

    def codes_at(self, positions: Positions) -> NDArray[Any]:
        """``(len(positions), width)``, not verified."""
        n = len(self.base)
        if len(self.tail_rows) == 0:
            return np.asarray(self.base.codes[positions])
        codes = np.empty((len(positions), self.codec.width), dtype=self.codec.dtype)
        settled = positions < n
        codes[settled] = self.base.codes[positions[settled]]
        codes[~settled] = self.tail_codes[positions[~settled] - n]
        return codes

    def locate(self, rows: Rows) -> Positions:
        """The position of each of ``rows``; -1 where it is not alive."""
        places = self.base.locate(rows)
        if len(self.tail_rows):
            later = located(self.tail_rows, rows)
            places = np.where(later >= 0, later + len(self.base), places)
        known = places >= 0
        known[known] = self.alive[places[known]]
        return np.where(known, places, -1)

    # --- searching ---------------------------------------------------------------------------------------------------

    def nearest(self, query: NDArray[np.float32], k: int, rows: Rows | None = None) -> Found:
        """Rows and scores of the ``k`` nearest to the unit vector ``query`` ``(dim,)``, best first.

        Raises:
            Damaged: the file was changed by something else.
        """
        allowed = None
        if rows is not None:
            allowed = self.locate(rows)
            allowed = allowed[allowed >= 0]
        partition = self.base.partition
        if allowed is not None and len(allowed) <= GATHER:
            positions, scores = self._at(allowed, query)
        elif partition is None or k * 8 >= self.n_alive:
            positions, scores = self._everywhere(query, allowed)
        else:
            positions, scores = self._nearby(query, k, partition, allowed)
        return best(self.rows_at, positions, scores, k)

    def scores_of(self, query: NDArray[np.float32], positions: Positions) -> NDArray[np.float32]:
        return self._at(positions, query)[1]

    def _at(self, positions: Positions, query: NDArray[np.float32]) -> Found:
        n = len(self.base)
        settled = positions < n
        inside = positions[settled]
        if self.base.unverified is not None and len(inside):
            self.base.verify(self.base.lists_of(inside))
        if len(inside) == len(positions):
            return positions, self.codec.scores_at(self.base.codes, positions, query)
        scores = np.empty(len(positions), dtype=np.float32)
        scores[settled] = self.codec.scores_at(self.base.codes, inside, query)
        scores[~settled] = self.codec.scores_at(self.tail_codes, positions[~settled] - n, query)
        return positions, scores

    def _everywhere(self, query: NDArray[np.float32], allowed: Positions | None) -> Found:
        if allowed is not None and len(allowed) * 2 < len(self.alive):
            return self._at(allowed, query)
        self.base.verify()
        scores = self.codec.scores(self.base.codes, query)
        if len(self.tail_rows):
            scores = np.concatenate([scores, self.codec.scores(self.tail_codes, query)])
        if allowed is None:
            if self.n_alive == len(self.alive):
                return np.arange(len(scores)), scores
            allowed = np.flatnonzero(self.alive)
        return allowed, scores[allowed]

    def _nearby(self, query: NDArray[np.float32], k: int, partition: Partition, allowed: Positions | None) -> Found:
        """From the cells nearest to the query: as many as recall needs, and more while too few were found in them."""
        mask, counts, enough = self.alive, self._alive_by_list, k
        if allowed is not None:
            mask = np.zeros(len(self.alive), dtype=np.bool_)
            mask[allowed] = True
            counts, enough = self._by_list(mask), max(k, GATHER)
        order = np.argsort(-partition.cells_by_nearness(query))
        seen = np.cumsum(counts[order])
        probes = max(partition.probes_for(k), int(np.searchsorted(seen, enough)) + 1)
        cells = order[:probes]
        offsets = self.base.offsets
        parts = [np.arange(offsets[cell], offsets[cell + 1]) for cell in cells.tolist()]
        if len(self.tail_rows):
            visited = np.zeros(len(partition), dtype=np.bool_)
            visited[cells] = True
            parts.append(np.flatnonzero(visited[self.tail_cells]) + len(self.base))
        positions = np.concatenate(parts)
        return self._at(positions[mask[positions]], query)

    def _by_list(self, mask: NDArray[np.bool_]) -> Positions:
        """How many of each list are set, the tail's among them."""
        ends = np.concatenate([[0], np.cumsum(mask[: len(self.base)])])
        counts = np.diff(ends[self.base.offsets])
        if len(self.tail_rows):
            cells = self.tail_cells[mask[len(self.base) :]]
            counts = counts + np.bincount(cells, minlength=len(counts))
        return counts


def best(rows_at: Any, positions: Positions, scores: NDArray[np.float32], k: int) -> Found:
    """The ``k`` highest scores and their rows, equal scores by row."""
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= least)
        positions, scores = positions[kept], scores[kept]
    rows = rows_at(positions)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
