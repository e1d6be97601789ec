"""Timing several contenders so that the differences are theirs and not the machine's.

A machine changes its pace while it runs: its clock, its neighbours. So contenders take turns, round after round, in an
order that rotates; medians stand for each, and two are compared within each round, where the pace was the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np


@dataclass(frozen=True, slots=True)
class Timing:
    """The seconds that one thing took, each time; at least one.

    Raises:
        ValueError: there is none.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("a timing needs at least one measurement, got none")

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def fastest(self) -> float:
        return min(self.seconds)

    @property
    def slowest(self) -> float:
        return max(self.seconds)

    def percentile(self, percent: float) -> float:
        """The seconds within which ``percent`` of the measurements stayed, interpolated."""
        return float(np.percentile(self.seconds, percent))

    def latency(self) -> dict[str, float]:
        """Milliseconds: the median, the 95th percentile and the slowest, under the names JSON documents have."""
        return {
            "p50_ms": 1000 * self.median,
            "p95_ms": 1000 * self.percentile(95),
            "slowest_ms": 1000 * self.slowest,
        }

    def ratios(self, base: Timing) -> Timing:
        """How many times faster than ``base``, round by round as far as both were measured."""
        return Timing(tuple(theirs / own for own, theirs in zip(self.seconds, base.seconds, strict=False)))

    def rates(self, amount: float) -> tuple[float, float, float]:
        """``amount`` per second: at the median, at the slowest and at the fastest."""
        return amount / self.median, amount / self.slowest, amount / self.fastest


def timed(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds that ``call`` takes."""
    start = clock()
    call()
    return clock() - start


def rotated(names: Sequence[str], by: int) -> Iterator[str]:
    """The names in turn, beginning with another one each round, so that nobody always runs behind the same one."""
    for i in range(len(names)):
        yield names[(i + by) % len(names)]


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    warmups: int = 1,
) -> dict[str, Timing]:
    """Each contender ``repeats`` times, in turns.

    Args:
        contenders: by name, what to call.
        repeats: rounds that count.
        warmups: rounds before them that do not.

    Raises:
        ValueError: there is nothing to measure.
    """
    if repeats < 1 or warmups < 0:
        raise ValueError(f"expected one round at least that counts, got repeats={repeats}, warmups={warmups}")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-warmups, repeats):
        for name in rotated(list(contenders), turn):
            taken = timed(contenders[name])
            if turn >= 0:
                seconds[name].append(taken)
    return {name: Timing(tuple(taken)) for name, taken in seconds.items()}
