"""The numbers that Word makes itself: "2.", "2.2", "(a)", "第三条" (ECMA-376 part 1, 17.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..text.numerals import in_form

if TYPE_CHECKING:
    from lxml.etree import _Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_PLACE = re.compile(r"%([1-9])")


@dataclass(frozen=True, slots=True)
class _Level:
    start: int = 1
    form: str = "decimal"
    text: str = ""
    style: str = ""
    legal: bool = False  # all its numbers as 1, 2, 3
    restarts: bool = True


class Numbers:
    """The counters of a document, advanced paragraph by paragraph."""

    def __init__(self, root: _Element | None) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}  # abstract numbering → its levels
        self._abstract: dict[str, str] = {}  # numbering → abstract one
        self._starts: dict[str, dict[int, int]] = {}  # numbering → level → where it begins anew
        self._counts: dict[str, list[int | None]] = {}
        if root is None:
            return
        linked: dict[str, str] = {}
        links: dict[str, str] = {}
        for entry in root.iter(f"{_W}abstractNum"):
            key = entry.get(f"{_W}abstractNumId") or ""
            self._levels[key] = {_index(level): _read(level) for level in entry.iter(f"{_W}lvl")}
            linked[_value(entry, "styleLink")] = key
            links[key] = _value(entry, "numStyleLink")
        for entry in root.iter(f"{_W}num"):
            key, abstract = entry.get(f"{_W}numId") or "", _value(entry, "abstractNumId")
            abstract = linked.get(links.get(abstract) or "-", abstract)
            self._abstract[key] = abstract
            for override in entry.iter(f"{_W}lvlOverride"):
                if start := _value(override, "startOverride"):
                    self._starts.setdefault(key, {})[_index(override)] = _int(start, 1)

    def level_of(self, number: str, style: str) -> int | None:
        """The level that a numbering keeps for a paragraph style."""
        levels = self._levels.get(self._abstract.get(number, ""), {})
        return next((i for i, level in levels.items() if level.style == style), None)

    def next(self, number: str, depth: int) -> str:
        """The number of the next paragraph at ``depth``, as it is printed; empty for bullets and unknown ones."""
        key = self._abstract.get(number, "")
        levels = self._levels.get(key, {})
        level = levels.get(depth)
        if level is None or not 0 <= depth < _LEVELS:
            return ""
        counts = self._counts.setdefault(key, [None] * _LEVELS)
        anew = self._starts.get(number, {}).pop(depth, None)
        before = counts[depth]
        counts[depth] = anew if anew is not None else level.start if before is None else before + 1
        for deeper in range(depth + 1, _LEVELS):
            if levels.get(deeper, level).restarts:
                counts[deeper] = None
        if level.form == "bullet":
            return ""

        def shown(place: re.Match[str]) -> str:
            at = int(place.group(1)) - 1
            named = levels.get(at, _Level())
            count = counts[at]
            return in_form(named.start if count is None else count, "decimal" if level.legal else named.form)

        return _PLACE.sub(shown, level.text).strip()


def _read(level: _Element) -> _Level:
    return _Level(
        _int(_value(level, "start"), 1),
        _value(level, "numFmt") or "decimal",
        _value(level, "lvlText"),
        _value(level, "pStyle"),
        level.find(f"{_W}isLgl") is not None,
        _value(level, "lvlRestart") != "0",
    )


def _value(parent: _Element, name: str) -> str:
    child = parent.find(f"{_W}{name}")
    return "" if child is None else child.get(f"{_W}val") or ""


def _index(element: _Element) -> int:
    return _int(element.get(f"{_W}ilvl") or "", 0)


def _int(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else default
