"""``langbert eval``: how good it is, on public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..records import SearchMode
from .eval_evidence import evidence
from .eval_questions import questions
from .eval_relations import relations
from .output import Output, SoMany, command, interval, measures_table, plain_table
from .stores import DEFAULT_EMBEDDER, DEFAULT_GENERATOR

if TYPE_CHECKING:
    from ..evaluation import Comparison
    from ..store.base import BaseStore

app = typer.Typer(help="Measure quality on public data sets.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


app.command("questions")(questions)
app.command("evidence")(evidence)
app.command("relations")(relations)


@app.command()
@command
def retrieval(
    output: Output,
    data: Annotated[Path, typer.Option(help="A BEIR folder, or a SQuAD JSON file.", exists=True)],
    mode: Annotated[SearchMode, typer.Option(help="By words and meaning, by meaning, or by words.")] = "hybrid",
    embedder: Annotated[
        str, typer.Option(help="e5-small, minilm, owner/name on the hub, or a folder.")
    ] = DEFAULT_EMBEDDER,
    pooling: Annotated[str | None, typer.Option(help="cls, mean, max …")] = None,
    rerank: Annotated[str | None, typer.Option(help="A reranker over the first 20, e.g. minilm-reranker.")] = None,
    queries: SoMany = None,
    split: Annotated[str | None, typer.Option(help="The split of a BEIR folder.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the values of each query here, to compare runs.")] = None,
) -> None:
    """Does the right passage come up: R@1, R@5, R@20, RR@10, nDCG@10.

    Examples:

        langbert eval retrieval --data squad/dev-v1.1.json --mode hybrid

        langbert eval retrieval --data squad/dev-v1.1.json --mode dense --save dense.jsonl
    """
    from ..evaluation import evaluate_retrieval, read_retrieval_set, save_retrieval
    from ..evaluation.datasets import spread
    from ..evaluation.retrieval import corpus_chunks
    from ..retrieval import Retriever
    from ..store import Store
    from .stores import make_embedder, make_reranker

    dataset = read_retrieval_set(data, split)
    chosen = spread(list(dataset.queries), queries)
    reorders = make_reranker(rerank, output) if rerank is not None else None
    encoder = make_embedder(embedder, output, pooling=pooling)
    with Store.open(None, embedder=encoder) as store:
        chunks = corpus_chunks(dataset)
        with output.counting("passages", len(chunks)) as progress:
            store.add(chunks, progress=progress)
        retriever = Retriever(store, mode=mode, reranker=reorders)
        with output.counting("queries", len(chosen)) as progress:
            report = evaluate_retrieval(dataset, retriever, queries=chosen, progress=progress)
    if save is not None:
        save_retrieval(report, dataset, save, embedder=embedder)
    if output.as_json:
        output.json({**report.to_dict(), "embedder": embedder})
        return
    table = plain_table()
    for measure in report.scores:
        table.add_column(measure, justify="right")
    table.add_row(*(f"{score:.3f}" for score in report.scores.values()))
    output.out.print(table)
    output.note(
        f"{report.name}: {report.queries:,} queries over {report.passages:,} passages, {report.mode}, {embedder}; "
        f"{1000 * report.seconds_per_query:.1f} ms a query",
        "dim",
    )


@app.command()
@command
def reading(
    output: Output,
    data: Annotated[Path, typer.Option(help="A SQuAD JSON file, 1.1 or 2.0.", exists=True)],
    reader: Annotated[str, typer.Option(help="minilm-reader, owner/name on the hub, or a folder.")] = "minilm-reader",
    questions: SoMany = None,
) -> None:
    """Does a reader point at the right words: exact match, F1, and whether it knows when there is no answer.

    Example:

        langbert eval reading --data squad/dev-v2.0.json
    """
    from ..evaluation import evaluate_reading, read_questions
    from ..evaluation.datasets import spread
    from .stores import make_reader

    asked = read_questions(data)
    chosen = spread(asked.questions, questions)
    reads = make_reader(reader, output)
    with output.counting("questions", len(chosen)) as progress:
        report = evaluate_reading(asked, reads, questions=chosen, progress=progress)
    if output.as_json:
        output.json({**report.to_dict(), "reader": reader})
        return
    auroc = f", no-answer AUROC {report.no_answer_auroc:.3f}" if report.no_answer_auroc is not None else ""
    output.out.print(f"exact {report.exact:.1f}, F1 {report.f1:.1f}{auroc}")
    output.note(
        f"{report.name}: {report.questions:,} questions, {report.answerable:,} with an answer, {reader}; "
        f"{report.questions / max(report.seconds, 1e-9):.0f} questions/s",
        "dim",
    )


@app.command()
@command
def answers(
    output: Output,
    data: Annotated[Path, typer.Option(help="A SQuAD JSON file, 1.1 or 2.0.", exists=True)],
    store: Annotated[
        Path | None,
        typer.Option(help="A store that holds the paragraphs; without it one is made in memory."),
    ] = None,
    mode: Annotated[Literal["auto", "extract", "generate"], typer.Option(help="As in `langbert ask`.")] = "auto",
    questions: SoMany = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="Ask every question once more without its article: is it refused?")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="The confidence below which to refuse.", min=0, max=1),
    ] = None,
    embedder: Annotated[str, typer.Option(help="For the store in memory.")] = DEFAULT_EMBEDDER,
    generator: Annotated[str, typer.Option(help="The decoder that writes.")] = DEFAULT_GENERATOR,
    results: Annotated[Path | None, typer.Option(help="Keep each answer here as soon as it is given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the answers in --results.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots and the worst answers.")] = None,
) -> None:
    """End to end, over all paragraphs: exact match, F1, citations, refusals, time, each with its 95 % interval.

    Examples:

        langbert eval answers --data squad/dev-v1.1.json --report answers.html

        langbert eval answers --data squad/dev-v2.0.json --mode extract --results run.jsonl --resume
    """
    if resume and results is None:
        raise typer.BadParameter("--resume needs --results FILE, which holds what there is to go on from")
    if absent and store is not None:
        raise typer.BadParameter("--absent leaves articles out by their title, which only the store in memory knows")
    from ..answering.rag import Rag
    from ..evaluation import evaluate_answers, read_questions
    from ..evaluation.answers import MEASURES, planned
    from ..evaluation.datasets import spread, squad_as_retrieval
    from ..evaluation.retrieval import corpus_chunks
    from .stores import writer_for

    asked = read_questions(data)
    chosen = spread(asked.questions, questions)
    writer = writer_for(mode, generator, output)
    options: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    settings = {
        "absent": absent,
        "threshold": threshold,
        "store": str(store) if store else None,
        "embedder": embedder if store is None else None,
        "generator": generator if mode != "extract" else None,
    }
    with _opened(store, embedder, output) as opened:
        if store is None:
            chunks = corpus_chunks(squad_as_retrieval(asked))
            with output.counting("passages", len(chunks)) as progress:
                opened.add(chunks, progress=progress)
        with output.counting("questions", len(planned(chosen, absent=absent))) as progress:
            found = evaluate_answers(
                asked,
                Rag(opened, generator=writer, offline=output.offline or None, **options),
                mode=mode,
                questions=chosen,
                absent=absent,
                results=results,
                resume=resume,
                settings=settings,
                progress=progress,
            )
    if report is not None:
        from ..evaluation.html import write_answers_report

        write_answers_report(found, asked, report)
    if output.as_json:
        output.json({**found.to_dict(), **settings})
        return
    output.out.print(measures_table(found.measures, MEASURES))
    seconds = found.stages.get("total", {})
    told = ", ".join(f"{name} {estimate.value:.2f} s" for name, estimate in seconds.items())
    output.note(f"{found.name}: {len(found.rows):,} asked of {found.passages:,} passages, {mode}; {told}", "dim")
    if report is not None:
        output.note(f"The report is in {report}.", "dim")


def _opened(folder: Path | None, embedder: str, output: Output) -> BaseStore:
    """The store in ``folder``, or an empty one in memory."""
    from ..store import Store
    from .stores import make_embedder, open_existing

    if folder is not None:
        return open_existing(folder, output)
    return Store.open(None, embedder=make_embedder(embedder, output))


@app.command()
@command
def compare(
    output: Output,
    first: Annotated[Path, typer.Argument(help="A run: `eval retrieval --save` or `eval answers --results`.")],
    second: Annotated[Path, typer.Argument(help="Another one, over the same data.")],
    measure: Annotated[str | None, typer.Option(help="Rank the changes by this; else nDCG@10 or f1.")] = None,
    top: Annotated[int, typer.Option(help="How many of the questions that changed most.", min=0)] = 10,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page of the comparison.")] = None,
) -> None:
    """Is the second run better, or is it chance: each measure with its interval and a paired permutation test.

    Example:

        langbert eval compare dense.jsonl hybrid.jsonl
    """
    from ..evaluation import compare_runs, read_run

    found = compare_runs(read_run(first), read_run(second), measure=measure)
    if report is not None:
        from ..evaluation.html import write_comparison_report

        write_comparison_report(found, (str(first), str(second)), report)
    if output.as_json:
        output.json(found.to_dict(top))
        return
    _show_comparison(found, top, output)


def _show_comparison(found: Comparison, top: int, output: Output) -> None:
    from rich.markup import escape

    table = plain_table("", "first", "second", "difference", "95 % interval", "p", "better", "worse", "same")
    for name, each in found.differences.items():
        values = f"{each.first:.4f}", f"{each.second:.4f}", f"{each.difference:+.4f}"
        p = "" if each.p_value is None else f"{each.p_value:.4f}"
        counts = (str(each.better), str(each.worse), str(each.same))
        table.add_row(name, *values, interval(each.low, each.high, "+.4f"), p, *counts)
    output.out.print(table)
    if found.changes[:top]:
        changed = plain_table(f"\n{found.measure}", "\nfirst", "\nsecond")
        for change in found.changes[:top]:
            changed.add_row(escape(change.question), f"{change.first:.3f}", f"{change.second:.3f}")
        output.out.print(changed)
    alone = found.only_first + found.only_second
    left_out = f"; {alone:,} that only one run asked are left out" if alone else ""
    output.note(f"{found.questions:,} questions in both runs{left_out}", "dim")
