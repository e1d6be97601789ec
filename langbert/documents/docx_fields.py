"""Fields of Word documents (ISO/IEC 29500-1, 17.16): what they show is text, what tells them what to show is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .extract import whole_number

if TYPE_CHECKING:
    from lxml.etree import _Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
FIELD_CHARACTER = f"{_W}fldChar"
_OFF = {"0", "false", "off"}


class Fields:
    """The fields of a paragraph that are open, one within the other."""

    def __init__(self) -> None:
        self._told: list[bool] = []  # whether it is still said what to show

    @property
    def are_told(self) -> bool:
        """Whether what comes is not shown."""
        return any(self._told)

    def next(self, character: _Element) -> str:
        """Where a field begins, shows something or ends; at its beginning stands what a form's box says."""
        kind = character.get(f"{_W}fldCharType")
        if kind == "separate" and self._told:
            self._told[-1] = False
        elif kind == "end" and self._told:
            self._told.pop()
        elif kind == "begin":
            shown = "" if self.are_told else _box(character)
            self._told.append(True)
            return shown
        return ""


def _box(character: _Element) -> str:
    """Whether a box is ticked, or the line that was chosen."""
    box = character.find(f".//{_W}checkBox")
    if box is not None:
        said = [found for name in ("checked", "default") if (found := box.find(f"{_W}{name}")) is not None]
        return "☒" if said and said[0].get(f"{_W}val", "on") not in _OFF else "☐"
    choices = [entry.get(f"{_W}val") or "" for entry in character.iter(f"{_W}listEntry")]
    result = character.find(f".//{_W}ddList/{_W}result")
    chosen = 0 if result is None else whole_number(result.get(f"{_W}val"), 0)
    return choices[chosen] if 0 <= chosen < len(choices) else ""
