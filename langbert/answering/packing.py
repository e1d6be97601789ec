"""Sources → the sources a prompt holds: neighbours merged, nothing said twice, the most useful first, within a budget.

What is packed stays the document's own text: a merged passage is one stretch of its document, and where a passage does
not fit whole, a run of its sentences does; no sentence is ever cut.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from ..records import Chunk
from ..text.sentences import sentences
from ..text.terms import terms
from .grounding import Source

__all__ = ["fit", "merge_neighbours", "pack"]

log = logging.getLogger("langbert")

Between = Callable[[str, int, int], str | None]
"""``(document_id, start, end)`` → the document's text there; None if it is not to be had."""

_GAP = 200  # characters between chunks that still are neighbours: blank lines, a rule, a short remark


def pack(
    question: str,
    sources: Sequence[Source],
    count: Callable[[Sequence[Source]], int],
    budget: int,
    *,
    between: Between | None = None,
) -> list[Source]:
    """The sources a prompt of at most ``budget`` tokens holds, best first, numbered from 1.

    Args:
        question: decides which sentences of a passage too long are kept.
        sources: in any order; a higher score is more useful.
        count: the tokens of the whole prompt over these sources.
        between: gives what lies between two chunks; without it only chunks that touch or overlap are merged.
    """
    return fit(question, merge_neighbours(sources, between), count, budget)


def merge_neighbours(sources: Sequence[Source], between: Between | None = None) -> list[Source]:
    """Chunks of one document that overlap, touch or nearly touch become one; a text that another one holds is dropped.

    Best first, the score of a merged passage being its best part's; equal ones stay in the order given.
    """
    by_place = sorted(sources, key=lambda source: (source.chunk.document_id, source.chunk.start, -source.chunk.end))
    merged: list[Source] = []
    for source in by_place:
        joined = _joined(merged[-1], source, between) if merged else None
        if joined is None:
            merged.append(source)
        else:
            merged[-1] = joined
    given = {source.number: place for place, source in enumerate(sources)}
    merged.sort(key=lambda source: (-source.score, given[source.number]))
    kept: list[Source] = []
    for source in merged:
        if not any(source.chunk.text.strip() in other.chunk.text for other in kept):
            kept.append(source)
    return kept


def _joined(one: Source, other: Source, between: Between | None) -> Source | None:
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
    best = max(one, other, key=lambda source: source.score)
    return Source(best.number, chunk, best.score, (*(one.parts or (a,)), *(other.parts or (b,))))


def fit(
    question: str, sources: Sequence[Source], count: Callable[[Sequence[Source]], int], budget: int
) -> list[Source]:
    """The head of ``sources`` whose prompt stays within ``budget``, numbered from 1.

    The first one that does not fit whole is there with the sentences around the one that has most words of the
    question, as many as fit; if not even one does, it is left out, and so is all that follows a shortened one.
    """
    kept: list[Source] = []
    for source in sources:
        source = replace(source, number=len(kept) + 1)
        if count([*kept, source]) <= budget:
            kept.append(source)
            continue
        shorter = _shortened(question, source, lambda part, kept=kept: count([*kept, part]) <= budget)  # type: ignore[misc]
        if shorter is not None:
            return [*kept, shorter]
        log.warning("no sentence of %s fits into the prompt", source.title or source.chunk.id)
    return kept


def _shortened(question: str, source: Source, fits: Callable[[Source], bool]) -> Source | None:
    """The longest run of sentences around the most telling one that fits; None if not even that sentence does."""
    spans = sentences(source.chunk.text)
    asked = set(terms(question))
    shared = [len(asked.intersection(terms(source.chunk.text[start:end]))) for start, end in spans]
    if not spans:
        return None
    middle = shared.index(max(shared))
    # runs that grow on both sides in turn, each within the next, so that the longest that fits is found by halving
    runs = [(middle, middle)]
    while runs[-1] != (0, len(spans) - 1):
        first, last = runs[-1]
        grows_back = first > 0 and (middle - first < last - middle or last == len(spans) - 1)
        runs.append((first - 1, last) if grows_back else (first, last + 1))
    cut = [_cut(source, spans[first][0], spans[last][1]) for first, last in runs]
    n_fitting = bisect_right(cut, False, key=lambda part: not fits(part))
    return cut[n_fitting - 1] if n_fitting else None


def _cut(source: Source, start: int, end: int) -> Source:
    chunk: Chunk = source.chunk
    place = chunk.start + start
    part = replace(chunk, text=chunk.text[start:end], start=place, end=chunk.start + end, page=source.page_at(start))
    return replace(source, chunk=part)
