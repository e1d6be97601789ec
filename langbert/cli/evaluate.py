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
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from ..evaluation import evaluate_retrieval, read_retrieval_set
    from ..evaluation.retrieval import corpus_chunks
    from ..retrieval import Retriever
    from ..store import Store
    from .stores import make_embedder

    dataset = read_retrieval_set(data, split)
    names = list(dataset.queries)
    chosen = names if queries is None else names[:: max(1, len(names) // queries)][:queries]
    encoder = make_embedder(embedder, output, offline=offline, pooling=pooling)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(), TimeRemainingColumn())
    with output.bars(*columns) as bars, Store.open(None, embedder=encoder) as store:
        chunks = corpus_chunks(dataset)
        passages = bars.add_task("passages", total=len(chunks))
        store.add(chunks, progress=lambda n: bars.update(passages, advance=n))
        searched = bars.add_task("queries", total=len(chosen))
        report = evaluate_retrieval(
            dataset,
            Retriever(store, mode=mode),
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
