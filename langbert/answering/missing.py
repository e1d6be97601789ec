"""What a refusal can name: the words of the question that nothing of what was found holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ..records import Candidate
from ..text.scripts import UNSPACED
from ..text.terms import asked_about, terms

__all__ = ["missing_words"]

_WORD = re.compile(rf"[{UNSPACED}]+|[^\W_{UNSPACED}](?:[\w.+#'’-]*[\w+#])?")
_HOW = re.compile(r"\bhow (?:long|often|old|far|big|large|high|fast|tall)\b", re.IGNORECASE)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_MOST = 5


def missing_words(question: str, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The words of ``question``, as they stand there, that no candidate holds in any form; the first five. Of
    Chinese and Japanese, which write no blanks, stretches.

    >>> missing_words("How long do I boil an egg?", [])
    ('boil', 'egg')
    """
    held = {term for candidate in candidates for term in terms(candidate.chunk.contextual_text)}
    content = set(terms(question))
    missing: list[str] = []
    for word in _WORD.findall(_HOW.sub("", asked_about(unicodedata.normalize("NFKC", question)))):
        if _UNSPACED.match(word):
            missing += _stretches(word, held)
        elif held.isdisjoint(own := terms(word)) and content.issuperset(own):
            missing.append(word)
    return tuple(dict.fromkeys(missing))[:_MOST]


def _stretches(run: str, held: set[str]) -> list[str]:
    """The stretches of ``run``, of two characters and more, none of which stands with its neighbour in what is held."""
    known = [run[i : i + 2] in held for i in range(len(run))]
    marks = "".join(" " if known[i] or (i and known[i - 1]) else run[i] for i in range(len(run)))
    return [stretch for stretch in marks.split() if len(stretch) > 1]
