"""``langbert train``: adapt the encoder, the reranker, the reader or the decoder to one's own data.

A command of :mod:`langbert.cli.objectives` only says what its objective can be told; :func:`objective` adds what all
have in common and runs the one loop.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from ..errors import LangbertError
from .output import Debug, Json, Output, Quiet

if TYPE_CHECKING:
    from ..training import Step, TrainReport, TrainSettings
    from ..training.task import Task

__all__ = ["app", "objective"]

app = typer.Typer(
    help="Adapt a model to your own data, or train one from scratch. Runs can be stopped at any time and resumed.",
    no_args_is_help=True,
)


def _common(
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for model, checkpoints, metrics and curve.")],
    epochs: Annotated[float | None, typer.Option(help="Passes over the data; may be a fraction.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in one step.", min=1)] = None,
    accumulation: Annotated[int | None, typer.Option(help="Batches summed into one step.", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak.")] = None,
    dropout: Annotated[float | None, typer.Option(help="0 trains about twice as fast on a CPU.")] = None,
    lora: Annotated[
        int | None, typer.Option(help="Train adapters of this rank instead of every weight; 0: every weight.", min=0)
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"] | None,
        typer.Option(help="auto: bfloat16 where the hardware multiplies it."),
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for a third more time.")
    ] = False,
    max_steps: Annotated[int | None, typer.Option(help="Stop after so many steps.", min=1)] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between evaluations; 0: only at the end.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and masks.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run in --output stopped.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The options every objective has; None leaves a setting as the objective's defaults have it."""


def objective(declare: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Make a command of ``declare``: its options and the common ones in; its dict goes to the objective's class."""
    shared = inspect.signature(_common).parameters
    hints = {**get_type_hints(_common, include_extras=True), **get_type_hints(declare, include_extras=True)}

    def command(**given: Any) -> None:
        common = {name: given.pop(name) for name in shared}
        _run(declare.__name__, declare(**given), **common)

    parameters = [*inspect.signature(declare).parameters.values(), *shared.values()]
    required_first = sorted(parameters, key=lambda parameter: parameter.default is not parameter.empty)
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in required_first]
    )
    command.__annotations__ = {parameter.name: hints[parameter.name] for parameter in parameters}
    command.__doc__ = declare.__doc__
    app.command(declare.__name__)(command)
    return declare


def _run(
    name: str,
    options: dict[str, Any],
    output: Path,
    lora: int | None,
    resume: bool,
    json: bool,
    quiet: bool,
    debug: bool,
    **given: Any,
) -> None:
    first = os.environ.get("RANK", "0") == "0"  # with `accelerate launch`, one process speaks for all
    console = Output(as_json=json, quiet=quiet or not first, debug=debug)
    with console.waiting("loading"):
        from ..training import task_class
        from ..training.loop import run

        kind = task_class(name)
        settings = _settings(kind.settings_for(options), lora, given)
    if name == "reranker" and options["negatives"] is None:
        options["negatives"] = _mined(Path(options["data"]), output, options["base"], console)
    base = options.get("base")
    if base and base != "scratch":
        console.model(base)
    with console.waiting("reading the data"):
        try:
            task: Task = kind(options.pop("data"), **options, seed=settings.seed)  # type: ignore[call-arg]
        except LangbertError:
            raise
        except ValueError as error:  # an option is out of its range
            raise typer.BadParameter(str(error)) from error
    with _Watch(console) as watch:
        report = run(task, output, settings, resume=resume, watch=watch)
    if first:
        _show(console, report, output)


def _settings(defaults: TrainSettings, lora: int | None, given: dict[str, Any]) -> TrainSettings:
    """The objective's defaults with what was given on the command line."""
    from ..training import LoraSettings

    changes = {key: value for key, value in given.items() if value not in (None, False)}
    if lora is not None:
        adapters = replace(defaults.lora or LoraSettings(), rank=lora, alpha=2 * lora) if lora else None
        changes["lora"] = adapters
    try:
        return replace(defaults, **changes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _mined(data: Path, output: Path, base: str, console: Output) -> Path:
    """Hard negatives for every question of ``data``, found by our own search; a stopped search goes on."""
    from ..evaluation import read_questions
    from ..training.mining import mine_negatives
    from .stores import make_embedder

    output.mkdir(parents=True, exist_ok=True)
    questions = read_questions(data)
    embedder = make_embedder(base, console, offline=False, pooling=None)
    with console.bars() as bars:
        bar = bars.add_task("mining negatives", total=len(questions.questions))
        return mine_negatives(
            questions,
            embedder,
            output / "negatives.jsonl",
            store=output / "passages",
            progress=lambda n: bars.update(bar, advance=n),
        )


class _Watch:
    """The progress bar of a run: loss, speed, time left; scores as they are measured."""

    def __init__(self, output: Output) -> None:
        from rich.progress import MofNCompleteColumn, TextColumn

        self._output = output
        self._bars = output.bars(
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  [dim]{task.fields[rate]:,.0f} tokens/s[/]"),
        )
        self._task: Any = None

    def __enter__(self) -> _Watch:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def __call__(self, step: Step) -> None:
        rate = step.tokens / max(step.seconds, 1e-9)
        if self._task is None:
            self._task = self._bars.add_task("training", total=step.total, loss=step.loss, rate=rate)
        self._bars.update(self._task, completed=step.number, loss=step.loss, rate=rate)
        if step.metrics and step.number < step.total:
            self._output.note(f"step {step.number}: {_scores(step.metrics)}", "dim")


def _scores(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _show(console: Output, report: TrainReport, output: Path) -> None:
    if console.as_json:
        console.json(
            {
                "model": str(report.folder),
                "steps": report.steps,
                "loss": report.loss,
                "metrics": report.metrics,
                "seconds": report.seconds,
            }
        )
        return
    scores = f"; {_scores(report.metrics)}" if report.metrics else ""
    console.out.print(f"{report.steps} steps in {report.seconds / 60:.1f} min, loss {report.loss:.3f}{scores}")
    console.out.print(f"The model is in {report.folder}, the curve in {output / 'learning-curve.png'}.", soft_wrap=True)
