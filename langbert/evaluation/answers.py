"""End to end: questions asked of a whole corpus; each answer, its citations and its refusal held against the truth."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ..records import Answer, AnswerMode, Progress
from .datasets import Question, QuestionSet
from .estimates import Estimate, estimate_auroc, estimate_mean, estimate_percentile
from .runs import RunFile
from .scoring import best_over_answers, holds_answer

AnswerKind = Literal["answerable", "unanswerable", "absent"]
"""It is answered in the corpus; its paragraph is there but does not answer it (SQuAD 2.0); its article was left out."""

_MARKER = re.compile(r"(?:(?<!\s)\s+)?\[(\d+)\]")
_STAGES_LAST = ("total",)


class Asks(Protocol):
    """What is evaluated; :class:`langbert.Rag` is one."""

    def ask(self, question: str, *, mode: AnswerMode = "auto", where: Mapping[str, Any] | None = None) -> Answer: ...


@dataclass(frozen=True, slots=True)
class CitedQuote:
    """A citation: whether its quote holds an accepted answer, and whether it stands in the question's paragraph."""

    source: str
    page: int | None
    quote: str
    holds: bool
    right: bool


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One question and what became of it.

    Attributes:
        id: the question's, with `` absent`` behind it where its article was left out.
        answer: without the ``[n]`` that point at citations; empty where it was refused.
        scores: in [0, 1], higher is better. An answerable question has ``exact`` and ``f1`` (of the words that answer,
            where a reader pointed at some, else of the text), ``contained`` (in the text) and ``answered`` (not
            refused), and where something is cited ``cited_answer`` and ``cited_passage``, the shares of the quotes
            that hold the answer and that stand in the right paragraph, and ``evidence``, whether any holds it. An
            unanswerable one has ``rightly_refused``, and its ``exact`` and ``f1`` are the same, as SQuAD 2.0 counts
            them; one without its article has ``absent_refused``.
        timings: seconds, as the answer told them.
    """

    id: str
    question: str
    kind: AnswerKind
    title: str
    paragraph: str
    answers: tuple[str, ...]
    answer: str
    refused: bool
    confidence: float
    scores: Mapping[str, float]
    citations: tuple[CitedQuote, ...]
    timings: Mapping[str, float]

    @property
    def merit(self) -> float:
        """F1, or where nothing is to be found whether it was refused; in [0, 1]."""
        return self.scores["f1"] if self.kind == "answerable" else float(self.refused)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> AnswerRow:
        quotes = tuple(CitedQuote(**cited) for cited in row["citations"])
        return cls(**{**row, "answers": tuple(row["answers"]), "citations": quotes})


@dataclass(frozen=True, slots=True)
class AnswersReport:
    """What came out.

    Attributes:
        measures: name (of :data:`MEASURES`) → value with its interval; what cannot be measured on this data is missing.
        stages: stage → seconds, ``p50`` and ``p95`` over the questions that went through it.
        rows: of each question.
    """

    name: str
    mode: str
    passages: int
    measures: Mapping[str, Estimate]
    stages: Mapping[str, Mapping[str, Estimate]]
    rows: Sequence[AnswerRow] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the single questions."""
        kinds = [row.kind for row in self.rows]
        return {
            "data": self.name,
            "mode": self.mode,
            "passages": self.passages,
            "questions": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
            "measures": {name: estimate.to_dict() for name, estimate in self.measures.items()},
            "seconds": {
                stage: {name: estimate.to_dict() for name, estimate in values.items()}
                for stage, values in self.stages.items()
            },
        }


def evaluate_answers(
    data: QuestionSet,
    rag: Asks,
    *,
    mode: AnswerMode = "auto",
    questions: Sequence[Question] | None = None,
    absent: bool = False,
    results: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> AnswersReport:
    """Ask the questions of ``data`` and score every answer.

    The store behind ``rag`` holds the paragraphs: ``store.add(corpus_chunks(squad_as_retrieval(data)))``, or documents
    that they stand in word for word.

    Args:
        questions: only these; by default all.
        absent: ask each answerable question once more, without its article (a filter on the source, which
            :func:`corpus_chunks` sets to the title): it should be refused then.
        results: a file of JSON lines that keeps each row as soon as it is made.
        resume: go on from the rows in ``results``.
        settings: kept in ``results`` beside data and mode; a run is only resumed with the same.
        progress: told after each answer, rows from an earlier run included.

    Raises:
        DataError: ``results`` is there already, and not to be resumed; or it holds a run of something else.
    """
    asked = planned(data.questions if questions is None else questions, absent=absent)
    made: list[AnswerRow] = []
    with ExitStack() as stack:
        kept = {
            "kind": "answers",
            "data": data.name,
            "mode": mode,
            "passages": len(data.paragraphs),
            **(settings or {}),
        }
        file = stack.enter_context(RunFile(Path(results), kept, resume=resume)) if results is not None else None
        for question, kind in asked:
            earlier = file.rows.get(row_id(question, kind)) if file else None
            if earlier is not None:
                made.append(AnswerRow.from_dict(earlier))
            else:
                where = {"source": {"$ne": question.title}} if kind == "absent" else None
                answer = rag.ask(question.question, mode=mode, where=where)
                made.append(score_answer(question, kind, answer, data.paragraphs[question.paragraph][1]))
                if file:
                    file.append(made[-1].to_dict())
            if progress:
                progress(1)
    return report_answers(made, name=data.name, mode=mode, passages=len(data.paragraphs))


def planned(questions: Iterable[Question], *, absent: bool = False) -> list[tuple[Question, AnswerKind]]:
    """What is asked, in order: every question, and where ``absent`` the answerable ones without their article too."""
    asked: list[tuple[Question, AnswerKind]] = []
    for question in questions:
        asked.append((question, "answerable" if question.answers else "unanswerable"))
        if absent and question.answers:
            asked.append((question, "absent"))
    return asked


def row_id(question: Question, kind: AnswerKind) -> str:
    """Which row of a run is this question's."""
    return f"{question.id} absent" if kind == "absent" else question.id


def score_answer(question: Question, kind: AnswerKind, answer: Answer, paragraph: str) -> AnswerRow:
    """Hold ``answer`` against what is accepted; ``paragraph`` is the text the question was asked about."""
    text = "" if answer.refused else _without_markers(answer)
    accepted = question.answers if kind == "answerable" else ()
    here = " ".join(paragraph.split())
    quotes = tuple(
        CitedQuote(
            source=citation.source,
            page=citation.page,
            quote=citation.quote,
            holds=holds_answer(citation.quote, accepted),
            right=kind != "absent" and " ".join(citation.quote.split()) in here,
        )
        for citation in answer.citations
    )
    return AnswerRow(
        id=row_id(question, kind),
        question=question.question,
        kind=kind,
        title=question.title,
        paragraph=question.paragraph,
        answers=accepted,
        answer=text,
        refused=answer.refused,
        confidence=float(answer.confidence),
        scores=_scores(kind, text, answer.short or text, accepted, quotes, refused=answer.refused),
        citations=quotes,
        timings=dict(answer.timings),
    )


def _scores(
    kind: AnswerKind, text: str, short: str, accepted: Sequence[str], quotes: Sequence[CitedQuote], *, refused: bool
) -> dict[str, float]:
    if kind == "absent":
        return {"absent_refused": float(refused)}
    if kind == "unanswerable":
        return dict.fromkeys(("exact", "f1", "rightly_refused"), float(refused))
    exact, f1 = best_over_answers(short, accepted)
    held = float(holds_answer(text, accepted))
    scores = {"exact": exact, "f1": f1, "contained": held, "answered": float(not refused)}
    if quotes:
        scores["evidence"] = float(any(quote.holds for quote in quotes))
        scores["cited_answer"] = statistics.fmean(quote.holds for quote in quotes)
        scores["cited_passage"] = statistics.fmean(quote.right for quote in quotes)
    return scores


def _without_markers(answer: Answer) -> str:
    count = len(answer.citations)
    return _MARKER.sub(lambda match: "" if 1 <= int(match[1]) <= count else match[0], answer.text).strip()


def report_answers(rows: Sequence[AnswerRow], *, name: str, mode: str, passages: int) -> AnswersReport:
    """What the rows come to."""
    measures = {measure: found for measure, (_, estimate) in MEASURES.items() if (found := estimate(rows)) is not None}
    return AnswersReport(name, mode, passages, measures, latencies([row.timings for row in rows]), rows)


def latencies(timings: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Estimate]]:
    """Stage → ``p50`` and ``p95`` of its seconds over the answers that went through it; ``total`` is last."""
    stages = dict.fromkeys(stage for taken in timings for stage in taken)
    ordered = [stage for stage in stages if stage not in _STAGES_LAST] + [s for s in stages if s in _STAGES_LAST]
    return {stage: _latency([taken[stage] for taken in timings if stage in taken]) for stage in ordered}


def _latency(seconds: Sequence[float]) -> dict[str, Estimate]:
    found = {f"p{percent}": estimate_percentile(seconds, percent) for percent in (50, 95)}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _of(rows: Iterable[AnswerRow], kind: AnswerKind) -> list[AnswerRow]:
    return [row for row in rows if row.kind == kind]


def _mean(score: str) -> Callable[[Sequence[AnswerRow]], Estimate | None]:
    return lambda rows: estimate_mean([row.scores[score] for row in _of(rows, "answerable") if score in row.scores])


def _refused(kind: AnswerKind) -> Callable[[Sequence[AnswerRow]], Estimate | None]:
    return lambda rows: estimate_mean([float(row.refused) for row in _of(rows, kind)])


def _told_apart(kind: AnswerKind) -> Callable[[Sequence[AnswerRow]], Estimate | None]:
    def estimate(rows: Sequence[AnswerRow]) -> Estimate | None:
        held, others = ([row.confidence for row in _of(rows, which)] for which in ("answerable", kind))
        return estimate_auroc(held, others)

    return estimate


def _with_refusals(score: str) -> Callable[[Sequence[AnswerRow]], Estimate | None]:
    def estimate(rows: Sequence[AnswerRow]) -> Estimate | None:
        if not _of(rows, "unanswerable"):
            return None
        return estimate_mean([row.scores[score] for row in rows if row.kind != "absent"])

    return estimate


MEASURES: dict[str, tuple[str, Callable[[Sequence[AnswerRow]], Estimate | None]]] = {
    "exact": ("exact match", _mean("exact")),
    "f1": ("F1", _mean("f1")),
    "contained": ("answer contained", _mean("contained")),
    "evidence": ("some cited quote holds the answer", _mean("evidence")),
    "citation_precision": ("cited quote holds the answer", _mean("cited_answer")),
    "citation_passage": ("cited quote stands in the right passage", _mean("cited_passage")),
    "refused": ("refused, of all questions", lambda rows: estimate_mean([float(row.refused) for row in rows])),
    "wrongly_refused": ("refused, though it is there", _refused("answerable")),
    "rightly_refused": ("refused, as it is not answered there", _refused("unanswerable")),
    "auroc": ("confidence, answerable against not (AUROC)", _told_apart("unanswerable")),
    "absent_refused": ("refused without its article", _refused("absent")),
    "absent_auroc": ("confidence, with and without its article (AUROC)", _told_apart("absent")),
    "exact_2.0": ("exact match, refusals counted (SQuAD 2.0)", _with_refusals("exact")),
    "f1_2.0": ("F1, refusals counted (SQuAD 2.0)", _with_refusals("f1")),
}
"""Name → what it says, and how it is worked out. Unless said otherwise over the answerable questions; all in [0, 1]."""
