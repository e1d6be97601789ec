"""``langbert train``: adapt the encoder, the reranker, the reader or the decoder to one's own data.

What an objective can be told, its class in :mod:`langbert.training` says: a command gets its options from there when
it is typed.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import LangbertError
from .output import Output, command, taking

if TYPE_CHECKING:
    from ..training import Step, TrainReport, TrainSettings
    from ..training.task import Task

_OBJECTIVES = {
    "mlm": (
        "BERT pre-training: guess hidden words, tell what follows what; from scratch or on your own documents.",
        "langbert train mlm --data papers/ --base scratch --output my-bert",
    ),
    "lm": (
        "GPT pre-training: guess the next token; from scratch or on your own documents.",
        "langbert train lm --data papers/ --base scratch --output my-gpt",
        "langbert train lm --data papers/ --base scratch --architecture transformer-xl --output my-xl",
    ),
    "sft": (
        "Supervised fine-tuning: teach the decoder to answer as examples do; prompts carry no loss.",
        "langbert train sft --data conversations.jsonl --output my-decoder",
    ),
    "embedder": (
        "An embedder for your subject: from questions, scored pairs, a teacher, or documents alone.",
        "langbert train embedder --data questions.jsonl --output my-embedder",
        "langbert train embedder --data papers/ --questions asked.jsonl --output my-embedder",
        "langbert train embedder --data questions.jsonl --architecture lstm --output my-lstm",
    ),
    "reranker": (
        "A reranker: tell the passage that answers from those that only look like it.",
        "langbert train reranker --data squad/train-v1.1.json --output my-reranker",
    ),
    "reader": (
        "A reader: point at the words of a passage that answer a question.",
        "langbert train reader --data squad/train-v1.1.json --output my-reader --epochs 1",
        "langbert train reader --data my-questions.json --base minilm-reader --lora 64 --output my-reader",
    ),
    "evidence": (
        "One cross-encoder for relevance, answer spans and entailment, in as many languages as there is data.",
        "langbert train evidence --data reading-sets/ --output my-evidence",
    ),
    "classifier": (
        "A classifier: what a text is, or how two texts stand to each other.",
        "langbert train classifier --data tickets.tsv --output my-classifier",
    ),
    "tagger": (
        "A tagger: names, parts of speech, or any other label for each word.",
        "langbert train tagger --data names.conll --output my-tagger",
        "langbert train tagger --data names.conll --architecture lstm --output my-bilstm",
    ),
    "relations": (
        "An extractor: entities, and how they are related.",
        "langbert train relations --data facts.jsonl --output my-extractor",
        "langbert train relations --data conll04/train.txt --dev conll04/dev.txt --output my-extractor",
    ),
    "seq2seq": (
        "An encoder–decoder: a text in, a text out; a T5 on your own pairs or questions, or a small Transformer.",
        "langbert train seq2seq --data squad/train-v1.1.json --output my-t5",
        "langbert train seq2seq --data pairs.jsonl --base scratch --output my-transformer",
    ),
}
"""What each learns, and how it is typed."""


class _Objectives(TyperGroup):
    """Lists the commands as they are in the table, and makes the one that is typed."""

    def resolve_command(self, context: Any, arguments: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(context, arguments)
        return name, command_for(name) if name else command, rest


app = typer.Typer(
    cls=_Objectives,
    help="Adapt a model to your own data, or train one from scratch. Runs can be stopped at any time and resumed.",
    no_args_is_help=True,
)


def command_for(objective: str) -> Any:
    """The command of an objective, with the options of its class, of the settings, and those of every command."""
    from ..training import task_class
    from .options import fields_of, keywords_of

    summary, *examples = _OBJECTIVES[objective]

    def run(**given: Any) -> None:
        _run(objective, **given)

    kind = task_class(objective)
    keywords = keywords_of(kind, without={"seed"})  # which is one of the settings
    if objective == "reranker":  # what is not given is mined
        keywords = [each.replace(default=None) if each.name == "negatives" else each for each in keywords]
    common = inspect.signature(_common, eval_str=True).parameters.values()
    settings = fields_of(kind.defaults, without={"lora"})
    alone = typer.Typer(add_completion=False)
    alone.command(objective, help="\n\n".join([summary, "Examples:", *examples]))(
        command(taking(run, [*keywords, *settings, *common]))
    )
    return typer.main.get_command(alone)


def _listed() -> None:
    """Stands in the list of commands for the one that :func:`command_for` makes."""


for _name, (_summary, *_) in _OBJECTIVES.items():
    app.command(_name, help=_summary)(_listed)


def _common(
    folder: Annotated[Path, typer.Option("--output", "-o", help="A folder for model, checkpoints, metrics and curve.")],
    lora: Annotated[
        int | None, typer.Option(help="Train adapters of this rank instead of every weight; 0: every weight.", min=0)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run in --output stopped.")] = False,
) -> None:
    """The options every objective has beside the fields of its settings."""


def _run(
    objective: str,
    *,
    output: Output,
    folder: Path,
    lora: int | None,
    resume: bool,
    **options: Any,
) -> None:
    first = os.environ.get("RANK", "0") == "0"  # with `accelerate launch`, one process speaks for all
    if not first:
        output = Output(quiet=True, offline=output.offline)
    from ..training import TrainSettings, task_class
    from ..training.loop import run

    kind = task_class(objective)
    given = {each.name: options.pop(each.name) for each in fields(TrainSettings) if each.name in options}
    settings = _settings(kind.settings_for(options), lora, given)
    if not Path(options["data"]).exists():
        raise typer.BadParameter(f"there is nothing at {options['data']}", param_hint="--data")
    if objective == "reranker" and options["negatives"] is None:
        options["negatives"] = _mined(Path(options["data"]), folder / "negatives.jsonl", options["base"], output)
    if objective == "evidence":
        from ..training.evidence import reading_sets

        with output.waiting("looking for reading sets"):
            sets = reading_sets(options["data"])
        for data, negatives in sets.items():
            if not negatives.is_file():  # under that name only when it is whole
                _mined(data, negatives.with_suffix(".partial"), options["base"], output).replace(negatives)
    if options["base"] != "scratch":
        output.model(options["base"])
    with output.waiting("reading the data"):
        try:
            task: Task = kind(options.pop("data"), **options, seed=settings.seed)  # type: ignore[call-arg]
        except LangbertError:
            raise
        except ValueError as error:  # an option is out of its range
            raise typer.BadParameter(str(error)) from error
    with _Watch(output) as watch:
        report = run(task, folder, settings, resume=resume, watch=watch)
    if first:
        _show(output, report, folder)


def _settings(defaults: TrainSettings, lora: int | None, given: dict[str, Any]) -> TrainSettings:
    """The objective's defaults with what was given on the command line."""
    from ..training import LoraSettings

    changes = {key: value for key, value in given.items() if value is not None}
    if lora is not None:
        adapters = replace(defaults.lora or LoraSettings(), rank=lora, alpha=2 * lora) if lora else None
        changes["lora"] = adapters
    try:
        return replace(defaults, **changes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _mined(data: Path, negatives: Path, base: str, output: Output) -> Path:
    """Hard negatives for every question of ``data``, found by our own search; a stopped search goes on."""
    from ..evaluation import read_questions
    from ..training.adapters import starting_point
    from ..training.mining import mine_negatives
    from .stores import make_embedder

    base, _, _ = starting_point(base)  # a run that goes on from adapters searches with what they are for
    negatives.parent.mkdir(parents=True, exist_ok=True)
    questions = read_questions(data)
    embedder = make_embedder(base, output, pooling=None)
    passages = negatives.with_suffix(".passages")
    with output.counting("mining negatives", len(questions.questions)) as progress:
        return mine_negatives(questions, embedder, negatives, store=passages, progress=progress)


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


def _show(output: Output, report: TrainReport, folder: Path) -> None:
    if output.as_json:
        output.json(
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
    output.out.print(f"{report.steps} steps in {report.seconds / 60:.1f} min, loss {report.loss:.3f}{scores}")
    where = f"The model is in {report.folder}, the curve in {folder / 'learning-curve.png'}."
    output.say(where)
