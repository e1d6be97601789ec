"""Claim → Citation: which exact words of which source support a sentence of an answer.

A claim is supported by a stretch of one to three neighbouring sentences that, read under its headings, contains nearly
all of the claim's content words. Numbers and names weigh more than other words, because a wrong date or name is what a
reader must not be told; words the question itself brought in weigh little, because they say nothing new. A claim with
nothing new in it, beyond question and headings, is no answer and counts as unsupported.
The quote is cut out of the source by offsets, never copied from the answer, so it is verbatim by construction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .records import Candidate, Chunk, Citation
from .sentences import sentences
from .store.analysis import terms

__all__ = ["Grounder", "Source", "Support", "find_support", "number_sources", "passage_sentences"]

_LONGEST_QUOTE = 3  # sentences
_SUPPORTED = 0.6  # share of a claim's weight that its quote must hold
_ASKED = 0.25  # what a word of the question counts for; other words count 1, names 2, numbers 3
_MARKUP = re.compile(r"\.\. [\w-]+::")  # a directive of reStructuredText says nothing by itself
_WHOLE = re.compile(r"[.!?。！？…:：][\"'”’»)\]`*」』]*$")  # how a sentence ends
_MARK = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered passage of the prompt; ``[number]`` in an answer points at it."""

    number: int
    chunk: Chunk
    score: float = 0.0

    @property
    def title(self) -> str:
        """What a reader would call it: the source's name and the heading path."""
        return " > ".join(part for part in (self.chunk.source, *self.chunk.headings) if part)


@dataclass(frozen=True, slots=True)
class Support:
    """The stretch of a source that holds a claim, in the source's own offsets; score in [0, 1]."""

    source: Source
    start: int
    end: int
    score: float

    @property
    def citation(self) -> Citation:
        """The quote in document offsets."""
        chunk = self.source.chunk
        return Citation(
            source=chunk.source,
            document_id=chunk.document_id,
            page=chunk.page,
            start=chunk.start + self.start,
            end=chunk.start + self.end,
            quote=chunk.text[self.start : self.end],
            score=round(self.score, 4),
        )


def number_sources(candidates: Iterable[Candidate]) -> list[Source]:
    """Candidates as sources, numbered from 1 in the order given."""
    return [Source(number, candidate.chunk, candidate.score) for number, candidate in enumerate(candidates, start=1)]


def find_support(claim: str, sources: Sequence[Source], question: str = "") -> Support | None:
    """The best support for ``claim`` among ``sources``; None if no stretch holds enough of it.

    Among stretches that hold the same share the shortest wins, then the earlier source.
    """
    weights = _weights(claim, question)
    total = sum(weights.values())
    if not total:
        return None
    best: Support | None = None
    best_rank = (0.0, 0)
    for source in sources:
        title = set(terms(source.title))
        news = {term for term, weight in weights.items() if weight > _ASKED} - title
        for start, end in _stretches(source.chunk):
            held = set(terms(source.chunk.text[start:end]))
            score = sum(weight for term, weight in weights.items() if term in held or term in title) / total
            rank = (score, start - end)
            if score >= _SUPPORTED and not news.isdisjoint(held) and rank > best_rank:
                best, best_rank = Support(source, start, end, score), rank
    return best


def _weights(claim: str, question: str) -> dict[str, float]:
    """Each content term of the claim with what it counts for."""
    weights = dict.fromkeys(terms(claim), 1.0)
    for word in re.findall(r"\b\w*\d\w*\b", claim):
        weights.update(dict.fromkeys(terms(word), 3.0))
    for name in re.findall(r"(?<=[a-z,;] )[A-Z]\w+", claim):  # capitalised inside a sentence
        weights.update(dict.fromkeys(terms(name), 2.0))
    asked = set(terms(question)) if question else set()
    return {term: _ASKED if term in asked else weight for term, weight in weights.items()}


def passage_sentences(chunk: Chunk) -> list[tuple[int, int]]:
    """The sentences of a chunk that say something, in its own offsets: no headings, rules or bare list marks."""
    headings = {_letters(heading) for heading in chunk.headings}
    spans = sentences(chunk.text)
    return [
        (start, end)
        for start, end in spans
        if _letters(chunk.text[start:end]) not in headings | {""} and not _MARKUP.match(chunk.text, start)
    ]


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum()).casefold()


def _stretches(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """Every run of one to three neighbouring sentences."""
    spans = passage_sentences(chunk)
    for first in range(len(spans)):
        for last in range(first, min(first + _LONGEST_QUOTE, len(spans))):
            yield spans[first][0], spans[last][1]


class Grounder:
    """Lets an answer through sentence by sentence, each with the ``[n]`` of its quote.

    Feed it the decoder's pieces; it gives back finished sentences that a source supports and drops the others, so
    that nothing unchecked is ever shown, and nothing twice. ``citations`` fills up on the way; equal quotes share a
    number.
    """

    def __init__(self, sources: Sequence[Source], question: str = "") -> None:
        self.sources = sources
        self.question = question
        self.citations: list[Citation] = []
        self.dropped: list[str] = []
        self._pending = ""
        self._said: set[str] = set()

    def feed(self, piece: str) -> Iterator[str]:
        """Take some more of the answer; yields what of it has become certain."""
        self._pending += piece
        spans = sentences(self._pending)
        for start, end in spans[:-1]:  # the last one may go on
            yield from self._checked(self._pending[start:end])
        if spans:
            self._pending = self._pending[spans[-1][0] :]

    def finish(self) -> Iterator[str]:
        """The answer is over: yields what was still pending. A last sentence that breaks off goes, unless it is all."""
        for start, end in sentences(self._pending):
            sentence = self._pending[start:end]
            if self.citations and not _WHOLE.search(_MARK.sub("", sentence)):
                self.dropped.append(sentence)
            else:
                yield from self._checked(sentence)
        self._pending = ""

    def _checked(self, sentence: str) -> Iterator[str]:
        claim = _MARK.sub("", sentence).strip()
        # small decoders repeat themselves, and the markup of their sources
        if _letters(claim) in self._said or _MARKUP.match(claim):
            return
        self._said.add(_letters(claim))
        support = find_support(claim, self.sources, self.question)
        if support is None:
            self.dropped.append(claim)
            return
        yield ("" if not self.citations else " ") + f"{claim} [{self.cite(support)}]"

    def cite(self, support: Support) -> int:
        """The number of the citation for ``support``, entering it if it is new."""
        citation = support.citation
        for number, known in enumerate(self.citations, start=1):
            if (known.document_id, known.start, known.end) == (citation.document_id, citation.start, citation.end):
                return number
        self.citations.append(citation)
        return len(self.citations)
