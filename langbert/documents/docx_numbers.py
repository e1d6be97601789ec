"""The numbers that Word makes itself: "2.", "2.2", "(a)", "第三条" (ECMA-376 part 1, 17.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["Numbers"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_PLACE = re.compile(r"%([1-9])")
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_HAN = "零一二三四五六七八九"
_HAN_LEGAL = "零壹贰叁肆伍陆柒捌玖"
_STEMS = "甲乙丙丁戊己庚辛壬癸"


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
            return _in_form(named.start if count is None else count, "decimal" if level.legal else named.form)

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


def _in_form(count: int, form: str) -> str:
    """A count in one of Word's number formats (ST_NumberFormat); decimal where it is none known here."""
    if form == "none":
        return ""
    if form in ("lowerLetter", "upperLetter") and count > 0:
        letter = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letter if form == "lowerLetter" else letter.upper()
    if form in ("lowerRoman", "upperRoman") and 0 < count < 4000:
        return _roman(count) if form == "lowerRoman" else _roman(count).upper()
    if form == "decimalZero":
        return f"{count:02}"
    if form == "ordinal":
        return f"{count}{'th' if 10 < count % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"
    if form.startswith("decimalEnclosedCircle") and 0 < count <= 20:
        return chr(0x245F + count)
    if form == "ideographTraditional" and 0 < count <= len(_STEMS):
        return _STEMS[count - 1]
    if form.startswith("chineseLegal") and 0 <= count < 100:
        return _chinese(count, _HAN_LEGAL, "拾")
    if form.startswith(("chinese", "japaneseCounting", "taiwanese", "ideographDigital")) and 0 <= count < 100:
        return _chinese(count, _HAN, "十")
    return str(count)


def _roman(count: int) -> str:
    digits = ""
    for value, sign in _ROMAN:
        digits += sign * (count // value)
        count %= value
    return digits


def _chinese(count: int, digits: str, ten: str) -> str:
    if count < 10:
        return digits[count]
    tens, ones = divmod(count, 10)
    return (digits[tens] if tens > 1 else "") + ten + (digits[ones] if ones else "")
