"""Question → its names and figures, which encoders blur and no other word stands for."""

from __future__ import annotations

import re

from ..text.scripts import has_unspaced
from ..text.terms import content_terms
from .conditions import NUMBER

_WORD = re.compile(r"[A-Za-z\d][A-Za-z\d_.,+#-]*")
_UNUSUAL = re.compile(r"\d|\w[._#]+\w")
_FIGURE = re.compile(rf"(?<![A-Za-z])[A-Za-z]*{NUMBER.pattern}")


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
