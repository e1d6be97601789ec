"""The file of the columns: what filters ask about, so that the next process need not read all metadata again.

Plain arrays, little-endian; reading it parses one JSON header and runs nothing::

    magic, length of the header (u64), header (JSON: the mark, the number of rows, each field's kind and values)
    rows      int64 (n,)             ascending
    cells     one array a field, in the order of the header: int32 places in its values, or float64 numbers
    checksum  uint32                 CRC-32 of everything above
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from .snapshot import Mark, Rows

__all__ = ["UNREADABLE", "StoredColumn", "read_columns", "write_columns"]

UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error)
"""What reading a file may raise that cannot be trusted."""

_MAGIC = b"LANGBERT-COLUMNS-1\n"
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_DTYPES: dict[str, np.dtype[Any]] = {"listed": np.dtype("<i4"), "numbers": np.dtype("<f8")}


class StoredColumn(NamedTuple):
    """One field.

    Attributes:
        values: what the cells are places in, -1 for none; None where the cells are the numbers themselves.
        cells: ``(n,)`` int32 or float64.
    """

    values: list[Any] | None
    cells: NDArray[Any]


def write_columns(path: Path, mark: Mark, rows: Rows, columns: Mapping[str, StoredColumn | None]) -> None:
    """Replaces the file.

    Args:
        columns: by field; None for one that is left to SQL.

    Raises:
        OSError: it cannot be written.
    """
    fields = [
        {"name": name, "kind": "sql"}
        if column is None
        else {"name": name, "kind": "numbers"}
        if column.values is None
        else {"name": name, "kind": "listed", "values": column.values}
        for name, column in columns.items()
    ]
    header = {"change": mark.change, "token": mark.token, "n": len(rows), "fields": fields}
    encoded = json.dumps(header).encode()
    parts = [_MAGIC, _LENGTH.pack(len(encoded)), encoded, rows.astype("<i8").tobytes()]
    for column in columns.values():
        if column is not None:
            kind = "numbers" if column.values is None else "listed"
            parts.append(column.cells.astype(_DTYPES[kind]).tobytes())
    checksum = 0
    with replacing(path) as fresh, fresh.open("wb") as file:
        for part in parts:
            checksum = zlib.crc32(part, checksum)
            file.write(part)
        file.write(_CHECKSUM.pack(checksum))


def read_columns(path: Path) -> tuple[Mark, Rows, dict[str, StoredColumn | None]]:
    """What :func:`write_columns` wrote.

    Raises:
        FileNotFoundError: there is none.
        OSError, ValueError, KeyError, TypeError, RecursionError, struct.error: it cannot be trusted.
    """
    content = memoryview(path.read_bytes())
    if bytes(content[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("not this version's format")
    body, at = content[: -_CHECKSUM.size], len(_MAGIC)
    if _CHECKSUM.unpack(content[-_CHECKSUM.size :]) != (zlib.crc32(body),):
        raise ValueError("its checksum is wrong")
    (length,) = _LENGTH.unpack(body[at : at + _LENGTH.size])
    at += _LENGTH.size
    header = json.loads(bytes(body[at : at + length]))
    at += length
    change, token, n = (_whole(header[name]) for name in ("change", "token", "n"))

    def array(dtype: np.dtype[Any]) -> NDArray[Any]:
        nonlocal at
        found = np.frombuffer(body[at : at + n * dtype.itemsize], dtype)
        if len(found) != n:
            raise ValueError("it is cut short")
        at += found.nbytes
        return found

    rows = array(np.dtype("<i8")).astype(np.int64)
    if n and (rows[0] < 0 or (np.diff(rows) <= 0).any()):
        raise ValueError("its rows are not in order")
    columns: dict[str, StoredColumn | None] = {}
    for field in header["fields"]:
        name, kind = field["name"], field["kind"]
        if not isinstance(name, str) or name in columns:
            raise ValueError("its fields are not in order")
        if kind == "sql":
            columns[name] = None
            continue
        values = field["values"] if kind == "listed" else None
        cells = array(_DTYPES[kind])
        if kind == "listed" and not isinstance(values, list):
            raise ValueError("its values are not in order")
        if values is not None and n and not -1 <= cells.min() <= cells.max() < len(values):
            raise ValueError("its cells lead out of its values")
        columns[name] = StoredColumn(values, cells.astype(cells.dtype.newbyteorder("=")))
    if at != len(body):
        raise ValueError("it is too long")
    return Mark(change, token), rows, columns


def _whole(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise ValueError("the header is not in order")
    return number
