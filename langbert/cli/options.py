"""Options of a command out of Python: types and defaults of a signature or a dataclass, help of its docstring.

Imported when such a command is typed, since the classes bring torch.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from ..training.settings import Bounds

_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


def keywords_of(kind: type, *, without: set[str]) -> list[inspect.Parameter]:
    """The keywords of a class's constructor, but for some, as a command has them."""
    hints = get_type_hints(kind.__init__, include_extras=True)  # type: ignore[misc]
    texts = described(kind, "Args")
    return [
        _option(name, hints[name], parameter.default, texts.get(name, ""))
        for name, parameter in inspect.signature(kind).parameters.items()
        if name not in without
    ]


def fields_of(defaults: Any, *, without: set[str]) -> list[inspect.Parameter]:
    """The fields of a dataclass, but for some: None where nothing is given, the value in ``defaults`` being shown."""
    hints = get_type_hints(type(defaults), include_extras=True)
    texts = described(type(defaults), "Attributes")
    return [
        _option(name, hints[name] | None, None, texts.get(name, ""), shown=getattr(defaults, name))
        for name in (field.name for field in fields(defaults))
        if name not in without
    ]


def described(kind: type, section: str) -> dict[str, str]:
    """What a class's docstring says of each name under ``Args:`` or ``Attributes:``, in plain words."""
    _, _, entries = inspect.cleandoc(kind.__doc__ or "").partition(f"\n{section}:\n")
    entries = re.split(r"\n(?=\S)", entries, maxsplit=1)[0]
    return {
        name: _capitalised(_ROLE.sub(r"\1", " ".join(text.split())).replace("``", ""))
        for names, text in _ENTRY.findall(entries)
        for name in names.split(", ")
    }


def _option(name: str, hint: Any, default: Any, text: str, *, shown: Any = None) -> inspect.Parameter:
    told: dict[str, Any] = {"show_default": shown if shown is None else str(shown)} if default is None else {}
    if bounds := _bounds(hint):
        told.update(min=bounds.least, max=bounds.most)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[_plain(hint), typer.Option(help=text, **told)],
    )


def _bounds(hint: Any) -> Bounds | None:
    """The bounds of a type, or of a part of a union."""
    parts = get_args(hint)
    found = (part if isinstance(part, Bounds) else _bounds(part) for part in parts)
    return next((bounds for bounds in found if bounds is not None), None)


def _plain(hint: Any) -> Any:
    """A type that Typer knows: no bounds, and a path that may be a text is a text."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[0]
    if type(None) in get_args(hint) or str in get_args(hint):
        return reduce(or_, (_plain(part) for part in get_args(hint) if part is not Path))
    return hint


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
