"""Which chunks have which value in which field: an inverted index of the metadata, kept in SQLite in the same commit.

Row ids are cut into blocks of 65,536. For each field, value and block there is one posting list: the places of the
rows in their block as ascending 16-bit numbers, or, where these would take as much room, as a bitmap (the containers
of Roaring bitmaps; Chambi et al. 2016, "Better bitmap performance with Roaring bitmaps"). Memory holds none of it.

A range over prices or times would read a list for nearly every row. Numbers therefore lie side by side as well, in the
order of their rows, as float64, which NumPy compares with a bound. Whole numbers that float64 rounds keep their order:
only those that are rounded to what the bound is are in doubt, and of these the lists know the exact values.

The order that SQLite gives values of different types keeps JSON's types apart: numbers are numbers, texts are blobs of
UTF-8, which order by code point, and whatever else there is goes by the name of its type, a text.
"""

from __future__ import annotations

import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreCorrupt
from .filters import RANGES, Condition, Mask, Test, kind_of, narrowed

TABLE = """
CREATE TABLE postings (            -- which chunks have which value in which field (see postings.py)
    field BLOB NOT NULL,           -- UTF-8
    part INTEGER NOT NULL,         -- 0 the value of the field, 1 an element of the list it is, 2 every chunk,
                                   -- 3 every chunk that has the field, 4 those that have a number in it
    value BLOB NOT NULL,           -- a number, a text in UTF-8, or else the name of its type; in part 4 place / 4096
    block INTEGER NOT NULL,        -- of row ids: row_id / 65536
    places BLOB NOT NULL,          -- in the block: uint16, little-endian, ascending, or a bitmap of 8192 bytes; in part
                                   -- 4 each with its number, float64
    PRIMARY KEY (field, part, value, block)
) WITHOUT ROWID
"""

_BLOCK = 1 << 16
_BITMAP = _BLOCK // 8  # bytes
_PIECE = 4096  # places whose numbers are written together
_NUMBER = np.dtype([("place", "<u2"), ("number", "<f8")])
_FILLED = 16_384  # chunks posted at a time where all are
_MANY = 2000  # lists that take as long to read as half a million numbers
_PARAMETERS = 500  # values looked up by one statement
_COLUMNS = ("id", "document_id")  # every chunk another: SQLite has an index of these
_ONE_LIST = "field = ? AND part = ? AND value = ? AND block = ?"
_DAMAGED = "the index of the metadata is damaged: `langbert doctor --repair` makes it anew"

Rows = NDArray[np.int64]
Fields = Mapping[str, Any]

_Value = int | float | bytes | str
_Term = tuple[bytes, int, _Value]
"""Field, part and value."""

_ListKey = tuple[bytes, int, _Value, int]
"""A term and a block."""

_VALUE, _ELEMENT, _CHUNK, _FIELD, _NUMBERS = range(5)
_EVERY: _Term = (b"", _CHUNK, b"")


def fields_in(source: str, page: int | None, metadata: str) -> dict[str, Any]:
    """What a filter sees of a chunk's columns, but for its ids; of unreadable metadata nothing."""
    try:
        fields: dict[str, Any] = {} if metadata == "{}" else dict(json.loads(metadata))
    except (TypeError, ValueError, RecursionError):  # damaged: `langbert doctor` names it
        fields = {}
    if source:
        fields["source"] = source
    if page is not None:
        fields["page"] = page
    return fields


def _terms(fields: Fields) -> set[_Term]:
    found: set[_Term] = {_EVERY}
    for name, value in fields.items():
        if name not in _COLUMNS:
            field = _utf8(name)
            found.update([(field, _FIELD, b""), (field, _VALUE, _key(value))])
            if isinstance(value, list):
                found.update((field, _ELEMENT, _key(item)) for item in value)
    return found


def _key(value: Any) -> _Value:
    match kind_of(value):
        case "number":
            number: int | float = narrowed(value)
            return number
        case "text":
            return _utf8(value)
        case kind:
            return kind


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# --- keeping up ------------------------------------------------------------------------------------------------------


def post(sql: sqlite3.Connection, rows: Iterable[tuple[int, Fields]]) -> None:
    """Enters rows that are not there yet, inside the caller's transaction."""
    written = [(*key, _with(key, _stored(sql, key), places)) for key, places in _by_list(rows).items()]
    sql.executemany("INSERT OR REPLACE INTO postings VALUES (?, ?, ?, ?, ?)", written)


def unpost(sql: sqlite3.Connection, rows: Iterable[tuple[int, Fields]]) -> None:
    """Takes rows out again, inside the caller's transaction.

    Args:
        rows: with the fields they were posted with; where these are lost, lists of dead rows remain, which do no harm.
    """
    written, emptied = [], []
    for key, places in _by_list(rows).items():
        left = _without(key, _stored(sql, key), places)
        if left:
            written.append((*key, left))
        else:
            emptied.append(key)
    sql.executemany("INSERT OR REPLACE INTO postings VALUES (?, ?, ?, ?, ?)", written)
    sql.executemany(f"DELETE FROM postings WHERE {_ONE_LIST}", emptied)  # noqa: S608


def _by_list(rows: Iterable[tuple[int, Fields]]) -> dict[_ListKey, list[Any]]:
    """Each list that is concerned and its places, ascending; of numbers each with its number."""
    found: dict[_ListKey, list[Any]] = defaultdict(list)
    for row, fields in sorted(rows, key=itemgetter(0)):
        block, place = divmod(row, _BLOCK)
        for term in _terms(fields):
            found[(*term, block)].append(place)
        for name, value in fields.items():
            if kind_of(value) == "number":
                found[_utf8(name), _NUMBERS, place // _PIECE, block].append((place, float(narrowed(value))))
    return found


def _stored(sql: sqlite3.Connection, key: _ListKey) -> bytes:
    found = sql.execute(f"SELECT places FROM postings WHERE {_ONE_LIST}", key).fetchone()  # noqa: S608
    if found is None:
        return b""
    (stored,) = found
    if not isinstance(stored, bytes) or (len(stored) % _NUMBER.itemsize if key[1] == _NUMBERS else _is_odd(stored)):
        raise StoreCorrupt(_DAMAGED)
    return stored


def _with(key: _ListKey, stored: bytes, places: list[Any]) -> bytes:
    """A list with further places."""
    if key[1] == _NUMBERS:
        pairs = np.concatenate([np.frombuffer(stored, _NUMBER), np.array(places, _NUMBER)])
        return pairs[np.argsort(pairs["place"], kind="stable")].tobytes()
    longer = stored + struct.pack(f"<{len(places)}H", *places)
    if len(longer) < _BITMAP and (not stored or places[0] > int.from_bytes(stored[-2:], "little")):
        return longer
    bits = _bits(stored)
    bits[places] = True
    return _packed(bits)


def _without(key: _ListKey, stored: bytes, places: list[Any]) -> bytes:
    if key[1] == _NUMBERS:
        pairs = np.frombuffer(stored, _NUMBER)
        return pairs[~np.isin(pairs["place"], [place for place, _ in places])].tobytes()
    bits = _bits(stored)
    bits[places] = False
    return _packed(bits)


def fill(sql: sqlite3.Connection) -> None:
    """Makes all of it anew from the chunks, inside the caller's transaction."""
    sql.execute("DELETE FROM postings")
    rows = _chunks(sql)
    while some := list(islice(rows, _FILLED)):
        post(sql, some)


def count_differing(sql: sqlite3.Connection) -> int:
    """How many posting lists are not what the chunks say; reads them all."""
    differing = 0
    blocks = {block for (block,) in sql.execute("SELECT DISTINCT block FROM postings")}
    for block, rows in groupby(_chunks(sql), key=lambda row: row[0] // _BLOCK):
        expected = _by_list(rows)
        for *key, stored in sql.execute("SELECT * FROM postings WHERE block = ?", (block,)):
            places = expected.pop(tuple(key), None)
            differing += places is None or _with(tuple(key), b"", places) != stored
        differing += len(expected)
        blocks.discard(block)
    return differing + len(blocks)


def _chunks(sql: sqlite3.Connection) -> Iterator[tuple[int, Fields]]:
    for row, *columns in sql.execute("SELECT row_id, source, page, metadata FROM chunks ORDER BY row_id"):
        yield row, fields_in(*columns)


def _is_odd(stored: bytes) -> bool:
    return len(stored) % 2 != 0 or len(stored) > _BITMAP


def _bits(stored: bytes) -> Mask:
    """Which places of a block are in a stored list."""
    if len(stored) == _BITMAP:
        return np.unpackbits(np.frombuffer(stored, dtype=np.uint8)).view(np.bool_)
    bits = np.zeros(_BLOCK, dtype=np.bool_)
    bits[np.frombuffer(stored, dtype="<u2")] = True
    return bits


def _packed(bits: Mask) -> bytes:
    """As they are stored."""
    places = np.flatnonzero(bits)
    return places.astype("<u2").tobytes() if 2 * len(places) < _BITMAP else np.packbits(bits).tobytes()


# --- looking up ------------------------------------------------------------------------------------------------------


def lookup(sql: sqlite3.Connection, condition: Condition) -> Rows:
    """The rows that satisfy ``condition``, ascending.

    Raises:
        StoreCorrupt: a posting list is damaged.
    """
    return _Lookup(sql).rows(condition)


class _Lists(NamedTuple):
    """Posting lists as they are stored, with their blocks and lengths in bytes."""

    blocks: Rows
    places: list[bytes]
    lengths: Rows


class _Lookup:
    """Sets of rows as masks over the blocks that there are."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        field, part, value = _EVERY
        lists = self._lists(field, part, "value = ?", value)
        self._blocks = lists.blocks
        self._every = self._mask(lists)

    def rows(self, condition: Condition) -> Rows:
        mask = condition.mask(self._test, len(self._every)) & self._every
        counts = mask.reshape(len(self._blocks), _BLOCK).sum(axis=1)
        shifts = (self._blocks - np.arange(len(self._blocks))) * _BLOCK
        return np.flatnonzero(mask) + np.repeat(shifts, counts)

    def _test(self, test: Test) -> Mask:
        field = _utf8(test.field)
        if test.field in _COLUMNS:
            return self._column(test)
        if test.operator == "exists":
            return self._mask(self._lists(field, _FIELD, "1"))
        keys = [_key(value) for value in test.values]
        if test.operator == "range":
            return self._range(field, test)
        mask = np.zeros_like(self._every)
        part = _ELEMENT if test.operator == "contains" else _VALUE
        for start in range(0, len(keys), _PARAMETERS):
            some = keys[start : start + _PARAMETERS]
            mask |= self._mask(self._lists(field, part, f"value IN ({', '.join('?' * len(some))})", *some))
        return mask

    def _range(self, field: bytes, test: Test) -> Mask:
        kinds = set(map(kind_of, test.values))
        if len(kinds) > 1:
            return np.zeros_like(self._every)
        compared = [f"value {RANGES[bound]} ?" for bound in test.bounds]
        kind = "value >= x''" if kinds == {"text"} else "value < ''"  # SQLite orders numbers, texts, blobs
        condition, keys = " AND ".join([*compared, kind]), list(map(_key, test.values))
        if kinds == {"text"} or self._are_few(field, condition, keys):
            return self._mask(self._lists(field, _VALUE, condition, *keys))
        starts, pairs = self._numbers(field)
        passing = np.ones(len(pairs), dtype=np.bool_)
        rounded = list(map(float, keys))
        for bound, near in zip(test.bounds, rounded, strict=True):
            passing &= pairs["number"] >= near if bound in ("$gt", "$gte") else pairs["number"] <= near
        mask = np.zeros_like(self._every)
        mask[starts[passing] + pairs["place"][passing]] = True
        for comparison, key, near in zip(compared, keys, rounded, strict=True):
            outside = f"value > ? AND value < ? AND NOT {comparison}"  # of those that are rounded to the bound
            around = np.nextafter(near, [-np.inf, np.inf]).tolist()
            mask &= ~self._mask(self._lists(field, _VALUE, outside, *around, key))
        return mask

    def _are_few(self, field: bytes, condition: str, keys: Sequence[_Value]) -> bool:
        """Whether the lists of values are sooner read than all numbers of the field."""
        some = f"SELECT 1 FROM postings WHERE field = ? AND part = ? AND {condition} LIMIT ?"  # noqa: S608
        (n,) = self._sql.execute(f"SELECT count(*) FROM ({some})", (field, _VALUE, *keys, _MANY)).fetchone()  # noqa: S608
        return bool(n < _MANY)

    def _numbers(self, field: bytes) -> tuple[Rows, NDArray[np.void]]:
        """Where the masks have the blocks of all numbers of a field, and each number with its place."""
        query = "SELECT block, places FROM postings WHERE field = ? AND part = ?"
        found = self._sql.execute(query, (field, _NUMBERS)).fetchall()
        if not all(isinstance(block, int) and isinstance(pairs, bytes) for block, pairs in found):
            raise StoreCorrupt(_DAMAGED)
        lengths = np.fromiter((len(pairs) for _, pairs in found), dtype=np.int64)
        if (lengths % _NUMBER.itemsize).any():
            raise StoreCorrupt(_DAMAGED)
        starts = self._starts(np.array([block for block, _ in found], dtype=np.int64))
        pairs = np.frombuffer(b"".join(pairs for _, pairs in found), dtype=_NUMBER)
        return np.repeat(starts, lengths // _NUMBER.itemsize), pairs

    def _lists(self, field: bytes, part: int, condition: str, *values: Any) -> _Lists:
        """In the order of their values, then blocks."""
        found = self._sql.execute(
            f"SELECT block, places FROM postings WHERE field = ? AND part = ? AND {condition}",  # noqa: S608
            (field, part, *values),
        ).fetchall()
        blocks, places = [block for block, _ in found], [places for _, places in found]
        if not (set(map(type, blocks)) <= {int} and set(map(type, places)) <= {bytes}):
            raise StoreCorrupt(_DAMAGED)
        lengths = np.fromiter(map(len, places), dtype=np.int64)
        if (lengths % 2).any() or (lengths > _BITMAP).any():
            raise StoreCorrupt(_DAMAGED)
        return _Lists(np.array(blocks, dtype=np.int64), places, lengths)

    def _mask(self, lists: _Lists) -> Mask:
        mask = np.zeros(len(self._blocks) * _BLOCK, dtype=np.bool_)
        starts = self._starts(lists.blocks)
        whole = lists.lengths == _BITMAP
        for i in np.flatnonzero(whole).tolist():
            mask[starts[i] : starts[i] + _BLOCK] |= _bits(lists.places[i])
        joined = b"".join(compress(lists.places, ~whole) if whole.any() else lists.places)
        mask[np.repeat(starts[~whole], lists.lengths[~whole] // 2) + np.frombuffer(joined, dtype="<u2")] = True
        return mask

    def _starts(self, blocks: Rows) -> Rows:
        """Where the masks have these blocks."""
        if not np.isin(blocks, self._blocks).all():
            raise StoreCorrupt(_DAMAGED)
        return np.searchsorted(self._blocks, blocks) * _BLOCK

    def _column(self, test: Test) -> Mask:
        """A test of an id, which every chunk has: SQLite has indexes of them."""
        texts = [value for value in test.values if isinstance(value, str)]
        if test.operator == "exists":
            return self._every
        if test.operator == "in":
            condition, parameters = f"{test.field} IN (SELECT value FROM json_each(?))", [json.dumps(texts)]  # noqa: S608
        elif test.operator == "range" and len(texts) == len(test.values):
            condition, parameters = " AND ".join(f"{test.field} {RANGES[bound]} ?" for bound in test.bounds), texts
        else:
            return np.zeros_like(self._every)
        found = self._sql.execute(f"SELECT row_id FROM chunks WHERE {condition}", parameters)  # noqa: S608
        rows = np.fromiter((row for (row,) in found), dtype=np.int64)
        mask = np.zeros_like(self._every)
        mask[self._starts(rows // _BLOCK) + rows % _BLOCK] = True
        return mask
