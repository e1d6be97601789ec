"""Which rows a filter leaves: remembered, because filters repeat, and looked up in columns where they do not."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict

from .columns import Columns
from .filters import Where
from .snapshot import Mark, Rows, Snapshot

__all__ = ["Selections", "rows_to_delete"]

_KEPT = 16


class Selections:
    """What the last filters left at their commits. Thread-safe."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._kept: OrderedDict[tuple[str, Mark], Rows] = OrderedDict()
        self._lock = threading.Lock()

    def rows(self, where: Where | None, snapshot: Snapshot) -> Rows | None:
        """The rows of ``snapshot`` that match, ascending; None for all.

        Raises:
            FilterError: ``where`` cannot be understood.
        """
        if where is None or where == {}:
            return None
        if callable(where):
            return snapshot.matching(where)
        try:
            key = (json.dumps(where, sort_keys=True), snapshot.mark)
        except (TypeError, ValueError):  # sets, for example
            return self._columns.matching(where, snapshot)
        with self._lock:
            rows = self._kept.pop(key, None)
        if rows is None:
            rows = self._columns.matching(where, snapshot)
        with self._lock:
            self._kept[key] = rows
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return rows


def rows_to_delete(snapshot: Snapshot, ids: list[str] | None, where: Where | None) -> list[int]:
    """Those of ``ids``, of chunks or of documents with all their chunks, that match."""
    named: set[int] | None = None
    if ids is not None:
        named = set(snapshot.rows_of(ids).values())
        for id in ids:
            named.update(state.row_id for state in snapshot.states_of_document(id).values())
    if where is None:
        return sorted(named or ())
    matching = snapshot.matching(where).tolist()
    return matching if named is None else [row for row in matching if row in named]
