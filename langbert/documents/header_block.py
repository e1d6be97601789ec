"""What a text says of itself in its first lines: a block of fields as in PEPs, RFCs and mails, or YAML front matter.

The block stays in the text; its fields become metadata. ``Author``, ``作者`` and the like are brought to the names that
:mod:`.properties` uses, the others keep theirs in small letters: ``Python-Version`` is ``python_version``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from ..text.layout import FIELD_NAMES, FRONT_MATTER
from .extract import one_line
from .properties import properties

_MOST_FIELDS = 40
_LONGEST = 300  # characters of a value
_LONGEST_MATTER = 50_000
_FIELD = re.compile(
    r"(?P<colon>:)?(?P<name>[^\W\d_][\w -]{0,30}?)(?(colon):|[ \t]?[:：])(?:[ \t]*(?P<value>\S.*)|[ \t]*)"
)
_KNOWN = {name: key for key in ("title", "authors", "created", "modified", "language") for name in FIELD_NAMES[key]}
_OWN = {"path", "format", "sha256", "remarks", "source", "page", "id", "document_id", "content_type"}


class Said(NamedTuple):
    """A title, if there is one, and the metadata."""

    title: str
    metadata: dict[str, Any]


def header_block(text: str) -> Said:
    """The fields in the first lines of ``text``; none unless two of them are among those that documents begin with."""
    fields: dict[str, list[str]] = {}
    name = ""
    for line in text.lstrip("\ufeff\n\r").split("\n", _MOST_FIELDS * 3)[: _MOST_FIELDS * 3]:
        if not line.strip():
            break
        found = _FIELD.fullmatch(line.rstrip())
        if line[0].isspace() and name:
            fields[name].append(line.strip())
        elif found is None or len(fields) >= _MOST_FIELDS:
            return Said("", {})
        else:
            name = found["name"].strip().casefold().replace(" ", "-")
            fields.setdefault(name, []).append((found["value"] or "").strip())
    if sum(name in _KNOWN for name in fields) < 2:
        return Said("", {})
    return _said({name: " ".join(value).strip()[:_LONGEST] for name, value in fields.items()})


def front_matter(text: str) -> Said:
    """The YAML between ``---`` at the top of ``text``: its plain values and lists of them."""
    found = FRONT_MATTER.match(text[:_LONGEST_MATTER])
    if found is None or not found["fields"]:
        return Said("", {})
    import yaml

    try:
        given = yaml.safe_load(found["fields"])
    except (yaml.YAMLError, ValueError, RecursionError):  # a date such as 2024-13-45 is a ValueError
        return Said("", {})
    if not isinstance(given, dict):
        return Said("", {})
    fields: dict[str, Any] = {}
    for name, value in list(given.items())[:_MOST_FIELDS]:
        plain = [_plain(item) for item in value[:100]] if isinstance(value, list) else _plain(value)
        if plain not in (None, "") and not (isinstance(plain, list) and None in plain):
            fields[str(name).strip().casefold()] = plain
    return _said(fields)


def _plain(value: object) -> Any:
    """A value that JSON knows, names of authors that are given as ``{name: …}`` among them; else None."""
    if isinstance(value, dict):
        value = value.get("name")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value[:_LONGEST] if isinstance(value, str) else value if isinstance(value, bool | int | float) else None


def _said(fields: Mapping[str, Any]) -> Said:
    known: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in fields.items():
        key = _KNOWN.get(name)
        if key is not None:
            known.setdefault(key, value)
        else:
            others[re.sub(r"[\s-]+", "_", name)] = value
    authors = known.get("authors", ())
    told = properties(
        authors=[str(author) for author in authors] if isinstance(authors, list) else [str(authors)] if authors else (),
        created=known.get("created", ""),
        modified=known.get("modified", ""),
        language=str(known.get("language", "")),
    )
    kept = {name: value for name, value in others.items() if value not in ("", None) and name not in _OWN}
    return Said(one_line(str(known.get("title", ""))), {**kept, **told})
