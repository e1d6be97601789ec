"""``langbert bench ask``: how long a question takes on this machine, and what it takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import Output, command, plain_table
from .stores import DEFAULT_EMBEDDER, make_embedder, open_existing

if TYPE_CHECKING:
    from ..bench import AskSpeed, ShellSpeed

_BUILT_IN = 40  # texts


@command
def ask(
    output: Output,
    question: Annotated[
        list[str] | None,
        typer.Argument(help="Questions. Without any, words of the store's own passages."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            "-s",
            help="The folder of the store; without one, built-in texts are indexed for the while.",
            envvar="LANGBERT_STORE",
            show_envvar=True,
        ),
    ] = None,
    questions: Annotated[int, typer.Option(help="So many, where none are given.", min=1)] = 5,
    model: Annotated[str, typer.Option(help="The encoder of built-in texts.")] = DEFAULT_EMBEDDER,
    shell: Annotated[bool, typer.Option(help="Also time `langbert ask` itself, from its start to its end.")] = True,
    repeats: Annotated[int, typer.Option(help="Rounds that count; medians are shown.", min=1)] = 3,
) -> None:
    """How long answers take: searching, judging, reading; and from the shell to the first word, with CPU and memory.

    Examples:

        langbert bench ask --store my-index

        langbert bench ask "Who wrote it?" --store my-index --json
    """
    with tempfile.TemporaryDirectory(prefix="langbert-bench-") as temporary:
        folder = store or _made(Path(temporary) / "store", model, output)
        with open_existing(str(folder), output) as opened:
            from ..bench import make_questions, measure_asking, measure_shell

            asked = question or [made.text for made in make_questions(opened, questions, embedder=opened.embedder)]
            if not asked:
                raise typer.BadParameter(f"there is no text in the store {folder}; index something first")
            with output.counting("asking", (1 + repeats) * len(asked)) as progress:
                offline = output.offline or None
                speed = measure_asking(opened, asked, repeats=repeats, offline=offline, progress=lambda: progress(1))
            chunks = len(opened)
        whole = None
        if shell:
            with output.waiting("asking from the shell"):
                whole = measure_shell(folder, asked[0], repeats=repeats)
    if output.as_json:
        output.json(
            {
                "store": None if store is None else str(store),
                "chunks": chunks,
                "questions": asked,
                "machine": machine(),
                "loaded": speed.to_dict(),
                "shell": None if whole is None else whole.to_dict(),
            }
        )
        return
    _show(output, speed, whole)
    output.note(f"{chunks:,} chunks, {len(asked)} questions, {repeats} rounds", "dim")


def _made(folder: Path, model: str, output: Output) -> Path:
    """A store of built-in texts."""
    embedder = make_embedder(model, output)
    from ..bench import sample_texts
    from ..records import Document
    from ..store import Store

    texts = sample_texts(_BUILT_IN)
    with output.waiting("indexing built-in texts"), Store.open(folder, embedder=embedder) as made:
        made.add([Document(f"text-{i}", text, f"text-{i}.txt") for i, text in enumerate(texts)])
    return folder


def _show(output: Output, speed: AskSpeed, shell: ShellSpeed | None) -> None:
    table = plain_table("loaded", "p50, ms", "p95, ms", "slowest")
    for name, timing in speed.stages.items():
        table.add_row(name, *(f"{each:,.0f}" for each in timing.latency().values()))
    output.out.print(table)
    output.out.print(f"{speed.cpu.median:.2f} CPU s a question")
    if shell is not None:
        output.say(
            f"\nfrom the shell: the first word after {shell.first_word.median:.1f} s, the end after "
            f"{shell.whole.median:.1f} s, {shell.cpu.median:.1f} CPU s, {shell.peak_bytes / 1e6:,.0f} MB"
        )


def machine() -> dict[str, Any]:
    """The machine, for a JSON document."""
    import platform

    import torch

    from ..models.cores import usable_cores

    return {"system": platform.platform(), "cores": usable_cores(), "torch": torch.__version__}
