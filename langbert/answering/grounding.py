"""Claim → Evidence: which exact words of which candidate support a sentence of an answer.

A claim is looked for in stretches of one to three neighbouring sentences, read under their headings: the one that holds
most of its content words is the candidate, and :mod:`langbert.answering.checking` says whether it really supports the
claim. A claim with nothing new in it, beyond question and headings, is no answer and counts as unsupported. A
sentence may also say, in the question's words, what a reader has found: then it is supported as likely as the reader
is right, whatever words the source has for the rest. The quote is cut out of the source by offsets, never copied from
the answer, so it is verbatim by construction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import dedent
from typing import NamedTuple

from ..generation.streaming import Spoken
from ..records import Candidate, Citation, Unsupported
from ..text.base_forms import base_terms
from ..text.blocks import Block, blocks
from ..text.scripts import letters, one_line
from ..text.sentences import sentences
from .checking import ASKED, SUPPORTED, claim_weights, probability, restates
from .evidence import MARKUP, Evidence, passage_sentences

__all__ = ["Grounder", "Passages", "find_support", "is_refusal", "restated", "set_out"]

_LONGEST_QUOTE = 3  # sentences
_HELD = 0.4  # a stretch with less of the claim's weight is not worth verifying
_WHOLE = re.compile(r"[.!?。！？…:：][\"'”’»)\]`*」』]*$")  # how a sentence ends
_QUOTED = re.compile(r"\n[ \t]*>[ \t]?")  # as Markdown quotes, within a paragraph
_LINK = re.compile(
    r"!?\[(?!\d+\])(?P<markdown>[^\[\]\n]{1,300})\]"
    r"\((?:[^()\s]|\([^()\s]{0,99}\)){1,999}(?:[ \t]\"[^\"\n]{0,300}\")?\)"
    r"|`(?P<rest>[^`<>]{1,300}?)(?:\s{0,9}<[^<>`\s]{1,999}>)?`__?(?![\w`])"
    r"|(?<![\w`:]):(?:(?P<series>pep|rfc)|[a-z][a-z:]{1,29}):`[~!]?(?P<role>[^`<>]{1,300}?)(?:\s{0,9}<[^<>`\s]{1,999}>)?`"
)
"""A link in Markdown, its words no mere number; in reStructuredText; a role there, as of "see :pep:`8`"."""
_MARK = re.compile(r"(?:(?<!\s)\s+)?\[(?:\d+(?:\s*,\s*\d+)*|\?)\]")
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


def is_refusal(sentence: str) -> bool:
    """Whether a model says that it cannot tell: "The sources do not mention it.", "文档中没有提到。"."""
    return _REFUSAL.search(sentence.strip()) is not None


class _Stretch(NamedTuple):
    """One to three sentences of a candidate: ``text[start:end]``, the terms they hold, and those of the title."""

    candidate: Candidate
    start: int
    end: int
    held: frozenset[str]
    title: frozenset[str]


class Passages:
    """Candidates, cut into sentences and terms once for all the claims that are looked for in them."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._stretches: list[_Stretch] = []
        for candidate in candidates:
            title = frozenset(base_terms(candidate.chunk.title)) if candidate.chunk.title else frozenset()
            spans = passage_sentences(candidate.chunk)
            held = [frozenset(base_terms(candidate.text[start:end])) for start, end in spans]
            for first, (start, _) in enumerate(spans):
                together: frozenset[str] = frozenset()
                for last in range(first, min(first + _LONGEST_QUOTE, len(spans))):
                    together |= held[last]
                    self._stretches.append(_Stretch(candidate, start, spans[last][1], together, title))

    def nearest(self, claim: str, question: str = "") -> Evidence | None:
        """The stretch with most of the claim's weight, which is its score; None where none is worth a second look.

        Among stretches that hold the same share the shortest wins, then the earlier candidate.
        """
        weights = claim_weights(claim, question)
        news = {term for term, weight in weights.items() if weight > ASKED}
        total = sum(weights.values()) or 1.0
        best: _Stretch | None = None
        best_rank = (0.0, 0)
        for stretch in self._stretches:
            known = stretch.held | stretch.title
            share = sum(weight for term, weight in weights.items() if term in known) / total
            rank = (share, stretch.start - stretch.end)
            if share >= _HELD and rank > best_rank and news & (stretch.held - stretch.title):
                best, best_rank = stretch, rank
        return Evidence(best.candidate, best.start, best.end, best_rank[0]) if best else None


def set_out(quote: str) -> str:
    """A quote as it is read: lists, tables and code line by line, prose without the line breaks of its page, and links
    without their targets."""
    shown: list[str] = []
    last: Block | None = None
    for block in blocks(quote):
        parts = [quote[start:end] for start, end in block.units]
        if block.lead is not None and not (last is not None and last.start <= block.lead[0] < last.end):
            parts = [quote[slice(*block.lead)], *parts]
        if block.kind == "code":
            shown += [*parts[:-1], dedent(_from_its_line(quote, block.start, block.end))]
        elif block.kind == "list":
            shown += [line for part in parts for line in _item_lines(part)]
        else:
            lines = [_one_line(_QUOTED.sub("\n", part)) for part in parts]
            shown += [one_line("\n".join(lines))] if block.kind == "text" else lines
        last = block
    return "\n".join(shown) or _one_line(quote)


def _one_line(text: str) -> str:
    return one_line(_LINK.sub(_words, text))


def _words(link: re.Match[str]) -> str:
    series = f"{link['series'].upper()} " if link["series"] else ""
    return series + (link["markdown"] or link["rest"] or link["role"])


def _from_its_line(text: str, start: int, end: int) -> str:
    """``text[start:end]`` with the blanks that its first line begins with."""
    line = text.rfind("\n", 0, start) + 1
    return text[start if text[line:start].strip() else line : end]


def _item_lines(item: str) -> list[str]:
    """An item of a list; what is set apart in it, items and code of its own, on lines of their own."""
    first, _, rest = item.partition("\n\n")
    lines = [_one_line(first)] if len(found := blocks(first)) <= 1 else [_one_line(first[: found[0].end])]
    if len(found) > 1:
        rest = f"{first[found[0].end :]}\n\n{rest}"
    return lines + ([f"  {line}" for line in set_out(dedent(rest)).split("\n")] if rest.strip() else [])


def find_support(claim: str, candidates: Sequence[Candidate] | Passages, question: str = "") -> Evidence | None:
    """The stretch of ``candidates`` that supports ``claim``, its score being how likely it does; None if none does."""
    passages = candidates if isinstance(candidates, Passages) else Passages(candidates)
    found = passages.nearest(claim, question)
    if found is None:
        return None
    score = probability(claim, found.quote, title=found.candidate.chunk.title, question=question)
    return Evidence(found.candidate, found.start, found.end, score) if score >= SUPPORTED else None


def restated(claim: str, question: str, found: Sequence[Evidence]) -> Evidence | None:
    """The answer in ``found``, likely enough, that ``claim`` gives to ``question`` and says no more."""
    for evidence in found:
        if evidence.score >= SUPPORTED and restates(claim, question, evidence.short):
            return evidence
    return None


class Grounder:
    """Lets an answer through sentence by sentence, each with the ``[n]`` of its quote.

    Feed it the decoder's pieces; it gives back finished sentences, so that nothing is ever shown before it was looked
    up, and nothing twice. ``citations`` fills up on the way; equal quotes share a number.

    Args:
        candidates: what may be quoted.
        question: what is being answered.
        found: what a reader answers.
        unsupported: what becomes of a sentence that nothing supports.

    Attributes:
        candidates: as given, or what a decoder was shown of them.
        text: what was let through.
        unsupported: the sentences nothing supports, whatever became of them.
        declined: whether the model said that the sources do not hold the answer; such a sentence is never let through.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        question: str = "",
        *,
        found: Sequence[Evidence] = (),
        unsupported: Unsupported = "drop",
    ) -> None:
        self.text = ""
        self.citations: list[Citation] = []
        self.unsupported: list[str] = []
        self.declined = False
        self.candidates = candidates
        self._question = question
        self._found = found
        self._mode = unsupported
        self._passages: Passages | None = None
        self._spoken = Spoken()
        self._pending = ""
        self._said: set[str] = set()

    def feed(self, piece: str) -> Iterator[str]:
        """Take some more of the answer; yields what of it has become certain."""
        self._pending += self._spoken.push(piece)
        spans = sentences(self._pending)
        for start, end in spans[:-1]:  # the last one may go on
            yield from self._checked(self._pending[start:end])
        if spans:
            self._pending = self._pending[spans[-1][0] :]

    def finish(self) -> Iterator[str]:
        """The answer is over: yields what was still pending. A last sentence that breaks off goes, unless it is all."""
        self._pending += self._spoken.flush()
        for start, end in sentences(self._pending):
            sentence = self._pending[start:end]
            if not self.text or _WHOLE.search(_MARK.sub("", sentence)):
                yield from self._checked(sentence)
        self._pending = ""

    def quote(self, evidence: Evidence, *, titled: bool = False) -> str:
        """Evidence as it stands there, with its mark: not checked, for it is cut out of the source.

        Args:
            titled: whether the document's name is said, too.
        """
        name = evidence.candidate.chunk.title if titled else "" if evidence.said else evidence.heading
        shown = evidence.said or set_out(evidence.quote)
        if name:
            shown = f"{name}:\n{shown}" if "\n" in shown else f"{name}: {shown}"
        return self._written(shown, f" [{self._cite(evidence)}]", apart="\n\n")

    def _checked(self, sentence: str) -> Iterator[str]:
        claim = _MARK.sub("", sentence).strip()
        # small decoders repeat themselves, and the markup of their sources
        if letters(claim) in self._said or MARKUP.match(claim):
            return
        self._said.add(letters(claim))
        self._passages = self._passages or Passages(self.candidates)
        support = find_support(claim, self._passages, self._question)
        if support is None and is_refusal(claim):  # "The documents need not be notarised." may well be their own words
            self.declined = True
            return
        support = support or restated(claim, self._question, self._found)
        if support is None:
            self.unsupported.append(claim)
            if self._mode == "drop":
                return
        yield self._written(claim, f" [{self._cite(support)}]" if support else " [?]" if self._mode == "mark" else "")

    def _written(self, words: str, mark: str, apart: str = " ") -> str:
        piece = f"{apart if self.text else ''}{words}{mark}"
        self.text += piece
        return piece

    def _cite(self, evidence: Evidence) -> int:
        """The number of its citation, entering it if it is new."""
        citation = evidence.citation
        for number, known in enumerate(self.citations, start=1):
            if (known.document_id, known.start, known.end) == (citation.document_id, citation.start, citation.end):
                return number
        self.citations.append(citation)
        return len(self.citations)
