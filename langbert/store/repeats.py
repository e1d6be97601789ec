"""Passages that say the same as a better one: one hit, with several places.

A paragraph that stands in forty files, or five copies of a file, would take all the places of a list. Two passages are
one hit where the worse has nothing of its own to say: no sentence that speaks of the question but stands in the other
in the same letters, and most of its text there too. What differs in a word or a number of such a sentence, an older
version for instance, stays a hit of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..records import Candidate, Chunk
from ..text.terms import terms

_DEEPER = 4  # times as many candidates are looked at next
_DEEPEST = 4096  # candidates that are looked at for some that differ
_MOSTLY = 1 / 2  # of a passage's letters stand in the other too, if they are all it says of the question
_NEARLY = 2 / 3  # the same where nothing in it speaks of the question by a word

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；｡])|\n\s*\n")
_NO_LETTER = re.compile(r"[\W_]+")


def different(search: Callable[[int], list[Candidate]], question: str, k: int) -> list[Candidate]:
    """The best ``k`` candidates of ``search(depth)`` that differ; fewer only if no more are found.

    Args:
        search: gives the best ``depth`` candidates, best first, ever more of the same.
    """
    depth = k
    while True:
        found = search(depth)
        kept = folded(found, question)
        if len(kept) >= k or len(found) < depth or depth >= _DEEPEST:
            return kept[:k]
        depth = min(_DEEPER * depth, max(_DEEPEST, k))


def folded(candidates: Sequence[Candidate], question: str) -> list[Candidate]:
    """``candidates``, best first, without those that say the same of ``question`` as a better one: these are among its
    ``places``."""
    asked = frozenset(terms(question))
    kept: list[tuple[Candidate, Mapping[str, str]]] = []
    places: list[list[Chunk]] = []
    first: dict[frozenset[str], int] = {}
    for candidate in candidates:
        said = _said(candidate.chunk)
        place = first.get(frozenset(said))
        if place is None:
            place = next((i for i, (_, better) in enumerate(kept) if _adds_nothing(said, better, asked)), len(kept))
            first[frozenset(said)] = place
        if place == len(kept):
            kept.append((candidate, said))
            places.append([])
        else:
            places[place].append(candidate.chunk)
    return [
        replace(candidate, places=tuple(others)) if others else candidate
        for (candidate, _), others in zip(kept, places, strict=True)
    ]


def _said(chunk: Chunk) -> dict[str, str]:
    """The sentences of a chunk and its headings, by their letters."""
    pieces = [*chunk.headings, *_SENTENCE.split(chunk.text)]
    said = {_NO_LETTER.sub("", piece).casefold(): piece for piece in pieces}
    said.pop("", None)
    return said or {chunk.text: chunk.text}


def _adds_nothing(said: Mapping[str, str], better: Mapping[str, str], asked: frozenset[str]) -> bool:
    """Whether a passage only says of what is asked what a better one says."""
    total = sum(map(len, said))
    shared = sum(len(letters) for letters in said if letters in better)
    if shared < _MOSTLY * total:
        return False
    if any(letters not in better and not asked.isdisjoint(terms(piece)) for letters, piece in said.items()):
        return False
    return shared >= _NEARLY * total or any(
        letters in better and not asked.isdisjoint(terms(piece)) for letters, piece in said.items()
    )
