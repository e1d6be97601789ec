"""When to say no: how likely the documents hold the answer, from all that search, reranker and reader have seen.

Each of them is fooled by other questions: a vector by a question on the right subject that its documents do not
answer, a reader by a passage on another subject that has a date in the right place. A logistic model weighs them; it
has coefficients for every set of parts there may be, since without a reader the others count for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..models.log_odds import log_odds, sigmoid
from ..records import Candidate, EmbeddingSpace
from ..text.base_forms import base_terms
from ..text.languages import languages_of
from ..text.terms import terms
from .checking import claim_weights
from .evidence import Evidence
from .fitted import fitted

__all__ = ["Features", "confidence", "features", "has_known_cosines"]

HELD = 0.8
"""The share of questions that have an answer in the documents, in the use that confidence is calibrated for."""

_ENCODER = "636e5bd682e737336b1fdded68d84bd2fa32c456f7b1341b5b80c92d86575a95"
"""Of ``minilm``, whose cosines the coefficients were fitted on: :attr:`EmbeddingSpace.weights`."""

_LOOKED_AT = 4  # candidates: more of them find a word somewhere for any question

FITTED: Mapping[tuple[str, ...], Mapping[str, float]] = {
    tuple(name for name in weights if name != "bias"): weights for weights in fitted("refusal")
}
"""The coefficients for every set of parts there may be, by benchmarks/refusal.py."""


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for an answer.

    Attributes:
        coverage: the largest share of the question's words that one of the first candidates holds; None where these are
            in another language, and nothing else is known.
        cosine: the best of the first candidates, question against passage; None where nobody told any.
        reranker: the log-odds of the best score it gave; None without a reranker.
        margin: of the span the reader is surest of, over "no answer", in logits; None without a reader.
        quoted: the share of the question, numbers and names counting most, that the sentence of the best span holds
            with its headings; None without a reader.
    """

    coverage: float | None = None
    cosine: float | None = None
    reranker: float | None = None
    margin: float | None = None
    quoted: float | None = None

    def known(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The names and the values of those that are there."""
        values = {name: getattr(self, name) for name in self.__slots__}
        kept = {name: value for name, value in values.items() if value is not None}
        return tuple(kept), tuple(kept.values())


def has_known_cosines(space: EmbeddingSpace | None) -> bool:
    """Whether its cosines mean what confidence takes them for. Those of other encoders lie elsewhere: unrelated texts
    have one of 0.1 for ``minilm``, of 0.8 for ``e5-small``."""
    return space is not None and space.weights == _ENCODER


def features(
    question: str, candidates: Sequence[Candidate], found: Sequence[Evidence] = (), *, known_cosines: bool = True
) -> Features | None:
    """What speaks for an answer to ``question`` in ``candidates``; None where there are none.

    Args:
        candidates: best first.
        found: what :func:`langbert.answering.evidence.best_evidence` found in them; empty without a reader.
        known_cosines: see :func:`has_known_cosines`; others do not count.
    """
    if not candidates:
        return None
    first = candidates[:_LOOKED_AT]
    asked = set(terms(question))
    shared = max(len(asked.intersection(terms(candidate.chunk.contextual_text))) for candidate in first)
    cosines = [candidate.scores["dense"] for candidate in first if known_cosines and "dense" in candidate.scores]
    scores = [candidate.scores["reranker"] for candidate in candidates if "reranker" in candidate.scores]
    margins = [evidence.margin for evidence in found if evidence.margin is not None]
    weighed = cosines or scores or margins
    return Features(
        coverage=shared / max(len(asked), 1) if weighed or _in_one_language(question, first) else None,
        cosine=max(cosines) if cosines else None,
        reranker=log_odds(max(scores)) if scores else None,
        margin=max(margins) if margins else None,
        quoted=_quoted(question, found[0]) if margins else None,
    )


def confidence(known: Features | None) -> float:
    """How likely the documents hold the answer, in [0, 1]; 0 where nothing was found.

    It is calibrated for a user four of whose five questions have an answer in the documents, and so much it is where
    nothing speaks for an answer or against it. At 0.5, refusing is right as often as answering.
    """
    if known is None:
        return 0.0
    names, values = known.known()
    if not names:
        return HELD
    weights = FITTED[names]
    logit = sum(weights[name] * value for name, value in zip(names, values, strict=True)) + weights["bias"]
    return sigmoid(logit)


def _in_one_language(question: str, candidates: Sequence[Candidate]) -> bool:
    """Whether their words can be compared: as far as their languages are known, they have one in common."""
    asked, told = languages_of(question), languages_of("\n".join(candidate.text for candidate in candidates))
    return not asked or not told or not set(asked).isdisjoint(told)


def _quoted(question: str, evidence: Evidence) -> float:
    weights = claim_weights(question)
    held = set(base_terms(" ".join((*evidence.candidate.chunk.headings, evidence.quote))))
    return sum(weight for term, weight in weights.items() if term in held) / (sum(weights.values()) or 1.0)
