"""The tables of ``store.sqlite``, the only truth, and what opening one checks before believing it.

Every commit takes the next *change numbers*, one for each row born or gone. A chunk's ``row_id`` is the change number
it was born with, so row ids grow, are never used again, and name one text and one vector for ever: a chunk whose text
changes gets a new row. An index that has absorbed everything up to change *c* is therefore brought up to date by the
rows above *c* and the tombstones above *c*. ``commits`` gives the last change of each commit a random token, so that an
index made from another history (a restored backup) is recognised.
"""

from __future__ import annotations

import sqlite3

from ..errors import StoreCorrupt, StoreError

__all__ = ["FORMAT", "LEDGER", "check_format", "create_tables", "is_blank"]

FORMAT = 1
"""The version of the layout. Raise it for changes that older versions of langbert cannot read."""

_APPLICATION_ID = 0x4C424552  # "LBER"

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
    page_starts TEXT NOT NULL,     -- JSON list of offsets
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
    connection.execute("INSERT INTO meta VALUES ('chunks', 0)")
    connection.execute("INSERT INTO meta VALUES ('documents', 0)")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def check_format(connection: sqlite3.Connection, where: str) -> None:
    """Refuses what is not a store of a format this version knows.

    Raises:
        StoreError: another program's database, or a newer format.
        StoreCorrupt: a store that lacks a table.
    """
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise StoreError(f"{where} is an SQLite database but not a langbert store; choose another folder")
    version = _pragma(connection, "user_version")
    if version != FORMAT:
        raise StoreError(
            f"{where} has store format {version}, this langbert reads format {FORMAT}: "
            + ("upgrade langbert to open it" if version > FORMAT else "index the documents again into a new folder")
        )
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = {"meta", "commits", "documents", "chunks", "vectors", "tombstones"} - found
    if missing:
        raise StoreCorrupt(f"{where} lacks the table {', '.join(sorted(missing))}: restore it from a backup")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
