"""FAISS indexes of unit vectors: made by a factory string, measured against exhaustive search, and searched.

How far a search goes (cells that an inverted file visits, nodes that a graph keeps in view) is not guessed: after
building, the exact neighbours of a sample of the vectors are compared with what is found, and the least effort is
taken that finds :data:`RECALL` of them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from .checked_file import CheckedFile
from .postings import Rows
from .snapshot import Snapshot

faiss: Any = _faiss  # its annotations describe C++, not the Python classes it wraps around them

_LOG = logging.getLogger("langbert")

ANN_FROM = 50_000
"""Vectors from which on ``"auto"`` makes cells: so many, of 384 dimensions, are searched exactly in 4 ms."""

RECALL = 0.99
"""The share of the true neighbours that a search is to find."""

EXHAUSTIVE = 1 << 40
"""The effort that misses nothing."""

_GATHERED = 256  # vectors brought together at a time: 0.4 MB of 384 dimensions
_DEPTHS = (10, 100)  # the numbers of neighbours that recall is measured at
_QUERIES = 200  # vectors whose neighbours are looked for
_POINTS_A_CELL = 32  # that k-means is trained on
_POINTS = 10_000  # that other codes are trained on
_RESCORED = 4  # candidates for each hit where codes are lossy
_GAIN = 0.0002  # more recall that a quarter more effort has to bring, where codes are lossy
_SEED = 11
_PRECISIONS = {"SQfp16": "float16", "SQ8": "int8"}
_SHORTEST, _LONGEST = 1e-15, 1e18  # vectors whose squares float32 holds well

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an index.

    Attributes:
        factory: the string that it was made by.
        trained_on: how many vectors there were.
        effort: for 10 and for 100 neighbours.
        recall: the share of 10 and of 100 true neighbours found with that.
    """

    factory: str
    trained_on: int
    effort: tuple[int, int] = (1, 1)
    recall: tuple[float, float] = (1.0, 1.0)


class FaissIndex:
    """``n`` vectors at the positions from 0; what is here never changes, so any number of threads search it.

    Args:
        index: made by FAISS.
        file: where it is mapped from, with its inverted lists, if it has any, at ``lists_from``, not yet verified.
    """

    def __init__(self, index: Any, facts: Facts, file: CheckedFile | None = None, lists_from: int = 0) -> None:
        self.faiss = index
        self.facts = facts
        self._file = file
        self._lists_from = lists_from
        self._ivf: Any = index if isinstance(index, faiss.IndexIVF) else None
        self._unverified = np.full(self.n_cells or 0, file is not None and self.lists_size > 0)
        self.lossless = isinstance(index, (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexHNSWFlat))
        self.exact = isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer))

    def __len__(self) -> int:
        return int(self.faiss.ntotal)

    @property
    def n_cells(self) -> int | None:
        return None if self._ivf is None else int(self._ivf.nlist)

    def describe(self) -> dict[str, Any]:
        """What it is, and how far a search for 10 neighbours goes, as JSON values."""
        facts = self.facts
        said = {"index": facts.factory, "precision": precision_of(facts.factory), "recall": facts.recall[0]}
        said |= {"kind": "exact", "trained_on": facts.trained_on}
        if self.n_cells is not None:
            return said | {"kind": "cells", "cells": self.n_cells, "probes": facts.effort[0]}
        return said if self.exact else said | {"kind": "approximate", "effort": facts.effort[0]}

    @property
    def lists_size(self) -> int:
        """Bytes of the inverted lists, at the end of what FAISS writes; 0 where they are not plain arrays."""
        lists = None if self._ivf is None else faiss.downcast_InvertedLists(self._ivf.invlists)
        return len(self) * self._entry_size if isinstance(lists, faiss.ArrayInvertedLists) else 0

    @property
    def _entry_size(self) -> int:
        return int(self.faiss.code_size) + 8

    def effort_for(self, k: int) -> int:
        """To find ``k`` neighbours."""
        (near, far), (few, many) = _DEPTHS, self.facts.effort
        if k <= far:
            return few if k <= near else math.ceil(few + (k - near) / (far - near) * (many - few))
        return math.ceil(many * k / far)

    def search(
        self, query: Floats, k: int, effort: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Positions, Floats, Positions | None]:
        """The nearest to the unit vector ``query`` ``(dim,)``.

        Args:
            allowed: ``(n,)``, only these.

        Returns:
            Positions and inner products, best first, and the cells that were visited, None for all.

        Raises:
            Damaged: the file was changed by something else.
        """
        k = min(k, len(self))
        scores, positions = np.empty((1, k), dtype=np.float32), np.empty((1, k), dtype=np.int64)
        selector = None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        index, parameters = _with_parameters(self.faiss, effort, selector)
        cells = None
        if self._ivf is None:
            index.search(query[None], k, params=parameters, D=scores, I=positions)
        else:
            quantizer, _ = _with_parameters(faiss.downcast_index(self._ivf.quantizer), effort, None)
            nearness, cells = quantizer.search(query[None], parameters.nprobe)
            self._verify(cells[0][cells[0] >= 0])
            pointers = map(faiss.swig_ptr, (cells, nearness, scores, positions))
            self._ivf.search_preassigned_c(1, faiss.swig_ptr(query), k, *pointers, False, parameters)
        found = positions[0] >= 0
        visited = None if cells is None or parameters.nprobe == self._ivf.nlist else cells[0]
        return positions[0][found], scores[0][found], visited

    def candidates(self, k: int) -> int:
        """How many to ask for, to have the best ``k`` and see whether there are more like the last of them."""
        return k + 1 if self.lossless else _RESCORED * k + 16

    def cells_of(self, vectors: Floats) -> Positions:
        """The cell of each of ``(m, dim)``: ``(m,)``, of an inverted file."""
        _, cells = self.faiss.quantizer.search(vectors, 1)
        return np.asarray(cells[:, 0])

    def scores_at(self, positions: Positions, query: Floats) -> Floats:
        """The inner products with ``query`` ``(dim,)`` of the vectors at ``positions``, as far as their codes tell.

        Raises:
            Damaged: as in :meth:`search`.
        """
        self._verify_at(positions)
        scores, vectors = np.empty(len(positions), np.float32), np.empty((_GATHERED, len(query)), np.float32)
        for start in range(0, len(positions), _GATHERED):
            block = positions[start : start + _GATHERED]
            self.faiss.reconstruct_batch(block, vectors[: len(block)])
            scores[start : start + _GATHERED] = inner_products(query, vectors[: len(block)])
        return scores

    def vectors_at(self, positions: Positions) -> Floats:
        """``(len(positions), dim)``; otherwise as :meth:`scores_at`."""
        self._verify_at(positions)
        return np.asarray(self.faiss.reconstruct_batch(positions), dtype=np.float32)

    @cached_property
    def _cells(self) -> Positions:
        """``(n,)`` the cell of each vector, of which FAISS keeps a map."""
        places: Positions = faiss.vector_to_array(self._ivf.direct_map.array)
        return places >> 32

    @cached_property
    def _bounds(self) -> Positions:
        """``(cells + 1,)`` where each inverted list begins in the file."""
        sizes = [self._ivf.invlists.list_size(cell) for cell in range(self._ivf.nlist)]
        return self._lists_from + self._entry_size * np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def _verify_at(self, positions: Positions) -> None:
        if self._unverified.any():
            self._verify(self._cells[positions])

    def _verify(self, cells: Positions) -> None:
        if self._file is None:
            return
        for cell in np.unique(cells[self._unverified[cells]]).tolist():
            self._file.verify(int(self._bounds[cell]), int(self._bounds[cell + 1]))
            self._unverified[cell] = False


def precision_of(factory: str) -> str:
    """How an index made by this string holds a vector: ``"float32"``, ``"float16"``, ``"int8"``, or FAISS's word."""
    first, *others = factory.split(",")
    if others and not first.startswith(("auto", "IVF", "HNSW")):
        return first  # of numbers that are others than before
    code = factory.replace("_", ",").rpartition(",")[2]
    if code in ("Flat", "auto") or code.startswith("HNSW"):
        return "float32"
    return {"SQfp16": "float16", "SQ8": "int8"}.get(code, code)


def _with_parameters(index: Any, effort: int, selector: Any) -> tuple[Any, Any]:
    """What to ask and how; a graph that is to miss nothing gives way to the vectors it stands on."""
    if isinstance(index, faiss.IndexPreTransform):
        _, inner = _with_parameters(faiss.downcast_index(index.index), effort, selector)
        return index, faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return index, faiss.SearchParametersIVF(nprobe=min(effort, index.nlist), sel=selector)
    if isinstance(index, faiss.IndexHNSW):
        if effort < index.ntotal:
            return index, faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        index = faiss.downcast_index(index.storage)
    return index, faiss.SearchParameters(sel=selector)


# --- building ---------------------------------------------------------------------------------------------------------


def factory_for(spec: str, n: int) -> str:
    """The factory string for ``n`` vectors; of ``"auto"`` or ``"auto,SQ8"`` by their number.

    A graph (HNSW) is never chosen: over 100,000 vectors it took four times as long to build as cells, and was no
    quicker at the same recall.
    """
    if not spec.startswith("auto"):
        return spec
    codes = spec.removeprefix("auto").removeprefix(",") or "Flat"
    return codes if n < ANN_FROM else f"IVF{round(2 * math.sqrt(n))},{codes}"


def make(factory: str, dimension: int) -> Any:
    """An empty FAISS index for inner products.

    Raises:
        ValueError: FAISS does not know the string, or such an index cannot be asked among chosen vectors only.
    """
    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        said = str(error).rpartition("Error: ")[2]
        raise ValueError(f"FAISS makes no index {factory!r} of {dimension} dimensions: {said}") from error
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    if not isinstance(inner, (faiss.IndexFlat, faiss.IndexScalarQuantizer, faiss.IndexHNSW, faiss.IndexIVF)):
        raise ValueError(
            f"index={factory!r} makes a {type(inner).__name__}, which cannot be searched with filters: "
            "use Flat, SQ…, HNSW… or IVF…, alone or after OPQ… or PCA…"
        )
    if isinstance(inner, faiss.IndexIVF):
        training = inner.cp
        training.niter, training.seed, training.spherical = 8, _SEED, True
        training.min_points_per_centroid, training.max_points_per_centroid = 1, _POINTS_A_CELL
    return index


def build(snapshot: Snapshot, spec: str) -> tuple[FaissIndex, Rows]:
    """An index of all vectors of ``snapshot``, brought to unit length, and their row ids, ascending.

    Where there are too few vectors to train what ``spec`` asks for, they are compared one by one.

    Raises:
        ValueError: as :func:`make`.
        StoreCorrupt: a vector is damaged.
    """
    dimension = snapshot.dimension or 0
    factory = factory_for(spec, snapshot.n_chunks) if snapshot.n_chunks else "Flat"
    index = make(factory, dimension)
    if isinstance(index, faiss.IndexFlat):
        queries = _Queries(np.empty(0, np.int64), np.empty((0, dimension), np.float32))
    else:
        points = _POINTS_A_CELL * index.nlist if isinstance(index, faiss.IndexIVF) else 0
        most = min(max(_POINTS, points), snapshot.n_chunks)
        drawn = snapshot.sample_rows(most, random.Random(_SEED))  # noqa: S311 - no secret
        vectors = unit(snapshot.vectors(drawn))
        queries = _Queries(np.array(drawn[:_QUERIES]), vectors[:_QUERIES])
        try:
            index.train(vectors)
        except RuntimeError as error:
            _LOG.info("%d vectors are too few for %s (%s): exact search for now", snapshot.n_chunks, factory, error)
            factory = "Flat"
            index = make(factory, dimension)
    ivf = index if isinstance(index, faiss.IndexIVF) else None
    rows, cells = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for block, vectors in snapshot.vectors_since(0):
        vectors = unit(vectors)
        queries.see(block, vectors)
        rows.append(block)
        if ivf is None:
            index.add(vectors)
        else:
            cells.append(ivf.quantizer.search(vectors, 1)[1][:, 0])
    if ivf is not None:
        _fill(ivf, snapshot, np.concatenate(cells))
    if (inverted := faiss.try_extract_index_ivf(index)) is not None:
        inverted.make_direct_map()
    made = FaissIndex(index, Facts(factory, index.ntotal))
    return FaissIndex(index, queries.measured(made, np.concatenate(rows))), np.concatenate(rows)


def _fill(index: Any, snapshot: Snapshot, cells: Positions) -> None:
    """All vectors into their cells, of which each gets the room it takes: lists that grow take half as much again."""
    for cell, n in enumerate(np.bincount(cells, minlength=index.nlist).tolist()):
        index.invlists.resize(cell, n)
        index.invlists.resize(cell, 0)
    for _, vectors in snapshot.vectors_since(0):
        units, theirs = unit(vectors), cells[index.ntotal : index.ntotal + len(vectors)]  # held: FAISS gets addresses
        index.add_core(len(units), faiss.swig_ptr(units), None, faiss.swig_ptr(theirs))


class _Queries:
    """Stored vectors, ``(m, dim)``, whose true neighbours are found while an index is filled."""

    def __init__(self, rows: Rows, vectors: Floats) -> None:
        self._rows, self._vectors = rows, vectors
        self._neighbours = np.full((len(rows), _DEPTHS[-1] + 1), -1, dtype=np.int64)  # row ids, themselves among them
        self._cosines = np.full(self._neighbours.shape, -np.inf, dtype=np.float32)

    def see(self, rows: Rows, vectors: Floats) -> None:
        """More of the stored vectors."""
        depth = self._neighbours.shape[1]
        if len(self._rows) == 0:
            return
        cosines, places = faiss.knn(self._vectors, vectors, min(depth, len(rows)), metric=faiss.METRIC_INNER_PRODUCT)
        cosines = np.concatenate([self._cosines, cosines], axis=1)
        neighbours = np.concatenate([self._neighbours, np.where(places >= 0, rows[places], -1)], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :depth]
        self._cosines, self._neighbours = (np.take_along_axis(of, order, 1) for of in (cosines, neighbours))

    def measured(self, index: FaissIndex, rows: Rows) -> Facts:
        """The facts of ``index``, whose vectors have these row ids, with the effort it takes and what that finds."""
        if len(self._rows) == 0:
            return index.facts
        most = index.n_cells or (1 if index.exact else len(index))
        efforts, recalls, effort = [], [], 1
        for k in _DEPTHS:
            recall, before = self._recall(index, rows, k, effort), 0.0
            while recall < RECALL and effort < most and (index.lossless or recall - before > _GAIN):
                effort, before = min(max(effort + 1, effort * 5 // 4), most), recall
                recall = self._recall(index, rows, k, effort)
            efforts.append(effort)
            recalls.append(round(recall, 4))
        (few, many), (near, far) = efforts, recalls
        return Facts(index.facts.factory, index.facts.trained_on, (few, many), (near, far))

    def _recall(self, index: FaissIndex, rows: Rows, k: int, effort: int) -> float:
        right = wanted = 0
        with one_thread():
            for row, query, near in zip(self._rows, self._vectors, self._neighbours, strict=True):
                true = near[(near >= 0) & (near != row)][:k]
                positions, _, _ = index.search(query, index.candidates(k), effort)  # the vector itself among them
                right += int(np.isin(true, rows[positions]).sum())
                wanted += len(true)
        return right / max(wanted, 1)


# --- vectors ----------------------------------------------------------------------------------------------------------


def inner_products(query: Floats, vectors: Floats, positions: Positions | None = None) -> Floats:
    """``(dim,)`` with each of ``vectors`` ``(n, dim)``, or with those at ``positions``, which must be in range."""
    found = np.empty(len(vectors) if positions is None else len(positions), dtype=np.float32)
    if len(found) == 0:
        return found
    if positions is None:
        pointers = map(faiss.swig_ptr, (found, query, vectors))
        faiss.fvec_inner_products_ny(*pointers, len(query), len(found))
    else:
        pointers = map(faiss.swig_ptr, (found, query, vectors, positions))
        faiss.fvec_inner_products_by_idx(*pointers, len(query), 1, len(found))
    return found


def unit(vectors: Floats) -> Floats:
    """``(n, dim)`` vectors at length 1; a vector of zeros stays."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    extreme = np.flatnonzero(~((lengths > _SHORTEST) & (lengths < _LONGEST)))
    if len(extreme):  # their squares leave the range of float32
        steps = np.abs(vectors[extreme]).max(axis=1, keepdims=True, initial=0)
        vectors = vectors.copy()
        vectors[extreme] /= np.where(steps > 0, steps, 1)
        lengths[extreme] = np.linalg.norm(vectors[extreme], axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """FAISS with one thread: several make a single query slower. OpenMP keeps the setting per calling thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
