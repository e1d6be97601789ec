"""Numbers with their interval: means, percentiles and AUROC, bootstrapped over the questions by scipy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MissingExtra

LEVEL = 0.95
_RESAMPLES = 1000
_BATCH = 100  # resamples in memory at once
_BINS = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number out of ``n`` observations and its 95 % interval; ``low`` and ``high`` are None for a single one."""

    value: float
    low: float | None
    high: float | None
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """The JSON form."""
        low, high = (None if bound is None else round(bound, 4) for bound in (self.low, self.high))
        return {"value": round(self.value, 4), "low": low, "high": high, "n": self.n}


def estimate_mean(values: Sequence[float]) -> Estimate | None:
    """The mean of ``values``; None without any."""
    return _estimate(np.mean, [np.asarray(values, dtype=np.float64)])


def estimate_percentile(values: Sequence[float], percent: float) -> Estimate | None:
    """The value that ``percent`` of the values do not exceed, interpolated; None without any."""
    return _estimate(
        lambda sample, axis=-1: np.percentile(sample, percent, axis=axis), [np.asarray(values, dtype=np.float64)]
    )


def estimate_auroc(positive: Sequence[float], negative: Sequence[float]) -> Estimate | None:
    """How surely a score tells one kind from the other; None where one kind is missing."""
    return _estimate(_auroc, [np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)])


def estimate_calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> Estimate | None:
    """How far confidence is from the share that is right, in the mean of :func:`calibration_bins` (ECE: Naeini et al.
    2015; Guo et al. 2017, §2); in [0, 1], 0 is best, and few observations alone make it larger. None without any."""
    sure, held = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)

    def statistic(chosen: NDArray[np.float64], axis: int = -1) -> ArrayLike:  # observations by number: pairs stay pairs
        if chosen.ndim > 1:
            return np.array([statistic(one) for one in chosen])
        picked = chosen.astype(np.intp)
        bins = calibration_bins(sure[picked].tolist(), held[picked].tolist())
        return sum(each.n * abs(each.confidence - each.right) for each in bins) / picked.size

    return _estimate(statistic, [np.arange(sure.size, dtype=np.float64)])


class Bin(NamedTuple):
    """Observations of like confidence: their mean confidence, the share that is right, how many they are."""

    confidence: float
    right: float
    n: int


def calibration_bins(confidences: Sequence[float], right: Sequence[float]) -> list[Bin]:
    """Observations by their confidence in tenths, lowest first; a tenth without any is left out."""
    sure, held = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    tenths = np.clip((sure * _BINS).astype(np.intp), 0, _BINS - 1)
    return [
        Bin(float(sure[there].mean()), float(held[there].mean()), int(there.sum()))
        for there in (tenths == tenth for tenth in np.unique(tenths))
    ]


def auroc(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """The chance that a true label has a higher score than a false one, ties being half; None where one is missing."""
    held, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    return float(_auroc(values[held], values[~held])) if 0 < held.sum() < held.size else None


def _auroc(positive: NDArray[np.float64], negative: NDArray[np.float64], axis: int = -1) -> Any:
    """Of the last axis; scipy stacks resamples before it."""
    if positive.ndim > 1:
        return np.array([_auroc(*pair) for pair in zip(positive, negative, strict=True)])
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return below.sum() / (2 * positive.size * negative.size)


def _estimate(statistic: Callable[..., ArrayLike], samples: list[NDArray[np.float64]]) -> Estimate | None:
    n = sum(sample.size for sample in samples)
    if not all(sample.size for sample in samples):
        return None
    value = float(np.asarray(statistic(*samples, axis=-1)))
    if not all(sample.size > 1 for sample in samples):
        return Estimate(value, None, None, n)
    low, high = bootstrap_interval(statistic, samples)
    return Estimate(value, low, high, n)


def bootstrap_interval(
    statistic: Callable[..., ArrayLike], samples: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic of independent samples of two values or more; the same every time."""
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtra("scipy", "eval", "confidence intervals") from error
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        vectorized=True,
        axis=-1,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
