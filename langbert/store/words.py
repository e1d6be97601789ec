"""The words of a chunk and of a question, as the lexical indexes see them: which, in which field, and what they count.

The embedded index hands them to Tantivy. An engine outside stores a chunk as a sparse vector of BM25 weights and asks
with one of inverse document frequencies (Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework", §3.4): the
inner product is BM25.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from ..text.figures import figures
from ..text.names import clauses, dates, identifiers, question_identifiers
from ..text.terms import asked_about, characters, spaced, terms, word_analyzer

BODY, TITLE, EXACT, CHARACTERS = "body", "title", "exact", "characters"
# Measured on SQuAD (English) and CMRC 2018 (Chinese): nDCG@10 changes by < 0.003 between a third and three times these.
_BOOSTS = {BODY: 1.0, TITLE: 0.5, EXACT: 1.0, CHARACTERS: 0.5}
_A_DAY = 3  # how much a date of the question counts, whose words and numbers are in many others
_MOST_TERMS = 256  # distinct terms of a question that are looked up, the first ones

# BM25 as Tantivy has it, but that a usual passage's length stands for the average: a weight is final when it is stored.
_K1, _B = 1.2, 0.75
_USUAL = {BODY: 150, TITLE: 8, EXACT: 8, CHARACTERS: 100}  # words
_MOST_WORDS = 16_000  # of a chunk, the weightiest: what a sparse vector of pgvector holds
MOST_WEIGHT = _K1 + 1  # that a word can have in a chunk, however often it stands there
N_WORDS = 10**9  # numbers of words, the most that pgvector knows: two words share one with a probability of 10⁻⁹


def chunk_fields(text: str, headings: str, source: str) -> dict[str, list[str]]:
    """What of a chunk goes into each field: into ``BODY`` and ``TITLE`` texts for the analyser, into the others words
    between blanks; fields without any are left out."""
    body, title = spaced(text), spaced(f"{headings}\n{source}")
    (names, inner), (titled, _) = identifiers(body), identifiers(title)
    whole, numbers = figures(text)
    exact, single = {*names, *titled, *dates(text), *clauses(text), *whole}, characters(text)
    found = {BODY: [body], TITLE: [title]}
    if inner or numbers:
        found[BODY].append(" ".join((*inner, *numbers)))
    if exact:
        found[EXACT] = [" ".join(sorted(exact))]
    if single:
        found[CHARACTERS] = [single]
    return found


def chunk_words(text: str, headings: str, source: str) -> Counter[tuple[str, str]]:
    """Field and term → how often a chunk has it."""
    found = Counter[tuple[str, str]]()
    for field, texts in chunk_fields(text, headings, source).items():
        for part in texts:
            words = word_analyzer().analyze(part) if field in (BODY, TITLE) else part.split()
            found.update((field, word) for word in words)
    return found


@lru_cache(maxsize=64)  # a search asks each index, more than once
def question_words(question: str) -> Mapping[tuple[str, str], float]:
    """Field and term → weight, of what is looked up; nothing in a question is syntax."""
    prepared = spaced(question)
    wanted = Counter[tuple[str, str]]()
    names, inner = question_identifiers(prepared)
    whole, numbers = figures(question)
    for term in terms(question) + terms(" ".join((*inner, *numbers))):
        wanted[BODY, term] += 1
        wanted[TITLE, term] += 1
    wanted.update((EXACT, name) for name in names)
    wanted.update({(EXACT, name): _A_DAY for name in (*dates(question), *clauses(question), *whole)})
    single = characters(asked_about(question)) or characters(question)
    wanted.update((CHARACTERS, character) for character in single.split())
    named = list(wanted.items())[: 2 * _MOST_TERMS]
    return MappingProxyType({(field, term): _BOOSTS[field] * count for (field, term), count in named})


def word_weights(text: str, headings: str, source: str) -> dict[int, float]:
    """The words of a chunk by their numbers → their BM25 weights, as far as they depend on the chunk alone."""
    counts = chunk_words(text, headings, source)
    lengths = Counter[str]()
    for (field, _), n in counts.items():
        lengths[field] += n
    found: dict[tuple[str, str], float] = {}
    for (field, word), n in counts.items():
        norm = _K1 * (1 - _B + _B * lengths[field] / _USUAL[field])
        found[field, word] = (_K1 + 1) * n / (n + norm)
    weights = numbered(found)
    if len(weights) > _MOST_WORDS:
        weights = dict(sorted(weights.items(), key=lambda pair: -pair[1])[:_MOST_WORDS])
    return weights


def numbered(words: Mapping[tuple[str, str], float]) -> dict[int, float]:
    """Field and term → weight as number in [0, N_WORDS) → weight; of two that share a number the weights are added."""
    found: dict[int, float] = {}
    for (field, term), weight in words.items():
        number = zlib.crc32(f"{field}\0{term}".encode()) % N_WORDS
        found[number] = found.get(number, 0.0) + weight
    return found


class Held(NamedTuple):
    """How many chunks there are, and how many of them hold a word."""

    n_chunks: int
    chunks: Mapping[tuple[str, str], int]

    def rarity(self, words: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """Inverse document frequencies."""
        wanted = list(words)
        return dict(zip(wanted, idf(self.n_chunks, (self.chunks.get(word, 0) for word in wanted)), strict=True))

    def full_score(self, question: str) -> float:
        """See :meth:`.lexical.LexicalIndex.full_score`."""
        if not self.n_chunks:
            return 0.0
        words = {word: weight for word, weight in question_words(question).items() if word[0] != TITLE}
        # names are looked up in every spelling
        rarity = self.rarity(word for word in words if self.chunks.get(word) or word[0] != EXACT)
        return sum(words[word] * each for word, each in rarity.items())


def idf(n_chunks: int, holding: Iterable[int]) -> list[float]:
    """Of words that so many of ``n_chunks`` chunks hold."""
    return [math.log(1 + (n_chunks - min(n, n_chunks) + 0.5) / (n + 0.5)) for n in holding]
