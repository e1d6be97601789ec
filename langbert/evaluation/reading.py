"""How well a reader reads: each question beside the paragraph it was asked about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..records import Progress
from .datasets import Question, QuestionSet
from .estimates import auroc
from .scoring import best_over_answers

if TYPE_CHECKING:
    from ..reading import Reader


@dataclass(frozen=True, slots=True)
class ReadingReport:
    """How well a reader reads, each question with its own paragraph.

    Attributes:
        exact, f1: means over the answerable questions, in percent.
        no_answer_auroc: how well the score tells answerable questions from the others (1 is perfectly, 0.5 not at
            all); None where all can be answered.
        margins: of each question: how far its best span was above "no answer".
    """

    name: str
    questions: int
    answerable: int
    exact: float
    f1: float
    no_answer_auroc: float | None
    seconds: float
    margins: tuple[float, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the single questions."""
        return {name: value for name, value in asdict(self).items() if name != "margins"}


def evaluate_reading(
    data: QuestionSet,
    reader: Reader,
    *,
    questions: Sequence[Question] | None = None,
    progress: Progress | None = None,
) -> ReadingReport:
    """Read every question beside its own paragraph.

    Args:
        questions: only these; by default all.
        progress: told how many more questions are read.
    """
    chosen = list(data.questions if questions is None else questions)
    passages = [data.paragraphs[question.paragraph][1] for question in chosen]
    started = time.perf_counter()
    found = reader.margins([question.question for question in chosen], passages, progress=progress)
    seconds = time.perf_counter() - started
    scores = [
        best_over_answers(passage[start:end], question.answers)
        for question, passage, (_, start, end) in zip(chosen, passages, found, strict=True)
        if question.answers
    ]
    n = max(len(scores), 1)
    held = [bool(question.answers) for question in chosen]
    margins = tuple(margin for margin, _, _ in found)
    return ReadingReport(
        name=data.name,
        questions=len(chosen),
        answerable=len(scores),
        exact=100 * sum(score.exact for score in scores) / n,
        f1=100 * sum(score.f1 for score in scores) / n,
        no_answer_auroc=auroc(held, margins),
        seconds=seconds,
        margins=margins,
    )
