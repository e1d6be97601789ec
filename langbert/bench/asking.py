"""How long a question takes: stage by stage with everything loaded, and from the shell, where nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answering.flow import Read, Retrieve, Step, Weigh
from ..answering.rag import Rag
from ..errors import LangbertError
from ..store import StoreLike
from .timing import Timing

_STAGES: Mapping[type, str] = {Retrieve: "search", Weigh: "rerank", Read: "read"}
_ASK = "import sys; from langbert.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class AskSpeed:
    """Answers quoted from a store, everything loaded.

    Attributes:
        stages: of each question: ``search``, ``rerank`` (pieces of passages judged), ``read``, and the ``whole``.
        cpu: processor seconds of the whole, of all threads.
    """

    stages: Mapping[str, Timing]
    cpu: Timing

    def to_dict(self) -> dict[str, Any]:
        stages = {name: timing.latency() for name, timing in self.stages.items()}
        return {**stages, "cpu_seconds": self.cpu.median}


@dataclass(frozen=True, slots=True)
class ShellSpeed:
    """``langbert ask`` in a process of its own.

    Attributes:
        first_word, whole: from the start of the process until it says something, and until it has ended.
        cpu: processor seconds.
        peak_bytes: the most memory that any of them had.
    """

    first_word: Timing
    whole: Timing
    cpu: Timing
    peak_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "first_word_seconds": self.first_word.median,
            "whole_seconds": self.whole.median,
            "cpu_seconds": self.cpu.median,
            "peak_mb": self.peak_bytes / 1e6,
        }


class _Timed(Rag):
    """Knows how long each kind of step took, all of its kind together."""

    spent: dict[str, float]

    def _perform(self, step: Step, where: Mapping[str, Any] | None) -> Any:
        began = time.perf_counter()
        try:
            return super()._perform(step, where)
        finally:
            if name := _STAGES.get(type(step)):
                self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began


def measure_asking(
    store: StoreLike,
    questions: Sequence[str],
    *,
    repeats: int = 3,
    offline: bool | None = None,
    progress: Callable[[], None] = lambda: None,
) -> AskSpeed:
    """Ask each question once to warm up, then ``repeats`` times.

    Args:
        progress: told of every answer.
    """
    rag = _Timed(store, offline=offline)
    found: dict[str, list[float]] = {name: [] for name in (*_STAGES.values(), "whole", "cpu")}
    for number in range(1 + repeats):
        for question in questions:
            rag.spent = {}
            began, cpu = time.perf_counter(), time.process_time()
            rag.ask(question + "?" * number, mode="extract")  # what was just read is remembered to the letter
            taken = {**rag.spent, "whole": time.perf_counter() - began, "cpu": time.process_time() - cpu}
            progress()
            for name, seconds in taken.items() if number else ():
                found[name].append(seconds)
    timings = {name: Timing(tuple(seconds)) for name, seconds in found.items() if seconds}
    return AskSpeed(timings, timings.pop("cpu"))


def measure_shell(folder: str | Path, question: str, *, repeats: int = 3) -> ShellSpeed:
    """Ask in a process of its own, once to warm up (what was calibrated is kept) and ``repeats`` times.

    Raises:
        LangbertError: it failed; or this is no system that says what a process took.
    """
    if not hasattr(os, "wait4"):
        raise LangbertError("what a process takes is measured on Linux and macOS only")
    runs = [_asked(str(folder), question) for _ in range(1 + repeats)][1:]
    first, whole, cpu = (Timing(tuple(run[i] for run in runs)) for i in range(3))
    return ShellSpeed(first, whole, cpu, int(max(run[3] for run in runs)))


def _asked(folder: str, question: str) -> tuple[float, float, float, float]:
    """Seconds until the first word and the end, of the processor, and the peak of memory in bytes."""
    options = ["--store", folder, "--mode", "extract", "--no-server", "--offline", "--quiet"]
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _ASK, "ask", question, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        said, complained = process.stdout, process.stderr
        if said is None or complained is None:
            raise LangbertError("the command has no output to read")
        word = said.read(1)
        first = time.perf_counter() - began
        said.read()
        reason = complained.read().decode("utf-8", "replace").strip()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not word:
        raise LangbertError(f"`langbert ask` failed: {reason or process.returncode}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return first, time.perf_counter() - began, used.ru_utime + used.ru_stime, peak
