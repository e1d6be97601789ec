"""Files and ledgers of a store outside, kept as records: a kind, a key, a JSON text."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from .files import FileRecord
from .ledger import checked_text

if TYPE_CHECKING:
    from .outside import OutsideReading, OutsideWriting

_PAGE = 1_000


class _Database(Protocol):
    def reading(self) -> AbstractContextManager[OutsideReading]: ...

    def writing(self) -> AbstractContextManager[OutsideWriting]: ...


class OutsideFiles:
    """See :class:`langbert.store.files.Files`."""

    def __init__(self, database: _Database) -> None:
        self._database = database

    def __iter__(self) -> Iterator[FileRecord]:
        last = ""
        while True:
            with self._database.reading() as state:
                page = state.records("file", after=last, limit=_PAGE)
                found = [FileRecord(**json.loads(value)) for value in page.values()]
                there = state.document_states(record.document_id for record in found if record.state == "done")
            yield from (record for record in found if record.state != "done" or record.document_id in there)
            if len(page) < _PAGE:
                return
            last = max(page)

    def record(self, records: Iterable[FileRecord]) -> None:
        rows = {record.path: json.dumps(asdict(record), ensure_ascii=False) for record in records}
        if rows:
            with self._database.writing() as transaction:
                transaction.put_records("file", rows)

    def forget(self, paths: Iterable[str]) -> None:
        with self._database.writing() as transaction:
            transaction.delete_records("file", list(paths))


class OutsideLedger:
    """See :class:`langbert.store.ledger.Ledger`."""

    def __init__(self, database: _Database, namespace: str) -> None:
        self.namespace = checked_text("the namespace", namespace)
        self._kind = f"ledger:{namespace}"
        self._database = database
        self._clock = threading.Lock()
        self._latest = 0.0

    def create(self) -> None:
        """Nothing has to be made."""

    def now(self) -> float:
        with self._database.reading() as state:
            last = float(state.records("ledgers", [self.namespace]).get(self.namespace, 0.0))
        with self._clock:
            self._latest = max(time.time(), self._latest, math.nextafter(last, math.inf) if last else 0.0)
            return self._latest

    def record(self, keys: Sequence[str], groups: Sequence[str | None] | None = None, *, at: float) -> None:
        groups = [None] * len(keys) if groups is None else groups
        if len(groups) != len(keys):
            raise ValueError(f"{len(groups)} groups came for {len(keys)} keys: give one a key, or none")
        if not keys:
            return
        given = {checked_text("a key", key): group for key, group in zip(keys, groups, strict=True)}
        with self._database.writing() as transaction:
            before = transaction.records(self._kind, list(given))
            kept = {key: json.loads(before[key])[0] if key in before else None for key in given}
            transaction.put_ledger(
                (self.namespace, key, kept[key] if group is None else checked_text("a group", group), at)
                for key, group in given.items()
            )

    def known(self, keys: Sequence[str]) -> set[str]:
        with self._database.reading() as state:
            return set(state.records(self._kind, [checked_text("a key", key) for key in keys]))

    def keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        groups: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        with self._database.reading() as state:
            found = [(key, *json.loads(value)) for key, value in state.records(self._kind).items()]
        wanted = [
            (at, key)
            for key, group, at in found
            if (before is None or at < before) and (after is None or at > after) and (groups is None or group in groups)
        ]
        return [key for _, key in sorted(wanted)[:limit]]

    def forget(self, keys: Sequence[str]) -> None:
        with self._database.writing() as transaction:
            transaction.delete_records(self._kind, [checked_text("a key", key) for key in keys])
