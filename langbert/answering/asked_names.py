"""Question → its names and figures, which encoders blur and no other word stands for."""

from __future__ import annotations

import re

from ..text.scripts import has_unspaced
from ..text.terms import content_terms
from .conditions import NUMBER

_WORD = re.compile(r"[A-Za-z\d][A-Za-z\d_.,+#-]*")
_UNUSUAL = re.compile(r"\d|\w[._#]+\w")
_FIGURE = re.compile(rf"(?<![A-Za-z])[A-Za-z]*{NUMBER.pattern}")
_RANGE = re.compile(
    r"(?<![\d.,:/–-])(?P<first>[1-9]\d{0,5})\s?[^\W\d_]?\s?(?:[-–—~～至到]|\b(?:to|through|bis)\b)\s?"
    r"(?P<last>[1-9]\d{0,5})(?![\d/–-]|[.,:]\d)"
)


def tokens(text: str) -> frozenset[str]:
    """Words as stems, figures as they are written."""
    figures = (figure.replace(",", "").lower() for figure in _FIGURE.findall(text))
    return frozenset((*content_terms(_FIGURE.sub(" ", text)), *figures))


def asked_names(question: str) -> frozenset[str]:
    """The names in a question, as its words: what is capitalised, has figures or is spelt as an identifier or a file
    is, and in Chinese whatever is Latin."""
    foreign = has_unspaced(question)
    found = [
        word[0]
        for word in _WORD.finditer(question)
        if foreign or _UNUSUAL.search(word[0]) or (word.start() and word[0][0].isupper())
    ]
    return tokens(" ".join(found))


def share_of_names(question: str, text: str) -> float:
    """Which share of the names and figures in ``question`` stands in ``text``, or lies in a range that does; 1 where
    there are none.

    >>> share_of_names("When is building 8 without water?", "Buildings 1 to 6: Monday. Buildings 7–12: Thursday.")
    1.0
    """
    asked = asked_names(question)
    held = asked & tokens(text)
    figures = {name for name in asked - held if name.isascii() and name.isdigit()}
    ranges = [(int(found["first"]), int(found["last"])) for found in _RANGE.finditer(text)] if figures else []
    held |= {figure for figure in figures if any(first <= int(figure) <= last for first, last in ranges)}
    return len(held) / len(asked) if asked else 1.0
