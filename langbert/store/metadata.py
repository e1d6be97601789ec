"""Metadata as loaders, pandas and LangChain's retrievers put it → JSON that filters can compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

_LARGEST = 1023  # bits of a number, as those of a float


def plain(value: Any) -> Any:
    """A value that JSON does not know as one that it does, with the order it had.

    Dates and times become ISO 8601 text, those with a time zone in UTC, so that ``{"$gte": date(2024, 1, 1)}`` compares
    them; numpy's scalars and decimals numbers, spans of time their seconds; NaN, pandas' NaT and NA among them, None;
    sets sorted lists, other iterables lists, mappings dicts; what is written in a way of its own, as paths, UUIDs and
    addresses are, text.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, np.generic):
        value = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, float | Decimal | datetime) and value != value:  # NaN, NaT
        return None
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc) if value.tzinfo else value).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal | Fraction):
        return float(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda item: (type(item).__name__, item))
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__name__ == "NAType":
        return None
    if isinstance(value, bytes | bytearray):
        raise TypeError(f"bytes {value!r:.60} are not JSON")
    if isinstance(value, Iterable) and not isinstance(value, UUID | PurePath):
        return list(value)
    if "__str__" in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}:  # not object's
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r:.60} is not JSON")


def to_json(value: Any) -> str:
    """JSON as the store holds it.

    Raises:
        TypeError, ValueError, RecursionError: it cannot be written as JSON, see :func:`plain`; infinities are not.
    """
    _require_comparable(value.values() if isinstance(value, Mapping) else (value,))
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # a NaN, of which an encoder asks nobody
        value = _without_nan(value)
        text = _ENCODER.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: only the escaped form can be stored
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=plain)
    return text


def _require_comparable(values: Iterable[Any]) -> None:
    for value in values:
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, int) and number.bit_length() > _LARGEST:
                raise ValueError(
                    f"a whole number of {number.bit_length():,} bits is beyond what is compared; store it as text"
                )


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.ndarray):
        return _without_nan(value.tolist())
    return plain(value) if isinstance(value, float) else value


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)
