"""Claim and quote → how likely the quote says what the claim says.

Words alone are fooled by recombination: "the maximum line length is 99" has nearly every word of its source. So what a
claim adds to its question must all be there, numbers above all; what it denies must be denied there; and where it says
nothing but the quote's words, they must stand together as they do there. A small logistic model weighs this, about a
millisecond a sentence, in any language that :func:`~langbert.text.base_forms.base_terms` knows. Sentence vectors and a
reader that answers the question out of both add nothing measurable to it: ``benchmarks/grounding.py`` compares them,
fits the coefficients and says how far the check can be relied on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from ..log_odds import sigmoid
from ..text.base_forms import base_terms
from ..text.languages import agree_in_negation
from ..text.scripts import HAN, letters
from ..text.sentences import sentences
from .fitted import fitted

__all__ = [
    "ASKED",
    "SUPPORTED",
    "ClaimFeatures",
    "claim_features",
    "claim_weights",
    "numbers",
    "probability",
    "restates",
]

_FITTED = fitted("checking")  # by benchmarks/grounding.py, on half the articles of a half of SQuAD 1.1 dev
SUPPORTED: float = _FITTED["supported"]
"""How likely a quote must support a claim to be cited for it: nine of ten let through were supported."""

ASKED = 0.25  # what a word of the question counts for; other words count 1, names 2, numbers 3
_CLOSE = 4  # terms
_WHOLE = 0.999
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_WORD = re.compile(r"\w+(?:[.,'’-]\w+)*")
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())  # noqa: SIM905
}


def numbers(text: str) -> set[str]:
    """The numbers in ``text`` as they compare: full-width digits folded, thousands joined, small ones also from words.

    >>> sorted(numbers("Two of 1,500"))
    ['1500', '2']
    """
    return _digits(text) | {_NUMBER_WORDS[word] for word in re.findall("[a-z]+", text.lower()) if word in _NUMBER_WORDS}


def _digits(text: str) -> set[str]:
    return set(_NUMBER.findall(_folded(text)))


def _folded(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", unicodedata.normalize("NFKC", text))


def claim_weights(claim: str, question: str = "") -> dict[str, float]:
    """Each content term of the claim with what it counts for: numbers and names most, words of the question least."""
    weights = dict.fromkeys(base_terms(claim), 1.0)
    for words, weight in ((re.findall(r"\b\w*\d\w*\b", claim), 3.0), (_names(claim), 2.0)):
        weights.update((term, weight) for word in words for term in base_terms(word) if term in weights)
    asked = set(base_terms(question)) if question else set()
    return {term: ASKED if term in asked else weight for term, weight in weights.items()}


def _names(claim: str) -> list[str]:
    """Words capitalised inside a sentence, and Latin ones inside Chinese."""
    return re.findall(rf"(?<=[a-z0-9,;\"'(] )[A-Z]\w+|(?<=[{HAN}])[A-Za-z]\w+", claim)


@dataclass(frozen=True, slots=True)
class ClaimFeatures:
    """What speaks for and against a claim, each in [0, 1].

    Attributes:
        held: the share of the claim's weight (:func:`claim_weights`) that title and one sentence of the quote hold.
        complete: 1 where the quote has all of the claim's numbers, and all of its terms that are not in the question.
        verbatim: 1 where the claim stands in the quote letter by letter, and nothing before it there denies it.
        negation: 1 where one of claim and quote denies and the other does not.
        reordered: in a claim of nothing but the quote's words, the share of neighbours that are none there; those
            that the question brought in do not count.
        displaced: in such a claim, the share of names and numbers that stand beside none of their neighbours there.
    """

    held: float
    complete: float
    verbatim: float
    negation: float
    reordered: float
    displaced: float


def claim_features(claim: str, quote: str, *, title: str = "", question: str = "") -> ClaimFeatures:
    """What speaks for and against; ``title`` is read as part of the quote."""
    claim, quote = _folded(claim), _folded(quote)
    weights = claim_weights(claim, question)
    titled = set(base_terms(title)) if title else set()
    parts = [quote[start:end] for start, end in sentences(quote)] or [quote]
    held = [titled | set(base_terms(part)) for part in parts]
    shares = [sum(weight for term, weight in weights.items() if term in part) for part in held]
    nearest = parts[shares.index(max(shares))]
    news = {term for term, weight in weights.items() if weight > ASKED}
    missing = news.difference(*held) or _digits(claim) - numbers(f"{title} {quote}")
    share = max(shares) / (sum(weights.values()) or 1.0)
    whole = share > _WHOLE
    agrees = agree_in_negation(claim, nearest)
    return ClaimFeatures(
        held=share,
        complete=float(bool(news) and not missing),
        verbatim=float(agrees and letters(claim) in letters(quote)),
        negation=float(not agrees),
        reordered=1.0 - _order(base_terms(claim), base_terms(quote), news) if whole else 0.0,
        displaced=1.0 - _company(claim, quote) if whole else 0.0,
    )


def probability(claim: str, quote: str, *, title: str = "", question: str = "") -> float:
    """How likely ``quote``, read under ``title``, supports ``claim``, in [0, 1]; :data:`SUPPORTED` is enough."""
    found = asdict(claim_features(claim, quote, title=title, question=question))
    return sigmoid(_FITTED["bias"] + sum(_FITTED[name] * value for name, value in found.items()))


def restates(claim: str, question: str, answer: str) -> bool:
    """Whether ``claim`` says nothing but that ``answer`` answers ``question``: then it is as true as the answer is.

    >>> restates("It was written by Tim Peters.", "Who wrote it?", "Tim Peters")
    True
    """
    said, answered = set(base_terms(claim)), set(base_terms(answer))
    if not answered or not answered <= said <= answered.union(base_terms(question)):
        return False
    whole = f"{question} {answer}"
    return agree_in_negation(claim, whole) and numbers(claim) <= numbers(whole)


def _company(claim: str, quote: str) -> float:
    """The share of names and numbers in ``claim`` that have a neighbour in common with themselves in ``quote``."""
    words, theirs = _WORD.findall(claim), _WORD.findall(quote.lower())
    beside: dict[str, set[str]] = {}
    for before, word, behind in _threes(theirs):
        beside.setdefault(word, set()).update((f"{before}<", f">{behind}"))
    own = [three for i, three in enumerate(_threes(words)) if three[1][0].isdigit() or (three[1][0].isupper() and i)]
    kept = sum(not {f"{a.lower()}<", f">{c.lower()}"}.isdisjoint(beside.get(b.lower(), ())) for a, b, c in own)
    return kept / len(own) if own else 1.0


def _threes(words: Sequence[str]) -> list[tuple[str, str, str]]:
    """Each word between its neighbours."""
    padded = ["", *words, ""]
    return list(zip(padded, padded[1:], padded[2:], strict=False))


def _order(claim: Sequence[str], quote: Sequence[str], news: Collection[str]) -> float:
    """The share of neighbours in ``claim``, both of which ``quote`` has, that follow each other there, too, closely."""
    places: dict[str, list[int]] = {}
    for place, term in enumerate(quote):
        places.setdefault(term, []).append(place)
    pairs = [(a, b) for a, b in pairwise(claim) if a in places and b in places and (a in news or b in news)]
    kept = sum(any(0 < later - place <= _CLOSE for place in places[a] for later in places[b]) for a, b in pairs)
    return kept / len(pairs) if pairs else 1.0
