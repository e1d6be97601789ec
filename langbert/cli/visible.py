"""What documents, file names, models and servers say is shown and never obeyed.

A control character among their words could clear the screen, rename the window or hide a line.
"""

from __future__ import annotations

import json
import re

_LINE_ENDS = re.compile(r"(?<!\r)\r+\n")
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f"  # C0, but for tab and line feed
    "\x7f-\x9f"  # delete, and C1: one character that is ESC and a letter
    "\u2028\u2029"
    "\u202a-\u202e\u2066-\u2069"  # what follows is read from the other side
    "\ud800-\udfff]"  # halves of a character, and bytes of a file name that are no text
)


def is_harmless(text: str) -> bool:
    """Whether a terminal only shows ``text``."""
    return _OBEYED.search(text) is None


def visible(text: str) -> str:
    """Control characters as pictures or numbers; tabs and line ends stay.

    >>> visible("a\\x1b[2J\\x9b\\u202e")
    'a␛[2J\\\\x9b\\\\u202e'
    """
    return _OBEYED.sub(_shown, _LINE_ENDS.sub("\n", text))


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else ascii(found[0])[1:-1]


def json_text(document: object, *, ascii_only: bool = False, indent: int | None = None) -> str:
    """One line, or an indented document, of JSON: exact for whoever reads it, and harmless where it is shown."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent, default=str)
    # what is left of control characters stands in its strings; the line feeds are its own
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
