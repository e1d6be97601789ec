"""Pieces → Evidence: what a person would underline, whole, and no more of it than can be read at once.

The unit is not the span that a reader points at but what stands there as one thing (:mod:`.pieces`). Pieces of the best
passages compete: by the question's words, by what was known of their passages, and by what a cross-encoder says, which
reads the best of them under their headings; without one, by what the encoder says. The best are taken until there is
enough to read; neighbours become one quote, and nothing is said twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..log_odds import log_odds
from ..records import Candidate, EmbedderLike
from ..text.scripts import letters, reading_length
from ..text.terms import terms
from .evidence import Evidence
from .pieces import Piece
from .wants import Wants

if TYPE_CHECKING:
    from ..reranking import Reranker

__all__ = ["CROSS_ENCODED", "Weighed", "as_candidates", "merged", "select", "signals", "weigh", "with_headings"]

CROSS_ENCODED = 16
"""Pieces that a cross-encoder reads, the best by their words and passages: the others would seldom be shown whatever it
says of them, and reading is what takes the time of an answer. An encoder that compares all of them before takes longer,
and answers are no better for it."""

_DOCUMENTS = 4  # that are named where documents are asked for
_CLOSER = 2.0  # without a cross-encoder the scores of what answers and what does not lie closer together
_ABOUT = 1.0  # logits between pieces that are about as good
_LEAD_GAP = 40.0  # words between a list's lead and an item, where both are shown


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much for a piece, in logits.

    Attributes:
        cosine: of the encoder, in standard deviations among the pieces, where no cross-encoder judges them.
        relevance, passage: log-odds of the cross-encoder's scores for the piece and for its passage.
        search: of the passage's score.
        terms: of the share of the question's words, the rare ones counting most.
        read: of the probability of a reader's answer that stands in it.
        field: of being what a question asks of the document itself.
        code: of being code, which shares words with questions that it does not answer.
        section: of the best piece under the same heading: what answers whole goes on from one to the next.
    """

    cosine: float = 1.0
    relevance: float = 0.8
    passage: float = 0.12
    search: float = 4.0
    terms: float = 2.0
    read: float = 2.0
    field: float = 1.5
    code: float = -1.0
    section: float = 0.25


WEIGHTS = Weights()
"""Chosen by hand on 124 questions over papers, reports, office files and a manual; see docs/questions.md."""

FAINT = 6.0
"""A piece so many logits below the best is not worth showing beside it; half as many where a fact is asked for."""


class Weighed(NamedTuple):
    """What models say of pieces.

    Attributes:
        scores: ``(n,)`` logits that compare with each other.
        relevances: what the cross-encoder alone says of those it read, as log-odds; empty without one.
        nearest: the piece that the cross-encoder thinks most of; None without one.
    """

    scores: NDArray[np.float64]
    relevances: Sequence[float]
    nearest: int | None = None


def merged(found: Sequence[Sequence[Candidate]]) -> list[Candidate]:
    """What was found for a question and for its parts, in turn, each passage once."""
    kept: dict[str, Candidate] = {}
    for rank in range(max(map(len, found), default=0)):
        for candidates in found:
            if rank < len(candidates):
                kept.setdefault(candidates[rank].chunk.id, candidates[rank])
    return list(kept.values())


def weigh(
    question: str,
    pieces: Sequence[Piece],
    embedder: EmbedderLike | None,
    reranker: Reranker | None,
    weights: Weights = WEIGHTS,
) -> Weighed:
    """How well each piece answers.

    Args:
        embedder: compares pieces with the question where there is no reranker; None is none.
        reranker: reads the best of them with the question; None is none.
    """
    if not pieces:
        return Weighed(np.zeros(0), ())
    texts = [piece.read for piece in pieces]
    told = signals(question, pieces, texts)
    kinds = weights.field * told.pop("field") + weights.code * told.pop("code")
    scores = sum((getattr(weights, name) * column for name, column in told.items()), np.zeros(len(pieces)))
    if reranker is None:
        if embedder is not None:
            cosines = np.asarray(embedder.embed(texts) @ embedder.embed([question], "query")[0], dtype=np.float64)
            scores += weights.cosine * (cosines - cosines.mean()) / max(float(cosines.std()), 1e-6)
        scores *= _CLOSER
    scores += kinds + np.array([piece.told for piece in pieces])
    if reranker is None:
        return Weighed(scores, ())
    best = np.argsort(-scores, kind="stable")[:CROSS_ENCODED]
    judged = [log_odds(float(score)) for score in reranker.score(question, [texts[i] for i in best])]
    relevances = [_as_told(judged[rank], pieces[i].told) for rank, i in enumerate(best)]
    faintest = np.full(len(pieces), min(relevances))
    faintest[best] = relevances
    return Weighed(scores + weights.relevance * faintest, relevances, int(np.argmax(faintest)))


def signals(question: str, pieces: Sequence[Piece], texts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """What speaks for each piece before a model has read it: by the names of :class:`Weights`, ``(n,)`` each.

    Args:
        texts: the pieces as models read them.
    """
    known = [piece.source.scores.get("reranker") for piece in pieces]
    told = {
        "search": [piece.source.score for piece in pieces],
        "passage": [log_odds(score) if score is not None else 0.0 for score in known],
        "terms": _share_of_words(question, texts),
        "field": [piece.is_asked_field for piece in pieces],
        "code": [piece.kind == "code" for piece in pieces],
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in told.items()}


def _as_told(relevance: float, told: float) -> float:
    """What a cross-encoder says of a piece, and what the question's words tell, which are not to be argued with."""
    return max(relevance, told) if told > 0 else relevance + told


def _share_of_words(question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """``(n,)``: which share of the question's words each text holds; the fewer texts hold a word, the more it counts.

    Encoders blur names and numbers, which is what tells the pieces of one document apart.
    """
    held = [set(terms(text)) for text in texts]
    counts = {word: sum(word in own for own in held) for word in set(terms(question))}
    weights = {word: math.log1p(len(texts) / (1 + count)) for word, count in counts.items() if count}
    total = sum(weights.values()) or 1.0
    return np.array([sum(weight for word, weight in weights.items() if word in own) / total for own in held])


def select(
    pieces: Sequence[Piece],
    scores: Sequence[NDArray[np.float64]],
    wanted: Wants,
    *,
    read: Sequence[Evidence] = (),
    weights: Weights = WEIGHTS,
    faint: float | None = None,
) -> list[Evidence]:
    """The pieces to show, best first, neighbours as one: as many as are wanted.

    Args:
        scores: by :func:`weigh`, for each part of the question ``(n,)``; the parts choose in turn.
        read: what a reader found: a piece that holds its answer counts for more.
        faint: how many logits below the best a piece may be; by default as :data:`FAINT` says.
    """
    if not pieces:
        return []
    shown = faint is None  # not given to a decoder, which may see more
    named = shown and any(piece.told > 0 for piece in pieces)  # what is named answers alone
    faint = (math.inf if named else FAINT / 2 if wanted.fact else FAINT) if faint is None else faint
    taken: list[int] = []
    said: set[str] = set()
    documents: set[str] = set()
    room = wanted.words
    for i in _in_turn([_with_all(pieces, own, read, weights) for own in scores], faint):
        piece = pieces[i]
        if named and piece.told <= 0:
            continue
        length = reading_length(piece.text)
        if letters(piece.text) in said or (taken and length > room):
            continue
        if any(_overlap(piece, pieces[other]) for other in taken):
            continue
        if wanted.titles and (piece.source.document_id in documents or len(documents) == _DOCUMENTS):
            continue
        taken.append(i)
        said.add(letters(piece.text))
        documents.add(piece.source.document_id)
        room -= length
        if room <= 0:
            break
    return _joined([pieces[i] for i in taken])


def is_among_the_best(
    evidence: Evidence, pieces: Sequence[Piece], scores: NDArray[np.float64], read: Sequence[Evidence] = ()
) -> bool:
    """Whether what a reader points at stands in a piece about as good as any: a reader may be sure of a name that
    answers another question.

    Args:
        scores, read: as for :func:`select`.
    """
    if not pieces:
        return True
    told = _with_all(pieces, scores, read, WEIGHTS)
    own = [score for piece, score in zip(pieces, told.tolist(), strict=True) if _points_into(evidence, piece)]
    return max(own, default=-math.inf) >= float(told.max()) - _ABOUT


def with_headings(evidence: Evidence, pieces: Sequence[Piece]) -> Evidence:
    """Evidence under the two innermost headings that it stands under."""
    of = next((piece.source for piece in pieces if _points_into(evidence, piece)), evidence.candidate)
    return replace(evidence, heading=" > ".join(of.chunk.headings[-2:]))


def as_candidates(chosen: Sequence[Evidence]) -> list[Candidate]:
    """Evidence as the passages of a prompt, in the order given, each under its headings."""
    found = []
    for evidence in chosen:
        chunk, quote = evidence.candidate.chunk, evidence.quote
        above = chunk.headings or ((evidence.heading,) if evidence.heading else ())
        start, end = chunk.start + evidence.start, chunk.start + evidence.end
        part = replace(chunk, text=quote, start=start, end=end, headings=above)
        found.append(replace(evidence.candidate, chunk=part, score=chosen[0].candidate.score))
    return found


def _among_sections(pieces: Sequence[Piece], scores: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """``(n,)``: scores with a share of the best one of the same section."""
    best: dict[tuple[str, tuple[str, ...]], float] = {}
    sections = [(piece.source.document_id, piece.source.chunk.headings) for piece in pieces]
    for section, score in zip(sections, scores.tolist(), strict=True):
        best[section] = max(best.get(section, -math.inf), score)
    return scores + weight * np.array([best[section] for section in sections])


def _overlap(one: Piece, other: Piece) -> bool:
    (document, start, end), (other_document, other_start, other_end) = one.place, other.place
    return document == other_document and start < other_end and other_start < end


def _in_turn(scores: Sequence[NDArray[np.float64]], faint: float) -> Iterator[int]:
    """The pieces that are not faint, the parts of a question choosing their best in turn."""
    orders = [[i for i in np.argsort(-own, kind="stable").tolist() if own[i] >= own.max() - faint] for own in scores]
    for rank in range(max(map(len, orders))):
        for order in orders:
            if rank < len(order):
                yield order[rank]


def _with_all(
    pieces: Sequence[Piece], scores: NDArray[np.float64], read: Sequence[Evidence], weights: Weights
) -> NDArray[np.float64]:
    """``(n,)``: scores with what their sections and a reader add."""
    found = [
        max((evidence.score for evidence in read if _points_into(evidence, piece)), default=0.0) for piece in pieces
    ]
    return _among_sections(pieces, scores, weights.section) + weights.read * np.array(found)


def _points_into(evidence: Evidence, piece: Piece) -> bool:
    document, start, end = piece.place
    offset = evidence.candidate.chunk.start
    first, last = evidence.answer or (evidence.start, evidence.end)
    return evidence.candidate.document_id == document and start <= offset + first and offset + last <= end


def _joined(pieces: Sequence[Piece]) -> list[Evidence]:
    """Pieces, best first, that stand side by side in a document become one evidence, in the place of the best."""
    runs: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.place):
        if runs and _touch(runs[-1][-1], piece) and _source_of(runs[-1][0], piece):
            runs[-1].append(piece)
        else:
            runs.append([piece])
    rank = {piece.place: i for i, piece in enumerate(pieces)}
    runs.sort(key=lambda run: min(rank[piece.place] for piece in run))
    return [_evidence(run) for run in runs]


def _touch(one: Piece, other: Piece) -> bool:
    """Whether nothing stands between two pieces but blanks and marks."""
    if one.place[0] != other.place[0]:
        return False
    source = one.source
    offset = other.place[1] - source.chunk.start
    return 0 <= offset - one.end < 200 and offset <= len(source.text) and not letters(source.text[one.end : offset])


def _source_of(first: Piece, last: Piece) -> Candidate | None:
    """Which of their candidates' texts holds both pieces."""
    _, start, _ = first.place
    _, _, end = last.place
    sources = (piece.source for piece in (first, last))
    return next((source for source in sources if source.chunk.start <= start and end <= source.chunk.end), None)


def _evidence(run: Sequence[Piece]) -> Evidence:
    first, last = run[0], run[-1]
    source = _source_of(first, last) or first.source
    start, end = first.place[1] - source.chunk.start, last.place[2] - source.chunk.start
    if first.lead and first.source is source and reading_length(source.text[first.lead[1] : start]) <= _LEAD_GAP:
        start = min(start, first.lead[0])
    bare = start == first.place[1] - source.chunk.start and first.kind in ("list", "table", "code", "fields")
    value = first.value if first is last and first.source is source else None
    said = first.said if first is last else ""
    return Evidence(source, start, end, 0.0, value, heading=first.heading if bare else "", said=said, told=first.told)
