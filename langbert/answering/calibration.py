"""Confidence held against a store's own questions: some twenty that somebody has labelled tell whether it is too sure
there, or not sure enough.

Two numbers are learned of them, a slope and a bias of its log-odds (Platt 1999, "Probabilistic Outputs for Support
Vector Machines", §2.1), and so few questions do not get the last word: unless they say otherwise, the shipped
confidence is believed (a normal prior around slope 1 and bias 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..log_odds import log_odds
from ..records import Calibration, Progress
from .refusal import HELD

if TYPE_CHECKING:
    from .rag import Rag

__all__ = ["Calibrating", "Rates", "ask_confidences", "calibrate", "check_counts"]

FEWEST = 10
FEWEST_OF_A_KIND = 3
"""Questions, and of them those with and those without an answer, from which anything is learned at all."""

_SLOPES = np.exp(np.linspace(-1.5, 1.5, 61))
_BIASES = np.linspace(-5.0, 5.0, 201)
_SLOPE_SPREAD, _BIAS_SPREAD = 0.3, 1.5
"""Of the prior: of the slope's logarithm, and of the bias. With a slope that is freer, twenty questions mislead."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How good confidences are.

    Attributes:
        answered: the share of the questions with an answer that are answered at 0.5.
        refused: the share of the others that are refused there.
        right: both together, in the use that confidence is calibrated for.
        loss: the logarithmic one in that use, in nats; 0 is best.
    """

    answered: float
    refused: float
    right: float
    loss: float


@dataclass(frozen=True, slots=True)
class Calibrating:
    """What labelled questions came to.

    Attributes:
        calibration: what was learned of all of them; its ``space`` is for whoever keeps it to fill in.
        before: of the confidences as they were.
        after: of each question's confidence by what all the others say of it (leave one out).
        helps: whether the loss is smaller so; if not, there is nothing to keep.
    """

    calibration: Calibration
    before: Rates
    after: Rates

    @property
    def helps(self) -> bool:
        return self.after.loss < self.before.loss

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "helps": self.helps}


def ask_confidences(rag: Rag, questions: Sequence[str], *, progress: Progress | None = None) -> list[float]:
    """How sure ``rag`` is that the documents answer each of ``questions``; nothing is written for it."""
    found = []
    for question in questions:
        found.append(rag.ask(question, mode="extract").confidence)
        if progress:
            progress(1)
    return found


def calibrate(confidences: Sequence[float], held: Sequence[bool], *, share: float = HELD) -> Calibrating:
    """Learn of questions whose answer is there or is not.

    Args:
        confidences: uncalibrated ones (``Rag(store, calibrated=False)``), in [0, 1].
        held: whether the documents answer each.
        share: of the questions to come, how many they will answer: whatever the labelled ones are, those with and those
            without an answer count so.

    Raises:
        DataError: there are too few, or too few of one kind.
        ValueError: ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    check_counts(held)
    answerable = np.asarray(held, dtype=bool)
    n, n_held = len(answerable), int(answerable.sum())
    odds = np.array([log_odds(sure) for sure in confidences])
    weights = n * np.where(answerable, share / n_held, (1 - share) / (n - n_held))
    slopes, biases = (grid.ravel() for grid in np.meshgrid(_SLOPES, _BIASES))
    losses = weights * _losses(np.outer(slopes, odds) + biases[:, None], answerable)  # (pairs, n)
    total = losses.sum(axis=1) + ((np.log(slopes) / _SLOPE_SPREAD) ** 2 + (biases / _BIAS_SPREAD) ** 2) / 2
    best = int(total.argmin())
    others = (total[:, None] - losses).argmin(axis=0)  # (n,) of each question, without it
    return Calibrating(
        Calibration(round(float(slopes[best]), 4), round(float(biases[best]), 4), n),
        _rates(odds, answerable, weights),
        _rates(slopes[others] * odds + biases[others], answerable, weights),
    )


def check_counts(held: Sequence[bool]) -> None:
    """Whether there are enough labelled questions to learn of.

    Raises:
        DataError: there are too few, or too few of one kind.
    """
    n, n_held = len(held), sum(held)
    if n < FEWEST or min(n_held, n - n_held) < FEWEST_OF_A_KIND:
        raise DataError(
            f"expected at least {FEWEST} questions, {FEWEST_OF_A_KIND} with an answer in the documents and "
            f"{FEWEST_OF_A_KIND} without (better ten of each); got {n}: {n_held} with, {n - n_held} without"
        )


def _losses(odds: NDArray[np.float64], held: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp(0, np.where(held, -odds, odds)))


def _rates(odds: NDArray[np.float64], held: NDArray[np.bool_], weights: NDArray[np.float64]) -> Rates:
    right = (odds >= 0) == held
    return Rates(
        answered=float(right[held].mean()),
        refused=float(right[~held].mean()),
        right=float(weights @ right / weights.sum()),
        loss=float(weights @ _losses(odds, held) / weights.sum()),
    )
