"""Whether the derived indexes can be used, and hold exactly what the truth holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tantivy import FieldType, Query

from ..errors import LangbertError
from .copying import Watch
from .dense import DenseIndex, unit
from .lexical import LexicalIndex
from .segment import Damaged
from .snapshot import Rows, Snapshot

if TYPE_CHECKING:
    from .doctor import Checkup

__all__ = ["check_derived"]

_LOG = logging.getLogger("langbert")
_PROBES = 4  # random directions in which every vector is compared
_TOLERANCE = 0.01  # of a cosine: what eight bits a number may cost
_ASKED = 64  # chunks whose words are looked up
_WORDS = 200  # characters of a chunk that are enough to find it by


def check_derived(checkup: Checkup, snapshot: Snapshot, chunks: Rows, tell: Watch) -> None:
    """Opens both indexes as a reader would, which brings them up to date in memory, and compares.

    Args:
        chunks: the row ids of all chunks, ascending.
    """
    folder = checkup.path / "derived"
    steps = ((folder / "dense.index", _check_dense), (folder / "lexical", _check_lexical))
    for done, (path, check) in enumerate(steps):
        tell("indexes", done, len(steps))
        if not path.exists():
            if len(chunks) and not (snapshot.dimension is None and check is _check_dense):
                checkup.note("note", f"derived/{path.name}", "not there yet; the next writer makes it")
            continue
        with _remarks() as said:
            try:
                problem = check(path, snapshot, chunks)
            except (LangbertError, Damaged, OSError, ValueError, RuntimeError) as error:
                problem = f"cannot be searched: {error}"
        for message in said:
            checkup.note("derived", f"derived/{path.name}", message)
        if problem:
            checkup.note("derived", f"derived/{path.name}", problem)
    tell("indexes", len(steps), len(steps))


def _check_dense(file: Path, snapshot: Snapshot, chunks: Rows) -> str:
    if snapshot.dimension is None:
        return ""
    index = DenseIndex(file, read_only=True)
    index.refresh(snapshot)
    if len(index) != len(chunks):
        return f"holds {len(index)} vectors of {len(chunks)}"
    rng = np.random.default_rng()
    queries = rng.standard_normal((_PROBES, snapshot.dimension)).astype(np.float32)
    different = 0
    for rows, vectors in snapshot.vectors_since(0):
        expected: NDArray[np.float32] = unit(vectors) @ unit(queries).T
        found = np.stack([index.cosines(query, rows) for query in queries], axis=1)
        different += int((np.abs(found - expected) > _TOLERANCE).any(axis=1).sum())
    return f"{different} of {len(chunks)} vectors are not those that are stored" if different else ""


def _check_lexical(folder: Path, snapshot: Snapshot, chunks: Rows) -> str:
    index = LexicalIndex(folder, read_only=True)
    try:
        index.refresh(snapshot)
        held = _rows_of(index)
        if not np.array_equal(held, chunks):
            missing, strays = len(np.setdiff1d(chunks, held)), len(np.setdiff1d(held, chunks))
            return f"lacks {missing} of {len(chunks)} chunks and has {strays} that are not stored"
        asked = np.random.default_rng().choice(chunks, min(_ASKED, len(chunks)), replace=False)
        lost = [
            row
            for row, chunk in snapshot.chunks(asked.tolist()).items()
            if index._query(chunk.text[:_WORDS]) is not None  # it has words
            and len(index.search(chunk.text[:_WORDS], 1, np.array([row], dtype=np.int64))[0]) == 0
        ]
        return f"does not find {len(lost)} of {len(asked)} chunks by their own words" if lost else ""
    finally:
        index.close()


def _rows_of(index: LexicalIndex) -> Rows:
    """All rows of an index that is up to date, ascending."""
    if index._state is None:
        return np.empty(0, dtype=np.int64)
    searcher = index._state.searcher
    everything = Query.range_query(index._state.index.schema, "row", FieldType.Integer, 0, 2**62)
    hits = searcher.search(everything, max(1, searcher.num_docs), count=False).hits
    return np.sort(np.array(searcher.fast_field_values("row", [address for _, address in hits]), dtype=np.int64))


@contextmanager
def _remarks() -> Iterator[list[str]]:
    """What the indexes say of their files while they open them, which is why they do not use them."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener, level, others, up = Listener(logging.INFO), _LOG.level, _LOG.handlers[:], _LOG.propagate
    _LOG.handlers[:] = [listener]
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    try:
        yield said
    finally:
        _LOG.handlers[:] = others
        _LOG.setLevel(level)
        _LOG.propagate = up
