"""Is the second run better than the first: differences question by question, with a paired test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .estimates import bootstrap_interval
from .runs import Run

_RESAMPLES = 9999
_BATCH = 500  # permutations in memory at once
_MAIN = {"retrieval": "nDCG@10", "answers": "f1", "questions": "nuggets"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure in both runs, over the questions that both asked.

    Attributes:
        first, second: the means.
        difference: ``second - first``, with its 95 % interval (None for a single question).
        p_value: how often runs that do not differ would differ so much: a paired permutation test, two-sided.
        better, worse, same: in how many questions the second run is.
    """

    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    better: int
    worse: int
    same: int


@dataclass(frozen=True, slots=True)
class Change:
    """One question's value in both runs."""

    id: str
    question: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        return self.second - self.first


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of the same kind.

    Attributes:
        only_first, only_second: questions that one run alone asked, and that are left out.
        measure: the one that ``changes`` are in.
        changes: of every question whose value is not the same, the largest difference first.
    """

    kind: str
    questions: int
    only_first: int
    only_second: int
    differences: Mapping[str, Difference]
    measure: str
    changes: Sequence[Change] = field(repr=False)

    def to_dict(self, top: int = 10) -> dict[str, Any]:
        """The JSON form, with so many of the changes."""
        found = asdict(self)
        found["changes"] = [
            {**asdict(change), "difference": round(change.difference, 4)} for change in self.changes[:top]
        ]
        return found


def compare_runs(first: Run, second: Run, *, measure: str | None = None) -> Comparison:
    """Compare two runs over the questions they share.

    Args:
        measure: which one to rank changes by; by default nDCG@10 of retrieval, F1 of answers, nuggets of questions.

    Raises:
        DataError: they are of different kinds or share no question, or there is no such measure.
    """
    kind = first.settings["kind"]
    if kind != second.settings["kind"]:
        raise DataError(f"a run of {kind} cannot be compared with one of {second.settings['kind']}")
    shared = [name for name in first.rows if name in second.rows]
    if not shared:
        raise DataError("the two runs share no question: compare runs over the same data")
    names = dict.fromkeys(name for run in (first, second) for row in run.rows.values() for name in row["scores"])
    ranked_by = measure if measure is not None else _MAIN.get(kind, next(iter(names), ""))
    if ranked_by not in names:
        raise DataError(f"no measure {ranked_by!r} in these runs; there are {', '.join(names)}")
    pairs = {name: [(asked, *_values(first, second, asked, name)) for asked in shared] for name in names}
    both = {
        name: np.array([(one, two) for _, one, two in rows if one is not None and two is not None], dtype=np.float64)
        for name, rows in pairs.items()
    }
    changes = [
        Change(asked, str(first.rows[asked]["question"]), one, two)
        for asked, one, two in pairs[ranked_by]
        if one is not None and two is not None and one != two
    ]
    return Comparison(
        kind=kind,
        questions=len(shared),
        only_first=len(first.rows) - len(shared),
        only_second=len(second.rows) - len(shared),
        differences={name: _difference(values[:, 0], values[:, 1]) for name, values in both.items() if len(values)},
        measure=ranked_by,
        changes=sorted(changes, key=lambda change: -abs(change.difference)),
    )


def _values(first: Run, second: Run, asked: str, measure: str) -> tuple[float | None, float | None]:
    return first.rows[asked]["scores"].get(measure), second.rows[asked]["scores"].get(measure)


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    apart = second - first
    low, high = bootstrap_interval(np.mean, [apart]) if len(apart) > 1 else (None, None)
    return Difference(
        first=float(first.mean()),
        second=float(second.mean()),
        difference=float(apart.mean()),
        low=low,
        high=high,
        p_value=_p_value(apart) if len(apart) > 1 else None,
        better=int((apart > 0).sum()),
        worse=int((apart < 0).sum()),
        same=int((apart == 0).sum()),
    )


def _p_value(apart: NDArray[np.float64]) -> float:
    """Where the runs do not differ, every difference might as well have had the other sign.

    As ``scipy.stats.permutation_test(permutation_type="samples")`` with so many resamples, in a tenth of the time.
    """
    moved = apart[apart != 0]  # a question that is the same in both weighs nothing
    rng = np.random.default_rng(0)
    signed = [
        (1 - 2 * rng.integers(2, size=(min(_BATCH, _RESAMPLES - start), moved.size), dtype=np.int8)) @ moved
        for start in range(0, _RESAMPLES, _BATCH)
    ]
    as_large = (
        np.abs(np.concatenate(signed)) >= abs(moved.sum()) - 1e-9
    )  # sums in another order differ in the last place
    return float((as_large.sum() + 1) / (_RESAMPLES + 1))
