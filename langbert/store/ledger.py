"""The ledger: which keys of an outside source are indexed, since when, and to which group they belong.

It lies in the store's own file and is written under the store's own lock. What is deleted from the store leaves the
ledger in the same commit, so it never says that something is indexed which is gone.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Sequence

from ..errors import StoreError
from .database import Database
from .schema import LEDGER


class Ledger:
    """The keys of one namespace. Made by :meth:`langbert.Store.ledger`.

    Times are seconds since 1970. They come from one clock that never goes back and never repeats what it has written,
    whatever the machine's clock does: what was recorded before :meth:`now` was called is older than what it returned.
    """

    def __init__(self, database: Database, namespace: str) -> None:
        self.namespace = checked_text("the namespace", namespace)
        self._database = database
        self._clock = threading.Lock()
        self._latest = 0.0

    def create(self) -> None:
        """Makes the table, where this is the store's first ledger; :meth:`record` does it too."""
        with self._database.writing() as transaction:
            transaction.sql.execute(LEDGER)

    def now(self) -> float:
        """Later than everything recorded, and no earlier than what it returned before."""
        with self._database.reading() as snapshot:
            last = None
            if snapshot.has_ledger:
                query = "SELECT max(updated_at) FROM ledger WHERE namespace = ?"
                (last,) = snapshot.sql.execute(query, (self.namespace,)).fetchone()
        with self._clock:
            self._latest = max(time.time(), self._latest, 0.0 if last is None else math.nextafter(last, math.inf))
            return self._latest

    def record(self, keys: Sequence[str], groups: Sequence[str | None] | None = None, *, at: float) -> None:
        """Enters ``keys``, or renews them, all in one commit.

        Args:
            groups: where each key comes from; a key renewed without one keeps its own.
            at: when, from :meth:`now`.
        """
        groups = [None] * len(keys) if groups is None else groups
        if len(groups) != len(keys):
            raise ValueError(f"{len(groups)} groups came for {len(keys)} keys: give one a key, or none")
        rows = [
            (self.namespace, checked_text("a key", key), None if group is None else checked_text("a group", group), at)
            for key, group in zip(keys, groups, strict=True)
        ]
        if not rows:
            return
        with self._database.writing() as transaction:
            transaction.sql.execute(LEDGER)
            transaction.sql.executemany(
                "INSERT INTO ledger (namespace, key, group_id, updated_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET updated_at = excluded.updated_at, "
                "group_id = coalesce(excluded.group_id, group_id)",
                rows,
            )

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of ``keys`` that are recorded."""
        with self._database.reading() as snapshot:
            if not snapshot.has_ledger:
                return set()
            found = snapshot.sql.execute(
                "SELECT key FROM ledger WHERE namespace = ? AND key IN (SELECT value FROM json_each(?))",
                (self.namespace, _listed(keys)),
            )
            return {key for (key,) in found}

    def keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        groups: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """Keys recorded before and after these times (both exclusive) in one of ``groups``, the oldest first.

        None asks for no limit; an empty list of groups finds nothing.
        """
        conditions, parameters = ["namespace = ?"], [self.namespace]
        given: list[tuple[str, object]] = [
            ("updated_at < ?", before),
            ("updated_at > ?", after),
            ("group_id IN (SELECT value FROM json_each(?))", None if groups is None else _listed(groups)),
        ]
        conditions += [condition for condition, value in given if value is not None]
        values = [*parameters, *(value for _, value in given if value is not None), -1 if limit is None else limit]
        with self._database.reading() as snapshot:
            if not snapshot.has_ledger:
                return []
            found = snapshot.sql.execute(
                f"SELECT key FROM ledger WHERE {' AND '.join(conditions)} ORDER BY updated_at, key LIMIT ?",  # noqa: S608
                values,
            )
            return [key for (key,) in found]

    def forget(self, keys: Sequence[str]) -> None:
        """Strikes ``keys`` out; those that are not there are no error."""
        with self._database.writing() as transaction:
            if transaction.has_ledger:
                transaction.sql.execute(
                    "DELETE FROM ledger WHERE namespace = ? AND key IN (SELECT value FROM json_each(?))",
                    (self.namespace, _listed(keys)),
                )


def _listed(values: Sequence[str]) -> str:
    """One JSON parameter, however many values: SQLite limits the number of parameters."""
    return json.dumps([checked_text("a key or group", value) for value in values], ensure_ascii=False)


def checked_text(what: str, value: object) -> str:
    """What SQLite can keep: Unicode without surrogates, and no NUL, where its JSON functions would end a text."""
    try:
        if isinstance(value, str) and "\0" not in value:
            value.encode()
            return value
    except UnicodeEncodeError:
        pass
    raise StoreError(f"{what} of the ledger must be valid Unicode text without NUL; got {value!r:.60}")
