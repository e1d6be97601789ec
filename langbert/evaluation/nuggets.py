"""Nuggets: the facts a good answer holds (Voorhees 2003, "Overview of the TREC 2003 Question Answering Track", §3).

A nugget is a list of wordings, any of which counts. It has to stand where a person reads it: in the first
:data:`LIMIT` words of the answer and the quotes shown with it. So nothing is gained by showing a whole page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ..text.scripts import CJK

LIMIT = 120.0
"""Words that are read of an answer; a Chinese or Japanese character counts as half a word."""

_APART = re.compile(r"[\W_]+")
_BESIDE_CJK = re.compile(rf"(?<=[{CJK}]) (?=\S)|(?<=\S) (?=[{CJK}])")
_HAS_CJK = re.compile(f"[{CJK}]")
_TOKEN = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_NO_WORD_BEFORE, _NO_WORD_BEHIND = rf"(?<![^\W{CJK}])", rf"(?![^\W{CJK}])"


def nuggets_held(parts: Sequence[str], nuggets: Sequence[Sequence[str]]) -> tuple[bool, ...]:
    """Of each nugget whether a person finds it in ``parts``, the answer and then its quotes, in the order shown.

    A wording stands there whatever the case, the punctuation and the spaces between words. It has to begin where a word
    does, and may end inside one (a plural, an ending); a number is found whole.
    """
    read = zip(parts, read_lengths(parts), strict=True)
    held = _compared("\n".join(part[:length] for part, length in read))
    return tuple(any(_stands_in(held, wording) for wording in wordings) for wordings in nuggets)


def read_lengths(parts: Sequence[str], limit: float = LIMIT) -> list[int]:
    """How many characters of each part are read before ``limit`` words are up."""
    lengths = []
    over = False
    for part in parts:
        length = 0 if over else len(part)
        for token in () if over else _TOKEN.finditer(part):
            limit -= 0.5 if _HAS_CJK.match(token[0]) else 1.0
            if limit < 0:
                over, length = True, token.start()
                break
        lengths.append(length)
    return lengths


def wording_pattern(wording: str) -> str:
    """A regular expression that finds ``wording`` as somebody wrote it, to mark it in a text."""
    words = _TOKEN.findall(_APART.sub(" ", wording))
    pattern = "".join(
        (r"[\W_]*" if _HAS_CJK.search(before + word) else r"[\W_]+") * bool(before) + re.escape(word)
        for before, word in zip(["", *words], words, strict=False)
    )
    return pattern if _HAS_CJK.search(wording) else _word_by_word(pattern, ends=wording[-1:].isdigit())


def _compared(text: str) -> str:
    """Lower case, words apart by one blank, none beside Chinese or Japanese characters."""
    apart = _APART.sub(" ", unicodedata.normalize("NFKC", text).lower())
    return f" {_BESIDE_CJK.sub('', apart).strip()} "


def _stands_in(held: str, wording: str) -> bool:
    wanted = _compared(wording).strip()
    if _HAS_CJK.search(wanted):
        return wanted in held
    return re.search(_word_by_word(re.escape(wanted), ends=wanted[-1:].isdigit()), held) is not None


def _word_by_word(pattern: str, *, ends: bool) -> str:
    return _NO_WORD_BEFORE + pattern + (_NO_WORD_BEHIND if ends else "")
