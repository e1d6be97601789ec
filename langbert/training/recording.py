"""What a run leaves to look at: a CSV, TensorBoard events, a learning curve, a model card."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from ..errors import MissingExtra
from .settings import Step, TrainReport, TrainSettings
from .task import Task

CARD = "README.md"
"""What says what a model is; in its folder once the run is through."""

_CSV = "metrics.csv"
_COLUMNS = ("step", "loss", "learning_rate", "tokens", "seconds", "metrics")


class Recorder:
    """Appends every step to ``metrics.csv`` and TensorBoard; rows after ``step`` (from before a kill) are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        file = folder / _CSV
        kept = [row for row in read_rows(file) if int(row["step"]) <= step] if file.is_file() else []
        self._file = file.open("w", encoding="utf-8", newline="")
        self._rows = csv.DictWriter(self._file, _COLUMNS)
        self._rows.writeheader()
        self._rows.writerows(kept)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("tensorboard", "train", "recording a run") from error
        self._board: Any = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def write(self, step: Step) -> None:
        metrics = json.dumps(step.metrics) if step.metrics else ""
        values = (step.number, step.loss, step.learning_rate, step.tokens, round(step.seconds, 3), metrics)
        self._rows.writerow(dict(zip(_COLUMNS, values, strict=True)))
        self._file.flush()
        self._board.add_scalar("train/loss", step.loss, step.number)
        self._board.add_scalar("train/learning_rate", step.learning_rate, step.number)
        for name, value in step.metrics.items():
            self._board.add_scalar(f"evaluation/{name}", value, step.number)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._board.close()


def read_rows(file: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``; a last line cut off by a kill is left out."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["metrics"] is not None]


def write_curve(folder: Path, metric: str) -> None:
    """``learning-curve.png``: the loss, smoothed, and the metric where it was measured."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train", "drawing the learning curve") from error
    rows = read_rows(folder / _CSV)
    steps, losses = [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
    measured = [(int(row["step"]), json.loads(row["metrics"])) for row in rows if row["metrics"]]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, losses, color="tab:blue", alpha=0.2, linewidth=0.8)
    axes.plot(steps, _smoothed(losses), color="tab:blue", label="loss")
    axes.set(xlabel="step", ylabel="loss")
    points = [(step, values[metric]) for step, values in measured if metric in values]
    if points:
        right = axes.twinx()
        right.plot(*zip(*points, strict=True), "o-", color="tab:orange", label=metric)
        right.set_ylabel(metric)
    figure.savefig(folder / "learning-curve.png", dpi=120)


def _smoothed(values: list[float], weight: float = 0.98) -> list[float]:
    """An exponential mean, without the bias towards its start."""
    smooth, total, norm = [], 0.0, 0.0
    for value in values:
        total, norm = weight * total + (1 - weight) * value, weight * norm + 1 - weight
        smooth.append(total / norm)
    return smooth


def write_card(task: Task, settings: TrainSettings, report: TrainReport) -> None:
    """What the model is, what it was trained on and how, and how good it is."""
    facts = {
        "task": task.name,
        "examples": len(task),
        "steps": report.steps,
        "minutes": round(report.seconds / 60, 1),
        **task.facts(),
    }
    lines = [f"# {task.name}, trained by langbert", ""]
    for title, rows in (("Scores", report.metrics), ("Training", facts), ("Settings", settings.to_dict())):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [
            f"| {key} | {round(value, 4) if isinstance(value, float) else value} |" for key, value in rows.items()
        ]
        lines.append("")
    (report.folder / CARD).write_text("\n".join(lines), encoding="utf-8")
