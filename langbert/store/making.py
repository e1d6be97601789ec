"""Making ``store.sqlite``: whole in a folder of its own, then linked to its name; nobody ever sees half of it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..errors import StoreError
from ..files import private_folder, sync_folder
from .schema import create_tables

__all__ = ["PAGE_SIZE", "make_store_file"]

PAGE_SIZE = 8192
"""Bytes: five 384-float vectors a page; 4096 would waste a quarter."""


def make_store_file(file: Path) -> None:
    """Sees to it that there is a store in ``file``: an empty one, or that of another process that was quicker.

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
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("BEGIN IMMEDIATE")
            create_tables(connection)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        os.fsync(handle)
    finally:
        os.close(handle)
