"""``langbert eval``: how good it is, on public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..records import SearchMode
from .output import Debug, Json, Offline, Output, Quiet

__all__ = ["app"]

app = typer.Typer(help="Measure quality on public data sets.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def retrieval(
    data: Annotated[Path, typer.Option(help="A BEIR folder, or a SQuAD JSON file.", exists=True)],
    mode: Annotated[SearchMode, typer.Option(help="By words and meaning, by meaning, or by words.")] = "hybrid",
    embedder: Annotated[str, typer.Option(help="minilm, owner/name on the hub, or a folder.")] = "minilm",
    pooling: Annotated[str | None, typer.Option(help="cls, mean, max …", show_default=False)] = None,
    rerank: Annotated[
        str | None, typer.Option(help="A reranker over the first 20, e.g. minilm-reranker.", show_default=False)
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="Only so many queries, evenly spread.", min=1, show_default=False)
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of a BEIR folder.", show_default=False)] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Does the right passage come up: R@1, R@5, R@20, RR@10, nDCG@10.

    Example:

        langbert eval retrieval --data squad/dev-v1.1.json --mode hybrid
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    from ..evaluation import evaluate_retrieval, read_retrieval_set
    from ..evaluation.retrieval import corpus_chunks
    from ..retrieval import Retriever
    from ..store import Store
    from .stores import make_embedder, make_reranker

    dataset = read_retrieval_set(data, split)
    names = list(dataset.queries)
    chosen = names if queries is None else names[:: max(1, len(names) // queries)][:queries]
    reorders = make_reranker(rerank, output, offline=offline) if rerank is not None else None
    encoder = make_embedder(embedder, output, offline=offline, pooling=pooling)
    with output.bars() as bars, Store.open(None, embedder=encoder) as store:
        chunks = corpus_chunks(dataset)
        passages = bars.add_task("passages", total=len(chunks))
        store.add(chunks, progress=lambda n: bars.update(passages, advance=n))
        searched = bars.add_task("queries", total=len(chosen))
        report = evaluate_retrieval(
            dataset,
            Retriever(store, mode=mode, reranker=reorders),
            queries=chosen,
            progress=lambda n: bars.update(searched, advance=n),
        )
    if json:
        output.json({**report.to_dict(), "embedder": embedder})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
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
def reading(
    data: Annotated[Path, typer.Option(help="A SQuAD JSON file, 1.1 or 2.0.", exists=True)],
    reader: Annotated[str, typer.Option(help="minilm-reader, owner/name on the hub, or a folder.")] = "minilm-reader",
    questions: Annotated[
        int | None, typer.Option(help="Only so many questions, evenly spread.", min=1, show_default=False)
    ] = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Does a reader point at the right words: exact match, F1, and whether it knows when there is no answer.

    Example:

        langbert eval reading --data squad/dev-v2.0.json
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    from ..evaluation import evaluate_reading, read_questions
    from .stores import make_reader

    asked = read_questions(data)
    everything = list(asked.questions)
    chosen = everything if questions is None else everything[:: max(1, len(everything) // questions)][:questions]
    reads = make_reader(reader, output, offline=offline)
    with output.bars() as bars:
        bar = bars.add_task("questions", total=len(chosen))
        report = evaluate_reading(asked, reads, questions=chosen, progress=lambda n: bars.update(bar, advance=n))
    if json:
        output.json({**report.to_dict(), "reader": reader})
        return
    auroc = f", no-answer AUROC {report.no_answer_auroc:.3f}" if report.no_answer_auroc is not None else ""
    output.out.print(f"exact {report.exact:.1f}, F1 {report.f1:.1f}{auroc}")
    output.note(
        f"{report.name}: {report.questions:,} questions, {report.answerable:,} with an answer, {reader}; "
        f"{report.questions / max(report.seconds, 1e-9):.0f} questions/s",
        "dim",
    )
