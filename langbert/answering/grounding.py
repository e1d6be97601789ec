"""Claim → Citation: which exact words of which source support a sentence of an answer.

A claim is looked for in stretches of one to three neighbouring sentences, read under their headings: the one that holds
most of its content words is the candidate, and :mod:`langbert.answering.checking` says whether it really supports the
claim. A claim with nothing new in it, beyond question and headings, is no answer and counts as unsupported. A
sentence may also say, in the question's words, what a reader has found: then it is supported as likely as the reader
is right, whatever words the source has for the rest. The quote is cut out of the source by offsets, never copied from
the answer, so it is verbatim by construction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..records import Candidate, Chunk, Citation
from ..text.base_forms import base_terms
from ..text.sentences import sentences
from .checking import ASKED, SUPPORTED, claim_weights, probability, restates

__all__ = [
    "Found",
    "Grounder",
    "Passages",
    "Source",
    "Support",
    "Unsupported",
    "find_support",
    "is_refusal",
    "number_sources",
    "passage_sentences",
    "restated",
]

Unsupported = Literal["drop", "mark", "keep"]
"""What becomes of a sentence that no source supports: left out, shown with ``[?]`` behind it, or shown as it is."""

_LONGEST_QUOTE = 3  # sentences
_HELD = 0.4  # a stretch with less of the claim's weight is not worth verifying
_MARKUP = re.compile(r"\.\. [\w-]+::")  # a directive of reStructuredText says nothing by itself
_WHOLE = re.compile(r"[.!?。！？…:：][\"'”’»)\]`*」』]*$")  # how a sentence ends
_MARK = re.compile(r"\s*\[(?:\d+(?:\s*,\s*\d+)*|\?)\]")
_REFUSAL = re.compile(
    r"^(?:(?:i'?m |i am )?(?:sorry|unfortunately)\W+(?:but )?)?(?:"
    r"(?:based on |according to )?(?:the|these|this|those|any of the|none of the)?\s*(?:provided |given |numbered )*"
    r"(?:sources?|documents?|passages?|texts?|context|information)\b.{0,40}?\b"
    r"(?:do(?:es)? not|don['’]t|doesn['’]t|did not|never|no|cannot)\b.{0,30}?"
    r"\b(?:say|state|mention|contain|provide|include|specify|hold|give|answer|have|discuss|describe|information)"
    r"|(?:i|we)\s+(?:do not|don['’]t|cannot|can['’]t|could not|couldn['’]t|am unable to|am not able to)\s+"
    r"(?:know|find|answer|say|tell|have)"
    r"|(?:this|that|it|the answer|there)\s+(?:is|are|was)\s+(?:not|no|nothing)\b.{0,40}?"
    r"\b(?:in|by|from|about)\b.{0,40}?\b(?:sources?|documents?|passages?|texts?|context|this)\b)"
    r"|(?:资料|文档|文件|来源|材料|原文|文中|上下文)[^。]{0,12}(?:没有|未|并未|不包含|无法)"
    r"|^(?:抱歉|对不起|我不知道|无法回答|不知道)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered passage of the prompt; ``[number]`` in an answer points at it.

    Attributes:
        parts: the chunks it was merged from, in order; empty where it is one.
    """

    number: int
    chunk: Chunk
    score: float = 0.0
    parts: tuple[Chunk, ...] = ()

    @property
    def title(self) -> str:
        """What a reader would call it: the source's name and the heading path."""
        return " > ".join(part for part in (self.chunk.source, *self.chunk.headings) if part)

    def page_at(self, offset: int) -> int | None:
        """The page of the part that holds ``offset``, in the passage's own offsets."""
        place = self.chunk.start + offset
        held = [part for part in self.parts if part.start <= place < part.end]
        return held[-1].page if held else self.chunk.page


@dataclass(frozen=True, slots=True)
class Support:
    """The stretch of a source that holds a claim, in the source's own offsets; score in [0, 1]."""

    source: Source
    start: int
    end: int
    score: float

    @property
    def quote(self) -> str:
        """Its words."""
        return self.source.chunk.text[self.start : self.end]

    @property
    def citation(self) -> Citation:
        """The quote in document offsets."""
        chunk = self.source.chunk
        return Citation(
            source=chunk.source,
            document_id=chunk.document_id,
            page=self.source.page_at(self.start),
            start=chunk.start + self.start,
            end=chunk.start + self.end,
            quote=self.quote,
            score=round(self.score, 4),
        )


class Found(Protocol):
    """Words that answer, and where they stand; the support's score is how likely they are right."""

    @property
    def text(self) -> str: ...

    @property
    def support(self) -> Support: ...


def number_sources(candidates: Iterable[Candidate]) -> list[Source]:
    """Candidates as sources, numbered from 1 in the order given."""
    return [Source(number, candidate.chunk, candidate.score) for number, candidate in enumerate(candidates, start=1)]


def is_refusal(sentence: str) -> bool:
    """Whether a model says that it cannot tell: "The sources do not mention it.", "文档中没有提到。"."""
    return _REFUSAL.search(sentence.strip()) is not None


class Passages:
    """Sources, cut into sentences and terms once for all the claims that are looked for in them."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._stretches: list[tuple[Source, int, int, frozenset[str]]] = []
        self._titles = [frozenset(base_terms(source.title)) if source.title else frozenset() for source in sources]
        self._owners: list[int] = []
        for i, source in enumerate(sources):
            spans = passage_sentences(source.chunk)
            held = [frozenset(base_terms(source.chunk.text[start:end])) for start, end in spans]
            for first in range(len(spans)):
                together: frozenset[str] = frozenset()
                for last in range(first, min(first + _LONGEST_QUOTE, len(spans))):
                    together |= held[last]
                    self._stretches.append((source, spans[first][0], spans[last][1], together))
                    self._owners.append(i)

    def nearest(self, claim: str, question: str = "") -> Support | None:
        """The stretch with most of the claim's weight, which is its score; None where none is worth a second look.

        Among stretches that hold the same share the shortest wins, then the earlier source.
        """
        weights = claim_weights(claim, question)
        total = sum(weights.values())
        best: Support | None = None
        best_rank = (0.0, 0)
        for owner, (source, start, end, held) in zip(self._owners, self._stretches, strict=True):
            title = self._titles[owner]
            share = sum(weight for term, weight in weights.items() if term in held or term in title) / (total or 1.0)
            rank = (share, start - end)
            if share < _HELD or rank <= best_rank:
                continue
            if any(term in held and term not in title for term, weight in weights.items() if weight > ASKED):
                best, best_rank = Support(source, start, end, share), rank
        return best


def find_support(claim: str, sources: Sequence[Source] | Passages, question: str = "") -> Support | None:
    """The stretch of ``sources`` that supports ``claim``, its score being how likely it does; None if none does."""
    passages = sources if isinstance(sources, Passages) else Passages(sources)
    found = passages.nearest(claim, question)
    if found is None:
        return None
    score = probability(claim, found.quote, title=found.source.title, question=question)
    return Support(found.source, found.start, found.end, score) if score >= SUPPORTED else None


def restated(claim: str, question: str, found: Sequence[Found]) -> Support | None:
    """The support of the answer in ``found``, likely enough, that ``claim`` gives to ``question`` and says no more."""
    for answer in found:
        if answer.support.score >= SUPPORTED and restates(claim, question, answer.text):
            return answer.support
    return None


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


class Grounder:
    """Lets an answer through sentence by sentence, each with the ``[n]`` of its quote.

    Feed it the decoder's pieces; it gives back finished sentences, so that nothing is ever shown before it was looked
    up, and nothing twice. ``citations`` fills up on the way; equal quotes share a number.

    Args:
        sources: what may be quoted.
        question: what is being answered.
        found: what a reader answers.
        unsupported: what becomes of a sentence that no source supports.

    Attributes:
        unsupported: the sentences no source supports, whatever became of them.
        written: whether anything was let through.
        declined: whether the model said that the sources do not hold the answer; such a sentence is never let through.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        question: str = "",
        *,
        found: Sequence[Found] = (),
        unsupported: Unsupported = "drop",
    ) -> None:
        self.question = question
        self.found = found
        self.citations: list[Citation] = []
        self.unsupported: list[str] = []
        self.declined = False
        self.sources = sources
        self._mode = unsupported
        self._passages: Passages | None = None
        self._pending = ""
        self._said: set[str] = set()
        self.written = False

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
            if not self.written or _WHOLE.search(_MARK.sub("", sentence)):
                yield from self._checked(sentence)
        self._pending = ""

    def _checked(self, sentence: str) -> Iterator[str]:
        claim = _MARK.sub("", sentence).strip()
        # small decoders repeat themselves, and the markup of their sources
        if _letters(claim) in self._said or _MARKUP.match(claim):
            return
        self._said.add(_letters(claim))
        if is_refusal(claim):
            self.declined = True
            return
        self._passages = self._passages or Passages(self.sources)
        support = find_support(claim, self._passages, self.question) or restated(claim, self.question, self.found)
        if support is None:
            self.unsupported.append(claim)
            if self._mode == "drop":
                return
        mark = f" [{self.cite(support)}]" if support else " [?]" if self._mode == "mark" else ""
        yield (" " if self.written else "") + claim + mark
        self.written = True

    def quote(self, words: str, support: Support) -> str:
        """Words that stand in a source, as an answer with their mark: not checked, for they are cut out of it."""
        before, self.written = (" " if self.written else ""), True
        return f"{before}{' '.join(words.split())} [{self.cite(support)}]"

    def cite(self, support: Support) -> int:
        """The number of the citation for ``support``, entering it if it is new."""
        citation = support.citation
        for number, known in enumerate(self.citations, start=1):
            if (known.document_id, known.start, known.end) == (citation.document_id, citation.start, citation.end):
                return number
        self.citations.append(citation)
        return len(self.citations)
