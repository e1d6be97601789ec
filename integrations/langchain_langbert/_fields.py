"""Constructors that name what they do not know, instead of taking it without a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import AliasChoices, BaseModel


def check_fields(kind: type[BaseModel], values: Any, **advice: str) -> Any:
    """``values`` as they came, for a validator of ``kind`` that runs before all others.

    Args:
        advice: what to do instead, for fields that other classes have.

    Raises:
        ValueError: one of them is no field.
    """
    aliases = [field.validation_alias for field in kind.model_fields.values()]
    names = [name for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices]
    known = [*kind.model_fields, *map(str, names)]
    if isinstance(values, Mapping) and (unknown := unknown_option(kind.__name__, values, known, **advice)):
        raise ValueError(unknown)
    return values


def unknown_option(owner: str, given: Collection[str], known: Collection[str], **advice: str) -> str | None:
    """What is wrong with the first of ``given`` that is not ``known``; None where all are."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            instead = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
            return f"{owner} has no {name!r}: {advice.get(name, instead)}"
    return None
