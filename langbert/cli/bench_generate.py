"""``langbert bench generate``: how fast answers are written on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .bench_parts import machine, texts_of
from .output import Debug, Json, Offline, Output, Quiet, plain_table
from .stores import DEFAULT_GENERATOR

if TYPE_CHECKING:
    from ..bench import GenerationSpeed

__all__ = ["generate"]


def generate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files and folders the prompt is made of; without any, built-in texts.", exists=True),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A catalogue name, owner/name on the hub, a folder or a .gguf file.")
    ] = DEFAULT_GENERATOR,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="auto, float32, bfloat16; several are measured in turns.", show_default="auto"),
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(help="About so many tokens to read.", min=16)] = 700,
    tokens: Annotated[int, typer.Option(help="At most so many to write.", min=2)] = 64,
    threads: Annotated[int | None, typer.Option(help="Threads.", min=1, show_default="every core")] = None,
    repeats: Annotated[int, typer.Option(help="Rounds that count; medians are shown.", min=1)] = 3,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Tokens read and written a second, and how near that is to what this machine can do.

    Example:

        langbert bench generate --precision auto --precision float32
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    from .stores import fetch

    fetch(model, output, offline=offline)
    from ..bench import measure_generators, rag_messages
    from ..generation.generator import Generator
    from ..models.hardware import Precision

    generators: dict[str, Generator] = {}
    with output.waiting(f"loading {model}"):
        for name in precision or ["auto"]:
            chosen: Precision = name  # type: ignore[assignment]  # Generator says what there is
            generators[name] = Generator(model, precision=chosen, threads=threads, offline=True, prefix_cache_mb=0)
    paragraphs = texts_of(paths or [], lambda document: document.text.split("\n\n"), output)
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
    if json:
        output.json(_document(model, speeds))
        return
    _show(output, model, speeds)


def _document(model: str, speeds: dict[str, GenerationSpeed]) -> dict[str, Any]:
    results = [{"precision": name, **speed.to_dict()} for name, speed in speeds.items()]
    return {"model": model, "machine": machine(), "results": results}


def _show(output: Output, model: str, speeds: dict[str, GenerationSpeed]) -> None:
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
