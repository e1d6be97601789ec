"""Which vectors a query need not look at: k-means cells, and how many of them hold the true neighbours.

An inverted file (Jégou et al., *Product quantization for nearest neighbor search*, 2011, section IV) whose lists hold
the vectors themselves. How many cells a search visits is not guessed: the exact neighbours of a sample of the stored
vectors are found, and the cells are counted that have to be visited until the wanted share of them is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

__all__ = ["QUERIES", "RECALL", "Partition", "calibrated", "trained"]

_FAISS: Any = faiss

RECALL = 0.985
"""The share of true neighbours that the visited cells are to hold."""

_POINTS_A_CELL = 32  # trained on
_ITERATIONS = 8
QUERIES = 200
"""Stored vectors whose true neighbours are looked for."""
_DEPTHS = (10, 100)  # the numbers of neighbours that recall is measured at
_SEED = 11


@dataclass(frozen=True, slots=True)
class Partition:
    """Cells around centroids.

    Attributes:
        centroids: ``(cells, dim)`` float32.
        trained_on: how many vectors there were when it was made.
        probes: cells to visit for 10 and for 100 neighbours.
        recall: the share of true neighbours in those, measured.
    """

    centroids: NDArray[np.float32]
    trained_on: int
    probes: tuple[int, int] = (1, 1)
    recall: tuple[float, float] = (0.0, 0.0)

    def __len__(self) -> int:
        return len(self.centroids)

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """The cell of each of ``(n, dim)``: ``(n,)``."""
        if len(vectors) == 0:
            return np.empty(0, dtype=np.int32)
        _, cells = _FAISS.knn(vectors, self.centroids, 1, metric=_FAISS.METRIC_INNER_PRODUCT)
        return np.asarray(np.maximum(cells[:, 0], 0), dtype=np.int32)

    def cells_by_nearness(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inner product of ``(dim,)`` with every centroid."""
        found = np.empty(len(self.centroids), dtype=np.float32)
        pointers = map(faiss.swig_ptr, (found, query, self.centroids))
        _FAISS.fvec_inner_products_ny(*pointers, len(query), len(found))
        return found

    def probes_for(self, k: int) -> int:
        """Cells to visit for ``k`` neighbours."""
        few, many = self.probes
        if k <= _DEPTHS[0]:
            return few
        if k <= _DEPTHS[1]:
            share = (k - _DEPTHS[0]) / (_DEPTHS[1] - _DEPTHS[0])
            return math.ceil(few + share * (many - few))
        return min(len(self), math.ceil(many * k / _DEPTHS[1]))


def n_cells(n: int) -> int:
    return max(2, int(2 * math.sqrt(n)))


def trained(n: int, sample: Callable[[int], NDArray[np.float32]]) -> Partition:
    """Cells for ``n`` vectors, of which ``sample(m)`` gives ``(≤ m, dim)`` at random."""
    cells = n_cells(n)
    points = sample(_POINTS_A_CELL * cells)
    means = _FAISS.Kmeans(
        points.shape[1],
        min(cells, len(points)),
        niter=_ITERATIONS,
        spherical=True,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_A_CELL,
    )
    means.train(points)
    return Partition(np.ascontiguousarray(means.centroids, dtype=np.float32), n)


def calibrated(
    partition: Partition,
    queries: NDArray[np.float32],
    blocks: Iterable[tuple[NDArray[np.int32], NDArray[np.float32]]],
) -> Partition:
    """The partition with its probes and their recall.

    Args:
        queries: ``(m, dim)`` stored vectors; each one's own place is left out of its neighbours.
        blocks: all vectors ``(n, dim)`` by blocks, with their cells ``(n,)``.
    """
    depth = _DEPTHS[-1] + 1
    best = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    homes = np.full((len(queries), depth), -1, dtype=np.int32)
    for cells, vectors in blocks:
        cosines, places = _FAISS.knn(queries, vectors, min(depth, len(vectors)), metric=_FAISS.METRIC_INNER_PRODUCT)
        all_cosines = np.concatenate([best, cosines], axis=1)
        all_homes = np.concatenate([homes, np.where(places >= 0, cells[places], -1)], axis=1)
        order = np.argsort(-all_cosines, axis=1, kind="stable")[:, :depth]
        best, homes = np.take_along_axis(all_cosines, order, 1), np.take_along_axis(all_homes, order, 1)
    nearness = queries @ partition.centroids.T
    ranks = np.argsort(np.argsort(-nearness, axis=1, kind="stable"), axis=1)
    probes, recalls = [], []
    for k in _DEPTHS:
        neighbours = homes[:, 1 : k + 1]
        found = np.sort(np.take_along_axis(ranks, np.maximum(neighbours, 0), 1)[neighbours >= 0])
        if len(found) == 0:
            probes.append(len(partition))
            recalls.append(1.0)
            continue
        most = int(found[min(len(found) - 1, math.ceil(RECALL * len(found)))])
        probes.append(most + 1)
        recalls.append(float(np.mean(found <= most)))
    few, many = probes
    return Partition(
        partition.centroids, partition.trained_on, (few, max(few, many)), (round(recalls[0], 4), round(recalls[1], 4))
    )
