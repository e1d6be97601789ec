"""Rounds that can be broken off and taken up again: every measurement is in the results file as soon as it is made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import psutil

from langbert.bench.timing import rotated

_DISTURBED = 0.04
"""The share of the processor in others' hands beyond which a measurement is made again."""

Measure = Callable[[], list[float]]
"""One turn of one contender: seconds, of one thing or of several in a row."""

Found = TypeVar("Found")


class Budget:
    """The seconds this process may take; nothing is begun that would not end within them."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def allows(self, expected: float) -> bool:
        return self._end is None or time.monotonic() + expected <= self._end

    def left(self, at_most: float) -> float:
        """Seconds."""
        return at_most if self._end is None else min(at_most, self._end - time.monotonic())


class Results:
    """A JSON file of cells; a cell is one workload: facts about it, and each contender's seconds by round.

    Raises:
        SystemExit: the file holds measurements of another kind, which must not be mixed with these.
    """

    def __init__(self, file: Path, settings: Mapping[str, Any]) -> None:
        self._file = file
        self.data: dict[str, Any] = {"settings": dict(settings), "cells": {}}
        if file.is_file():
            self.data = json.loads(file.read_text(encoding="utf-8"))
            theirs = self.data["settings"]
            changed = [key for key in settings if theirs.get(key) != settings[key]]
            if changed:
                told = ", ".join(f"{key} {theirs.get(key)!r}, now {settings[key]!r}" for key in changed)
                raise SystemExit(f"{file} was made with {told}; name another --results, or remove it")

    def cell(self, name: str) -> dict[str, Any]:
        cell: dict[str, Any] = self.data["cells"].setdefault(name, {"facts": {}, "rounds": {}})
        return cell

    def forget(self, part: str) -> None:
        """Drop the cells of a part, to measure it anew."""
        self.data["cells"] = {name: cell for name, cell in self.data["cells"].items() if name.split()[0] != part}

    def rounds(self, cell: str, contender: str) -> list[list[float]]:
        rounds: list[list[float]] = self.cell(cell)["rounds"].setdefault(contender, [])
        return rounds

    def note(self, cell: str, **facts: Any) -> None:
        self.cell(cell)["facts"].update(facts)
        self.save()

    def save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(self.data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._file)


def undisturbed(measure: Callable[[], Found], budget: Budget, tries: int = 3) -> tuple[Found | None, float]:
    """A measurement, and the share of the processor that others took meanwhile.

    Where that was too much it is made again, up to ``tries`` times in all, and the one that was disturbed least counts.
    A share is all there is to go by: how fast anyone was plays no part in the choice. None where there is no time to
    make it again.
    """
    best: tuple[Found | None, float] = None, 1.0
    for left in reversed(range(tries)):
        start, others = time.monotonic(), _others_seconds()
        found = measure()
        took = time.monotonic() - start
        share = max(0.0, _others_seconds() - others) / (took * (psutil.cpu_count() or 1))
        if share < _DISTURBED or tries == 1:
            return found, share
        if left and not budget.allows(took):
            return None, share
        if best[0] is None or share < best[1]:
            best = found, share
    return best


def _others_seconds() -> float:
    """Processor time spent so far by everyone but this process and its children, and taken by the host."""
    all_of_it, own = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = sum(getattr(all_of_it, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))
    return float(busy - own.user - own.system - own.children_user - own.children_system)


def take_turns(
    results: Results,
    cell: str,
    calls: Mapping[str, Measure],
    rounds: int,
    budget: Budget,
    say: Callable[[str], None],
    *,
    alone: bool = True,
) -> bool:
    """Contenders in turns until each has so many rounds, or the budget is spent; whether they all have.

    Args:
        alone: what others disturb is made again; False where it is not time that matters.
    """
    for turn in range(rounds):
        for name in rotated(list(calls), turn):
            done = results.rounds(cell, name)
            if len(done) > turn:
                continue
            made = [done] if done else results.cell(cell)["rounds"].values()  # as long as before, or as the slowest
            if not budget.allows(max((sum(rounds_made[-1]) for rounds_made in made if rounds_made), default=0.0)):
                return False
            seconds, disturbed = undisturbed(calls[name], budget) if alone else (calls[name](), 0.0)
            if seconds is None:
                return False
            done.append(seconds)
            results.note(cell, disturbed=max(disturbed, results.cell(cell)["facts"].get("disturbed", 0.0)))
            say(f"{cell}: {name}, round {turn + 1} of {rounds}: {1000 * median(seconds):,.1f} ms")
    return True
