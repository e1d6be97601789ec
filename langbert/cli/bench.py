"""``langbert bench``: how fast it is on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .bench_ask import ask, machine
from .output import Output, StorePlace, command, parse_where, plain_table
from .stores import DEFAULT_EMBEDDER, DEFAULT_GENERATOR
from .visible import visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..bench import EmbeddingSpeed, GenerationSpeed, Profile, SearchSpeed
    from ..embedding.embedder import Embedder
    from ..generation.generator import Generator
    from ..records import Document, EmbeddingSpace
    from ..store.base import BaseStore

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)

app.command("ask")(ask)

Paths = Annotated[
    list[Path] | None, typer.Argument(help="Files and folders to read; without any, built-in texts.", exists=True)
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        help="auto, float32, bfloat16 …; several are measured in turns.", show_default="auto; of texts float32 too"
    ),
]
Threads = Annotated[int | None, typer.Option(help="Threads.", min=1, show_default="every core")]
Repeats = Annotated[int, typer.Option(help="Rounds that count; medians are shown.", min=1)]


@app.callback()
def _group() -> None:
    pass


@app.command()
@command
def embed(
    output: Output,
    paths: Paths = None,
    texts: Annotated[int, typer.Option(help="At most so many texts.", min=1)] = 256,
    model: Annotated[
        str, typer.Option(help="e5-small, minilm, owner/name on the hub, or a folder.")
    ] = DEFAULT_EMBEDDER,
    precision: Precisions = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens the encoder reads at once.", min=1)] = None,
    threads: Threads = None,
    repeats: Repeats = 3,
    profile: Annotated[bool, typer.Option(help="Also show where the time goes.")] = False,
) -> None:
    """Texts and tokens a second, beside float32 and beside the fastest matrix product of this machine.

    Example:

        langbert bench embed docs/ --precision auto --precision float32 --precision int8
    """
    from .stores import make_embedder

    embedders: dict[str, Embedder] = {}
    for name in precision or ["auto", "float32"]:
        embedders[name] = make_embedder(model, output, precision=name, threads=threads, max_length=max_length)
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
    if output.as_json:
        results = [
            {
                "precision": name,
                "dtype": _dtype(embedders[name]),
                "ratio_to_float32": _to_float32(speed, speeds),
                **speed.to_dict(),
            }
            for name, speed in speeds.items()
        ]
        for result in results if profiles else ():
            result["profile"] = profiles[result["precision"]].to_dict()
        output.json({"model": model, "machine": machine(), "results": results})
        return
    _show_embedding(output, model, embedders, speeds, profiles)


@app.command()
@command
def generate(
    output: Output,
    paths: Paths = None,
    model: Annotated[
        str, typer.Option(help="A catalogue name, owner/name on the hub, a folder or a .gguf file.")
    ] = DEFAULT_GENERATOR,
    precision: Precisions = None,
    prompt_tokens: Annotated[int, typer.Option(help="About so many tokens to read.", min=16)] = 700,
    tokens: Annotated[int, typer.Option(help="At most so many to write.", min=2)] = 64,
    threads: Threads = None,
    repeats: Repeats = 3,
) -> None:
    """Tokens read and written a second, and how near that is to what this machine can do.

    Example:

        langbert bench generate --precision auto --precision float32
    """
    from .stores import fetch

    fetch(model, output)
    from ..bench import measure_generators, rag_messages
    from ..generation.generator import Generator
    from ..models.hardware import Precision

    generators: dict[str, Generator] = {}
    with output.waiting(f"loading {model}"):
        for name in precision or ["auto"]:
            chosen: Precision = name  # type: ignore[assignment]  # Generator says what there is
            generators[name] = Generator(model, precision=chosen, threads=threads, offline=True, prefix_cache_mb=0)
    paragraphs = _texts_of(paths or [], lambda document: document.text.split("\n\n"), output)
    messages = rag_messages(paragraphs, next(iter(generators.values())), prompt_tokens)
    with output.bars() as bars:
        task = bars.add_task("answering", total=(repeats + 1) * len(generators))
        speeds = measure_generators(
            generators,
            messages,
            max_tokens=tokens,
            repeats=repeats,
            threads=threads,
            progress=lambda name: bars.update(task, advance=1, description=name),
        )
    if output.as_json:
        results = [{"precision": name, **speed.to_dict()} for name, speed in speeds.items()]
        output.json({"model": model, "machine": machine(), "results": results})
        return
    _show_generation(output, model, speeds)


@app.command()
@command
def search(
    output: Output,
    store: StorePlace,
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
    repeats: Repeats = 3,
    seed: Annotated[int, typer.Option(help="Other questions.")] = 0,
) -> None:
    """Latency of every kind of search in a store, and the recall of its index.

    Example:

        langbert bench search --store my-index --where format=pdf
    """
    wanted = parse_where(where)
    from .stores import embedder_of, open_plain

    with open_plain(store) as plain:
        space = plain.space
        embedder = embedder_of(space, output) if space is not None and embed else None
        from ..bench import Timing, make_questions, measure_search, timed

        with output.counting("making questions", queries) as progress:
            questions = make_questions(plain, queries, embedder=embedder, seed=seed, progress=progress)
        if not questions:
            raise typer.BadParameter(f"there is no text in the store {store}; index something first")
        embedding = None
        if embedder is not None:
            calls = (partial(embedder.embed, [question.text], "query") for question in questions)
            embedding = Timing(tuple(map(timed, calls)))
    vectors = {question.text: question.vector for question in questions if question.vector is not None}
    with _prepared(store, vectors, space) as opened:
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
    if output.as_json:
        output.json(
            {
                "store": str(store),
                "chunks": chunks,
                "dimension": dimension,
                "k": k,
                "queries": len(questions),
                "machine": machine(),
                "results": [speed.to_dict() for speed in speeds],
                **({"embedding": embedding.latency()} if embedding else {}),
            }
        )
        return
    _show_search(output, k, speeds)
    if embedding is not None:
        taken = embedding.latency()
        output.note(f"Embedding a question took {taken['p50_ms']:.1f} ms, p95 {taken['p95_ms']:.1f}.", "dim")
    elif vectors:
        output.note("The questions' vectors are those of chunks, pushed aside.", "dim")
    output.note(f"{chunks:,} chunks, {len(questions)} questions made of their words", "dim")


def _prepared(place: str, vectors: dict[str, NDArray[np.float32]], space: EmbeddingSpace | None) -> BaseStore:
    """The store with an embedder that has the questions' vectors ready, and stands in the store's own space."""
    from ..bench import PreparedEmbedder
    from ..records import EmbeddingSpace
    from .stores import is_url, open_store

    embedder = None
    if vectors:
        dimension = len(next(iter(vectors.values())))
        embedder = PreparedEmbedder(space or EmbeddingSpace("", "", "", "mean", False, dimension), vectors)
    read_only = not is_url(place) and not os.access(place, os.W_OK)
    return open_store(place, embedder=embedder, late_chunking=False, create=False, read_only=read_only)


def _show_search(output: Output, k: int, speeds: Sequence[SearchSpeed]) -> None:
    table = plain_table("search", "p50, ms", "p95, ms", "slowest", "hits", f"recall@{k}")
    for speed in speeds:
        times = speed.timing.latency().values()
        recall = "" if speed.recall is None else f"{speed.recall:.3f}"
        table.add_row(speed.kind, *(f"{each:,.2f}" for each in times), f"{speed.hits:.1f}", recall)
    output.out.print(table)


def _texts(paths: Sequence[Path], most: int, embedder: Embedder, output: Output) -> list[str]:
    """What to embed: chunks of the files, evenly spread, or built-in texts."""
    from ..chunking import Chunker

    chunker = Chunker.for_embedder(embedder)

    def split(document: Document) -> Iterator[str]:
        return (chunk.contextual_text for chunk in chunker.split(document))

    found = _texts_of(paths, split, output, built_in=most)
    return [found[i * len(found) // most] for i in range(most)] if len(found) > most else found


def _label(name: str, embedder: Embedder) -> str:
    """``auto`` with what it has become."""
    return f"auto ({_dtype(embedder)})" if name == "auto" else name


def _dtype(embedder: Embedder) -> str:
    return str(embedder.precision).removeprefix("torch.")


def _show_embedding(
    output: Output,
    model: str,
    embedders: dict[str, Embedder],
    speeds: dict[str, EmbeddingSpeed],
    profiles: dict[str, Profile],
) -> None:
    from rich.text import Text

    table = plain_table("precision", "texts/s", "lowest – highest", "to float32", "tokens/s", "GFLOP/s", "of the roof")
    for name, speed in speeds.items():
        middle, least, most = speed.timing.rates(speed.workload.texts)
        gflops = "" if speed.gflops is None else f"{speed.gflops:,.0f}"
        share = "" if speed.percent_of_roof is None else f"{speed.percent_of_roof:.0f} %"
        spread = f"{least:,.1f} – {most:,.1f}"
        tokens = f"{speed.tokens_per_second:,.0f}"
        ratio = _to_float32(speed, speeds)
        times = "" if ratio is None else f"{ratio:.2f}×"
        label = Text(visible(_label(name, embedders[name])))
        table.add_row(label, f"{middle:,.1f}", spread, times, tokens, gflops, share)
    output.out.print(table)
    for name, found in profiles.items():
        shares = sorted(found.shares.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares)
        output.say(f"{_label(name, embedders[name])}: {listed}")
    first = next(iter(speeds.values()))
    mean = first.workload.tokens / first.workload.texts
    roofs = {speed.roof.precision: speed.roof for speed in speeds.values() if speed.roof is not None}
    roof = "; ".join(f"{roof.gflops:,.0f} GFLOP/s {precision}" for precision, roof in roofs.items())
    output.note(
        f"{model}: {first.workload.texts:,} texts of {mean:.0f} tokens, medians of {len(first.timing.seconds)} rounds"
        + (f"; the roof, this machine's fastest matrix product: {roof}" if roof else ""),
        "dim",
    )


def _to_float32(speed: EmbeddingSpeed, speeds: dict[str, EmbeddingSpeed]) -> float | None:
    """How many times as fast as float32, if that was measured, round by round."""
    base = speeds.get("float32")
    return None if base is None else speed.timing.ratios(base.timing).median


def _show_generation(output: Output, model: str, speeds: dict[str, GenerationSpeed]) -> None:
    columns = ("first token, ms", "read, tokens/s", "of the roof", "written, tokens/s", "of the roof")
    table = plain_table("precision", *columns)
    for name, speed in speeds.items():
        arithmetic, memory = (
            "" if share is None else f"{share:.0f} %"
            for share in (speed.percent_of_arithmetic, speed.percent_of_memory)
        )
        table.add_row(
            name,
            f"{1000 * speed.first.median:,.0f}",
            f"{speed.prefill_tokens_per_second:,.0f}",
            arithmetic,
            f"{speed.decode_tokens_per_second:,.1f}",
            memory,
        )
    output.out.print(table)
    first = next(iter(speeds.values()))
    roofs = "" if first.reading_gflops is None else f"{first.reading_gflops:,.0f} GFLOP/s and "
    output.note(
        f"{model}: {first.prompt_tokens:,} tokens read, medians of {len(first.first.seconds)} rounds; the roofs, "
        f"this machine's fastest matrix product and reading of memory: {roofs}{first.memory_gb:.0f} GB/s",
        "dim",
    )


def _texts_of(
    paths: Sequence[Path], split: Callable[[Document], Iterable[str]], output: Output, *, built_in: int = 1000
) -> list[str]:
    """The distinct pieces of all documents in the files; without files, so many built-in texts."""
    if not paths:
        from ..bench import sample_texts

        return sample_texts(built_in)
    from ..documents import read_documents

    with output.waiting("reading"):
        documents = read_documents(paths, on_skip=lambda path, error: output.note(f"skipped {path}: {error}", "dim"))
        found = list(dict.fromkeys(piece for document in documents for piece in split(document) if piece.strip()))
    if not found:
        raise typer.BadParameter("there is no text in these files; name others, or none for built-in texts")
    return found
