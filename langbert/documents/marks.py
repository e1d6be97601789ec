"""What a reader of the page sees and plain text would lose: an exponent is no further digit, struck words do not hold.

Readers write marks around such words, run by run as their formats cut them, and :func:`as_seen` makes text of them.
"""

from __future__ import annotations

import re

RAISED = ("\x0e", "\x0f")
STRUCK = ("\x10", "\x11")
_POWER = re.compile(r"(?<=[^\W_])\x0e\s*([+\-−–]?\d+)(\s*)\x0f")
_RUNS = re.compile(r"\x0f\x0e|\x11\x10")  # one after the other
_OUT = re.compile(r"\x10([^\x10\x11]*)\x11")
_LEFT = str.maketrans("", "", "".join((*RAISED, *STRUCK)))


def marked(text: str, mark: tuple[str, str]) -> str:
    """``text`` between marks, unless it is blank."""
    return f"{mark[0]}{text}{mark[1]}" if text.strip() else text


def as_seen(text: str) -> str:
    """The text with its marks made readable.

    >>> as_seen("10" + marked("-", RAISED) + marked("6", RAISED) + " " + marked("30", STRUCK) + " 25")
    '10^-6 [struck out: 30] 25'
    """
    return _OUT.sub(r"[struck out: \1]", _POWER.sub(r"^\1\2", _RUNS.sub("", text))).translate(_LEFT)
