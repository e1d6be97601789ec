"""The file that the dense index is mapped from, and the record in the database that says which file to believe.

FAISS's reader takes a file at its word, so it only gets to see one whose checksums, kept in ``store.sqlite``, match.
The file is what FAISS writes, then the row id of each vector (int64, ascending), then 16 random bytes that name this
very file. It is written whole, synced and renamed, and only then recorded: what does not fit the record is not read.

What FAISS's reader parses, and the row ids, are verified at opening; vectors in inverted lists are mapped without a
look at them, and verified before their first use.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..files import replacing
from .checked_file import CheckedFile, Damaged, SummingWriter
from .faiss_index import Facts, FaissIndex, faiss
from .postings import Rows
from .snapshot import Mark, Snapshot
from .transaction import Transaction

Writing = Callable[[], AbstractContextManager[Transaction]]
"""Begins a transaction."""

_KEY = "dense_index"  # in the table meta
_NAME = 16  # bytes
_PART = 1 << 20  # bytes that FAISS writes at a time


@dataclass(frozen=True, slots=True)
class Record:
    """What the database knows of the file.

    Attributes:
        change, token: the commit that the index has absorbed.
        spec: what was asked for: ``"auto"``, ``"auto,SQ8"`` or a factory string.
        facts: of the index.
        n: vectors in it.
        lists_size: bytes before the row ids that FAISS's reader maps without looking at them.
        size: bytes of all.
        name: the last bytes, as hex.
        checksums: uint32 for each block, as hex.
    """

    change: int
    token: int
    spec: str
    facts: Facts
    n: int
    lists_size: int
    size: int
    name: str
    checksums: str

    @property
    def mark(self) -> Mark:
        return Mark(self.change, self.token)

    @classmethod
    def of(cls, snapshot: Snapshot) -> Record | None:
        """The one that ``snapshot`` has, if it has any.

        Raises:
            ValueError: it is not in order.
        """
        text = snapshot.meta(_KEY)
        if text is None:
            return None
        try:
            checksum, _, content = str(text).partition(" ")
            if int(checksum, 16) != zlib.crc32(content.encode()):
                raise ValueError("its checksum is wrong")
            said = json.loads(content)
            facts: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in said["facts"].items()
            }
            return cls(**{**said, "facts": Facts(**facts)})
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"its record in the store is not in order: {error}") from error

    def put(self, transaction: Transaction) -> None:
        content = json.dumps(asdict(self))
        transaction.set_meta(_KEY, f"{zlib.crc32(content.encode()):08x} {content}")


def write_index(path: Path, index: FaissIndex, rows: Rows, mark: Mark, spec: str, writing: Writing) -> Record:
    """Puts a new file in the place of ``path`` and records it.

    Raises:
        OSError: the file cannot be written.
        StoreError: nor can the record.
    """
    name = secrets.token_bytes(_NAME)
    try:
        with replacing(path) as fresh, fresh.open("wb") as file:
            writer = _write(file, index, rows, name)
        checksums = writer.checksums().astype("<u4").tobytes().hex()
        counts = (len(rows), index.lists_size, writer.size)
        record = Record(mark.change, mark.token, spec, index.facts, *counts, name.hex(), checksums)
        with writing() as transaction:
            if _ends_with(path, name):  # and not another process's, which was a moment later
                record.put(transaction)
    except BaseException:
        with contextlib.suppress(OSError):
            if _ends_with(path, name):  # nobody will know it
                path.unlink()
        raise
    return record


def _write(file: BinaryIO, index: FaissIndex, rows: Rows, name: bytes) -> SummingWriter:
    writer = SummingWriter(file)
    try:
        faiss.write_index(index.faiss, faiss.PyCallbackIOWriter(writer.write, _PART))
    except RuntimeError as error:
        raise writer.error or OSError(str(error)) from error
    for part in (rows.astype("<i8").tobytes(), name):
        writer.write(part)
    if writer.error is not None:
        raise writer.error
    return writer


def _ends_with(path: Path, name: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(-_NAME, os.SEEK_END)
        return file.read() == name


def open_index(path: Path, record: Record) -> tuple[FaissIndex, Rows]:
    """The index that ``record`` describes, and the row id of each of its vectors, ascending.

    Raises:
        OSError: the file cannot be read.
        Damaged: it is not the one that was recorded.
    """
    checksums = np.frombuffer(bytes.fromhex(record.checksums), dtype="<u4").astype(np.uint32)
    file = CheckedFile(path, record.size, checksums)
    rows_from = record.size - 8 * record.n - _NAME
    lists_from = rows_from - record.lists_size
    file.verify(rows_from, record.size)
    file.verify(0, lists_from)
    if file.data[-_NAME:].tobytes().hex() != record.name:
        raise Damaged(f"{path.name} is another than was recorded")
    content = file.data[:rows_from]
    try:
        index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(content), len(content)))
    except RuntimeError as error:
        raise Damaged(f"FAISS cannot read {path.name}: {error}") from error
    made = FaissIndex(index, record.facts, file, lists_from)
    if len(made) != record.n or made.lists_size != record.lists_size:
        raise Damaged(f"{path.name} holds {len(made)} vectors, {record.n} were recorded")
    return made, np.frombuffer(file.data[rows_from:-_NAME].tobytes(), dtype="<i8").astype(np.int64, copy=False)
