"""Training: every objective that BERT and GPT are made of, on one resumable loop.

>>> from langbert.training import train
>>> report = train("reader", "squad/train-v1.1.json", "my-reader", epochs=1)  # doctest: +SKIP
>>> report.folder, report.metrics  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LangbertError
from .settings import LoraSettings, Step, TrainReport, TrainSettings

if TYPE_CHECKING:
    from .task import Task

__all__ = ["TASKS", "LoraSettings", "Step", "TrainReport", "TrainSettings", "task_class", "train"]

TASKS = {
    "mlm": "MlmTask",
    "lm": "LmTask",
    "sft": "SftTask",
    "embedder": "EmbedderTask",
    "reranker": "RerankerTask",
    "reader": "ReaderTask",
    "classifier": "ClassifierTask",
    "tagger": "TaggerTask",
    "relations": "RelationsTask",
    "evidence": "EvidenceTask",
    "seq2seq": "Seq2SeqTask",
}
"""What ``langbert train`` knows: the objective, and its class in the module of that name."""


def task_class(name: str) -> type[Task]:
    """The class of an objective.

    Raises:
        LangbertError: there is none of that name.
    """
    if name not in TASKS:
        near = get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(TASKS)}"
        raise LangbertError(f"there is no objective called {name!r}: {hint}")
    found: type[Task] = getattr(import_module(f"{__name__}.{name}"), TASKS[name])
    return found


def train(
    objective: str,
    /,
    data: str | Path,
    output: str | Path,
    *,
    resume: bool = False,
    watch: Callable[[Step], None] | None = None,
    **options: Any,
) -> TrainReport:
    """Train, and leave the best model in ``output/model``.

    Args:
        objective: one of :data:`TASKS`.
        data: what the objective learns from; see its class.
        output: a folder for the model, the checkpoints, the metrics and the learning curve.
        resume: go on where an earlier run in ``output`` was stopped.
        watch: hears of every step.
        options: fields of :class:`TrainSettings` (``epochs=2``), and keywords of the objective's class; what is not
            given is as the class has it (:meth:`Task.settings_for`).

    Raises:
        DataError: the data cannot be used; the message names file and line.
        LangbertError: see :func:`langbert.training.loop.run`.
    """
    from .loop import run

    kind = task_class(objective)
    known = {field.name for field in fields(TrainSettings)}
    settings = replace(kind.settings_for(options), **{name: options.pop(name) for name in known & options.keys()})
    options.setdefault("seed", settings.seed)
    task: Task = kind(data, **options)  # type: ignore[call-arg]
    return run(task, output, settings, resume=resume, watch=watch)
