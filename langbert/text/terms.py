"""Text → terms, for the lexical index: English words stemmed, scripts without spaces as pairs.

Tantivy's own analyser (Rust) splits, lower-cases, folds accents and stems; what it cannot do is done to the text
before: full-width forms are folded (NFKC), and a run of Chinese, Japanese, Korean, Thai … characters is written as its
overlapping pairs, ``机器学习`` → ``机器 器学 学习``, the way Lucene's CJKAnalyzer does. Stop words are left out of
questions only, so that the index still holds every word for phrases.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from .scripts import UNSPACED, folded, unwrapped

ANALYSIS_VERSION = 5
"""Raise it when the same text gives other terms: indexes made with another version are rebuilt."""

_LONGEST_TERM = 128  # bytes; longer runs without a break are data, not words

_RUN = re.compile(f"[{UNSPACED}]+")

_STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers him
    his how i if in into is it its itself just may me might more most much must my no nor not of off on once one only
    or other our ours out over own s same shall she should so some such t than that the their theirs them then there
    these they this those through to too under until up us very was we were what when where which while who whom whose
    why will with would you your yours
    """.split()  # noqa: SIM905 - a list of quoted words is harder to read
)

# How Chinese and Japanese ask, not what about. Blanked out before pairs are made, or half of a short question's pairs
# would be of these words.
_ASKING = re.compile(
    "是什么|什么是|什么|为什么|為什麼|什麼|如何|怎么样|怎样|怎么|怎麼|哪一|哪些|哪个|哪個|哪里|哪裡|是否|请问|請問|多少|吗|嗎|呢"
    "|とは何ですか|は何ですか|何ですか|とは|ですか|ますか|でしょうか|どのように|なぜ|どう"
)


def spaced(text: str) -> str:
    """``text`` as the analyser should see it: NFKC, runs of unspaced scripts as overlapping pairs between blanks."""
    if text.isascii():
        return text
    return _RUN.sub(_pairs, unwrapped(folded(text)))


def _pairs(run: re.Match[str]) -> str:
    text = run.group()
    if len(text) == 1:
        return f" {text} "
    return f" {' '.join(text[i : i + 2] for i in range(len(text) - 1))} "


def characters(text: str) -> str:
    """The single characters of unspaced scripts in ``text``, between blanks: what a question of one character finds."""
    if text.isascii():
        return ""
    return " ".join(" ".join(run) for run in _RUN.findall(folded(text)))


@lru_cache(maxsize=1)
def word_analyzer() -> TextAnalyzer:
    """For indexing: every word, lower-cased, without accents, stemmed (Snowball English)."""
    return _chain().filter(Filter.stemmer("english")).build()


@lru_cache(maxsize=1)
def _question_analyzer() -> TextAnalyzer:
    return _chain().filter(Filter.custom_stopword(sorted(_STOP_WORDS))).filter(Filter.stemmer("english")).build()


def _chain() -> TextAnalyzerBuilder:
    return (
        TextAnalyzerBuilder(Tokenizer.simple())
        .filter(Filter.remove_long(_LONGEST_TERM))
        .filter(Filter.lowercase())
        .filter(Filter.ascii_fold())
    )


def terms(text: str) -> list[str]:
    """The content terms of ``text`` in order, repeated as they come: stemmed words and pairs, no stop words.

    A text of nothing but stop words ("to be or not to be") keeps them.

    >>> terms("What are the main tasks?")
    ['main', 'task']
    """
    return content_terms(text) or word_analyzer().analyze(spaced(text))


def content_terms(text: str) -> list[str]:
    """As :func:`terms`, none of a text of nothing but stop words."""
    return _question_analyzer().analyze(spaced(asked_about(text)))


def asked_about(question: str) -> str:
    """``question`` without the words Chinese and Japanese ask with."""
    return question if question.isascii() else _ASKING.sub(" ", folded(question))
