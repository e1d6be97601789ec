"""``langbert eval questions``: people's questions, asked of one store or of one for each corpus."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .output import Output, SoMany, command, measures_table, plain_table
from .writers import ApiKey, BaseUrl, GeneratorName, writer_of

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluation import AskedQuestion, QuestionRow, QuestionsReport


@command
def questions(
    output: Output,
    data: Annotated[Path, typer.Option(help="Questions as JSON lines, with the facts that answers should hold.")],
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            "-s",
            metavar="[CORPUS=]DIR",
            help="The store that is asked; CORPUS=DIR, several times, for the questions of that corpus. "
            "Without any, the answers in --answers are scored.",
        ),
    ] = None,
    mode: Annotated[Literal["auto", "extract", "generate"], typer.Option(help="As in `langbert ask`.")] = "auto",
    limit: SoMany = None,
    threshold: Annotated[float | None, typer.Option(help="The confidence below which to refuse.", min=0, max=1)] = None,
    generator: GeneratorName = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    answers: Annotated[Path | None, typer.Option(help="Keep each answer here as soon as it is given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the answers in --answers.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with every question and its answer.")] = None,
    plot: Annotated[
        bool, typer.Option("--plot", help="Put a plot on that page: is the confidence as often right as it says?")
    ] = False,
) -> None:
    """People's questions: which facts an answer holds in its first 120 words, from the right file, and what is refused.

    Examples:

        langbert eval questions --data questions.jsonl --store my-index --html questions.html

        langbert eval questions --data questions.jsonl --store peps=peps-index --store manual=manual-index --json

        langbert eval questions --data questions.jsonl --answers of-another-tool.jsonl
    """
    if answers is None and (resume or not store):
        raise typer.BadParameter(
            "--resume needs --answers FILE, which holds what there is to go on from"
            if resume
            else "there is nothing to ask: give --store DIR, or --answers FILE to score what was answered"
        )
    if plot and html is None:
        raise typer.BadParameter("--plot needs --html FILE, the page that it is put on")
    from ..evaluation import read_asked_questions, report_questions
    from ..evaluation.datasets import spread

    chosen = spread(read_asked_questions(data), limit)
    if store:
        settings = {"mode": mode, "stores": sorted(store), "threshold": threshold, "generator": generator}
        rows = _asked(
            chosen,
            _stores(store, {asked.corpus for asked in chosen}),
            settings={"data": data.stem, **settings},
            answers=answers,
            resume=resume,
            writing=(generator, base_url, api_key),
            output=output,
        )
    elif answers is not None:
        rows = _given(chosen, answers, output)
    found = report_questions(rows, name=data.stem, mode=mode if store else "given")
    if html is not None:
        from ..evaluation.questions_html import write_questions_report

        write_questions_report(found, html, plot=plot)
    if output.as_json:
        output.json(found.to_dict())
        return
    _show(found, output)
    if html is not None:
        output.note(f"The page is {html}.", "dim")


def _stores(given: Iterable[str], corpora: set[str]) -> dict[str, Path]:
    """Corpus → the folder of its store."""
    named: dict[str, Path] = {}
    others: list[Path] = []
    for text in given:
        name, equals, folder = text.partition("=")
        if equals and (name in corpora or not Path(text).exists()):
            named[name] = Path(folder)
        else:
            others.append(Path(text))
    missing = sorted(corpora - set(named))
    if len(others) > 1 or (missing and not others):
        raise typer.BadParameter(
            f"the questions are of {', '.join(sorted(corpora))}: give one --store DIR for all of them, or "
            f"{' '.join(f'--store {corpus}=DIR' for corpus in missing or sorted(corpora))}"
        )
    return {**{corpus: named[corpus] for corpus in corpora & set(named)}, **dict.fromkeys(missing, *others)}


def _asked(
    chosen: list[AskedQuestion],
    stores: dict[str, Path],
    *,
    settings: dict[str, Any],
    answers: Path | None,
    resume: bool,
    writing: tuple[str | None, str | None, str | None],
    output: Output,
) -> list[QuestionRow]:
    """Every question asked, one store after the other, so that only one is in memory."""
    from ..answering.rag import Rag
    from ..evaluation import ask_questions, questions_run
    from .stores import open_existing, open_plain

    for folder in set(stores.values()):
        open_plain(folder).close()  # one that is missing is told before anything is asked
    writer = writer_of(settings["mode"], *writing, output)
    options: dict[str, Any] = {} if settings["threshold"] is None else {"threshold": settings["threshold"]}
    rows: dict[str, QuestionRow] = {}
    with ExitStack() as stack:
        file = stack.enter_context(questions_run(answers, settings, resume=resume)) if answers is not None else None
        progress = stack.enter_context(output.counting("questions", len(chosen)))
        for folder in dict.fromkeys(stores.values()):
            here = [asked for asked in chosen if stores[asked.corpus] == folder]
            with open_existing(folder, output) as opened:
                rag = Rag(opened, generator=writer, offline=output.offline or None, **options)
                found = ask_questions(here, rag, mode=settings["mode"], file=file, progress=progress)
            rows.update((row.question.id, row) for row in found)
    return [rows[asked.id] for asked in chosen]


def _given(chosen: list[AskedQuestion], answers: Path, output: Output) -> list[QuestionRow]:
    """The answers of a file; a question without one counts as refused."""
    from ..evaluation import QuestionRow, read_given_answers
    from ..evaluation.questions import REFUSAL

    given = read_given_answers(answers)
    if missing := [asked.id for asked in chosen if asked.id not in given]:
        output.note(f"{answers} has no answer to {len(missing):,} of {len(chosen):,} questions: taken as refused")
    return [QuestionRow(asked, given.get(asked.id, REFUSAL)) for asked in chosen]


def _show(report: QuestionsReport, output: Output) -> None:
    from ..evaluation.questions_report import MEASURES

    output.out.print(measures_table(report.groups["all"], MEASURES))
    output.out.print()
    output.out.print(_by_group(report))
    seconds = report.stages.get("total", {})
    told = ", ".join(f"{name} {estimate.value:.2f} s" for name, estimate in seconds.items())
    output.note(f"{report.name}: {len(report.rows):,} questions, {report.mode}{'; ' if told else ''}{told}", "dim")


def _by_group(report: QuestionsReport) -> Table:
    from rich.markup import escape

    from ..evaluation.questions_report import MEASURES

    table = plain_table("", "n", *MEASURES)
    for group, measures in report.groups.items():
        values = (f"{100 * measures[name].value:.1f}" if name in measures else "–" for name in MEASURES)
        table.add_row(escape(group), str(measures["wrong"].n), *values)
    return table
