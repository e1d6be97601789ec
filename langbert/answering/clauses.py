"""Sentence → Clause: of a sentence with several values, the one under the condition that was asked about.

"The fee is 18 euros for adults and 7 euros for children." has two answers to "What is the fee?" and one for children.
Such a sentence is cut between its values, at the strongest mark that stands there. What is said of all of them stands
in the first part only, the later ones leave it out: so a word of the question that a later part has alone tells most,
and one at the head of the first part least. Rules, no model: encoders cannot tell the parts apart, and readers prefer
the first value (of 50 questions in three languages they pointed at the right one 30 times).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..text.languages import agree_in_negation
from ..text.scripts import HAN, one_line
from ..text.sentences import sentences
from ..text.terms import content_terms
from .conditions import NUMBER, YEAR, quarters
from .evidence import Evidence

__all__ = ["asked_clause", "in_clause"]

_CUTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\s*[;；]\s*",
        r"\s*[,，]?\s+(?:while|whereas|but|aber|während|mais|tandis que)\s+|[，,]\s*(?:而|但是?)",
        r"\s*,\s+(?:and|or|und|et)\s+",
        r"\s*,(?!\d)\s*|，\s*|\s+(?:and|or|und|oder|sowie|et|ou|y)\s+|、|(?<=[\d元天月年米%）)])[和与]",
        r"\s+(?:to|bis|à)\s+(?!\d)|[至到]",
    )
)
"""Marks between parts, the strongest first."""

_WHO = re.compile(r"\b(?:who(?:se|m)?|we[rmn]|qui)\b|谁|誰|哪一?位", re.IGNORECASE)
_WHEN = re.compile(r"\b(?:when|wh(?:at|ich) year|wann|quand)\b|什么时候|何时|哪一?年", re.IGNORECASE)
_WHY = re.compile(
    r"\b(?:why|warum|pourquoi|reason|explanation|explain|cause[sd]?|purpose|mean)\b|原因|理由|目的|意思|导致|为什么|为何",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"\b(?:postponed?|brought forward|rescheduled|originally|formerly|instead"
    r"|(?:changed|moved|raised|reduced|cut) (?:from|to)|verschoben|ursprünglich|statt)\b"
    r"|原定|原计划|原本|推迟|延期|提前到|改为|改到|改成|调整[为到]|[减降增升]为",
    re.IGNORECASE,
)
"""That a value has taken the place of another: neither says anything alone."""
_BOTH = re.compile(r"\b(?:and|or|than|versus|und|oder|et|ou)\b|[和与及比]|还是", re.IGNORECASE)
_COUNTED = re.compile(
    r"\b(?:zero|no|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|half|free)\b"
    r"|免费|(?<![零〇一二两三四五六七八九十百千万半])(?:[二两三四五六七八九十][零〇一二两三四五六七八九十百千万]*(?=\w)"
    r"|[零〇一二两三四五六七八九十百千万半]+(?=个?[天日周月年元角分秒点米克斤升吨名人次件条台层倍岁度位时小公千平]))",
    re.IGNORECASE,
)
_RANGE = re.compile(
    rf"\s?(?:[ap]\.?m\.?|Uhr|[点时月日号年天元度米岁])?\s?(?:to|until|-|–|—|~|bis|至|到)\s?(?:[上下中]午|晚上|次日)?"
    rf"(?:{NUMBER.pattern}|{_COUNTED.pattern})",
    re.IGNORECASE,
)
_CITED = re.compile(r"\[\d{1,3}(?:\s?[,–-]\s?\d{1,3}){0,9}\]")
_IDENTIFIER = re.compile(r"(?<![\w-])(?:[A-Za-z]{1,8}-?\d[\w-]{0,20}|\d{1,9}-\d{1,9}-\d[\d-]{0,20})", re.ASCII)
_CLOCK = re.compile(r"\s?(?:[ap]\.?m\b|Uhr|o'clock|点)", re.IGNORECASE)
_NAME = re.compile(r"\b[A-ZÀ-Þ][\w'’-]+(?:\s+[A-ZÀ-Þ][\w'’-]+)*")
_LETTER = re.compile(r"(?<![A-Za-z\d.'’-])[A-Z](?![A-Za-z\d.'’-])")  # "model A"; as a word it would be an article
_UNIT = re.compile(rf"[ -]?(?:[%‰°€$£¥]\w?|[^\W\d_{HAN}]+|[{HAN}])")  # behind a figure
_BEFORE = re.compile(rf"([^\W\d_]{{1,30}})[ -]?$|([{HAN}])$")
_VERB = re.compile(
    r"(?:^|(?<!\bthe)(?<!\ba)(?<!\ban)(?<!\bper)(?<!\beach)\s)([a-z][\w'’-]*)(?:\s+(?:in|on|at|by|to|for|of|from|up|about|around|over|under|than|until|since|only))*\s*$"
)  # or whatever stands before a value
_KINDS = {
    stem: kind
    for kind, units in {
        "time": "second minute hour day week month year Tag Tage Woche Monat Jahr 天 日 周 月 年 小 分 秒",
        "money": "€ $ £ ¥ euro EUR dollar USD pound GBP yuan RMB yen 元 美 欧",
        "length": "mm cm m km metre meter 米 公 厘",
        "mass": "g kg gram ton tonne 克 吨 千",
        "memory": "KB MB GB TB",
    }.items()
    for stem in (*units.split(), *content_terms(units))
}
"""Kinds of units, by their stems; in Chinese by their first characters."""

_HALF = 0.5  # of the words at the head of the first part, where nothing else tells


def in_clause(question: str, evidence: Evidence) -> Evidence | None:
    """The sentence of ``evidence`` in which one clause has what is asked for; None where none has.

    Evidence that is a cell or a numbered place already is as short as can be.
    """
    if evidence.told > 0 or _WHY.search(question):
        return None
    for start, end in sentences(evidence.quote):
        clause = asked_clause(question, evidence.quote[start:end])
        if clause is not None:
            at = evidence.start + start
            span = (at + clause[0], at + clause[1])
            said = one_line(evidence.candidate.text[slice(*span)])
            return replace(evidence, start=at, end=evidence.start + end, answer=span, said=said, heading="")
    return None


def asked_clause(question: str, sentence: str) -> tuple[int, int] | None:
    """Where in ``sentence`` the value stands that was asked for; None where the whole of it has to be read.

    >>> said = "The fee is 18 euros for adults and 7 euros for children."
    >>> said[slice(*asked_clause("What is the fee for children?", said))]
    '7 euros for children'
    >>> asked_clause("What is the fee?", said)
    """
    if _CHANGED.search(sentence):
        return None
    who = _WHO.search(question) is not None
    parts = _parts(sentence, list(_values(question, sentence, who)), who)
    part = _chosen(question, sentence, parts)
    if part is None:
        return None
    start, end = part.start, part.end
    while end > start and sentence[end - 1] in " .。,，;；":
        end -= 1
    return start, end


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a sentence.

    Attributes:
        words: all but its value.
        head: those before the value without the verb.
        tail: those behind the value and its unit.
        pairs: neighbours among them.
    """

    start: int
    end: int
    words: frozenset[str]
    head: frozenset[str]
    tail: frozenset[str]
    pairs: frozenset[tuple[str, str]]


def _values(question: str, sentence: str, who: bool) -> Iterator[tuple[int, int]]:
    """Where that stands which can answer, and which the question does not name itself: names where a person is asked
    for, else figures of one kind."""
    asked = _words(question)
    if who:
        for name in _NAME.finditer(sentence):
            if not _words(name[0]) <= asked:
                yield name.span()
        return
    figures, numbered = _figures(question), {_word_before(figure) for figure in _counts(question)} - {""}
    years = set() if _WHEN.search(question) else {year.span() for year in YEAR.finditer(sentence)}
    found: list[tuple[tuple[int, int], str]] = []
    for figure in _counts(sentence):
        start, end = figure.span()
        known = _counted(figure) in figures or figure.span() in years or _word_before(figure) in numbered
        if not known and (not found or start >= found[-1][0][1]):
            through = _RANGE.match(sentence, end)
            end = through.end() if through else end
            found.append(((start, end), _kind(sentence, start, end)))
    kinds = Counter(kind for _, kind in found if kind)
    most = kinds.most_common(1)[0][0] if kinds else ""
    for i, (span, kind) in enumerate(found):
        if kind == most or (not kind and i and sentence[span[0]].isdigit()):  # the later ones may leave it out
            yield span


def _kind(sentence: str, start: int, end: int) -> str:
    """Of what kind a figure is: by its unit, or the stem of it."""
    if _CLOCK.match(sentence, end):
        return "clock"
    unit = _UNIT.match(sentence, end)
    name = sentence[start - 1 : start] if sentence[:start].endswith(tuple("$€£¥")) else unit[0].strip() if unit else ""
    stems = content_terms(name.split(" ")[0]) if name.isalpha() else [name]
    stem = stems[0] if stems else ""
    return _KINDS.get(stem, stem)


def _parts(sentence: str, values: Sequence[tuple[int, int]], who: bool) -> list[_Part]:
    """The sentence cut between values; those with nothing between them stay together."""
    if who and not values:  # no capitals tell names in Chinese
        cuts = [found.span() for found in re.finditer(r"[，,；;、]", sentence)]
        values = [(0, 0)] + [(end, end) for _, end in cuts]
    else:
        cuts = [cut for one, other in pairwise(values) if (cut := _cut(sentence, one[1], other[0]))]
    starts, stops = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(sentence)]
    parts = []
    for start, stop in zip(starts, stops, strict=True):
        value = next((value for value in values if start <= value[0] <= stop), None)
        if value is not None:
            parts.append(_part(sentence, start, stop, value, who))
    return parts


def _cut(sentence: str, start: int, end: int) -> tuple[int, int] | None:
    """The strongest mark between two values, the first of several."""
    found = (cut.search(sentence, start, end) for cut in _CUTS)
    return next((mark.span() for mark in found if mark), None)


def _part(sentence: str, start: int, stop: int, value: tuple[int, int], who: bool) -> _Part:
    before, behind = sentence[start : value[0]], sentence[value[1] : stop]
    unit = None if who else _UNIT.match(behind)
    head, tail = _words(before), _words(behind[unit.end() if unit else 0 :])
    words, pairs = head | tail, frozenset(pairwise(content_terms(sentence[start:stop])))
    if (verb := _VERB.search(before)) and (
        not start or len(head - _figures(before)) > 1
    ):  # which may be said of all of them
        head -= _words(verb[1])
    if not start:
        tail -= _words(behind.split()[0]) if who and behind.split() and behind.isascii() else frozenset()
    return _Part(start, stop, words, head, tail, pairs)


def _chosen(question: str, sentence: str, parts: Sequence[_Part]) -> _Part | None:
    """The part whose own words the question has."""
    if len(parts) < 2:
        return None
    asked = _words(question)
    counts = Counter(word for part in parts for word in part.words)
    own = [frozenset(word for word in part.words if counts[word] == 1) for part in parts]
    if not all(own):
        return None  # a bare list
    first, *later = parts
    fits = [0, *(len(asked & words & (part.head | part.tail)) for words, part in zip(own[1:], later, strict=True))]
    in_tail = len(asked & own[0] & first.tail)
    if (any(fits) and in_tail and not any(part.head for part in later)) or sum(map(bool, fits)) > 1:
        if _BOTH.search(question):
            return None
        fits = _compared(question, sentence, parts, [in_tail, *fits[1:]])
    elif not any(fits):
        fits[0] = in_tail or (_tells_first(asked, own, first) if any(part.head for part in later) else 0)
    best = max(fits)
    if not best or fits.count(best) > 1:
        return None
    part = parts[fits.index(best)]
    if part is first and any(count > 1 and word in asked and word not in part.words for word, count in counts.items()):
        return None  # the others have in common what is asked
    years = set(YEAR.findall(question))
    if years and not _WHEN.search(question) and not years.issuperset(YEAR.findall(sentence, part.start, part.end)):
        return None  # cut in the wrong place
    return part


def _compared(question: str, sentence: str, parts: Sequence[_Part], fits: Sequence[int]) -> list[int]:
    """``fits`` of several parts, with the neighbours that question and part have in common; those that deny what the
    question does not, or the other way round, are none."""
    pairs = frozenset(pairwise(content_terms(question)))
    fits = [fit and fit + len(pairs & part.pairs) for fit, part in zip(fits, parts, strict=True)]
    agreeing = [agree_in_negation(question, sentence[part.start : part.end]) for part in parts]
    return [fit if agrees or not any(agreeing) else 0 for fit, agrees in zip(fits, agreeing, strict=True)]


def _tells_first(asked: frozenset[str], own: Sequence[frozenset[str]], first: _Part) -> int:
    """How many words at the head of the first part the question has: most of them, and a figure where that is what
    tells the others apart."""
    head = own[0] & first.head
    common = asked & head
    by_figures = all(2 * sum(map(_has_digit, words)) >= len(words) for words in own[1:])
    enough = len(common) >= _HALF * len(head) and (not by_figures or any(map(_has_digit, common)))
    return len(common) if enough else 0


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _counts(text: str) -> Iterator[re.Match[str]]:
    """Figures, and numbers written as words, as they come; but for those of works that are cited ([15], [3, 7]) and
    those within a name or a number of an account (N1, PX-1400, 20-45-77)."""
    cited = [found.span() for found in (*_CITED.finditer(text), *_IDENTIFIER.finditer(text))]
    for found in sorted((*NUMBER.finditer(text), *_COUNTED.finditer(text)), key=lambda found: found.start()):
        if not any(start <= found.start() < end for start, end in cited):
            yield found


def _figures(text: str) -> set[str]:
    return set(map(_counted, _counts(text)))


def _word_before(figure: re.Match[str]) -> str:
    """The word that a figure numbers: version 2, 满十年."""
    found = _BEFORE.search(figure.string, max(figure.start() - 30, 0), figure.start())
    return next(iter(content_terms(found[0])), "") if found else ""


def _counted(figure: re.Match[str]) -> str:
    """A figure in small letters; in Chinese with what it counts, for 十年 and 十天 are different things."""
    counts = figure.string[figure.end() : figure.end() + 1]
    return figure[0].lower() + (counts if re.match(f"[{HAN}]", counts) else "")


def _words(text: str) -> frozenset[str]:
    """Words as stems, with letters that stand alone, figures with what they count, and quarters."""
    return frozenset((*content_terms(text), *_LETTER.findall(text), *_figures(text), *map(str, quarters(text))))
