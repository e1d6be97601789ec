"""Extractive question answering: a start and an end for every question (Devlin et al. 2019, §4.2, §4.3)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..evaluation.datasets import Question, read_questions
from ..evaluation.reading import evaluate_reading
from ..models.bert.heads import SpanReader, span_loss
from ..models.bert.loading import CALIBRATION, ReaderCheckpoint, load_bert
from ..models.files.json_files import write_json
from ..models.files.tokenizer import TextTokenizer
from ..reading import Reader, passage_windows
from .adapters import merged, save_adapters, starting_point
from .batching import padded_pairs
from .calibration import logistic
from .data import held_out, tokens_of
from .mining import read_negatives
from .settings import Bounds, Holdout, LoraSettings, TrainSettings
from .task import Batch, Task, seeded
from .unanswerable import edited_question, names_in

_CALIBRATED = 1500  # questions


class _Example(NamedTuple):
    """A question beside tokens ``[start, stop)`` of a paragraph; the answer's tokens, or -1 where there is none."""

    question: int
    paragraph: int
    start: int
    stop: int
    first: int
    last: int


class ReaderTask(Task):
    """Learn to point at answers, and to say where there is none.

    Args:
        data: a SQuAD file, 1.1 or 2.0.
        base: the encoder to start from, or a reader's adapters (``minilm-reader``) to train further.
        negatives: a JSON-lines file of ``{"id": question id, "negatives": [paragraph id, …]}`` as ``langbert train
            reranker`` mines it: near paragraphs that do not hold the answer.
        unanswerable: for one answerable question, how many without an answer are made (edited questions, and near
            paragraphs); 0 for data that has its own.
        max_length: tokens of question and paragraph together; longer paragraphs are read in overlapping windows.
        holdout: the share of articles kept for evaluation.
    """

    name = "reader"
    metric = "f1"
    heads = ("head",)
    defaults = TrainSettings(batch_size=24, learning_rate=1e-3, dropout=0.0, lora=LoraSettings(dropout=0.0))

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "minilm",
        negatives: str | Path | None = None,
        unanswerable: Annotated[float, Bounds(0)] = 0.5,
        max_length: Annotated[int, Bounds(32, 512)] = 384,
        holdout: Holdout = 0.03,
        seed: int = 0,
    ) -> None:
        self._max_length = max_length
        self.base, folder, self.start = starting_point(base)
        with seeded(seed):
            self.network: nn.Module = SpanReader(load_bert(folder, pooler=False))
        self._tokenizer = TextTokenizer.from_folder(folder)
        everything = read_questions(data)
        titles = {question.title for question in everything.questions}
        held = held_out(titles, holdout, seed)
        self._held = [question for question in everything.questions if question.title in held]
        asked = [question for question in everything.questions if question.title not in held]
        if not asked:
            raise DataError(
                f"{data}: no questions are left to train on after a holdout of {holdout} of {len(titles)} articles"
            )
        self._data = everything
        self._name = Path(data).name
        self._answerable = [question for question in self._held if question.answers]
        self._measured: Sequence[float] = ()  # what `save` calibrates by: the loop evaluates what it saves
        near = read_negatives(negatives) if negatives else {}
        self._prepare(asked, near, unanswerable, random.Random(seed))  # noqa: S311

    def _prepare(
        self, asked: Sequence[Question], near: Mapping[str, Sequence[str]], unanswerable: float, rng: random.Random
    ) -> None:
        names = list(self._data.paragraphs)
        number = {name: i for i, name in enumerate(names)}
        texts = [text for _, text in self._data.paragraphs.values()]
        paragraphs = self._tokenizer.encode(texts)
        self._paragraphs = [encoding.ids for encoding in paragraphs]
        by_article: dict[str, list[str]] = defaultdict(list)
        for question in asked:
            by_article[question.title] += names_in(question.question)
        rows: list[tuple[str, int, int, int]] = []  # question, paragraph, answer start and end (characters)
        for question in asked:
            place = number[question.paragraph]
            if not question.answers:
                rows.append((question.question, place, -1, -1))
                continue
            start = question.answer_starts[0]
            rows.append((question.question, place, start, start + len(question.answers[0])))
            if rng.random() < unanswerable:
                others = near.get(question.id)
                changed = edited_question(question.question, by_article[question.title], rng)
                if changed and (not others or rng.random() < 0.5):
                    rows.append((changed, place, -1, -1))
                elif others:
                    rows.append((question.question, number[rng.choice(others[:5])], -1, -1))
        questions = self._tokenizer.encode([row[0] for row in rows])
        self._questions = [encoding.ids[:64] for encoding in questions]
        self._examples: list[_Example] = []
        for i, (_, place, start, end) in enumerate(rows):
            room = self._max_length - self._tokenizer.n_pair_special - len(self._questions[i])
            first, last = tokens_of(paragraphs[place].offsets, start, end)
            for cut in passage_windows(paragraphs[place], room):
                inside = cut.start <= first and last < cut.stop and first >= 0
                self._examples.append(_Example(i, place, cut.start, cut.stop, *((first, last) if inside else (-1, -1))))

    def lengths(self) -> Sequence[int]:
        return [len(self._questions[e.question]) + e.stop - e.start for e in self._examples]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        rows = [self._examples[i] for i in examples]
        pairs = [
            self._tokenizer.pair(self._questions[e.question], self._paragraphs[e.paragraph][e.start : e.stop])
            for e in rows
        ]
        batch = padded_pairs(pairs)
        allowed = torch.zeros_like(batch["token_ids"], dtype=torch.bool)
        starts, ends = torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.int64)
        for i, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
            n = len(pair.ids)
            offset = n - 1 - (row.stop - row.start)  # where the passage begins
            allowed[i, 0] = allowed[i, offset : n - 1] = True
            if row.first >= 0:
                starts[i], ends[i] = offset + row.first - row.start, offset + row.last - row.start
        return {**batch, "allowed": allowed, "starts": starts, "ends": ends}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        logits = network(batch["token_ids"], batch["attention_mask"], batch["segment_ids"])
        return span_loss(logits, batch["starts"], batch["ends"], batch["allowed"])

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """EM and F1 on the held-out articles' answerable questions, with their own paragraph."""
        if not self._held:
            return {}
        report = evaluate_reading(self._data, self._reader(network, device), questions=self._answerable)
        self._measured = report.margins
        return {"exact": report.exact, "f1": report.f1}

    def save(self, network: nn.Module, folder: Path) -> None:
        save_adapters(network, folder, base=self.base)
        write_json(self._calibration(network), folder / CALIBRATION)

    def _calibration(self, network: nn.Module) -> dict[str, float]:
        """Slope and bias that turn margins into probabilities: held-out questions with their own paragraph against
        the same questions with the paragraph before it."""
        right = self._measured[:_CALIBRATED]
        if not right:
            return {"slope": 1.0, "bias": 0.0}
        asked = self._answerable[:_CALIBRATED]
        names = list(self._data.paragraphs)
        number = {name: i for i, name in enumerate(names)}
        before = [self._data.paragraphs[names[number[question.paragraph] - 1]][1] for question in asked]
        reader = self._reader(network, next(network.parameters()).device)
        wrong = [margin for margin, _, _ in reader.margins([question.question for question in asked], before)]
        slope, bias = logistic([*right, *wrong], [True] * len(right) + [False] * len(wrong))
        return {"slope": slope, "bias": bias}

    def _reader(self, network: nn.Module, device: torch.device) -> Reader:
        checkpoint = ReaderCheckpoint(cast(SpanReader, merged(network)), self._tokenizer)
        return Reader(checkpoint, precision="float32", device=device)

    def facts(self) -> Mapping[str, Any]:
        return {"data": self._name, "base": self.base, "held-out questions": len(self._held)}
