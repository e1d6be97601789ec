"""``langbert bench``: how fast it is on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Debug, Json, Offline, Output, Quiet

if TYPE_CHECKING:
    from ..bench import EmbeddingSpeed, Profile
    from ..embedding import Embedder

__all__ = ["app"]

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


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


def _texts(paths: Sequence[Path], most: int, embedder: Embedder, output: Output) -> list[str]:
    """What to embed: chunks of the files, evenly spread, or built-in texts."""
    if not paths:
        from ..bench import sample_texts

        return sample_texts(most)
    from ..chunking import Chunker
    from ..documents import read_documents

    chunker = Chunker.for_embedder(embedder)
    with output.waiting("reading"):
        documents = read_documents(paths, on_skip=lambda path, error: output.note(f"skipped {path}: {error}", "dim"))
        found = list(dict.fromkeys(c.contextual_text for document in documents for c in chunker.split(document)))
    if not found:
        raise typer.BadParameter("there is no text in these files; name others, or none for built-in texts")
    return [found[i * len(found) // most] for i in range(most)] if len(found) > most else found


def _label(name: str, embedder: Embedder) -> str:
    """``auto`` with what it has become."""
    meant = str(embedder.precision).removeprefix("torch.")
    return name if name == meant or name != "auto" else f"auto ({meant})"


def _document(
    model: str, embedders: dict[str, Embedder], speeds: dict[str, EmbeddingSpeed], profiles: dict[str, Profile]
) -> dict[str, Any]:
    import platform

    import torch

    from ..hardware import usable_cores

    results = []
    for name, speed in speeds.items():
        result = {"precision": name, "dtype": str(embedders[name].precision).removeprefix("torch."), **speed.to_dict()}
        if name in profiles:
            result["profile"] = profiles[name].to_dict()
        results.append(result)
    machine = {"system": platform.platform(), "cores": usable_cores(), "torch": torch.__version__}
    return {"model": model, "machine": machine, "results": results}


def _show(
    output: Output,
    model: str,
    embedders: dict[str, Embedder],
    speeds: dict[str, EmbeddingSpeed],
    profiles: dict[str, Profile],
) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("precision")
    for column in ("texts/s", "lowest – highest", "tokens/s", "GFLOP/s", "of the roof"):
        table.add_column(column, justify="right")
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
