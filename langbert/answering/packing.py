"""Candidates → the passages of a prompt: neighbours merged, nothing said twice, the most useful first, within a budget.

What is packed stays the document's own text: a merged passage is one stretch of its document, and where a passage does
not fit whole, a run of its sentences does; no sentence is ever cut.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from ..records import Candidate
from ..text.sentences import sentences
from ..text.terms import terms

__all__ = ["fit", "merge_neighbours", "pack"]

log = logging.getLogger("langbert")

Between = Callable[[str, int, int], str | None]
"""``(document_id, start, end)`` → the document's text there; None if it is not to be had."""

_GAP = 200  # characters between chunks that still are neighbours: blank lines, a rule, a short remark


def pack(
    question: str,
    candidates: Sequence[Candidate],
    count: Callable[[Sequence[Candidate]], int],
    budget: int,
    *,
    between: Between | None = None,
) -> list[Candidate]:
    """The passages a prompt of at most ``budget`` tokens holds, best first.

    Args:
        question: decides which sentences of a passage too long are kept.
        candidates: in any order; a higher score is more useful.
        count: the tokens of the whole prompt over these passages.
        between: gives what lies between two chunks; without it only chunks that touch or overlap are merged.
    """
    return fit(question, merge_neighbours(candidates, between), count, budget)


def merge_neighbours(candidates: Sequence[Candidate], between: Between | None = None) -> list[Candidate]:
    """Chunks of one document that overlap, touch or nearly touch become one; a text that another one holds is dropped.

    Best first, the score of a merged passage being its best part's; equal ones stay in the order given.
    """

    def place(item: tuple[int, Candidate]) -> tuple[str, int, int]:
        chunk = item[1].chunk
        return chunk.document_id, chunk.start, -chunk.end

    merged: list[tuple[int, Candidate]] = []  # with the rank of the best part
    for rank, candidate in sorted(enumerate(candidates), key=place):
        joined = _joined(merged[-1][1], candidate, between) if merged else None
        if joined is None:
            merged.append((rank, candidate))
        else:
            first_rank, first = merged[-1]
            merged[-1] = (rank if candidate.score > first.score else first_rank, joined)
    merged.sort(key=lambda item: (-item[1].score, item[0]))
    kept: list[Candidate] = []
    for _, candidate in merged:
        if not any(candidate.text.strip() in other.text for other in kept):
            kept.append(candidate)
    return kept


def _joined(one: Candidate, other: Candidate, between: Between | None) -> Candidate | None:
    """Both as one passage; None where they are no neighbours, or their texts contradict their offsets."""
    a, b = one.chunk, other.chunk
    if a.document_id != b.document_id or b.start > a.end + _GAP:
        return None
    overlap = min(a.end, b.end) - b.start
    if overlap >= 0:
        if a.text[b.start - a.start :][:overlap] != b.text[:overlap]:
            return None  # offsets of something else than this text
        text = a.text + b.text[max(a.end - b.start, 0) :]
    else:
        gap = between(a.document_id, a.end, b.start) if between is not None else None
        if gap is None or len(gap) != -overlap:
            return None
        text = a.text + gap + b.text
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(a.headings, b.headings, strict=False))
    chunk = replace(a, text=text, end=a.start + len(text), headings=tuple(heading for heading, _ in shared))
    return replace(other if other.score > one.score else one, chunk=chunk)


def fit(
    question: str, candidates: Sequence[Candidate], count: Callable[[Sequence[Candidate]], int], budget: int
) -> list[Candidate]:
    """The head of ``candidates`` whose prompt stays within ``budget``.

    The first one that does not fit whole is there with the sentences around the one that has most words of the
    question, as many as fit; if not even one does, it is left out, and so is all that follows a shortened one.
    """
    kept: list[Candidate] = []
    for candidate in candidates:
        if count([*kept, candidate]) <= budget:
            kept.append(candidate)
            continue
        shorter = _shortened(question, candidate, lambda part, kept=kept: count([*kept, part]) <= budget)  # type: ignore[misc]
        if shorter is not None:
            return [*kept, shorter]
        log.warning("no sentence of %s fits into the prompt", candidate.chunk.title or candidate.chunk.id)
    return kept


def _shortened(question: str, candidate: Candidate, fits: Callable[[Candidate], bool]) -> Candidate | None:
    """The longest run of sentences around the most telling one that fits; None if not even that sentence does."""
    spans = sentences(candidate.text)
    asked = set(terms(question))
    shared = [len(asked.intersection(terms(candidate.text[start:end]))) for start, end in spans]
    if not spans:
        return None
    middle = shared.index(max(shared))
    # runs that grow on both sides in turn, each within the next, so that the longest that fits is found by halving
    runs = [(middle, middle)]
    while runs[-1] != (0, len(spans) - 1):
        first, last = runs[-1]
        grows_back = first > 0 and (middle - first < last - middle or last == len(spans) - 1)
        runs.append((first - 1, last) if grows_back else (first, last + 1))
    cut = [_cut(candidate, spans[first][0], spans[last][1]) for first, last in runs]
    n_fitting = bisect_right(cut, False, key=lambda part: not fits(part))
    return cut[n_fitting - 1] if n_fitting else None


def _cut(candidate: Candidate, start: int, end: int) -> Candidate:
    chunk = candidate.chunk
    part = replace(chunk, text=chunk.text[start:end], start=chunk.start + start, end=chunk.start + end)
    return replace(candidate, chunk=part)
