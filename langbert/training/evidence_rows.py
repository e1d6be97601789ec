"""Questions beside what may answer them, as token ids: what :mod:`evidence` trains on."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from ..evaluation.datasets import Question, QuestionSet
from ..models.files.tokenizer import TextTokenizer, TokenPair
from ..text.sentences import sentences
from .batching import padded_pairs
from .data import tokens_of
from .task import Batch
from .unanswerable import edited_question, names_in

_WIDTHS = (96, 128, 160, 192, 256)  # tokens of a passage: drawn, so that length tells nothing
_MOST_QUESTION = 64
_SENTENCES = (1, 1, 2)  # of a piece
_STRETCHES = (30, 60, 90)  # tokens of the beginning of a section
_OTHERS = 3  # pieces of the same passage that do not answer

MOST_TOKENS = max(_WIDTHS)
"""Of the second text of a pair."""

NOT_SAID = -1
"""The ``relevant`` of a row that teaches nothing of it."""


class _Passage(NamedTuple):
    """A paragraph as tokens, its title's, and where its sentences begin and end among them."""

    title: list[int]
    ids: list[int]
    sentences: list[tuple[int, int]]


class Asked(NamedTuple):
    """A question, the paragraph it was asked of, its answer's tokens there (-1: none), what looks like it, and the
    same question edited so that the paragraph does not answer it (or empty). Where ``whole``, all of the paragraph is
    the answer, which teaches what is relevant and no span."""

    ids: list[int]
    passage: int
    first: int
    last: int
    negatives: tuple[int, ...]
    edited: list[int]
    whole: bool = False


class Row(NamedTuple):
    """One sequence: its ids, and what it shall say. ``start`` and ``end`` are places in the sequence, 0 for none, and
    -1 where there is none to learn; ``relevant`` is 1, 0 or -1 for not said; ``label`` an entailment or -1."""

    pair: TokenPair
    passage: int  # where the passage begins
    start: int
    end: int
    relevant: int
    label: int
    group: int


class ReadingRows:
    """The passages of reading sets, and the rows that each question makes with them.

    Args:
        hardest: from how many of the nearest negatives the wrong passage is drawn.
        pieces: how often an answerable question is read with sentences instead of passages.
        title_dropout: how often passages are read without their titles.
    """

    def __init__(self, tokenizer: TextTokenizer, *, hardest: int, pieces: float, title_dropout: float) -> None:
        self._tokenizer = tokenizer
        self._hardest, self._pieces, self._title_dropout = hardest, pieces, title_dropout
        self._passages: list[_Passage] = []

    def add(
        self, data: QuestionSet, near: Mapping[str, Sequence[str]], unanswerable: float, rng: random.Random
    ) -> Iterator[Asked | None]:
        """A row for each question; None where its answer has no tokens."""
        number = {name: len(self._passages) + i for i, name in enumerate(data.paragraphs)}
        titles = self._tokenizer.encode([f"{title}\n" for title, _ in data.paragraphs.values()])
        texts = self._tokenizer.encode([text for _, text in data.paragraphs.values()])
        self._passages += [
            _Passage(title.ids if name else [], text.ids, _sentence_tokens(original, text.offsets))
            for title, text, (name, original) in zip(titles, texts, data.paragraphs.values(), strict=True)
        ]
        offsets = dict(zip(data.paragraphs, (text.offsets for text in texts), strict=True))
        names: dict[str, list[str]] = defaultdict(list)
        for question in data.questions:
            names[question.title] += names_in(question.question)
        all_titles = sorted({question.title for question in data.questions})
        edited = [self._edit(question, names, all_titles, unanswerable, rng) for question in data.questions]
        questions = self._tokenizer.encode([question.question for question in data.questions])
        changed = self._tokenizer.encode(edited)
        for question, encoding, edit in zip(data.questions, questions, changed, strict=True):
            first = last = -1
            if question.answers:
                start = question.answer_starts[0]
                first, last = tokens_of(offsets[question.paragraph], start, start + len(question.answers[0]))
                if first < 0:
                    yield None
                    continue
            wrong = tuple(number[name] for name in near.get(question.id, ())[: self._hardest])
            ids = encoding.ids[:_MOST_QUESTION]
            whole = question.answers[:1] == (data.paragraphs[question.paragraph][1],)
            changed_ids = [] if whole else edit.ids[:_MOST_QUESTION]
            yield Asked(ids, number[question.paragraph], first, last, wrong, changed_ids, whole)

    @staticmethod
    def _edit(
        question: Question, names: Mapping[str, Sequence[str]], titles: Sequence[str], share: float, rng: random.Random
    ) -> str:
        if not question.answers or rng.random() >= share:
            return ""
        others = names[question.title] or [rng.choice(titles)]
        return edited_question(question.question, others, rng, title=question.title) or ""

    def length(self, asked: Asked) -> int:
        """Tokens of a question's rows, about."""
        if asked.whole:
            return (len(asked.ids) + max(_STRETCHES)) * (1 + _OTHERS)
        passage = min(len(self._passages[asked.passage].ids), MOST_TOKENS)
        return (len(asked.ids) + passage) * (2 + bool(asked.edited))

    def group(self, asked: Asked, group: int, rng: random.Random) -> Iterator[Row]:
        """The question with its own passage, with one that only looks right, and edited with its own."""
        width, titled = rng.choice(_WIDTHS), rng.random() >= self._title_dropout
        answerable = asked.first >= 0
        if asked.whole:
            yield from self._group_of_sections(asked, titled, group, rng)
            return
        if answerable and rng.random() < self._pieces:
            yield from self._group_of_pieces(asked, titled, group, rng)
            return
        yield self._row(asked.ids, asked.passage, width, titled, group, rng, asked=asked, relevant=int(answerable))
        if asked.negatives:
            wrong = rng.choice(asked.negatives)
            yield self._row(asked.ids, wrong, rng.choice(_WIDTHS), titled, group, rng, relevant=0)
        if asked.edited:
            edited = asked._replace(ids=asked.edited)
            row = self._row(edited.ids, asked.passage, width, titled, group, rng, asked=asked, relevant=NOT_SAID)
            yield row._replace(start=0, end=0)

    def _group_of_pieces(self, asked: Asked, titled: bool, group: int, rng: random.Random) -> Iterator[Row]:
        """The question with the sentences that hold its answer, some that stand beside them, and one from elsewhere."""
        passage = self._passages[asked.passage]
        n = rng.choice(_SENTENCES)
        holds = [i for i, (start, end) in enumerate(passage.sentences) if start <= asked.last and asked.first < end]
        first = max(0, holds[0] - rng.randrange(n))
        last = max(min(first + n, len(passage.sentences)) - 1, holds[-1])
        yield self._piece(asked.ids, passage, first, last, titled, group, answer=(asked.first, asked.last))
        others = [
            (i, min(i + n, len(passage.sentences)) - 1)
            for i in range(0, len(passage.sentences), n)
            if i > holds[-1] or i + n <= holds[0]
        ]
        answer = passage.ids[asked.first : asked.last + 1]
        for first, last in rng.sample(others, min(_OTHERS, len(others))):
            row = self._piece(asked.ids, passage, first, last, titled, group)
            if not _holds(row.pair.ids[row.passage :], answer):
                yield row
        if asked.negatives:
            wrong = self._passages[rng.choice(asked.negatives)]
            if wrong.sentences:
                first = rng.randrange(len(wrong.sentences))
                last = min(first + n, len(wrong.sentences)) - 1
                yield self._piece(asked.ids, wrong, first, last, titled, group)

    def _group_of_sections(self, asked: Asked, titled: bool, group: int, rng: random.Random) -> Iterator[Row]:
        """The question with the beginning of the section that answers it, and of some that look like it."""
        wrong = rng.sample(asked.negatives, min(_OTHERS, len(asked.negatives)))
        room = rng.choice(_STRETCHES)
        for number in (asked.passage, *wrong):
            passage = self._passages[number]
            ends = [i for i, (_, end) in enumerate(passage.sentences) if end <= room]
            if passage.sentences:
                row = self._piece(asked.ids, passage, 0, max(ends, default=0), titled, group)
                yield row._replace(start=-1, end=-1, relevant=int(number == asked.passage))

    def _piece(
        self,
        question: list[int],
        passage: _Passage,
        first: int,
        last: int,
        titled: bool,
        group: int,
        *,
        answer: tuple[int, int] | None = None,
    ) -> Row:
        """Sentences ``first`` to ``last`` of a passage beside the question."""
        begin = passage.sentences[first][0]
        stretch = passage.ids[begin : passage.sentences[last][1]][:MOST_TOKENS]
        pair = self._tokenizer.pair(question, [*(passage.title if titled else []), *stretch])
        offset = len(pair.ids) - 1 - len(stretch)
        start = end = 0
        if answer and answer[1] - begin < len(stretch):
            start, end = offset + answer[0] - begin, offset + answer[1] - begin
        relevant = 0 if answer is None else 1 if start else NOT_SAID
        return Row(pair, offset, start, end, relevant, -1, group)

    def _row(
        self,
        question: list[int],
        number: int,
        width: int,
        titled: bool,
        group: int,
        rng: random.Random,
        *,
        asked: Asked | None = None,
        relevant: int,
    ) -> Row:
        """A stretch of ``width`` tokens of a passage beside the question; the answer is in it, if there is one."""
        passage = self._passages[number]
        latest = max(0, len(passage.ids) - width)
        begin = rng.randint(0, latest)
        answered = asked is not None and asked.first >= 0
        if answered and asked is not None:
            begin = min(max(begin, asked.last + 1 - width, 0), asked.first)
        title = passage.title if titled else []
        stretch = passage.ids[begin : begin + width]
        pair = self._tokenizer.pair(question, [*title, *stretch])
        offset = len(pair.ids) - 1 - len(stretch)
        start = end = 0
        if answered and asked is not None:
            start, end = offset + asked.first - begin, offset + min(asked.last - begin, len(stretch) - 1)
        return Row(pair, offset, start, end, relevant, -1, group)


def batch_of(rows: Sequence[Row]) -> Batch:
    batch = padded_pairs([row.pair for row in rows])
    allowed = torch.zeros_like(batch["token_ids"], dtype=torch.bool)
    for i, row in enumerate(rows):
        allowed[i, 0] = allowed[i, row.passage : len(row.pair.ids) - 1] = True
    columns = {"starts": "start", "ends": "end", "relevant": "relevant", "labels": "label", "groups": "group"}
    named = {name: torch.tensor([getattr(row, field) for row in rows]) for name, field in columns.items()}
    return {**batch, "allowed": allowed, **named}


def _sentence_tokens(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where sentences begin and end among tokens; a token on a border is of the sentence that it begins in."""
    begins = [offset[0] for offset in offsets]
    borders = [*(bisect_left(begins, start) for start, _ in sentences(text)[1:]), len(offsets)]
    return [(start, end) for start, end in pairwise([0, *borders]) if start < end]


def _holds(ids: Sequence[int], some: Sequence[int]) -> bool:
    return any(ids[i : i + len(some)] == some for i in range(len(ids) - len(some) + 1))
