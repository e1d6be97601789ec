"""Sentence → Clause: of a sentence with several values, the one under the condition that was asked about.

"The fee is 18 euros for adults and 7 euros for children." has two answers to "What is the fee?" and one for children.
Such a sentence is cut at its semicolons, commas and conjunctions; where several parts hold a value, the part answers
that alone shares words with the question. Rules in English and Chinese, no model: encoders cannot tell the parts apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..text.scripts import HAN, one_line
from ..text.sentences import sentences
from ..text.terms import content_terms
from .conditions import NUMBER, YEAR
from .evidence import Evidence

__all__ = ["asked_clause", "in_clause"]

_CUTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\s*[;；]\s*",
        r"\s*[,，]?\s+(?:while|whereas|but)\s+|[，,]\s*(?:而|但是?)",
        r",(?!\d)\s*(?:(?:and|or)\s+)?|，\s*",
        r",?\s+and\s+|[、]|(?<=[\d元天月年米%）)])和",
    )
)
_WHO = re.compile(r"\bwho(?:se|m)?\b|谁|誰|哪一?位", re.IGNORECASE)
_WHEN = re.compile(r"\bwhen\b|\bwh(?:at|ich) year\b|什么时候|何时|哪一?年", re.IGNORECASE)
_VALUE = re.compile(
    r"\b(?:who(?:se|m)?|when|where|what|which|how (?:much|many|long|old|large|big|tall|far|often|high|fast|heavy))\b"
    "|谁|誰|什么时候|何时|几|多[少久长高大远重]|哪[一年天里个]|是什么",
    re.IGNORECASE,
)
_WHY = re.compile(r"\b(?:reason|explanation|explain|cause[sd]?|purpose|mean)\b|原因|理由|目的|意思|导致", re.IGNORECASE)
_COUNTED = re.compile(
    r"\b(?:zero|no|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|half)\b"
    r"|(?<![零〇一二两三四五六七八九十百千万半])[零〇一二两三四五六七八九十百千万半]+(?=个?[天日周月年元角分秒米克斤升吨名人次件条台层倍岁度位时小公千平])",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b[A-Z][\w'’-]+(?:\s+[A-Z][\w'’-]+)*")
_LETTER = re.compile(r"(?<![\w.'’-])[A-Z](?![\w.'’-])")  # "model A"; as a word it would be an article


_UNIT = re.compile(
    rf"[ -]?(?:[%‰°€$£¥]|(?!(?:and|or|is|are|was|were)\b)[^\W\d_{HAN}]+|[{HAN}])"
)  # right behind a figure
_BEFORE = re.compile(rf"([^\W\d_]{{1,30}})[ -]?$|([{HAN}])$")
_VERB = re.compile(
    r"(?:^|\s)([a-z][\w'’-]*)(?:\s+(?:in|on|at|by|to|for|of|from|up|about|around|over|under|than|until|since|only))*\s*$"
)  # or whatever stands before a value
_SHARED = re.compile(rf"[{HAN}]")
_FIGURE = 3  # words that a figure is worth which the question names, too
_SAY_LITTLE = frozenset("年月日为是在有达约的不超过每")


def in_clause(question: str, chosen: Sequence[Evidence]) -> Evidence | None:
    """The sentence of the best evidence in which one clause has what is asked for; None where none has.

    Evidence that is a cell or a numbered place already is as short as can be.
    """
    if not chosen or chosen[0].told > 0 or not _VALUE.search(question) or _WHY.search(question):
        return None
    evidence = chosen[0]
    for start, end in sentences(evidence.quote):
        clause = asked_clause(question, evidence.quote[start:end])
        if clause is not None:
            at = evidence.start + start
            span = (at + clause[0], at + clause[1])
            said = one_line(evidence.candidate.text[slice(*span)])
            return replace(evidence, start=at, end=evidence.start + end, answer=span, said=said, heading="")
    return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a question says.

    Attributes:
        words: all of it.
        figures: those that it names.
        numbered: the words before them.
        years: those among them.
        who, when: whether a person, or a time, is asked for.
    """

    words: frozenset[str]
    figures: set[str]
    numbered: set[str]
    years: set[str]
    who: bool
    when: bool

    @classmethod
    def of(cls, question: str) -> _Asked:
        return cls(
            _words(question),
            _figures(question),
            {_word_before(figure) for figure in _counts(question)} - {""},
            set(YEAR.findall(question)),
            _WHO.search(question) is not None,
            _WHEN.search(question) is not None,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a sentence that holds a value.

    Attributes:
        words: all of it.
        head, tail: what stands before and behind the value, and may be its condition. At the beginning of a sentence
            that is not what stands next to the value: the verb, which the other parts may leave out, and the unit.
        shared: what other parts repeat if they are clauses of their own.
        unit: of the value.
        named: whether a name stands before it.
    """

    start: int
    end: int
    words: frozenset[str]
    head: frozenset[str]
    tail: frozenset[str]
    shared: frozenset[str]
    unit: str
    named: bool


def asked_clause(question: str, sentence: str) -> tuple[int, int] | None:
    """Where in ``sentence`` the value stands that was asked for; None where the whole of it has to be read.

    >>> said = "The fee is 18 euros for adults and 7 euros for children."
    >>> said[slice(*asked_clause("What is the fee for children?", said))]
    '7 euros for children'
    >>> asked_clause("What is the fee?", said)
    """
    asked = _Asked.of(question)
    start, end = 0, len(sentence)
    for cut in _CUTS:
        found = _chosen(asked, sentence, list(_parts(asked, sentence, start, end, cut)))
        if found is not None:
            start, end = found
    if (start, end) == (0, len(sentence)):
        return None
    while end > start and sentence[end - 1] in " .。,，;；":
        end -= 1
    return start, end


def _parts(asked: _Asked, sentence: str, start: int, end: int, cut: re.Pattern[str]) -> Iterator[_Part]:
    """The parts between cuts that hold a value each; a part without one belongs to the next, the last to the one
    before."""
    bounds = [start]
    stops = []
    for found in cut.finditer(sentence, start, end):
        stops.append(found.start())
        bounds.append(found.end())
    stops.append(end)
    spans: list[tuple[int, int]] = []
    open_from = None
    for first, last in zip(bounds, stops, strict=True):
        first = first if open_from is None else open_from
        if _value(asked, sentence[first:last]) is None:
            open_from = first
        else:
            spans.append((first, last))
            open_from = None
    if open_from is not None and spans:
        spans[-1] = (spans[-1][0], end)
    yield from (_part(asked, sentence, first, last) for first, last in spans)


def _part(asked: _Asked, sentence: str, start: int, end: int) -> _Part:
    said = sentence[start:end]
    begin, stop = _value(asked, said) or (0, 0)
    before, behind = said[:begin], said[stop:]
    unit = _UNIT.match(behind)
    words, head, tail = _words(said), _words(before), _words(behind[unit.end() if unit else 0 :])
    if not start:
        verb = _VERB.search(before)
        head -= _words(verb[1]) if verb else frozenset()
        tail -= _words(behind.split()[0]) if asked.who and said.isascii() and behind.strip() else frozenset()
    shared = _words(_NAME.sub("", said) if asked.who else before) | _characters(before or said)
    name = before[-1:] if before.endswith(tuple("$€£¥")) else unit[0].strip().lower() if unit else ""
    return _Part(
        start,
        end,
        words,
        head,
        tail | frozenset(NUMBER.findall(before)),
        shared,
        name,
        _NAME.search(before) is not None,
    )


def _value(asked: _Asked, said: str) -> tuple[int, int] | None:
    """Where the first thing stands in ``said`` that can answer, and that the question does not name itself."""
    if asked.who:
        names = (name for name in _NAME.finditer(said) if not _words(name[0]) <= asked.words)
        return next((name.span() for name in names), None) if said.isascii() else (0, 0)
    years = set() if asked.when else {year.span() for year in YEAR.finditer(said)}
    found = [
        figure.span()
        for figure in _counts(said)
        if _counted(figure) not in asked.figures
        and figure.span() not in years
        and _word_before(figure) not in asked.numbered
    ]
    return min(found, default=None)


def _counts(text: str) -> Iterator[re.Match[str]]:
    """Figures, and numbers written as words."""
    yield from NUMBER.finditer(text)
    yield from _COUNTED.finditer(text)


def _figures(text: str) -> set[str]:
    return set(map(_counted, _counts(text)))


def _word_before(figure: re.Match[str]) -> str:
    """The word that a figure numbers: version 2, 满十年."""
    found = _BEFORE.search(figure.string, max(figure.start() - 30, 0), figure.start())
    return (found[1] or found[2]).lower() if found else ""


def _counted(figure: re.Match[str]) -> str:
    """A figure in small letters; in Chinese with what it counts, for 十年 and 十天 are different things."""
    counts = figure.string[figure.end() : figure.end() + 1]
    return figure[0].lower() + (counts if _SHARED.match(counts) else "")


def _chosen(asked: _Asked, sentence: str, parts: list[_Part]) -> tuple[int, int] | None:
    """The only part that fits the question best, by words that no other part has."""
    if len(parts) < 2 or any(not part.words - frozenset(NUMBER.findall(sentence)) for part in parts):
        return None  # of a bare list of figures none has a condition of its own
    repeated = any(part.shared & other.shared for part in parts for other in parts if other is not part)
    if asked.who and not repeated:
        return None  # several names of one thing
    clauses = repeated or all(part.named for part in parts)
    fits = []
    for part in parts:
        others = frozenset[str]().union(*(other.words for other in parts if other is not part))
        # of the first part, what the other parts leave out is said of all of them
        if part.start:
            own = part.words if part.unit or asked.who else part.head
        else:
            own = part.head | part.tail if clauses else part.tail
        named = asked.figures & _figures(sentence[part.start : part.end])
        elsewhere = any(named & _figures(sentence[other.start : other.end]) for other in parts if other is not part)
        fits.append(len((asked.words & own) - others) + (_FIGURE if named and not elsewhere else 0))
    best = max(fits)
    if not best or fits.count(best) > 1:
        return None
    part = parts[fits.index(best)]
    if not asked.who and not any(_alike(part, other) for other in parts if other is not part):
        return None
    said = sentence[part.start : part.end]
    if asked.years and not asked.when and not asked.years.issuperset(YEAR.findall(said)):
        return None  # cut in the wrong place
    return part.start, part.end


def _alike(one: _Part, other: _Part) -> bool:
    """Whether both values are of one kind, as far as their units tell; one may leave it out."""
    return one.unit == other.unit or any(part.start and not part.unit for part in (one, other))


def _words(text: str) -> frozenset[str]:
    return frozenset((*content_terms(text), *_LETTER.findall(text)))


def _characters(text: str) -> frozenset[str]:
    return frozenset(_SHARED.findall(text)) - _SAY_LITTLE
