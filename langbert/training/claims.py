"""Claims made from a reading set, with what its paragraphs say of them: premises for an entailment head.

Three ways, all of them rules (after Demszky et al. 2018, "Transforming Question Answering Datasets Into Natural
Language Inference Datasets", and Kryściński et al. 2020, "FactCC", §3.1):

- the sentence that holds an answer is *entailed* by its surroundings; with another answer of the article in the
  place of the right one, or another number, it is *contradicted*;
- a question with the answer in the place of its question word is a statement: always in Chinese, which leaves
  question words where the answer goes, and in English where the question word is the subject;
- what a paragraph says of something else is *neutral*.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..evaluation.datasets import Question, QuestionSet
from ..text.scripts import has_han
from ..text.sentences import sentences
from .unanswerable import changed_number

_SURROUNDINGS = 260  # characters of a premise, about; Chinese ones get a third
_SUBJECT = re.compile(
    r"(?:Who|What|Which(?: \w+)?|What (?:company|city|country|group|person|type of \w+))(?= (?!kind|type|year|"
    r"is the|was the|are the|were the|do\b|does\b|did\b|has\b|have\b|can\b|could\b|would\b)[a-z]+(?:ed|s|d|t|e)\b)"
)
_ASKED_ZH = re.compile(
    r"什[么麼]时候|什[么麼]時候|何时|何時|哪一?年|哪一?[天日月]|哪里|哪裡|哪兒|哪儿|何处|何處|何地|何人|何种|何種|谁|誰|"
    r"哪[一两兩幾几]?[个個位座条條种種所家部支本名项項国國]?(?:人|地方|城市|国家|國家)?|什[么麼]|多少|几(?=[个位年次人名座])|幾(?=[個位年次人名座])"
)


class Claim(NamedTuple):
    """A premise, a hypothesis, and how they stand: an index into ``ENTAILMENT`` of the evidence encoder."""

    premise: str
    hypothesis: str
    label: int


def made_claims(data: QuestionSet, questions: Sequence[Question], rng: random.Random) -> Iterator[Claim]:
    """One claim, or two, of each of the answerable ``questions`` that a rule fits."""
    answers: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        if question.answers:
            answers[question.title].append(question.answers[0])
    for question in questions:
        if not question.answers:
            continue
        text = data.paragraphs[question.paragraph][1]
        start, answer = question.answer_starts[0], question.answers[0]
        found = _around(text, start, start + len(answer), rng)
        if found is None:
            continue
        premise, sentence, offset = found
        wrong = _other_answer(answer, answers[question.title], text, rng)
        stated = statement(question.question, answer)
        way = rng.random()
        if way < 0.3:
            yield Claim(premise, sentence, 0)
        elif stated:
            yield Claim(premise, stated, 0)
        if wrong and stated and way < 0.65:
            yield Claim(premise, statement(question.question, wrong) or stated, 2)
        elif wrong:
            yield Claim(premise, sentence[:offset] + wrong + sentence[offset + len(answer) :], 2)
        elif (changed := changed_number(sentence, rng)) != sentence:
            yield Claim(premise, changed, 2)
        if way < 0.4 and (elsewhere := _elsewhere(text, premise, rng)):
            yield Claim(premise, elsewhere, 1)


def statement(question: str, answer: str) -> str | None:
    """The question with the answer in the place of its question word, as a statement; None where no rule fits."""
    asked = question.strip().rstrip("?？ ")
    if has_han(asked):
        places = list(_ASKED_ZH.finditer(asked))
        if len(places) != 1 or len(answer) > 25:
            return None
        return f"{asked[: places[0].start()]}{answer}{asked[places[0].end() :]}。"
    match = _SUBJECT.match(asked)
    return f"{answer[:1].upper()}{answer[1:]}{asked[match.end() :]}." if match and len(answer) < 60 else None


def _around(text: str, start: int, end: int, rng: random.Random) -> tuple[str, str, int] | None:
    """The sentence that holds ``[start, end)`` in some of its surroundings, itself, and where the stretch is in it."""
    spans = sentences(text)
    place = next((i for i, (begin, stop) in enumerate(spans) if begin <= start and end <= stop), None)
    if place is None:
        return None
    most = _SURROUNDINGS // 3 if has_han(text) else _SURROUNDINGS
    first = last = place
    sides = [rng.random() < 0.5 for _ in range(4)]
    for before in sides:
        wider = (max(first - 1, 0), last) if before else (first, min(last + 1, len(spans) - 1))
        if spans[wider[1]][1] - spans[wider[0]][0] <= most:
            first, last = wider
    begin, stop = spans[place]
    if stop - begin > 2 * most:
        return None
    return text[spans[first][0] : spans[last][1]], text[begin:stop], start - begin


def _other_answer(answer: str, others: Sequence[str], text: str, rng: random.Random) -> str | None:
    """Another answer of the same kind: with digits or without, capitalised or not, of like length."""

    def kind(value: str) -> tuple[bool, bool]:
        return any(c.isdigit() for c in value), value[:1].isupper()

    like = [
        other
        for other in others
        if kind(other) == kind(answer)
        and other.casefold() not in answer.casefold()
        and answer.casefold() not in other.casefold()
        and 0.4 <= len(other) / len(answer) <= 2.5
    ]
    if like:
        return rng.choice(like)
    changed = changed_number(answer, rng)
    return changed if changed != answer else None


def _elsewhere(text: str, premise: str, rng: random.Random) -> str | None:
    """A sentence of the paragraph outside the premise."""
    outside = [text[a:b] for a, b in sentences(text) if text[a:b] not in premise and b - a < _SURROUNDINGS]
    return rng.choice(outside) if outside else None
