"""The SQLite file: how it is created, connections, locks, snapshots, transactions, and its errors in our words.

One process writes at a time: SQLite's own lock decides, which the operating system lets go when a process dies. It is
held for a commit only, never while texts are embedded. Any number of threads and processes read meanwhile; each read
sees one commit and nothing of the next (WAL snapshots).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ..errors import StoreCorrupt, StoreError, StoreLocked, require_choice
from ..files import private_folder, sync_folder
from . import postings
from .checks import DERIVED
from .schema import check_format, create_tables, damage, forget_postings, is_blank, is_outdated, upgrade
from .snapshot import Snapshot
from .transaction import Transaction

Durability = Literal["normal", "full"]
"""``"full"``: what was committed survives a power cut (an fsync a commit). ``"normal"``: a power cut may take back the
last commits, never more and never half of one. Both survive the process being killed."""

_PAGE_SIZE = 8192  # bytes: five 384-float vectors a page; 4096 would waste a quarter
_SYNCHRONOUS = {"normal": "NORMAL", "full": "FULL"}


class Unfinished(StoreError):
    """Whoever was making the store was stopped before it was one; nothing can have been stored in it."""


class Database:
    """The database of one store.

    Args:
        file: ``store.sqlite``; None for a database in memory.
        lock_timeout: seconds to wait for another writer.
    """

    def __init__(self, file: Path | None, *, read_only: bool, durability: Durability, lock_timeout: float) -> None:
        require_choice("durability", durability, _SYNCHRONOUS)
        self.file = file
        self.name = "the store in memory" if file is None else str(file)
        self.read_only = read_only
        self._synchronous = _SYNCHRONOUS[durability]
        self._timeout = lock_timeout
        self._immutable = False
        self._closed = False
        self._writing = threading.RLock()  # one writing thread; in memory, one thread at all
        self._idle: list[sqlite3.Connection] = []  # open connections nobody uses
        self._inherited: list[sqlite3.Connection] = []  # of the process that this one was forked off
        _DATABASES.add(self)
        with self._errors():
            if file is not None and not read_only and not file.exists():
                _create(file)
            self._idle.append(self._first_connection())

    def close(self) -> None:
        self._closed = True
        _close_all(self._idle)

    def _forked(self) -> None:
        """In the child: a lock that nobody holds, and connections of its own, since SQLite's file locks stay behind.
        One in memory is whole, a copy."""
        self._writing = threading.RLock()
        if self.file is not None:
            self._inherited, self._idle = self._inherited + self._idle, []

    @contextlib.contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """One commit's view, unchanged until the block ends.

        Raises:
            StoreError: the store is closed or cannot be read.
            StoreCorrupt: the file is damaged.
        """
        with self._borrowed() as connection, self._errors():
            connection.execute("BEGIN")
            try:
                yield Snapshot(connection)
            finally:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """All or nothing: committed when the block ends, undone if it raises.

        Raises:
            StoreLocked: another process was writing for longer than the time-out.
            StoreError: the store was opened for reading, or the disk is full or failing; nothing was changed.
        """
        if self.read_only:
            raise StoreError(f"{self.name} was opened with read_only=True: open it without to change it")
        with self._writing, self._borrowed() as connection, self._errors(), _commit(connection):
            transaction = Transaction(connection)
            yield transaction
            transaction.finish(secrets.randbits(62))

    def vacuum(self) -> None:
        """Gives the space of what was deleted back to the disk; a crash leaves the file as it was or as it will be.

        Raises:
            StoreLocked: another process was writing for longer than the time-out.
            StoreError: the disk has no room for the second copy that this takes.
        """
        if self.read_only:
            raise StoreError(f"{self.name} was opened with read_only=True: open it without to change it")
        with self._writing, self._borrowed() as connection, self._errors():
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rebuild_postings(self) -> None:
        """Makes the index of the metadata anew, whatever is in its place.

        Raises:
            StoreLocked: another process was writing for longer than the time-out.
            StoreCorrupt: what it is derived from is damaged.
        """
        with self._writing, self._borrowed() as connection, self._errors():
            _renew_postings(connection)

    def copy_to(self, other: Database) -> None:
        """Makes ``other`` what this is now, in one commit."""
        with self._borrowed() as mine, other._writing, other._borrowed() as theirs, self._errors():
            mine.backup(theirs)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        """A connection for this thread alone. The one in memory is shared, under the lock."""
        with self._writing if self.file is None else contextlib.nullcontext():
            if self._closed:
                raise StoreError(f"{self.name} is closed: open it again with Store.open")
            try:
                connection = self._idle.pop()
            except IndexError:
                with self._errors():
                    connection = self._connect()
            try:
                yield connection
            finally:
                if self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    # --- opening -----------------------------------------------------------------------------------------------------

    def _first_connection(self) -> sqlite3.Connection:
        try:
            return self._checked(self._connect())
        except sqlite3.OperationalError:
            if not self.read_only or self._lies_beside("-wal"):
                raise
            if self._lies_beside("-journal"):  # of changes to take back, which it may not
                raise self._unfinished() from None
            # Read-only media: WAL needs a file beside the database, unless it can be told that nobody will write.
            self._immutable = True
            return self._checked(self._connect())

    def _checked(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        try:
            blank = is_blank(connection)
            if blank and self.file is not None and self.file.with_name(DERIVED).is_dir():
                raise self._damaged("it is empty, beside indexes of what it held")
            if blank and self.read_only:
                raise self._unfinished()
            if blank:
                self._initialise(connection)
            check_format(connection, self.name)
            if not self.read_only and is_outdated(connection):
                _renew_postings(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _initialise(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # another process is doing the same; SQLite does not wait here by itself
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        with _commit(connection):
            create_tables(connection)

    def _unfinished(self) -> Unfinished:
        return Unfinished(
            f"{self.name} holds no store yet: the process that was making it was stopped. Nothing was stored in it, so "
            "nothing is lost: open it once for writing, or run `langbert doctor --repair`, which completes it"
        )

    def _lies_beside(self, ending: str) -> bool:
        """Whether there is a log of a writer: ``-wal``, or ``-journal``, in use only until there is a store."""
        if self.file is None:
            return False
        log = self.file.with_name(self.file.name + ending)
        return log.exists() and log.stat().st_size > 0

    def _connect(self) -> sqlite3.Connection:
        _close_all(self._inherited)  # or a new one would count on locks that were the parent's
        if self.file is None:
            target = ":memory:"
        else:
            target = f"{self.file.absolute().as_uri()}?mode={'ro' if self.read_only else 'rwc'}"
            target += "&immutable=1" if self._immutable else ""
        connection = sqlite3.connect(
            target, uri=self.file is not None, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may be somebody else's
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint = 2000")
        connection.execute("PRAGMA cache_size = -16000")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except UnicodeDecodeError as error:  # SQLite's own complaint, quoting a name that is no text
            raise self._damaged(str(error)) from error

    def _damaged(self, said: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self.name} is damaged ({said}): restore it from a backup, "
            "or save what is whole with `langbert doctor --repair`"
        )

    def _translated(self, error: sqlite3.Error) -> StoreError:
        said = str(error)
        match said:
            case "database is locked" | "database table is locked" | "database schema is locked":
                return StoreLocked(
                    f"another process has been writing to {self.name} for {self._timeout:g} s: "
                    "try again when it is done, or open the store with a longer lock_timeout"
                )
            case "database or disk is full":
                return StoreError(
                    f"no space left for {self.name}: nothing was lost or half written; free some and repeat"
                )
            case "disk I/O error":
                return StoreError(f"the disk under {self.name} fails ({said}): everything committed before is kept")
            case "attempt to write a readonly database":
                return StoreError(f"no permission to write {self.name}: change it, or open with read_only=True")
            case "unable to open database file":
                return StoreError(f"cannot open {self.name}: check the permissions of the file and its folder")
        if isinstance(error, sqlite3.DatabaseError) and (
            any(word in said for word in ("malformed", "not a database", "encrypted", "decode"))
        ):
            return self._damaged(said)
        return StoreError(f"{self.name}: {said}")


_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()


def _after_fork() -> None:
    for database in _DATABASES:
        database._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def _commit(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what the block changes."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _renew_postings(connection: sqlite3.Connection) -> None:
    """Makes the index of the metadata of this format anew, whatever is in its place."""
    there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'postings'").fetchone()
    if there and damage(connection, "postings"):
        with _commit(connection):
            forget_postings(connection)
        connection.execute("VACUUM")  # without the pages that nobody knows now
    with _commit(connection):
        (upgrade if is_outdated(connection) else postings.fill)(connection)


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        with contextlib.suppress(sqlite3.Error):
            connections.pop().close()


def _create(file: Path) -> None:
    """Sees to it that there is a store in ``file``: an empty one, or that of another process that was quicker. It is
    made in a private folder and then linked to its name, so that nobody ever sees half of it.

    Where the file system knows no links there is an empty file, which its first connection makes a store of.

    Raises:
        StoreError: the folder cannot be written.
        sqlite3.Error: nor can a database in it.
    """
    try:
        # SQLite would make the file readable by all; its log takes over these permissions.
        mode = file.parent.stat().st_mode & 0o666
        with private_folder(file) as apart:
            whole = apart / file.name
            _lay_out(whole, mode)
            try:
                os.link(whole, file)
            except FileExistsError:
                return
            except OSError:
                os.close(os.open(file, os.O_CREAT | os.O_RDWR, mode))
        sync_folder(file.parent)
    except OSError as error:
        raise StoreError(f"cannot make {file}: {error.strerror or error}") from error


def _lay_out(file: Path, mode: int) -> None:
    handle = os.open(file, os.O_CREAT | os.O_RDWR, mode)
    try:
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = OFF")
            with _commit(connection):
                create_tables(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        os.fsync(handle)
    finally:
        os.close(handle)
