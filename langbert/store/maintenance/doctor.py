"""Looking a store over: is every row what was stored, does everything agree, do the indexes hold what the store holds?

Every text is compared with its hash and every vector with its checksum, so that a single flipped bit in what was
stored is found and named. What is derived can always be made again (:func:`rebuild`); what can still be read of a
damaged database is saved by :mod:`langbert.store.maintenance.rescue`.
"""

from __future__ import annotations

import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ...errors import StoreCorrupt, StoreError, StoreLocked
from ...files import is_leftover
from ..checks import DERIVED, STORE_FILE, check_folder
from ..database import Database, Unfinished
from ..encoding import CHUNK_COLUMNS, DOCUMENT_COLUMNS
from ..postings import Rows
from ..schema import damage
from ..snapshot import Snapshot
from ..store import Store
from .checkup import NAMED, Checkup
from .copying import Watch, unwatched
from .derived_checks import check_derived
from .scanning import UNREADABLE, Table, is_sound_vector, label, sound_chunk, sound_document


def examine(folder: str | Path, *, watch: Watch | None = None) -> Checkup:
    """Looks at everything in the store and changes nothing.

    Raises:
        StoreError: there is no store, it is of another program or a newer format, or cannot be read.
    """
    started = time.perf_counter()
    folder = Path(folder)
    check_folder(folder, create=False)
    checkup = Checkup(folder)
    try:
        with open_database(folder) as snapshot:
            _Examination(checkup, snapshot, watch or unwatched).run()
    except Unfinished as error:
        checkup.note("unfinished", STORE_FILE, str(error))
    except StoreCorrupt as error:
        checkup.note("primary", STORE_FILE, str(error))
    _check_files(checkup)
    checkup.seconds = time.perf_counter() - started
    return checkup


def rebuild(folder: str | Path, *, watch: Watch | None = None) -> None:
    """Completes a store whose making was cut short, makes all indexes anew, and takes away what interrupted
    writers left behind.

    Raises:
        StoreError: the store cannot be written.
        StoreCorrupt: what they are derived from is damaged.
        StoreLocked: another process is working on the indexes.
    """
    folder = Path(folder)
    tell = watch or unwatched
    derived = folder / DERIVED
    tell("indexes", 0, 1)
    try:
        if derived.is_dir():
            with FileLock(derived / "lexical.lock", timeout=30):
                for path in derived.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.suffix != ".lock":
                        path.unlink()
    except Timeout as error:
        raise StoreLocked(
            f"another process is working on {derived}: let it finish, then run the doctor again"
        ) from error
    except OSError as error:
        raise StoreError(f"cannot write {derived}: {error.strerror or error}") from error
    database = Database(folder / STORE_FILE, read_only=False, durability="full", lock_timeout=30)
    try:
        database.rebuild_postings()
    finally:
        database.close()
    with Store.open(folder, create=False) as store:
        store.refresh()
    tell("indexes", 1, 1)


@contextmanager
def open_database(folder: Path) -> Iterator[Snapshot]:
    """The store as it is, read-only, with texts that are not UTF-8 still readable (as lone surrogates)."""
    database = Database(folder / STORE_FILE, read_only=True, durability="normal", lock_timeout=30)
    try:
        with database.reading() as snapshot:
            snapshot.sql.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            yield snapshot
    finally:
        database.close()


class _Examination:
    def __init__(self, checkup: Checkup, snapshot: Snapshot, tell: Watch) -> None:
        self._checkup = checkup
        self._snapshot = snapshot
        self._tell = tell

    def run(self) -> None:
        self._check_database()
        self._check_documents()
        chunks = self._check_chunks()
        vectors = self._check_vectors(chunks)
        self._check_pictures()
        self._check_history(chunks, vectors)
        if not self._checkup.found("primary"):
            check_derived(self._checkup, self._snapshot, chunks, self._tell)
        else:
            self._checkup.note("note", "derived", "not looked at: what they are derived from is damaged")

    @contextmanager
    def _reading(self, where: str) -> Iterator[None]:
        """Damage that stops a query is a finding, and the next check goes on."""
        try:
            yield
        except (sqlite3.Error, *UNREADABLE) as error:
            self._checkup.note("primary", where, f"cannot be read: {error}")

    def _check_database(self) -> None:
        self._tell("database", 0, 1)
        with self._reading(STORE_FILE):
            said = damage(self._snapshot.sql)
            if said and self._is_only_in_postings():
                self._checkup.note("derived", "table postings", "SQLite finds it damaged", said)
            elif said:
                self._checkup.note("primary", STORE_FILE, "SQLite finds it damaged", said)
        self._tell("database", 1, 1)

    def _is_only_in_postings(self) -> bool:
        """Whether all tables are whole but the one that is made anew from the others."""
        sql = self._snapshot.sql
        tables = [name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [table for table in tables if damage(sql, table)] == ["postings"]

    def _meta(self, key: str) -> int | None:
        value = None
        with self._reading("table meta"):
            value = self._snapshot.meta(key)
        if value is not None and (not isinstance(value, int) or value < 0):
            self._checkup.note("primary", "table meta", f"{key} is {value!r:.40}, not a count")
            return None
        return value

    def _compare_count(self, name: str, found: int) -> None:
        self._checkup.counts[name] = found
        if (said := self._meta(name)) is not None and said != found:
            self._checkup.note("primary", f"table {name}", f"meta counts {said} {name}, there are {found}")

    def _last_change(self) -> int:
        try:
            return int(self._snapshot.mark.change)
        except UNREADABLE:
            return 0

    def _check_documents(self) -> None:
        total, count = self._meta("documents") or 0, 0
        damaged: dict[str, list[str]] = {}
        misplaced: list[str] = []
        table = Table(self._snapshot.sql, "documents", f"{DOCUMENT_COLUMNS}, content_hash")
        for row_id, *columns in table.rows():
            problem = sound_document(columns)
            if problem:
                damaged.setdefault(problem, []).append(label(columns[0], row_id))
            else:
                misplaced += self._misplaced_chunks(columns[0], columns[2])
            count += 1
            if count % 64 == 0:
                self._tell("documents", count, max(total, count))
        self._report(table, damaged)
        self._compare_count("documents", count)
        if misplaced:
            problem = "not the stretch of their document that their offsets say, so citations of them will not match"
            self._checkup.note("note", "table chunks", problem, misplaced)
        self._tell("documents", count, max(count, 1))

    def _misplaced_chunks(self, document: str, text: str) -> list[str]:
        found: list[str] = []
        with self._reading("table chunks"):
            query = "SELECT id, start, text FROM chunks WHERE document_id = ?"
            for id, start, passage in self._snapshot.sql.execute(query, (document,)):
                whole = isinstance(start, int) and isinstance(passage, str) and start >= 0
                if not whole or text[start : start + len(passage)] != passage:
                    found.append(label(id, 0))
        return found

    def _check_chunks(self) -> Rows:
        total, rows = self._meta("chunks") or 0, []
        damaged: dict[str, list[str]] = {}
        columns = f"{CHUNK_COLUMNS}, record_hash, index_hash"
        table = Table(self._snapshot.sql, "chunks", columns, self._last_change())
        for row_id, *fields in table.rows():
            chunk, problem = sound_chunk(fields)
            if chunk is None:
                damaged.setdefault(problem, []).append(label(fields[0], row_id))
            rows.append(row_id)
            if len(rows) % 256 == 0:
                self._tell("chunks", len(rows), max(total, len(rows)))
        self._report(table, damaged)
        self._compare_count("chunks", len(rows))
        self._tell("chunks", len(rows), max(len(rows), 1))
        return np.array(rows, dtype=np.int64)

    def _check_vectors(self, chunks: Rows) -> Rows:
        dimension, rows = self._meta("dimension"), []
        bad: list[int] = []
        wrong: list[int] = []
        table = Table(self._snapshot.sql, "vectors", "vector, checksum", self._last_change())
        for row_id, blob, checksum in table.rows():
            if not is_sound_vector(blob, checksum):
                bad.append(row_id)
            elif len(blob) != 4 * (dimension or 0):
                wrong.append(row_id)
            rows.append(row_id)
            if len(rows) % 1024 == 0:
                self._tell("vectors", len(rows), max(len(chunks), len(rows)))
        damaged = {"fail their checksum": self._names(bad)}
        damaged[f"do not have the store's {dimension} dimensions"] = self._names(wrong)
        self._report(table, {problem: names for problem, names in damaged.items() if names})
        found = np.array(rows, dtype=np.int64)
        if dimension is not None and len(missing := np.setdiff1d(chunks, found)):
            self._checkup.note("primary", "table vectors", "missing for these chunks", self._names(missing.tolist()))
        if len(strays := np.setdiff1d(found, chunks)):
            self._checkup.note("primary", "table vectors", "of rows that are no chunks", strays.tolist())
        self._checkup.counts["vectors"] = len(rows)
        self._tell("vectors", len(rows), max(len(rows), 1))
        return found

    def _check_pictures(self) -> None:
        if not self._snapshot.has_table("pictures"):
            return
        table = Table(self._snapshot.sql, "pictures", "id, vector, checksum")
        rows = [(label(id, row), is_sound_vector(blob, checksum)) for row, id, blob, checksum in table.rows()]
        bad = [id for id, is_sound in rows if not is_sound]
        self._report(table, {"fail their checksum": bad} if bad else {})
        self._checkup.counts["pictures"] = len(rows)

    def _check_history(self, chunks: Rows, vectors: Rows) -> None:
        last = self._last_change()
        with self._reading("table commits"):
            commits = self._snapshot.sql.execute("SELECT change, token FROM commits ORDER BY change").fetchall()
            self._checkup.counts["commits"] = len(commits)
            if bad := [change for change, token in commits if not isinstance(token, int) or change < 1]:
                self._checkup.note("primary", "table commits", "not in order", bad)
        newest = int(max(chunks.max(initial=0), vectors.max(initial=0)))
        if newest > last:
            self._checkup.note("primary", "table commits", f"ends at change {last}, yet a row was born at {newest}")
        with self._reading("table tombstones"):
            dead = self._snapshot.sql.execute("SELECT change, row_id FROM tombstones").fetchall()
            self._checkup.counts["tombstones"] = len(dead)
            if late := [change for change, row in dead if not isinstance(row, int) or not row < change <= last]:
                self._checkup.note("primary", "table tombstones", "changes out of order", late)
            buried = np.array([row for _, row in dead if isinstance(row, int)], dtype=np.int64)
            if len(both := np.intersect1d(buried, chunks)):
                self._checkup.note("primary", "table tombstones", "of rows that are still there", both.tolist())
        with self._reading("table meta"):
            _ = self._snapshot.space

    def _names(self, rows: Sequence[int]) -> list[str]:
        """The chunk ids of rows, as far as they are shown; the others only count."""
        names = [str(row) for row in rows]
        for place, row in enumerate(rows[:NAMED]):
            with self._reading("table chunks"):
                found = self._snapshot.sql.execute("SELECT id FROM chunks WHERE row_id = ?", (row,)).fetchone()
                names[place] = label(found[0] if found else None, row)
        return names

    def _report(self, table: Table, damaged: dict[str, list[str]]) -> None:
        where = f"table {table.name}"
        for problem in table.problems:
            self._checkup.note("primary", where, problem)
        reasons = list(damaged.items())
        for problem, names in reasons[:NAMED]:
            self._checkup.note("primary", where, problem, names)
        if rest := [name for _, names in reasons[NAMED:] for name in names]:
            self._checkup.note("primary", where, "unreadable for yet other reasons", rest)


def _check_files(checkup: Checkup) -> None:
    """Who may read the files, and what interrupted writers left behind."""
    allowed = stat.S_IMODE(checkup.path.stat().st_mode)
    files = [file for file in checkup.path.iterdir() if file.is_file()]
    wider = [file.name for file in files if stat.S_IMODE(file.stat().st_mode) & 0o666 & ~allowed]
    if wider:
        checkup.note("note", str(checkup.path), f"files with wider permissions than the folder's {allowed:o}", wider)
    left = sorted(filter(is_leftover, (checkup.path / DERIVED).glob("*")))
    if left:
        size = sum(file.stat().st_size for path in left for file in (path, *path.rglob("*")) if file.is_file())
        problem = f"{size / 1e6:.1f} MB that interrupted writers left; --repair removes it"
        checkup.note("note", "derived", problem, [path.name for path in left])
