"""``langbert bench``: how fast it is on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bench_generate import generate
from .bench_parts import machine, texts_of
from .output import Debug, Json, Offline, Output, Quiet, StoreFolder, parse_where, plain_table

if TYPE_CHECKING:
    from ..bench import EmbeddingSpeed, Profile, SearchSpeed, StoreQuestion
    from ..embedding.embedder import Embedder
    from ..records import Document, EmbeddingSpace
    from ..store import Store

__all__ = ["app"]

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.command()(generate)


@app.callback()
def _group() -> None:
    pass


@app.command()
def embed(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files and folders to embed, in chunks; without any, built-in texts.", exists=True),
    ] = None,
    texts: Annotated[int, typer.Option(help="At most so many texts.", min=1)] = 256,
    model: Annotated[str, typer.Option(help="minilm, owner/name on the hub, or a folder.")] = "minilm",
    precision: Annotated[
        list[str] | None,
        typer.Option(help="auto, float32, bfloat16 …; several are measured in turns.", show_default="auto"),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens the encoder reads at once.", min=1, show_default=False)
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads.", min=1, show_default="every core")] = None,
    repeats: Annotated[int, typer.Option(help="Rounds that count; medians are shown.", min=1)] = 3,
    profile: Annotated[bool, typer.Option(help="Also show where the time goes.")] = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Texts and tokens a second, and how near that is to the fastest matrix product of this machine.

    Example:

        langbert bench embed docs/ --precision auto --precision float32
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    from .stores import make_embedder

    embedders: dict[str, Embedder] = {}
    for name in precision or ["auto"]:
        embedders[name] = make_embedder(
            model, output, offline=offline, precision=name, threads=threads, max_length=max_length
        )
    from ..bench import measure_embedders, profile_embedder

    logging.getLogger("langbert").setLevel(logging.ERROR)  # every round would remark upon the same long texts
    chosen = _texts(paths or [], texts, next(iter(embedders.values())), output)
    with output.bars() as bars:
        tasks = {
            name: bars.add_task(_label(name, own), total=(repeats + 1) * len(chosen)) for name, own in embedders.items()
        }

        def advancing(name: str) -> Callable[[int], None]:
            return lambda n: bars.update(tasks[name], advance=n)

        speeds = measure_embedders(embedders, chosen, repeats=repeats, threads=threads, progress=advancing)
    profiles = {}
    if profile:
        with output.waiting("profiling"):
            profiles = {name: profile_embedder(embedder, chosen) for name, embedder in embedders.items()}
    if json:
        output.json(_document(model, embedders, speeds, profiles))
        return
    _show(output, model, embedders, speeds, profiles)


@app.command()
def search(
    store: StoreFolder,
    queries: Annotated[int, typer.Option(help="Questions, each a few words of one of its chunks.", min=1)] = 100,
    k: Annotated[int, typer.Option("-k", help="How many passages a search returns.", min=1)] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            metavar="KEY=VALUE",
            help="What the filtered searches let through. Repeatable.",
            show_default="the source of the question's own chunk",
        ),
    ] = None,
    exact: Annotated[
        int, typer.Option(help="Questions whose answers are compared with every vector, for the recall.", min=0)
    ] = 50,
    embed: Annotated[
        bool, typer.Option(help="Embed the questions, with the model of the store; else push vectors of chunks aside.")
    ] = True,
    repeats: Annotated[int, typer.Option(help="Rounds that count; medians are shown.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Other questions.")] = 0,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Latency of every kind of search in a store, and the recall of its index.

    Example:

        langbert bench search --store my-index --where format=pdf
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    wanted = parse_where(where)
    from .stores import embedder_of, open_plain

    with open_plain(store) as plain:
        space = plain.space
        embedder = embedder_of(space, output, offline=offline) if space is not None and embed else None
        from ..bench import make_questions, measure_search, timed

        with output.bars() as bars:
            task = bars.add_task("making questions", total=queries)
            questions = make_questions(
                plain, queries, embedder=embedder, seed=seed, progress=lambda n: bars.update(task, advance=n)
            )
        if not questions:
            raise typer.BadParameter(f"there is no text in the store {store}; index something first")
        embedding = []
        if embedder is not None:
            embedding = [timed(partial(embedder.embed, [question.text], "query")) for question in questions]
    with _prepared(store, questions, space) as opened:
        chunks, dimension = len(opened), opened.dimension
        with output.bars() as bars:
            task = bars.add_task("searching", total=6 * repeats)
            speeds = measure_search(
                opened,
                questions,
                k,
                repeats=repeats,
                exact=exact,
                where=wanted,
                progress=lambda kind: bars.update(task, advance=1, description=kind),
            )
    if json:
        output.json(_search_document(store, (chunks, dimension), k, questions, speeds, embedding))
        return
    _show_search(output, chunks, k, questions, speeds, embedding)


def _prepared(path: Path, questions: Sequence[StoreQuestion], space: EmbeddingSpace | None) -> Store:
    """The store with an embedder that has the questions' vectors ready, and stands in the store's own space."""
    import os

    from ..bench import PreparedEmbedder
    from ..records import EmbeddingSpace
    from ..store import Store

    vectors = {question.text: question.vector for question in questions if question.vector is not None}
    embedder = None
    if vectors:
        dimension = len(next(iter(vectors.values())))
        embedder = PreparedEmbedder(space or EmbeddingSpace("", "", "", "mean", False, dimension), vectors)
    read_only = not os.access(path, os.W_OK)
    return Store.open(path, embedder=embedder, late_chunking=False, create=False, read_only=read_only)


def _search_document(
    path: Path,
    size: tuple[int, int | None],
    k: int,
    questions: Sequence[StoreQuestion],
    speeds: Sequence[SearchSpeed],
    embedding: Sequence[float],
) -> dict[str, Any]:
    from ..bench import Timing

    document = {
        "store": str(path),
        "chunks": size[0],
        "dimension": size[1],
        "k": k,
        "queries": len(questions),
        "machine": machine(),
        "results": [speed.to_dict() for speed in speeds],
    }
    if embedding:
        taken = Timing(tuple(embedding))
        document["embedding"] = {"p50_ms": 1000 * taken.median, "p95_ms": 1000 * taken.percentile(95)}
    return document


def _show_search(
    output: Output,
    chunks: int,
    k: int,
    questions: Sequence[StoreQuestion],
    speeds: Sequence[SearchSpeed],
    embedding: Sequence[float],
) -> None:
    from ..bench import Timing

    table = plain_table("search", "p50, ms", "p95, ms", "slowest", "hits", f"recall@{k}")
    for speed in speeds:
        times = (speed.timing.median, speed.timing.percentile(95), speed.timing.slowest)
        recall = "" if speed.recall is None else f"{speed.recall:.3f}"
        table.add_row(speed.kind, *(f"{1000 * seconds:,.2f}" for seconds in times), f"{speed.hits:.1f}", recall)
    output.out.print(table)
    if embedding:
        taken = Timing(tuple(embedding))
        p50, p95 = 1000 * taken.median, 1000 * taken.percentile(95)
        output.note(f"Embedding a question took {p50:.1f} ms, p95 {p95:.1f}.", "dim")
    elif any(question.vector is not None for question in questions):
        output.note("The questions' vectors are those of chunks, pushed aside.", "dim")
    output.note(f"{chunks:,} chunks, {len(questions)} questions made of their words", "dim")


def _texts(paths: Sequence[Path], most: int, embedder: Embedder, output: Output) -> list[str]:
    """What to embed: chunks of the files, evenly spread, or built-in texts."""
    from ..chunking import Chunker

    chunker = Chunker.for_embedder(embedder)

    def split(document: Document) -> Iterator[str]:
        return (chunk.contextual_text for chunk in chunker.split(document))

    found = texts_of(paths, split, output, built_in=most)
    return [found[i * len(found) // most] for i in range(most)] if len(found) > most else found


def _label(name: str, embedder: Embedder) -> str:
    """``auto`` with what it has become."""
    meant = str(embedder.precision).removeprefix("torch.")
    return name if name == meant or name != "auto" else f"auto ({meant})"


def _document(
    model: str, embedders: dict[str, Embedder], speeds: dict[str, EmbeddingSpeed], profiles: dict[str, Profile]
) -> dict[str, Any]:
    results = []
    for name, speed in speeds.items():
        result = {"precision": name, "dtype": str(embedders[name].precision).removeprefix("torch."), **speed.to_dict()}
        if name in profiles:
            result["profile"] = profiles[name].to_dict()
        results.append(result)
    return {"model": model, "machine": machine(), "results": results}


def _show(
    output: Output,
    model: str,
    embedders: dict[str, Embedder],
    speeds: dict[str, EmbeddingSpeed],
    profiles: dict[str, Profile],
) -> None:
    table = plain_table("precision", "texts/s", "lowest – highest", "tokens/s", "GFLOP/s", "of the roof")
    for name, speed in speeds.items():
        middle, least, most = speed.timing.rates(speed.workload.texts)
        gflops = "" if speed.gflops is None else f"{speed.gflops:,.0f}"
        share = "" if speed.percent_of_roof is None else f"{speed.percent_of_roof:.0f} %"
        spread = f"{least:,.1f} – {most:,.1f}"
        tokens = f"{speed.tokens_per_second:,.0f}"
        table.add_row(_label(name, embedders[name]), f"{middle:,.1f}", spread, tokens, gflops, share)
    output.out.print(table)
    for name, found in profiles.items():
        shares = sorted(found.shares.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares)
        output.out.print(f"{_label(name, embedders[name])}: {listed}", soft_wrap=True)
    first = next(iter(speeds.values()))
    mean = first.workload.tokens / first.workload.texts
    roofs = {speed.roof.precision: speed.roof for speed in speeds.values() if speed.roof is not None}
    roof = "; ".join(f"{roof.gflops:,.0f} GFLOP/s {precision}" for precision, roof in roofs.items())
    output.note(
        f"{model}: {first.workload.texts:,} texts of {mean:.0f} tokens, medians of {len(first.timing.seconds)} rounds"
        + (f"; the roof, this machine's fastest matrix product: {roof}" if roof else ""),
        "dim",
    )
