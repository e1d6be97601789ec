"""The indexes that are derived from the database, together: kept up to date, and searched at one commit of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import sweep
from ..records import Candidate
from .checked_file import Damaged
from .database import Database
from .dense import DenseIndex, IndexPrecision, spec_for
from .faiss_index import factory_for, make
from .filters import Where
from .lexical import LexicalIndex
from .ranking import Query, find
from .relevance import Calibration
from .snapshot import Snapshot

_ATTEMPTS = 5


class Searcher:
    """A dense and a lexical index, searched at one commit of the database they are derived from."""

    def __init__(self, database: Any, dense: Any, lexical: Any) -> None:
        self._database = database
        self.dense = dense
        self.lexical = lexical
        self._calibration = Calibration()

    def search(
        self, query: Query, k: int, where: Where | None, check: Callable[[Any, int | None], None]
    ) -> list[Candidate]:
        """The ``k`` best chunks that match ``where``, all read from one commit.

        Args:
            check: raises where a vector of this dimension cannot be compared with what is stored.
        """
        used: list[Any] = []
        if query.vector is not None:
            used.append(self.dense)
        if query.mode != "dense":
            used.append(self.lexical)
        candidates: list[Candidate] = []
        for _ in range(_ATTEMPTS):
            with self._database.reading() as snapshot:
                if query.vector is not None:
                    check(snapshot, len(query.vector))
                for index in used:
                    index.refresh(snapshot)
                rows = None if where is None or where == {} else snapshot.matching(where)
                try:
                    most = min(k, max(snapshot.n_chunks, 1))
                    nearness = self._calibration.of(snapshot, query.text)
                    hits = find(query, self.dense, self.lexical, most, rows, snapshot, nearness)
                except Damaged:  # the next refresh makes the index anew
                    continue
                chunks = snapshot.chunks(hit.row for hit in hits)
            candidates = [
                Candidate(chunks[hit.row], hit.score, hit.parts, relevance=hit.relevance)
                for hit in hits
                if hit.row in chunks
            ]
            if all(index.mark == snapshot.mark for index in used):
                break  # otherwise another thread or process took an index beyond this snapshot: look again
        return candidates


class Indexes(Searcher):
    """The dense and the lexical index of a store. Thread-safe.

    Args:
        folder: where they are kept; None keeps them in memory.
        index: what the dense index is: ``"auto"``, or a FAISS factory string; None as it was made.
        precision: how an ``"auto"`` index holds vectors; None as it was made.
    """

    dense: DenseIndex
    lexical: LexicalIndex

    def __init__(
        self, database: Database, folder: Path | None, index: str | None, precision: IndexPrecision | None
    ) -> None:
        self._index = index
        if folder is not None and not database.read_only:
            sweep(folder)
            with suppress(OSError):  # of releases that kept the metadata by column
                (folder / "columns.index").unlink()
        dense = DenseIndex(
            folder and folder / "dense.index",
            writing=None if database.read_only else database.writing,
            spec=spec_for(index, precision),
        )
        super().__init__(database, dense, LexicalIndex(folder and folder / "lexical", read_only=database.read_only))

    def check(self, dimension: int | None) -> None:
        """Whether there is a dense index of this kind.

        Raises:
            ValueError: FAISS makes none, of so many dimensions.
        """
        if self._index is not None and dimension is not None:
            make(factory_for(self._index, 0), dimension)

    def refresh(self, snapshot: Snapshot, *, wait: bool = True) -> None:
        """Brings both up to date with ``snapshot``; of what all processes share, ``wait=False`` leaves to another one
        what that is at."""
        self.dense.refresh(snapshot)
        self.lexical.refresh(snapshot, wait=wait)

    def save(self, snapshot: Snapshot, *, always: bool = False) -> None:
        """Writes the dense index where that will save the next opening more than it costs now, or ``always``; the
        lexical one is written as it goes."""
        self.dense.save(snapshot, always=always)

    def close(self) -> None:
        self.lexical.close()

    def describe(self, snapshot: Snapshot) -> dict[str, Any]:
        """The dense index, brought up to date, as JSON values."""
        self.dense.refresh(snapshot)
        return self.dense.describe()
