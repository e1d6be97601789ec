"""What stands before the paragraphs of a slide: its own numbers and bullets, else those of its layout and its master
(ECMA-376-1, §21.1.2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text.numerals import in_form
from .extract import whole_number

if TYPE_CHECKING:
    from lxml.etree import _Element

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_PLACEHOLDER, _STYLE = f"{_P}nvSpPr/{_P}nvPr/{_P}ph", f"{_P}txBody/{_A}lstStyle"
_BULLETS = tuple(f"{_A}{name}" for name in ("buNone", "buChar", "buBlip", "buAutoNum"))
_BODY = ("", "body", "obj")  # kinds of placeholders that the master's body style is for
_FORMS = {
    "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman", "romanUc": "upperRoman",
    "circleNum": "decimalEnclosedCircle", "ea1": "chineseCounting",
}  # fmt: skip
_AROUND = {"Period": ("", "."), "ParenBoth": ("(", ")"), "ParenR": ("", ")"), "Minus": ("", "-")}


class Lists:
    """The marks of the paragraphs of one shape, asked for one after the other.

    Args:
        shape: a shape, or a cell of a table.
        above: the slide's layout and its master, as far as there are any.
    """

    def __init__(self, shape: _Element, above: tuple[_Element, ...] = ()) -> None:
        self._styles = [shape.find(_STYLE)]
        self._counts: dict[int, int] = {}  # by level
        placeholder = shape.find(_PLACEHOLDER)
        if placeholder is None:
            return
        for part in above:
            self._styles += (
                other.find(_STYLE)
                for other in part.iter(f"{_P}sp")
                if (like := other.find(_PLACEHOLDER)) is not None and _are_alike(placeholder, like)
            )
        if placeholder.get("type", "") in _BODY:
            self._styles += (part.find(f"{_P}txStyles/{_P}bodyStyle") for part in above)

    def mark(self, paragraph: _Element) -> str:
        """A number, or "-" behind two spaces for each list that this one is in; empty where there is none."""
        properties = paragraph.find(f"{_A}pPr")
        level = 0 if properties is None else whole_number(properties.get("lvl"), 0, most=8)
        bullet = self._bullet(properties, level)
        numbered = bullet is not None and bullet.tag == f"{_A}buAutoNum"
        for deeper in [other for other in self._counts if other > level or (other == level and not numbered)]:
            del self._counts[deeper]
        if bullet is None or bullet.tag == f"{_A}buNone":
            return ""
        if not numbered:
            return "  " * level + "-"
        self._counts[level] = self._counts.get(level, whole_number(bullet.get("startAt"), 1) - 1) + 1
        return _number(self._counts[level], bullet.get("type") or "arabicPeriod")

    def _bullet(self, properties: _Element | None, level: int) -> _Element | None:
        styles = (style.find(f"{_A}lvl{level + 1}pPr") for style in self._styles if style is not None)
        for said in (properties, *styles):
            found = () if said is None else [child for child in said if child.tag in _BULLETS]
            if found:
                return found[0]
        return None


def _are_alike(one: _Element, other: _Element) -> bool:
    """Whether a placeholder of a layout or master is what the slide's one is made of."""
    if one.get("idx") is not None and one.get("idx") == other.get("idx"):
        return True
    kind: str = one.get("type", "")
    return bool(kind) and kind == other.get("type", "")


def _number(count: int, scheme: str) -> str:
    """
    >>> _number(4, "romanLcParenR"), _number(2, "arabicPeriod")
    ('iv)', '2.')
    """
    form = next((form for begin, form in _FORMS.items() if scheme.startswith(begin)), "decimal")
    before, behind = next((marks for end, marks in _AROUND.items() if scheme.endswith(end)), ("", ""))
    return before + in_form(count, form) + behind
