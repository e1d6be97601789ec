"""Vectors that were computed before: a bounded SQLite file that several processes may share.

It is a cache and nothing more. Every row carries a checksum, and a row that does not match is taken for absent; a file
that SQLite cannot read is set up anew; a disk that is full, slow to unlock or read-only costs time, never an answer.
A connection lives for one call, so that threads, forked processes and Windows' file locks need no thought.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..models import cache_dir

log = logging.getLogger("langbert")

T = TypeVar("T")

_FILE = "embeddings-1.sqlite3"  # the number is the layout's: another layout is another file
_WAIT = 10.0  # seconds for another process to finish writing
_AT_ONCE = 500  # keys of one SELECT; SQLite's oldest limit is 999
_KEEP = 0.9  # of the size limit, after it was reached


@dataclass(frozen=True, slots=True)
class Cached:
    """A vector, ``(dim,)`` float32, and whether its text was over the model's length limit."""

    vector: NDArray[np.float32]
    too_long: bool


def cache_keys(parts: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    """One SHA-256 a text, over ``parts`` (all that decides how a text becomes a vector) and the text itself."""
    head = hashlib.sha256(b"\0".join(part.encode() for part in parts)).digest()
    return [hashlib.sha256(head + text.encode("utf-8", "surrogatepass")).digest() for text in texts]


class EmbeddingCache:
    """Key → vector, kept in ``folder``.

    Args:
        folder: made if it is not there; None is ``embeddings`` in langbert's own cache folder.
        max_bytes: of all that is kept; the oldest rows make room for new ones.

    Raises:
        OSError: the folder cannot be made.
        ValueError: ``max_bytes`` is not positive.
    """

    def __init__(self, folder: str | Path | None = None, *, max_bytes: int = 1 << 30) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, expected at least 1")
        folder = Path(folder).expanduser() if folder is not None else cache_dir() / "embeddings"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _FILE
        self.max_bytes = max_bytes

    @classmethod
    def opened(cls, given: EmbeddingCache | str | Path | bool | None) -> EmbeddingCache | None:
        """The cache that an Embedder's argument means: that of the user's cache folder where it is True."""
        if given is None or given is False:
            return None
        if isinstance(given, EmbeddingCache):
            return given
        return cls(cache_dir() / "embeddings" if given is True else given)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Cached]:
        """What is known of ``keys``."""

        def read(connection: sqlite3.Connection) -> dict[bytes, Cached]:
            found = {}
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, vector, too_long, checksum FROM vectors WHERE key IN ({marks})",  # noqa: S608
                    list(some),
                )
                for key, blob, too_long, checksum in rows:
                    if _checksum(key, blob, too_long) == checksum and len(blob) % 4 == 0:
                        found[key] = Cached(np.frombuffer(blob, "<f4").astype(np.float32), bool(too_long))
            return found

        return self._run(read, {}) if keys else {}

    def put(self, vectors: Mapping[bytes, Cached]) -> None:
        """Keep ``vectors``; what stood under their keys is replaced."""
        rows = []
        for key, cached in vectors.items():
            blob = np.ascontiguousarray(cached.vector, dtype="<f4").tobytes()
            rows.append((key, blob, int(cached.too_long), _checksum(key, blob, int(cached.too_long))))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR REPLACE INTO vectors (key, vector, too_long, checksum) VALUES (?, ?, ?, ?)", rows
            )
            size = _size(connection)
            if size > self.max_bytes:
                n_rows = _count(connection)
                n_over = min(n_rows, int(n_rows * (1 - _KEEP * self.max_bytes / size)) + 1)
                connection.execute(
                    "DELETE FROM vectors WHERE number IN (SELECT number FROM vectors ORDER BY number LIMIT ?)",
                    (n_over,),
                )
            connection.execute("COMMIT")

        if rows:
            self._run(write, None)

    def clear(self) -> None:
        """Forget everything."""

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM vectors")

        self._run(forget, None)

    def __len__(self) -> int:
        return self._run(_count, 0)

    def __repr__(self) -> str:
        return f"EmbeddingCache({str(self.path.parent)!r}, max_bytes={self.max_bytes})"

    def _run(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """``work``'s result; ``otherwise`` where the file will not have it, with the reason in the log."""
        try:
            try:
                with self._connection() as connection:
                    return work(connection)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._remake(error)
                with self._connection() as connection:
                    return work(connection)
        except (sqlite3.Error, OSError) as error:
            log.warning("the embedding cache %s is left out this time: %s", self.path, error)
            return otherwise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] != 1:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, "
                    "vector BLOB NOT NULL, too_long INTEGER NOT NULL, checksum INTEGER NOT NULL)"
                )
                connection.execute("PRAGMA user_version = 1")
            connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last rows, never the file
            yield connection
        finally:
            connection.close()

    def _remake(self, error: sqlite3.DatabaseError) -> None:
        """Remove the broken file, unless another process was faster and a whole one stands there now."""
        from filelock import FileLock

        with FileLock(self.path.with_suffix(".lock"), timeout=_WAIT):
            with suppress(sqlite3.DatabaseError), self._connection() as connection:
                if connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok":
                    return
            log.warning("the embedding cache %s is damaged (%s): it starts anew", self.path, error)
            for name in (self.path.name, f"{self.path.name}-wal", f"{self.path.name}-shm"):
                (self.path.parent / name).unlink(missing_ok=True)


def _size(connection: sqlite3.Connection) -> int:
    """Bytes in use; pages that deleted rows left free are used again before the file grows."""
    pages, free, page_size = (
        connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_size)


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def _checksum(key: bytes, blob: bytes, too_long: int) -> int:
    return zlib.crc32(blob, zlib.crc32(key) ^ too_long)
