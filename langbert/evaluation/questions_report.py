"""What answers to people's questions come to: by language, corpus and kind, each number with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .answers import latencies
from .estimates import Estimate, estimate_auroc, estimate_calibration_error, estimate_mean
from .questions import QuestionRow

Rows = Sequence[QuestionRow]


@dataclass(frozen=True, slots=True)
class QuestionsReport:
    """What came out.

    Attributes:
        groups: ``"all"``, ``"lang=…"``, ``"corpus=…"``, ``"kind=…"`` → name (of :data:`MEASURES`) → value with its
            interval; what a group cannot tell is missing.
        stages: stage → seconds, ``p50`` and ``p95``.
    """

    name: str
    mode: str
    groups: Mapping[str, Mapping[str, Estimate]]
    stages: Mapping[str, Mapping[str, Estimate]]
    rows: Rows = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, nothing rounded, without the single questions."""
        return {
            "data": self.name,
            "mode": self.mode,
            "questions": len(self.rows),
            "groups": {group: _plain(measures) for group, measures in self.groups.items()},
            "seconds": {stage: _plain(values) for stage, values in self.stages.items()},
        }


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def report_questions(rows: Rows, *, name: str, mode: str) -> QuestionsReport:
    """What ``rows`` come to, together and by group."""
    groups: dict[str, list[QuestionRow]] = {"all": list(rows)}
    for key in ("lang", "corpus", "kind"):
        for row in rows:
            groups.setdefault(f"{key}={getattr(row.question, key)}", []).append(row)
    stages = latencies([row.given.timings for row in rows])
    return QuestionsReport(name, mode, {group: _measured(some) for group, some in groups.items()}, stages, rows)


def _measured(rows: Rows) -> dict[str, Estimate]:
    return {name: found for name, (_, estimate) in MEASURES.items() if (found := estimate(rows)) is not None}


def _mean(score: str) -> Callable[[Rows], Estimate | None]:
    return lambda rows: estimate_mean([row.scores[score] for row in rows if score in row.scores])


def _told_apart(rows: Rows) -> Estimate | None:
    held = [row.given.confidence for row in rows if not row.question.unanswerable]
    others = [row.given.confidence for row in rows if row.question.unanswerable]
    return estimate_auroc(held, others)


def _calibrated(rows: Rows) -> Estimate | None:
    given = [row for row in rows if not row.given.refused]
    return estimate_calibration_error([row.given.confidence for row in given], [row.right for row in given])


MEASURES: dict[str, tuple[str, Callable[[Rows], Estimate | None]]] = {
    "nuggets": ("facts held", _mean("nuggets")),
    "source": ("a right file cited first", _mean("source")),
    "answered": ("answered, of those that can be", _mean("answered")),
    "refused": ("refused, of those that cannot", _mean("refused")),
    "auroc": ("confidence, answerable against not (AUROC)", _told_apart),
    "wrong": ("answered with nothing that it should hold", _mean("wrong")),
    "ece": ("calibration error of the confidence in answers given (ECE)", _calibrated),
}
"""Name → what it says, and how it is worked out; all in [0, 1]. ``wrong`` and ``ece`` alone are better when lower."""
