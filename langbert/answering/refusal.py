"""When to say no: how likely the documents hold the answer, from all that search, reranker and reader have seen.

Each of them is fooled by other questions: a vector by a question on the right subject that its documents do not
answer, a reader by a passage on another subject that has a date in the right place. A logistic model weighs them; it
has coefficients for every set of parts there may be, since without a reader the others count for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..models.log_odds import log_odds, sigmoid
from ..records import Candidate
from ..text.base_forms import base_terms
from ..text.terms import terms
from .checking import claim_weights

if TYPE_CHECKING:
    from .evidence import FoundSpan

__all__ = ["Features", "confidence", "features"]

_LOOKED_AT = 4  # candidates: more of them find a word somewhere for any question


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for an answer.

    Attributes:
        cosine: the best of the first candidates, question against passage.
        coverage: the largest share of the question's words that one of the first candidates holds.
        reranker: the log-odds of the best score it gave; None without a reranker.
        margin: of the span the reader is surest of, over "no answer", in logits; None without a reader.
        quoted: the share of the question, numbers and names counting most, that the sentence of the best span holds
            with its headings; None without a reader.
    """

    cosine: float
    coverage: float
    reranker: float | None = None
    margin: float | None = None
    quoted: float | None = None

    def known(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The names and the values of those that are there."""
        values = {name: getattr(self, name) for name in self.__slots__}
        kept = {name: value for name, value in values.items() if value is not None}
        return tuple(kept), tuple(kept.values())


def features(question: str, candidates: Sequence[Candidate], spans: Sequence[FoundSpan] = ()) -> Features | None:
    """What speaks for an answer to ``question`` in ``candidates``; None where there are none.

    Args:
        candidates: best first.
        spans: what :func:`langbert.answering.evidence.best_spans` found in them; empty without a reader.
    """
    if not candidates:
        return None
    first = candidates[:_LOOKED_AT]
    asked = set(terms(question))
    shared = max(len(asked.intersection(terms(candidate.chunk.contextual_text))) for candidate in first)
    scores = [candidate.scores["reranker"] for candidate in candidates if "reranker" in candidate.scores]
    return Features(
        cosine=max(candidate.scores.get("dense", 0.0) for candidate in first),
        coverage=shared / max(len(asked), 1),
        reranker=log_odds(max(scores)) if scores else None,
        margin=max(span.margin for span in spans) if spans else None,
        quoted=_quoted(question, spans[0]) if spans else None,
    )


def confidence(known: Features | None) -> float:
    """How likely the documents hold the answer, in [0, 1]; 0 where nothing was found.

    It is calibrated for a user four of whose five questions have an answer in the documents. At 0.5, refusing is right
    as often as answering.
    """
    if known is None:
        return 0.0
    names, values = known.known()
    weights = FITTED[names]
    logit = sum(weights[name] * value for name, value in zip(names, values, strict=True)) + weights["bias"]
    return sigmoid(logit)


def _quoted(question: str, span: FoundSpan) -> float:
    weights = claim_weights(question)
    held = set(base_terms(" ".join((*span.support.source.chunk.headings, span.support.quote))))
    return sum(weight for term, weight in weights.items() if term in held) / (sum(weights.values()) or 1.0)


# Fitted by benchmarks/refusal.py, which says how well it tells what is held from what is not.
FITTED: Mapping[tuple[str, ...], Mapping[str, float]] = MappingProxyType(
    {
        ("cosine", "coverage", "reranker", "margin", "quoted"): {
            "cosine": 6.866,
            "coverage": 0.0,
            "reranker": 0.0,
            "margin": 0.218,
            "quoted": 1.855,
            "bias": -3.402,
        },
        ("cosine", "coverage", "margin", "quoted"): {
            "cosine": 6.866,
            "coverage": 0.0,
            "margin": 0.218,
            "quoted": 1.855,
            "bias": -3.402,
        },
        ("cosine", "coverage", "reranker"): {"cosine": 6.745, "coverage": 1.98, "reranker": 0.264, "bias": -3.181},
        ("cosine", "coverage"): {"cosine": 8.205, "coverage": 3.678, "bias": -5.363},
    }
)
