"""What a text says of itself in its first lines: a block of fields as in PEPs, RFCs and mails, or YAML front matter.

The block stays in the text; its fields become metadata. ``Author``, ``作者`` and the like are brought to the names that
:mod:`.properties` uses, the others keep theirs in small letters: ``Python-Version`` is ``python_version``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from .extract import one_line
from .properties import properties

__all__ = ["FRONT_MATTER", "Said", "front_matter", "header_block"]

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)

_MOST_FIELDS = 40
_LONGEST = 300  # characters of a value
_LONGEST_MATTER = 50_000
_FIELD = re.compile(
    r"(?P<colon>:)?(?P<name>[^\W\d_][\w -]{0,30}?)(?(colon):|[ \t]?[:：])(?:[ \t]*(?P<value>\S.*)|[ \t]*)"
)
_KNOWN: Mapping[str, str] = {
    name: key
    for key, names in {
        "title": "title subject 标题 題目 题目 主题 標題 主旨",
        "authors": "author authors from by 作者 撰稿人 编者 发件人 著者",
        "created": "created date published pub-date publishdate 日期 发布日期 发布时间 创建日期 创建时间 發布日期",
        "modified": "last-modified modified updated lastmod revised 修改日期 修改时间 更新日期 更新时间",
        "language": "language lang 语言 語言",
    }.items()
    for name in names.split()
}
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
    if found is None or not found.group(1):
        return Said("", {})
    import yaml

    try:
        given = yaml.safe_load(found.group(1))
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
