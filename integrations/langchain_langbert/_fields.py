"""Constructors that name what they do not know, instead of taking it without a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import AliasChoices, BaseModel

__all__ = ["check_fields", "check_options"]


def check_fields(kind: type[BaseModel], values: Any, *, advice: Mapping[str, str] | None = None) -> Any:
    """``values`` as they came, for a validator of ``kind`` that runs before all others.

    Args:
        advice: what to do instead, for fields that other classes have.

    Raises:
        ValueError: one of them is no field.
    """
    if isinstance(values, Mapping):
        known = set(kind.model_fields)
        for field in kind.model_fields.values():
            if isinstance(field.validation_alias, AliasChoices):
                known.update(name for name in field.validation_alias.choices if isinstance(name, str))
        if unknown := _complaint(kind.__name__, "field", values, known, advice or {}):
            raise ValueError(unknown)
    return values


def check_options(name: str, options: Collection[str], known: Collection[str] = ()) -> None:
    """See that ``options`` of a function are all ``known``.

    Raises:
        TypeError: one of them is not.
    """
    if unknown := _complaint(name, "option", options, known, {}):
        raise TypeError(unknown)


def _complaint(
    name: str, what: str, given: Collection[str], known: Collection[str], advice: Mapping[str, str]
) -> str | None:
    for unknown in given:
        if unknown not in known:
            near = get_close_matches(unknown, known, 1)
            instead = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known)) or 'none'}"
            return f"{name} has no {what} {unknown!r}: {advice.get(unknown, instead)}"
    return None
