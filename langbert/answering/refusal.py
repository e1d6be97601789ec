"""When to say no: how likely the documents hold the answer, from all that search, reranker and reader have seen.

Each of them is fooled by other questions: a vector by a question on the right subject that its documents do not
answer, a reader by a passage on another subject that has a date in the right place. A logistic model weighs them; it
has coefficients for every set of parts there may be, since without a reader the others count for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..log_odds import log_odds, sigmoid
from ..records import Calibration, Candidate, EmbeddingSpace, Refuse
from ..text.base_forms import base_terms
from ..text.languages import languages_of
from ..text.scripts import has_unspaced
from ..text.terms import terms
from .asked_names import share_of_names
from .checking import claim_weights
from .evidence import Evidence
from .fitted import fitted

__all__ = ["THRESHOLDS", "Encoder", "Features", "confidence", "features", "known_encoder", "threshold_of"]

Encoder = Literal["minilm", "e5"]
"""Whose cosines, readers and rerankers confidence was fitted on."""

HELD = 0.8
"""The share of questions that have an answer in the documents, in the use that confidence is calibrated for."""

_ENCODERS: Mapping[str, Encoder] = {
    "636e5bd682e737336b1fdded68d84bd2fa32c456f7b1341b5b80c92d86575a95": "minilm",
    "a14354ae6fdc1682aca5cf251b2056309c76c3895e44092656b822d1851e801c": "e5",
}
"""By :attr:`EmbeddingSpace.weights`."""

_LOOKED_AT = 4  # candidates: more of them find a word somewhere for any question

THRESHOLDS: Mapping[Refuse, float] = {"rarely": 0.25, "balanced": 0.5, "strictly": 0.75}
"""Below which confidence there is no answer. Balanced, refusing is right as often as answering at the threshold."""

FITTED: Mapping[Encoder, Mapping[tuple[str, ...], Mapping[str, float]]] = {
    encoder: {tuple(name for name in weights if name != "bias"): weights for weights in sets}
    for encoder, sets in fitted("refusal").items()
}
"""For each encoder the coefficients for every set of parts there may be, by benchmarks/refusal.py."""


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
        piece: the log-odds of the best score that a cross-encoder gave a piece of a passage; None without one.
        named: the share of the names and figures of the question that the passage of that piece holds; 1 where it has
            none; None without a cross-encoder of pieces.
    """

    coverage: float | None = None
    cosine: float | None = None
    reranker: float | None = None
    margin: float | None = None
    quoted: float | None = None
    piece: float | None = None
    named: float | None = None

    def known(self, encoder: Encoder = "minilm") -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The names and the values of those that are there, and were fitted for an encoder.

        Where a cross-encoder judged pieces, a reader adds nothing to it: asked for reasons or steps it finds no span,
        whatever the documents hold, and a share of words says less than a cosine. Encoders blur names and figures,
        by which a question differs from those that are answered.
        """
        names = ["coverage", "cosine", *(("reranker",) if encoder == "minilm" else ()), "margin", "quoted"]
        if encoder == "e5" and self.piece is not None and self.named is not None:
            names = ["coverage" if self.cosine is None else "cosine", "piece", "named"]
        values = {name: value for name in names if (value := getattr(self, name)) is not None}
        return tuple(values), tuple(values.values())


def known_encoder(space: EmbeddingSpace | None) -> Encoder | None:
    """Which encoder made the vectors of ``space``; None where it is one that confidence was not fitted on: unrelated
    texts have a cosine of 0.1 for ``minilm``, of 0.8 for ``e5-small``, and elsewhere nobody knows."""
    return _ENCODERS.get(space.weights) if space is not None else None


def threshold_of(refuse: Refuse | float) -> float:
    """The confidence below which to refuse, given by name or as it is.

    Raises:
        ValueError: it is no such name, nor in [0, 1].
    """
    threshold = THRESHOLDS.get(refuse) if isinstance(refuse, str) else refuse
    if threshold is None or not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1] or one of {', '.join(THRESHOLDS)}, got {refuse!r}")
    return threshold


def features(
    question: str,
    candidates: Sequence[Candidate],
    found: Sequence[Evidence] = (),
    *,
    relevances: Sequence[float] = (),
    nearest: Candidate | None = None,
    is_named: bool = False,
    known_cosines: bool = True,
) -> Features | None:
    """What speaks for an answer to ``question`` in ``candidates``; None where there are none.

    Args:
        candidates: best first.
        found: what :func:`langbert.answering.evidence.best_evidence` found in them; empty without a reader.
        relevances: what a cross-encoder says of pieces of them, as log-odds; empty without one.
        nearest: the one with the best of these pieces.
        is_named: whether the question's words name that piece (:mod:`.named`): "clause 2.2(a)" stands nowhere as such.
        known_cosines: whether they are of an encoder that is known, see :func:`known_encoder`; others do not count.
    """
    if not candidates:
        return None
    first = candidates[:_LOOKED_AT]
    asked = set(terms(question))
    shared = max(len(asked.intersection(terms(candidate.chunk.contextual_text))) for candidate in first)
    cosines = [candidate.scores["dense"] for candidate in first if known_cosines and "dense" in candidate.scores]
    scores = [candidate.scores["reranker"] for candidate in candidates if "reranker" in candidate.scores]
    margins = [evidence.margin for evidence in found if evidence.margin is not None]
    weighed = cosines or scores or margins or len(relevances)
    return Features(
        coverage=shared / max(len(asked), 1) if weighed or _in_one_language(question, first) else None,
        cosine=max(cosines) if cosines else None,
        reranker=log_odds(max(scores)) if scores else None,
        margin=max(margins) if margins else None,
        quoted=_quoted(question, found[0]) if margins else None,
        piece=max(relevances) if len(relevances) else None,
        named=None if nearest is None else 1.0 if is_named else _named(question, nearest),
    )


def confidence(known: Features | None, encoder: Encoder = "minilm", calibration: Calibration | None = None) -> float:
    """How likely the documents hold the answer, in [0, 1]; 0 where nothing was found.

    It is calibrated for a user four of whose five questions have an answer in the documents, and so much it is where
    nothing speaks for an answer or against it. At 0.5, refusing is right as often as answering.

    Args:
        calibration: what a store's own questions make of it.
    """
    sure = _shipped(known, encoder)
    return sure if calibration is None else calibration.of(sure)


def _shipped(known: Features | None, encoder: Encoder) -> float:
    if known is None:
        return 0.0
    names, values = known.known(encoder)
    if not names:
        return HELD
    weights = FITTED[encoder][names]
    logit = sum(weights[name] * value for name, value in zip(names, values, strict=True)) + weights["bias"]
    return sigmoid(logit)


def _in_one_language(question: str, candidates: Sequence[Candidate]) -> bool:
    """Whether their words can be compared: as far as their languages are known, they have one in common."""
    asked, told = languages_of(question), languages_of("\n".join(candidate.text for candidate in candidates))
    return not asked or not told or not set(asked).isdisjoint(told)


def _named(question: str, candidate: Candidate) -> float:
    """Which share of the names and figures in ``question`` a passage holds with what it stands under.

    Names are spelt otherwise in another script, but for those that a Chinese or Japanese question spells in Latin
    letters, as its documents do.
    """
    chunk = candidate.chunk
    if not has_unspaced(question) and has_unspaced(chunk.text):
        return 1.0
    return share_of_names(question, f"{chunk.source}\n{chunk.contextual_text}")


def _quoted(question: str, evidence: Evidence) -> float:
    weights = claim_weights(question)
    held = set(base_terms(" ".join((*evidence.candidate.chunk.headings, evidence.quote))))
    return sum(weight for term, weight in weights.items() if term in held) / (sum(weights.values()) or 1.0)
