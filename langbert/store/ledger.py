"""The ledger: which keys of an outside source are indexed, since when, and to which group they belong.

It lies in the store itself and is written under the store's own lock. What is deleted from the store leaves the ledger
in the same commit, so it never says that something is indexed which is gone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence

from ..errors import StoreError
from .engine import DatabaseLike


class Ledger:
    """The keys of one namespace. Made by :meth:`langbert.Store.ledger`.

    Times are seconds since 1970. They come from one clock that never goes back and never repeats what it has written,
    whatever the machine's clock does: what was recorded before :meth:`now` was called is older than what it returned.
    """

    def __init__(self, database: DatabaseLike, namespace: str) -> None:
        self.namespace = _text("the namespace", namespace)
        self._database = database
        self._clock = threading.Lock()
        self._latest = 0.0

    def create(self) -> None:
        """Nothing has to be made: the first record does it."""

    def now(self) -> float:
        """Later than everything recorded, and no earlier than what it returned before."""
        with self._database.reading() as state:
            last = state.ledger_latest(self.namespace)
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
        entries = [
            (self.namespace, _text("a key", key), None if group is None else _text("a group", group), at)
            for key, group in zip(keys, groups, strict=True)
        ]
        if entries:
            with self._database.writing() as transaction:
                transaction.put_ledger(entries)

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of ``keys`` that are recorded."""
        with self._database.reading() as state:
            return state.ledger_known(self.namespace, _texts(keys))

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
        wanted = None if groups is None else _texts(groups)
        with self._database.reading() as state:
            return state.ledger_keys(self.namespace, before, after, wanted, limit)

    def forget(self, keys: Sequence[str]) -> None:
        """Strikes ``keys`` out; those that are not there are no error."""
        with self._database.writing() as transaction:
            transaction.delete_from_ledger(self.namespace, _texts(keys))


def _texts(values: Iterable[str]) -> list[str]:
    return [_text("a key or group", value) for value in values]


def _text(what: str, value: object) -> str:
    """What SQLite can keep: Unicode without surrogates, and no NUL, where its JSON functions would end a text."""
    try:
        if isinstance(value, str) and "\0" not in value:
            value.encode()
            return value
    except UnicodeEncodeError:
        pass
    raise StoreError(f"{what} of the ledger must be valid Unicode text without NUL; got {value!r:.60}")
