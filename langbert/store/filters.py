"""``where``: a mapping that says which chunks count.

::

    {"source": "a.pdf"}                              equals
    {"year": {"$gte": 2020, "$lt": 2024}}            both hold
    {"lang": {"$in": ["zh", "en"]}}                  also $nin, $ne
    {"tags": {"$contains": "draft"}}                 a list that holds this value
    {"author": {"$exists": True}}
    {"$or": [{"page": 1}, {"$not": {"lang": "en"}}]} also $and

Names are ``id``, ``document_id``, ``source``, ``page`` and any key of the metadata without a ``$`` in front (whole:
dots, quotes and spaces in a key mean nothing special). ``source`` and ``page`` fall back to the metadata where the
chunk has none.

Types are strict, as in JSON: ``1`` equals ``1.0`` but neither ``True`` nor ``"1"``. Ranges compare numbers with
numbers and text with text (by code point); anything else is not in the range. A key that is missing equals nothing,
so it satisfies ``$ne`` and ``$nin``; ``None`` equals an explicit null only. Integers beyond 64 bits compare as floats.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import FilterError
from ..records import Chunk
from .metadata import plain

Where = Mapping[str, Any] | Callable[[Chunk], bool]
"""A mapping as above, or a function: slower, for it is asked about every chunk, and with the same promise of k results.
It must not use the store it is asked for."""

Scalar = str | int | float | bool | None

RANGES = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
"""How SQL writes them."""

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_FIELD_OPERATORS = ("$eq", "$ne", "$in", "$nin", *RANGES, "$contains", "$exists", "$not")
_GROUPS = ("$and", "$or", "$not")
_MAX_CONDITIONS = 200
_MAX_DEPTH = 32
_INT64 = 2**63


def matches(where: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether ``fields`` (see :func:`fields_of`) satisfies ``where``: the reference that the index is tested against.

    Raises:
        FilterError: ``where`` cannot be understood.
    """
    return parse_where(where).holds(fields)


def parse_where(where: Mapping[str, Any]) -> Condition:
    """A condition that can be put to one chunk's fields, or looked up in an index.

    Raises:
        FilterError: ``where`` cannot be understood.
    """
    return _Parser().group(where, 0)


def fields_of(chunk: Chunk) -> dict[str, Any]:
    """What a filter sees of a chunk."""
    fields = {**chunk.metadata, "id": chunk.id, "document_id": chunk.document_id}
    if chunk.source:
        fields["source"] = chunk.source
    if chunk.page is not None:
        fields["page"] = chunk.page
    return fields


Mask = NDArray[np.bool_]
LookUp = Callable[["Test"], Mask]
"""Which of ``n`` rows pass one test."""


# --- what a parsed filter is made of ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """All (``AND``) or any (``OR``) of its parts; an empty AND holds."""

    word: str
    parts: tuple[Condition, ...]

    def holds(self, fields: Mapping[str, Any]) -> bool:
        return (all if self.word == "AND" else any)(part.holds(fields) for part in self.parts)

    def mask(self, look_up: LookUp, n: int) -> Mask:
        found = np.full(n, self.word == "AND")
        for part in self.parts:
            found = found & part.mask(look_up, n) if self.word == "AND" else found | part.mask(look_up, n)
        return found


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition

    def holds(self, fields: Mapping[str, Any]) -> bool:
        return not self.part.holds(fields)

    def mask(self, look_up: LookUp, n: int) -> Mask:
        return ~self.part.mask(look_up, n)


@dataclass(frozen=True, slots=True)
class Test:
    """``field`` is there and its value passes the test."""

    field: str
    operator: Literal["exists", "in", "contains", "range"]
    values: tuple[Scalar, ...] = ()
    bounds: tuple[str, ...] = ()  # of a range: how it compares with each of the values, keys of RANGES

    def holds(self, fields: Mapping[str, Any]) -> bool:
        if self.field not in fields:
            return False
        stored = fields[self.field]
        if self.operator == "exists":
            return True
        if self.operator == "contains":
            return isinstance(stored, list | tuple) and any(_same(item, v) for item in stored for v in self.values)
        if self.operator == "in":
            return any(_same(stored, value) for value in self.values)
        return all(
            kind_of(stored) == kind_of(value) and _COMPARED[bound](narrowed(stored), narrowed(value))
            for bound, value in zip(self.bounds, self.values, strict=True)
        )

    def mask(self, look_up: LookUp, n: int) -> Mask:
        return look_up(self)


Condition = Group | Not | Test


def kind_of(value: object) -> str:
    """The type of a JSON value, as filters tell them apart."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "number"
        case str():
            return "text"
    return "other"


def narrowed(value: Any) -> Any:
    """Integers beyond 64 bits as floats."""
    if not isinstance(value, int) or -_INT64 <= value < _INT64:
        return value
    try:
        return float(value)
    except OverflowError:
        raise FilterError(f"a whole number of {value.bit_length():,} bits came; compare it as text") from None


def _same(stored: Any, given: Scalar) -> bool:
    kind = kind_of(stored)
    return kind == kind_of(given) and (kind not in ("number", "text") or bool(narrowed(stored) == narrowed(given)))


# --- from the user's mapping to conditions ---------------------------------------------------------------------------


class _Parser:
    def __init__(self) -> None:
        self.conditions = 0

    def group(self, where: object, depth: int) -> Condition:
        if not isinstance(where, Mapping):
            raise FilterError(f"a filter must be a mapping such as {{'source': 'a.pdf'}}; got {_show(where)}")
        if depth > _MAX_DEPTH:
            raise FilterError(f"a filter nests at most {_MAX_DEPTH} deep")
        return Group("AND", tuple(self._entry(key, value, depth) for key, value in where.items()))

    def _entry(self, key: object, value: object, depth: int) -> Condition:
        if not isinstance(key, str):
            raise FilterError(f"a filter's keys must be str; got {_show(key)}")
        if key == "$not":
            return Not(self.group(value, depth + 1))
        if key in ("$and", "$or"):
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                raise FilterError(f"{key} takes a list of at least one filter; got {_show(value)}")
            return Group(key[1:].upper(), tuple(self.group(part, depth + 1) for part in value))
        if key.startswith("$"):
            raise FilterError(f"unknown operator {key!r} at the top of a filter{_near(key, _GROUPS)}")
        return self._field(_text(key), value, depth)

    def _field(self, field: str, value: object, depth: int) -> Condition:
        if not isinstance(value, Mapping):
            return self._operator(field, "$eq", value, depth)
        if not value:
            raise FilterError(f"{field!r}: {{}} says nothing; give a value or an operator such as {{'$gte': 3}}")
        parts = [self._operator(field, op, given, depth) for op, given in value.items()]
        ranges = [part for part in parts if isinstance(part, Test) and part.operator == "range"]
        if len(ranges) > 1:  # one stretch of the index
            values = chain.from_iterable(part.values for part in ranges)
            bounds = chain.from_iterable(part.bounds for part in ranges)
            parts = [part for part in parts if part not in ranges]
            parts.append(Test(field, "range", tuple(values), tuple(bounds)))
        return Group("AND", tuple(parts))

    def _operator(self, field: str, operator: object, value: object, depth: int) -> Condition:
        self.conditions += 1
        if self.conditions > _MAX_CONDITIONS:
            raise FilterError(f"a filter has at most {_MAX_CONDITIONS} conditions; $in takes any number of values")
        if depth > _MAX_DEPTH:
            raise FilterError(f"a filter nests at most {_MAX_DEPTH} deep")
        match operator:
            case "$eq":
                return Test(field, "in", (_scalar(field, value),))
            case "$ne":
                return Not(Test(field, "in", (_scalar(field, value),)))
            case "$in":
                return Test(field, "in", _scalars(field, "$in", value))
            case "$nin":
                return Not(Test(field, "in", _scalars(field, "$nin", value)))
            case "$contains":
                return Test(field, "contains", (_scalar(field, value),))
            case "$exists":
                if not isinstance(value, bool):
                    raise FilterError(f"{field!r}: $exists takes True or False; got {_show(value)}")
                return Test(field, "exists") if value else Not(Test(field, "exists"))
            case "$not":
                return Not(self._field(field, value, depth + 1))
            case "$gt" | "$gte" | "$lt" | "$lte":
                bound = _scalar(field, value)
                if bound is None or isinstance(bound, bool):
                    raise FilterError(f"{field!r}: {operator} takes a number or a str, or a date; got {_show(value)}")
                return Test(field, "range", (bound,), (operator,))
        raise FilterError(f"{field!r}: unknown operator {operator!r}{_near(str(operator), _FIELD_OPERATORS)}")


def _scalars(field: str, operator: str, values: object) -> tuple[Scalar, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence | set | frozenset):
        raise FilterError(f"{field!r}: {operator} takes a list of values; got {_show(values)}")
    return tuple(_scalar(field, value) for value in values)


def _scalar(field: str, value: object) -> Scalar:
    if isinstance(value, float) and math.isnan(value):
        raise FilterError(f"{field!r}: NaN equals nothing; to find what is missing use {{'$exists': False}}")
    with suppress(TypeError):  # then it is no scalar, which is said below
        value = plain(value)
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    way = "use {'$in': [...]} for one of several, {'$contains': …} to look into a list"
    raise FilterError(f"{field!r}: compare with a str, a number, a bool or None; got {_show(value)}; {way}")


def _text(text: str) -> str:
    """What SQLite can compare: Unicode without surrogates, and no NUL (its JSON functions end a text there)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(f"{text!r} is not valid Unicode: {error.reason} at {error.start}") from error
    if "\0" in text:
        raise FilterError(f"{text!r} holds a NUL character, which a filter cannot compare")
    return str(text)


def _near(word: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=2, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(choices)}"


def _show(value: object) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 60 else shown[:57] + '…'} ({type(value).__name__})"
