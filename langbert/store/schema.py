"""The tables of ``store.sqlite``, and what opening one checks before believing it.

Every commit takes the next *change numbers*, one for each row born or gone. A chunk's ``row_id`` is the change number
it was born with, so row ids grow, are never used again, and name one text and one vector for ever: a chunk whose text
changes gets a new row. An index that has absorbed everything up to change *c* is therefore brought up to date by the
rows above *c* and the tombstones above *c*. ``commits`` gives the last change of each commit a random token, so that an
index made from another history (a restored backup) is recognised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from ..errors import StoreCorrupt, StoreError
from . import postings
from .checks import APPLICATION_ID

FORMAT = 4
"""The version of the layout. Raise it for changes that older versions of langbert cannot read or keep up. What a store
of an older format lacks is added when it is opened for writing (:func:`upgrade`); for reading it is taken as it is.

1 → 2: the table ``touched``. 2 → 3: the table ``postings`` takes its place. 3 → 4: the numbers of a field lie side by
side in it, and every chunk that has the field is in one list.
"""

INDEXED_METADATA = 4
"""The first format with ``postings`` as they are looked up."""

OLDEST_FORMAT = 1

_TABLES = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY
) WITHOUT ROWID;
CREATE TABLE commits (
    change INTEGER PRIMARY KEY,
    token INTEGER NOT NULL
);
CREATE TABLE documents (
    id TEXT PRIMARY KEY NOT NULL,
    source TEXT NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL,        -- JSON object
    page_starts TEXT NOT NULL,     -- JSON list of offsets, or object of it, line_boxes and illustrations
    headings TEXT NOT NULL,        -- JSON list of [start, level, text]
    content_hash BLOB NOT NULL,
    chunking TEXT NOT NULL         -- how it was cut; '' once its chunks were changed one by one
);
CREATE TABLE chunks (
    row_id INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    document_id TEXT NOT NULL,     -- its document need not be stored
    text TEXT NOT NULL,
    start INTEGER NOT NULL,
    page INTEGER,
    headings TEXT NOT NULL,        -- JSON list of str
    source TEXT NOT NULL,
    metadata TEXT NOT NULL,        -- JSON object
    record_hash BLOB NOT NULL,     -- of everything above
    index_hash BLOB NOT NULL,      -- of what the lexical index reads: text, headings, source
    embedded_hash BLOB NOT NULL    -- of what was embedded: contextual_text
);
CREATE INDEX chunks_by_document ON chunks (document_id);
CREATE INDEX chunks_by_source ON chunks (source);
CREATE TABLE vectors (
    row_id INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,          -- little-endian float32
    checksum INTEGER NOT NULL      -- CRC-32 of the blob
);
CREATE TABLE tombstones (
    change INTEGER PRIMARY KEY,
    row_id INTEGER NOT NULL
);
"""

_COLUMNS = {
    "meta": {"key", "value"},
    "commits": {"change", "token"},
    "tombstones": {"change", "row_id"},
    "vectors": {"row_id", "vector", "checksum"},
    "documents": {"id", "source", "text", "metadata", "page_starts", "headings", "content_hash", "chunking"},
    "chunks": {
        *("row_id", "id", "document_id", "text", "start", "page", "headings", "source", "metadata"),
        *("record_hash", "index_hash", "embedded_hash"),
    },
    "postings": {"field", "part", "value", "block", "places"},
}

LEDGER = """
CREATE TABLE IF NOT EXISTS ledger (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,             -- usually the id of a chunk
    group_id TEXT,                 -- where it came from
    updated_at REAL NOT NULL,      -- seconds since 1970
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID
"""
"""What is indexed of outside sources (see ledger.py). Made by whoever records the first key, so stores of the same
``FORMAT`` are with and without it: versions that do not know it read and write the rest as before."""

FILES = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY NOT NULL,
    source TEXT NOT NULL,
    size INTEGER NOT NULL,         -- bytes
    modified INTEGER NOT NULL,     -- nanoseconds since 1970
    changed INTEGER NOT NULL,      -- the same, of anything about the file
    digest TEXT NOT NULL,          -- SHA-256 as hex
    state TEXT NOT NULL,           -- 'done', 'failed', 'skipped'
    reason TEXT NOT NULL,
    document_id TEXT NOT NULL,
    reading TEXT NOT NULL,         -- how it was read
    at REAL NOT NULL               -- seconds since 1970
) WITHOUT ROWID
"""
"""What became of files (see files.py). Made with the first record, like the ledger."""

PICTURES = """
CREATE TABLE IF NOT EXISTS pictures (
    id TEXT PRIMARY KEY NOT NULL,
    document_id TEXT NOT NULL,
    content_hash BLOB NOT NULL,    -- of the document that it was taken from
    png BLOB NOT NULL,
    caption TEXT NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    page INTEGER,
    vector BLOB NOT NULL,          -- as in ``vectors``
    checksum INTEGER NOT NULL
)
"""
"""The pictures of documents (see pictures.py). Made with the first one, like the ledger."""


def is_blank(connection: sqlite3.Connection) -> bool:
    """A database nobody has written to yet (a process may have died between creating the file and its tables)."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return tables == 0 and _pragma(connection, "application_id") == 0


def create_tables(connection: sqlite3.Connection) -> None:
    """Inside the caller's transaction; does nothing where another process was first."""
    if not is_blank(connection):
        return
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(postings.TABLE)
    connection.execute("INSERT INTO meta VALUES ('chunks', 0)")
    connection.execute("INSERT INTO meta VALUES ('documents', 0)")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def check_format(connection: sqlite3.Connection, where: str) -> None:
    """Refuses what is not a store of a format this version knows.

    Raises:
        StoreError: another program's database, or a newer format.
        StoreCorrupt: a store that lacks a table.
    """
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(f"{where} is an SQLite database but not a langbert store; choose another folder")
    version = _pragma(connection, "user_version")
    if not OLDEST_FORMAT <= version <= FORMAT:
        raise StoreError(
            f"{where} has store format {version}, this langbert reads formats {OLDEST_FORMAT} to {FORMAT}: "
            + ("upgrade langbert to open it" if version > FORMAT else "index the documents again into a new folder")
        )
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    needed = _COLUMNS.keys() if version >= INDEXED_METADATA else _COLUMNS.keys() - {"postings"}
    missing = needed - found
    if missing:
        raise StoreCorrupt(f"{where} lacks the table {', '.join(sorted(missing))}: restore it from a backup")
    _check_harmless(connection, where, needed)


def _check_harmless(connection: sqlite3.Connection, where: str, needed: Iterable[str]) -> None:
    """Refuses a schema that does more than hold rows, which langbert never writes: it came from somebody else."""
    query = "SELECT type, name, sql FROM sqlite_master"
    for kind, name, sql in connection.execute(query):
        if kind not in ("table", "index") or str(sql).upper().startswith("CREATE VIRTUAL"):
            raise StoreCorrupt(f"{where} holds the {kind} {name!r}, which langbert never makes: do not trust this file")
    for table in needed:
        columns = _COLUMNS[table]
        # hidden: 0 for a column that is stored, 2 and 3 for one that is computed
        found = {name: hidden for _, name, *_, hidden in connection.execute(f"PRAGMA table_xinfo({table})")}
        if not columns <= found.keys() or any(found.values()):
            lacking = ", ".join(sorted(columns - found.keys())) or "plain columns"
            raise StoreCorrupt(f"{where}: the table {table} lacks {lacking}: restore it from a backup")


def is_outdated(connection: sqlite3.Connection) -> bool:
    """Whether :func:`upgrade` has something to do."""
    return _pragma(connection, "user_version") < FORMAT


def upgrade(connection: sqlite3.Connection) -> None:
    """A store of an older format to this one, inside the caller's transaction."""
    if is_outdated(connection):  # nobody else was first
        connection.execute("DROP TABLE IF EXISTS touched")
        connection.execute("DROP TABLE IF EXISTS postings")
        connection.execute(postings.TABLE)
        postings.fill(connection)
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def damage(connection: sqlite3.Connection, table: str = "") -> list[str]:
    """What SQLite finds wrong with the whole file, or with the pages of one table and its indexes."""
    name = table.replace('"', '""')
    query = f'PRAGMA integrity_check("{name}")' if table else "PRAGMA integrity_check(20)"
    try:
        said = [str(line) for (line,) in connection.execute(query)]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if said == ["ok"] else said


def forget_postings(connection: sqlite3.Connection) -> None:
    """Makes of this a store of an older format, inside the caller's transaction, and leaves the pages of the index
    of the metadata alone: SQLite would free those of a dropped table, and damaged ones may name those of another.
    """
    version = _pragma(connection, "schema_version")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM sqlite_master WHERE name = 'postings'")
    connection.execute("PRAGMA writable_schema = OFF")
    connection.execute(f"PRAGMA schema_version = {version + 1}")
    connection.execute(f"PRAGMA user_version = {OLDEST_FORMAT}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
