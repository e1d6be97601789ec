"""Candidates → Evidence: the words that answer, as a reader points at them.

A reader looks at one passage at a time and will find some span in each, so what decides is the choice among passages.
Every span gets a share of belief: the softmax, over all spans of all passages, of the reader's logits and the passage's
score. The plain logits compare passages better than margins over "no answer" do (shared normalisation: Clark & Gardner
2018, §3.2). Then the answer is taken that agrees best with all that is believed, in words and letter by letter: the one
with the highest expected F1 and exact match together (minimum Bayes risk; Goel & Byrne 2000). So passages that agree
support each other, and of a dozen spans that differ by a word at their ends the middle one wins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..log_odds import log_odds, sigmoid
from ..records import Candidate, Chunk, Citation
from ..text.scripts import cjk_words, letters
from ..text.sentences import sentences
from .fitted import fitted

if TYPE_CHECKING:
    from ..reading import Reader

__all__ = ["Evidence", "best_evidence", "heading_line", "narrowed", "passage_sentences"]

_PER_PASSAGE = 10  # spans of a passage that are weighed
_LISTED = 5  # answers given back
FAINT = 1e-3  # a passage's score is not taken for less
_NEGLIGIBLE = 1e-3  # of the highest share

MARKUP = re.compile(r"\.\. [\w-]+::")
"""A directive of reStructuredText, which says nothing by itself."""

_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """Words of a candidate that answer a question or support a sentence: ``candidate.text[start:end] == quote``.

    Attributes:
        start, end: of the sentence or sentences that are quoted, in the candidate's own offsets.
        score: how likely they answer, or support, in [0, 1]. Of an answer: that it shares at least half its words with
            what people answer.
        answer: the offsets of the words in it that answer; None where all of it does.
        heading: what it stands under, where it needs that to be understood: a list or a table that nothing introduces.
        margin: how much surer a reader is of ``answer`` than of "no answer", in logits; None where none has looked.
        said: how an answer says it, where that is less than the quote: the value of a cell, one clause.
        told: what the question's words alone tell of it, see :class:`.pieces.Piece`.
    """

    candidate: Candidate
    start: int
    end: int
    score: float
    answer: tuple[int, int] | None = None
    margin: float | None = None
    heading: str = ""
    said: str = ""
    told: float = 0.0

    @property
    def quote(self) -> str:
        """What is quoted."""
        return self.candidate.text[self.start : self.end]

    @property
    def short(self) -> str:
        """The words in it that answer."""
        start, end = self.answer or (self.start, self.end)
        return self.candidate.text[start:end]

    def overlaps(self, other: Evidence) -> bool:
        """Whether both quote some of the same words."""
        ours, theirs = self.candidate.chunk, other.candidate.chunk
        before = (
            ours.start + self.end <= theirs.start + other.start or theirs.start + other.end <= ours.start + self.start
        )
        return ours.document_id == theirs.document_id and not before

    @property
    def citation(self) -> Citation:
        """The quote in document offsets, on the page its chunk begins on, and wherever else it stands."""
        words = re.compile(r"\s+".join(map(re.escape, self.quote.split())))
        found = [(chunk, words.search(chunk.text)) for chunk in self.candidate.places]
        elsewhere = [self._cited(chunk, *match.span()) for chunk, match in found if match]
        return replace(self._cited(self.candidate.chunk, self.start, self.end), also_in=tuple(elsewhere))

    def _cited(self, chunk: Chunk, start: int, end: int) -> Citation:
        return Citation(
            source=chunk.source,
            document_id=chunk.document_id,
            page=chunk.page,
            start=chunk.start + start,
            end=chunk.start + end,
            quote=chunk.text[start:end],
            score=round(self.score, 4),
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much.

    Attributes:
        logits, score: of the reader's logits and of the logarithm of a passage's score, in belief.
        agreed, surest, bias: of the log-odds of the agreement and of the highest margin, in the probability.
    """

    logits: float
    score: float
    agreed: float
    surest: float
    bias: float


FITTED = Weights(**fitted("evidence"))
"""By benchmarks/extraction.py, which says how good the answers are."""


def narrowed(evidence: Evidence) -> Evidence:
    """The words in it that answer, alone."""
    start, end = evidence.answer or (evidence.start, evidence.end)
    return replace(evidence, start=start, end=end)


def best_evidence(question: str, candidates: Sequence[Candidate], reader: Reader) -> list[Evidence]:
    """The answers that ``candidates`` offer, best first, each once however often it is written; none without words.

    Args:
        question: not blank.
        candidates: all of them are read; their score counts, the order does not.
        reader: proposes the spans.
    """
    texts = [candidate.text for candidate in candidates]
    headings = [heading_line(candidate.chunk) for candidate in candidates]
    found = reader.best_spans([question] * len(texts), texts, _PER_PASSAGE, headings=headings)
    spots = [(candidate, span) for candidate, spans in zip(candidates, found, strict=True) for span in spans]
    spots = [(candidate, span) for candidate, span in spots if span.end > span.start]
    if not spots:
        return []
    shares = belief([span.logits for _, span in spots], [candidate.score for candidate, _ in spots])
    surest = max(span.margin for _, span in spots)
    listed = []
    for i, agreed in expected([candidate.text[span.start : span.end] for candidate, span in spots], shares)[:_LISTED]:
        candidate, span = spots[i]
        around = _sentences_around(candidate.text, span.start, span.end)
        listed.append(Evidence(candidate, *around, chance(agreed, surest), (span.start, span.end), span.margin))
    return listed


def heading_line(chunk: Chunk) -> str:
    """What a reader reads before the text: without it "all lines" may be those of any style guide."""
    return "".join(f"{heading}. " for heading in chunk.headings)


def belief(logits: Sequence[float], scores: Sequence[float], weights: Weights = FITTED) -> NDArray[np.float64]:
    """``(n,)`` shares of belief in spans with these logits, of passages with these scores in [0, 1]; they sum to 1."""
    weighed = weights.logits * np.asarray(logits) + weights.score * np.log(np.maximum(scores, FAINT))
    shares = np.exp(weighed - weighed.max())
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def expected(texts: Sequence[str], shares: NDArray[np.float64]) -> list[tuple[int, float]]:
    """The different answers among ``texts``, best first: which text (the one most believed), and what it has to expect.

    That is the mean of its F1 in words and its exact match, in [0, 1], if ``shares`` ``(n,)`` says how likely each text
    is the right one.
    """
    believed = [i for i in np.argsort(-shares, kind="stable").tolist() if shares[i] >= _NEGLIGIBLE * shares.max()]
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in believed:
        groups.setdefault(answer_words(texts[i]), []).append(i)
    counts = [Counter(words) for words in groups]
    same = np.eye(len(counts))
    for i, one in enumerate(counts):
        for j, other in enumerate(counts[:i]):
            same[i, j] = same[j, i] = (one & other).total() / (one.total() + other.total())
    agreed = same @ [float(shares[group].sum()) for group in groups.values()]
    return sorted(zip((group[0] for group in groups.values()), agreed.tolist(), strict=True), key=lambda item: -item[1])


def answer_words(text: str) -> tuple[str, ...]:
    """What counts when answers are compared: lower-cased words without articles; Chinese characters one by one."""
    words = cjk_words(text.lower())
    return tuple(word for word in words if word not in _ARTICLES) or tuple(words) or (text,)


def chance(agreed: float, surest: float, weights: Weights = FITTED) -> float:
    """How likely an answer is right, from what it has to expect and the highest margin of all spans."""
    logit = weights.agreed * log_odds(agreed) + weights.surest * surest + weights.bias
    return sigmoid(logit)


def _sentences_around(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence or sentences that ``text[start:end]`` stands in."""
    around = [sentence for sentence in sentences(text) if sentence[0] < end and start < sentence[1]]
    return min([start, *(sentence[0] for sentence in around)]), max([end, *(sentence[1] for sentence in around)])


def passage_sentences(chunk: Chunk) -> list[tuple[int, int]]:
    """The sentences of a chunk that say something, in its own offsets: no headings, rules or bare list marks."""
    nothing = {letters(heading) for heading in chunk.headings} | {""}
    return [
        (start, end)
        for start, end in sentences(chunk.text)
        if letters(chunk.text[start:end]) not in nothing and not MARKUP.match(chunk.text, start)
    ]
