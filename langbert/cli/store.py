"""``langbert store``: what is in a store, and moving it about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import StoreError
from .output import Output, StoreFolder, StorePlace, command

app = typer.Typer(
    help="Look into a store, shrink it, take it elsewhere, give it another embedder.",
    no_args_is_help=True,
    epilog=(
        "Examples: [cyan]langbert store info --store my-index[/] · "
        "[cyan]langbert store export my-index.jsonl --store my-index[/]"
    ),
)

Format = Annotated[
    Literal["jsonl", "parquet"] | None,
    typer.Option(help="By default jsonl for a name that ends in .jsonl, else a folder of Parquet tables."),
]
Written = Annotated[Path, typer.Argument(help="The file, e.g. my-index.jsonl, or the folder of tables to write.")]
Exported = Annotated[Path, typer.Argument(help="What `langbert store export` wrote.")]


@app.command()
@command
def info(output: Output, store: StorePlace) -> None:
    """Show what a store holds, which model made its vectors, and how it is searched."""
    from .stores import open_plain

    with open_plain(store) as opened:
        about = opened.info()
    if output.as_json:
        output.json(about)
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in about.items():
        for label, said in _lines(name, value):
            table.add_row(label, said)
    output.out.print(table)


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    from rich.markup import escape

    label = name.replace("_", " ")
    if isinstance(value, dict):
        told = {key: part for key, part in value.items() if part not in ("", None, 0, False)}
        yield label, escape(", ".join(f"{key.replace('_', ' ')} {_short(part)}" for key, part in told.items()))
    elif name == "bytes":
        yield "size", f"{value / 1e6:,.1f} MB"
    else:
        yield label, "none" if value is None else escape(f"{value:,}" if isinstance(value, int) else str(value))


def _short(value: object) -> str:
    """A digest by its beginning."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else text


@app.command("files")
@command
def files_command(
    output: Output,
    store: StorePlace,
    state: Annotated[
        Literal["done", "failed", "skipped"] | None, typer.Option(help="Only files of which this became.")
    ] = None,
) -> None:
    """Show what became of the files that were indexed: done, failed and why, or skipped, since nothing reads them.

    Example:

        langbert store files --store my-index --state failed
    """
    from collections import Counter
    from dataclasses import asdict

    from rich.text import Text

    from .output import plain_table
    from .stores import open_plain
    from .visible import visible

    with open_plain(store) as opened:
        records = [record for record in opened.files if state in (None, record.state)]
    if output.as_json:
        output.json([asdict(record) for record in records])
        return
    table = plain_table()
    table.add_column("state")
    table.add_column("bytes", justify="right")
    table.add_column("file", overflow="fold")
    table.add_column("reason", style="dim", overflow="fold")
    for record in records:
        table.add_row(record.state, f"{record.size:,}", Text(visible(record.source)), Text(visible(record.reason)))
    output.out.print(table)
    counts = Counter(record.state for record in records)
    output.out.print(
        ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "no files", style="dim"
    )


@app.command("rm")
@command
def remove(
    output: Output,
    documents: Annotated[
        list[str], typer.Argument(help="Files or folders, there still or not, or names as citations give them.")
    ],
    store: StorePlace,
) -> None:
    """Remove documents from a store; their files stay.

    Examples:

        langbert store rm docs/old.pdf docs/drafts --store my-index
    """
    from .stores import open_plain

    with open_plain(store) as opened:
        rows = list(opened.documents())
        found: set[str] = set()
        for name in documents:
            ids = {row.id for row in rows if _is_meant(name, row.id, row.source, str(row.metadata.get("path", "")))}
            if not ids:
                raise StoreError(f"no document in {store} is {name} or lies in it; nothing was removed")
            found |= ids
        opened.delete(found)
    output.result({"path": str(store), "removed": sorted(found)}, f"removed from {store}: {len(found):,}")


def _is_meant(name: str, document_id: str, source: str, path: str) -> bool:
    if name in (document_id, source) or source.startswith(f"{name.rstrip('/')}/"):
        return True
    place = os.path.abspath(name)
    return path == place or path.startswith(os.path.join(place, ""))


@app.command()
@command
def compact(output: Output, store: StorePlace) -> None:
    """Give back the space of what was deleted or replaced. Searching goes on meanwhile."""
    from ..store.sharded import ShardedStore
    from ..store.store import Store
    from .stores import open_plain

    with open_plain(store) as opened, output.waiting("compacting"):
        if not isinstance(opened, Store | ShardedStore):
            raise StoreError(f"{store} gives space back by itself; this is for folders")
        sizes = opened.compact()
    before, after = (sizes[name] / 1e6 for name in ("bytes_before", "bytes_after"))
    output.result({"path": str(store), **sizes}, f"{store}: {before:,.1f} MB before, {after:,.1f} MB now")


@app.command("export")
@command
def export_command(
    output: Output,
    path: Written,
    store: StorePlace,
    format: Format = None,
) -> None:
    """Write everything, vectors too, as JSON Lines or Parquet for other programs, or for `langbert store import`.

    Examples:

        langbert store export my-index.jsonl --store my-index

        langbert store export my-tables/ --store my-index --format parquet
    """
    from ..store.maintenance.portable import export_store
    from .stores import open_plain

    with open_plain(store) as opened, watching(output) as watch:
        counts = export_store(opened, path, format=format, watch=watch)
    _moved(output, "exported", path, counts)


@app.command("import")
@command
def import_command(
    output: Output,
    path: Exported,
    store: StoreFolder,
    format: Format = None,
) -> None:
    """Make a new store of an export; it is the store that was exported, vectors and all.

    Example:

        langbert store import my-index.jsonl --store another-index
    """
    from ..store.maintenance.portable import import_store

    with watching(output) as watch:
        counts = import_store(path, store, format=format, watch=watch)
    _moved(output, "imported", store, counts)


def _moved(output: Output, what: str, where: Path, counts: Any) -> None:
    from dataclasses import asdict

    vectors = f" with vectors of {counts.dimension} dimensions" if counts.dimension else ""
    pictures = f", {counts.pictures:,} pictures" if counts.pictures else ""
    said = f"{what} {counts.documents:,} documents and {counts.chunks:,} chunks{vectors}{pictures}: {where}"
    output.result({"path": str(where), **asdict(counts)}, said)


@app.command()
@command
def migrate(
    output: Output,
    store: StorePlace,
    embedder: Annotated[
        str | None, typer.Option("--embedder", "-e", help="The new one: a name, a hub id, or a folder.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="Move it as it is: into postgresql://…, qdrant://…, milvus://…, or back."),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="With --to: into a folder of so many, searched as one.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="As in `langbert index`; by default the model's own.")] = None,
    image_embedder: Annotated[
        str | None,
        typer.Option(help="Another one for the pictures, which are embedded again as they lie in the store."),
    ] = None,
    keep_chunks: Annotated[
        bool,
        typer.Option("--keep-chunks", help="Leave all passages as they are cut; by default documents are cut anew."),
    ] = False,
) -> None:
    """Embed a store again with another model, from the texts it holds; or, with --to, move it to another place.

    The new vectors are made beside the store, which stays in use, and move over in one commit at the end. What moves to
    another place moves as it is, and both are compared at the end. Interrupt it when you like: the same command goes on
    where it stopped.

    Examples:

        langbert store migrate --store my-index --embedder BAAI/bge-small-en-v1.5

        langbert store migrate --store my-index --to postgresql://me@db.example.org/documents

        langbert store migrate --store my-index --to big-index --shards 8
    """
    if [embedder, to, image_embedder].count(None) != 2:
        raise typer.BadParameter("give one of --embedder NAME, --image-embedder NAME and --to PLACE")
    if shards is not None and to is None:
        raise typer.BadParameter("--shards is for --to FOLDER")
    if image_embedder is not None:
        from .pictures import embed_anew

        embed_anew(output, store, image_embedder)
        return
    if to is not None:
        _move(output, store, to, shards)
        return
    assert embedder is not None  # noqa: S101 - for the type checker
    from ..store.checks import check_folder
    from ..store.maintenance.migration import migrate as migrated
    from .stores import make_embedder

    folder = Path(store)
    check_folder(folder, create=False)  # before a model is loaded
    options = {} if pooling is None else {"pooling": pooling}
    made = make_embedder(embedder, output, **options)
    with watching(output) as watch:
        result = migrated(folder, made, keep_chunks=keep_chunks, watch=watch)
    said = f"{store} has vectors of this embedder already"
    if result.changed:
        resumed = f" ({result.resumed:,} had been embedded before)" if result.resumed else ""
        said = f"{store}: {result.chunks:,} chunks of {result.documents:,} documents now have the vectors of {embedder}"
        said = f"{said}{resumed}, {result.seconds:.1f} s"
    output.result({"path": str(store), "embedder": embedder, **result.to_dict()}, said)


def _move(output: Output, store: str, to: str, shards: int | None) -> None:
    from dataclasses import asdict

    from ..store.maintenance.moving import move
    from .stores import open_plain, open_store

    with open_plain(store) as source, open_store(to, shards=shards) as target, watching(output) as watch:
        moved = move(source, target, watch=watch)
    resumed = f" ({moved.resumed:,} chunks were there before)" if moved.resumed else ""
    if moved.left:
        output.note(f"{moved.left:,} pictures stay behind: only a store in one folder holds any.")
    pictures = f" with {moved.pictures:,} pictures" if moved.pictures else ""
    said = f"{to} now holds the {moved.documents:,} documents and {moved.chunks:,} chunks of {store}{pictures}{resumed}"
    output.result({"path": to, **asdict(moved)}, f"{said}; both read and the same: {moved.checksum}")


@contextmanager
def watching(output: Output) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is being done, one after the other; in a log, a line for each."""
    with output.bars() as bars:
        task = bars.add_task("", total=None, visible=False)
        last: list[str] = []

        def watch(doing: str, done: int, total: int) -> None:
            if last != [doing]:
                last[:] = [doing]
                bars.reset(task, total=total, description=doing, visible=True)
            bars.update(task, completed=done, total=total)

        yield watch
