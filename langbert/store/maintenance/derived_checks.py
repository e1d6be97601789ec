"""Whether the derived indexes can be used, and hold exactly what the database holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np

from ...errors import LangbertError
from .. import postings
from ..checked_file import Damaged
from ..checks import DERIVED
from ..dense import DenseIndex, IndexPrecision
from ..faiss_index import unit
from ..lexical import LexicalIndex
from ..postings import Rows
from ..schema import INDEXED_METADATA
from ..snapshot import Snapshot
from .checkup import Checkup
from .copying import Watch

_SAME = 0.999  # the cosine of a vector with itself in eight bits a number, at least
_ASKED = 64  # chunks whose words are looked up
_WORDS = 200  # characters of a chunk that are enough to find it by


def check_derived(checkup: Checkup, snapshot: Snapshot, chunks: Rows, tell: Watch) -> None:
    """Opens both indexes as a reader would, which brings them up to date in memory, and compares.

    Args:
        chunks: the row ids of all chunks, ascending.
    """
    folder = checkup.path / DERIVED
    dense = DenseIndex(folder / "dense.index")
    lexical = LexicalIndex(folder / "lexical", read_only=True)
    steps: list[tuple[Path, DenseIndex | LexicalIndex, Callable[[], str]]] = [
        (folder / "dense.index", dense, lambda: _check_dense(dense, snapshot, chunks)),
        (folder / "lexical", lexical, lambda: _check_lexical(lexical, snapshot, chunks)),
    ]
    for done, (path, index, check) in enumerate(steps):
        tell("indexes", done, len(steps))
        if not path.exists():
            expected = index is lexical or (index is dense and snapshot.dimension is not None)
            if len(chunks) and expected:
                checkup.note("note", f"derived/{path.name}", "not there yet; the next writer makes it")
            continue
        try:
            problem = check()
        except (LangbertError, Damaged, OSError, ValueError, RuntimeError) as error:
            problem = f"cannot be searched: {error}"
        distrusted = f"of no use as it is: {index.distrusted}" if index.distrusted else ""
        for said in filter(None, (distrusted, problem)):
            checkup.note("derived", f"derived/{path.name}", said)
    if problem := _check_postings(snapshot):
        checkup.note("derived", "table postings", problem)
    tell("indexes", len(steps), len(steps))


def _check_postings(snapshot: Snapshot) -> str:
    if snapshot.format < INDEXED_METADATA:
        return ""
    try:
        different = postings.count_differing(snapshot.sql)
    except sqlite3.Error as error:
        return f"cannot be read: {error}"
    return f"{different} lists of chunks are not what their metadata says" if different else ""


def _check_dense(index: DenseIndex, snapshot: Snapshot, chunks: Rows) -> str:
    if snapshot.dimension is None:
        return ""
    index.refresh(snapshot)
    if len(index) != len(chunks):
        return f"holds {len(index)} vectors of {len(chunks)}"
    if index.describe().get("precision") not in get_args(IndexPrecision):
        return ""  # codes that do not give the vectors back
    different = 0
    for rows, held in index.contents():
        stored = unit(snapshot.vectors(rows.tolist()))
        different += int((np.einsum("ij,ij->i", stored, held) < _SAME * np.einsum("ij,ij->i", stored, stored)).sum())
    return f"{different} of {len(chunks)} vectors are not those that are stored" if different else ""


def _check_lexical(index: LexicalIndex, snapshot: Snapshot, chunks: Rows) -> str:
    try:
        index.refresh(snapshot)
        held = index.rows()
        if not np.array_equal(held, chunks):
            missing, strays = len(np.setdiff1d(chunks, held)), len(np.setdiff1d(held, chunks))
            return f"lacks {missing} of {len(chunks)} chunks and has {strays} that are not stored"
        asked = np.random.default_rng().choice(chunks, min(_ASKED, len(chunks)), replace=False)
        lost = [
            row
            for row, chunk in snapshot.chunks(asked.tolist()).items()
            if index.has_terms(chunk.text[:_WORDS])
            and len(index.search(chunk.text[:_WORDS], 1, np.array([row], dtype=np.int64))[0]) == 0
        ]
        return f"does not find {len(lost)} of {len(asked)} chunks by their own words" if lost else ""
    finally:
        index.close()
