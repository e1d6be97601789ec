"""``langbert index``: :func:`langbert.sync`, watched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DocumentError, MissingExtra
from .output import Output, StorePlace, command, parse_pairs, plain_table
from .visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from ..embedding.embedder import Embedder
    from ..indexing import Batch, Changes, SourceFile, SyncOptions, SyncReport
    from ..records import EmbeddingSpace
    from ..store import StoreLike
    from .stores import WatchedEmbedder

_NAMED = 10  # skipped files of one reason that are listed: a folder may hold thousands of pictures


@command
def index(
    output: Output,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files and folders.", exists=True)],
    store: StorePlace,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="e5-small, minilm, owner/name on the Hugging Face hub, or a folder. By default what the store was "
            "made with, or e5-small."
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="cls, mean, max … By default what the model was trained with."),
    ] = None,
    image_embedder: Annotated[
        str | None,
        typer.Option(
            help="Also keep the figures of the files, so that words and pictures find them: a CLIP on the Hugging Face "
            "hub, or a folder. By default what the store's pictures were embedded with."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="What the encoder computes in: auto, float32, bfloat16, int8; with --ray everywhere.")
    ] = "auto",
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Make the store of so many, searched as one, to be filled by several processes."),
    ] = None,
    late_chunking: Annotated[
        bool,
        typer.Option(
            "--late-chunking",
            help="Let a passage's vector depend on the document around it; decided when the store is made.",
        ),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove documents of these folders whose files are gone, or left out now.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Read every file again, changed or not.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what could not be read, changed or not.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Of folders only the files like this, as in .gitignore. Repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Of folders no files like this. Repeatable.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Also follow symbolic links that lead out of the folders.")
    ] = False,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Metadata that every document gets, to filter by. Repeatable."),
    ] = None,
    meta_from_path: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Metadata told by folders: {department}/{year}/*. Repeatable."),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Of texts that are not UTF-8 and do not name theirs: gb18030, cp1252 … By default it is guessed."
        ),
    ] = None,
    ocr: Annotated[
        bool | None,
        typer.Option(
            "--ocr/--no-ocr",
            help="Recognise text in pictures and scanned pages. By default if langbert[ocr] is installed.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Read and embed on the Ray cluster at HOST:PORT, or on one made of this machine's cores.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and index what changes in these folders, until Ctrl-C.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes that read files; 0 reads them in this one. By default as there is use for."
        ),
    ] = None,
    file_seconds: Annotated[
        float, typer.Option(min=1, help="What one file, or one page of a scan, may take of a worker's time.")
    ] = 120,
    file_memory: Annotated[int, typer.Option(min=64, help="And of its memory, in MiB.")] = 1024,
    max_unfolded: Annotated[
        int | None,
        typer.Option(
            min=1, help="MiB that a file may unfold to. By default 200 times its size, and no more than 1024."
        ),
    ] = None,
) -> None:
    """Read documents into a store; on the next run only what changed.

    Reads txt, md, rst, html, pdf, docx, pptx, xlsx, csv, epub, eml, code, zip and more. A file that cannot be read is
    named at the end, the rest is indexed.
    Interrupt it when you like: the same command goes on where it stopped.

    Examples:

        langbert index docs/ --store my-index

        langbert index reports/ notes.md --store my-index --prune

        langbert index archive/ --store big-index --shards 8 --precision int8

        langbert index archive/ --store postgresql://me@db/documents --ray 10.0.0.1:6379

        langbert index archive/ --store my-index --exclude drafts/ --meta-from-path "{department}/{year}/*"
    """
    started = time.perf_counter()
    if watch:
        _require_watchfiles(output)
    if ray not in (None, "local", "auto") and ":" not in ray:
        raise typer.BadParameter(f"--ray {ray}: a cluster is at HOST:PORT; without one, put --ray behind the paths")
    from ..indexing import Limits, SyncOptions
    from ..store import Store
    from .pictures import image_model, make_image_embedder, pictured
    from .stores import WatchedEmbedder, open_store

    options = SyncOptions(
        force=force,
        retry_failed=retry_failed,
        encoding=encoding,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        follow_links=follow_links,
        metadata=parse_pairs(meta, "--meta department=law") or {},
        metadata_from_path=tuple(meta_from_path or ()),
        ocr=ocr,
        workers=workers,
        limits=Limits(file_seconds, file_memory << 20, max_unfolded and max_unfolded << 20),
    )
    images = image_model(store, image_embedder, shards, output)
    changes, space = _compared(paths, store, replace(options, pictures=images is not None), output)
    with changes, ExitStack() as stack:
        encoder = cluster = None
        if ray is not None and changes.changed:
            encoder = _embedder(embedder, pooling, space, output, precision)
            stack.enter_context(redirect_stdout(sys.stderr))  # Ray says there what has died
            with output.waiting("reaching the cluster"):
                cluster = stack.enter_context(_cluster(encoder, ray, options, precision))
            changes.elsewhere = cluster.read
        if not prune:
            _require_documents(changes, paths, output)
        # loading takes seconds: not where there is nothing to embed
        if encoder is None and (changes.has_documents() or embedder or pooling):
            encoder = _embedder(embedder, pooling, space, output, precision)
        watched = WatchedEmbedder(cluster.made if cluster else encoder) if encoder else None
        more: dict[str, Any] = {"chunker": cluster.made} if cluster else {}
        if images is not None and encoder is not None:
            more["image_embedder"] = make_image_embedder(images, output)
        with open_store(store, embedder=watched, late_chunking=late_chunking or None, shards=shards, **more) as opened:
            if "image_embedder" in more:
                pictured(opened).pictures.check()
            with _bar(output, changes.changed) as bar:
                for batch in changes.batches():
                    if watched is not None:
                        bar.watch(watched, batch)
                    changes.add(batch, opened)
                    if cluster is not None:
                        cluster.made.forget(batch)
                    bar.stored(batch)
            if prune:
                changes.prune(opened)
            if encoder is not None and not output.as_json:
                _say_what_stays(opened, output, chosen=embedder is not None)
            documents, passages, space = opened.n_documents, len(opened), opened.space
            pictures = len(opened.pictures) if isinstance(opened, Store) else 0
    seconds = time.perf_counter() - started
    if output.as_json:
        holds = {
            "documents": documents,
            "passages": passages,
            "pictures": pictures,
            "embedder": space.model if space else None,
        }
        output.json({**changes.report.to_dict(), **holds, "store": str(store), "seconds": round(seconds, 2)})
        return

    _show(output, changes.report, seconds)
    with_pictures = f" and {pictures:,} pictures" if pictures else ""
    output.say(f"{store} now holds {documents:,} documents in {passages:,} passages{with_pictures}.", "dim")
    if watch:
        encoder = encoder or _embedder(embedder, pooling, space, output, precision)
        if images is not None:
            more["image_embedder"] = more.get("image_embedder") or make_image_embedder(images, output)
        more.pop("chunker", None)
        followed = replace(options, force=False, retry_failed=False, pictures=images is not None)
        with open_store(store, embedder=encoder, **more) as opened:
            _follow(paths, opened, followed, output, prune=prune)


def _cluster(encoder: Embedder, address: str, options: SyncOptions, precision: str) -> Any:
    """The :class:`langbert_scale.Cluster` there.

    Raises:
        MissingExtra: ``langbert[ray]`` is not installed.
    """
    from importlib import import_module

    cluster = import_module("langbert_scale").Cluster
    return cluster(encoder, address=address, precision=precision, limits=options.limits)


def _require_watchfiles(output: Output) -> None:
    """
    Raises:
        MissingExtra: ``langbert[watch]`` is not installed.
    """
    from importlib.util import find_spec

    if output.as_json:
        raise typer.BadParameter("--watch never ends, so there is no one JSON document: leave out --json")
    if find_spec("watchfiles") is None:
        raise MissingExtra("watchfiles", "watch", "--watch")


def _follow(paths: list[Path], store: StoreLike, options: SyncOptions, output: Output, *, prune: bool) -> None:
    """Index what changes, a second or so after it did, until it is interrupted."""
    from watchfiles import watch

    from ..indexing import Changes

    own = os.path.join(os.path.abspath(store.path or ""), "")
    output.note("Watching; Ctrl-C ends it.", "dim")
    for _ in watch(
        *paths,
        watch_filter=lambda _, path: not path.startswith(own),
        raise_interrupt=False,
        ignore_permission_denied=True,
    ):
        started = time.perf_counter()
        with Changes(paths, store, options) as changes:
            known = len(changes.report.skipped)
            for batch in changes.batches():
                changes.add(batch, store)
            if prune:
                changes.prune(store)
        report = changes.report
        report.skipped = report.skipped[known:]
        if report.added or report.updated or report.removed or report.skipped:
            _show(output, report, time.perf_counter() - started)


def _compared(
    paths: list[Path], store: str, options: SyncOptions, output: Output
) -> tuple[Changes, EmbeddingSpace | None]:
    """The files beside what the store holds, if there is one, and what made its vectors."""
    from contextlib import nullcontext

    from rich.progress import MofNCompleteColumn, TextColumn

    from ..indexing import Changes
    from .stores import exists, is_url, open_plain

    with open_plain(store) if exists(store) else nullcontext() as plain:
        with output.bars(MofNCompleteColumn(), TextColumn("files")) as bars:
            bar = bars.add_task("comparing", total=None)
            changes = Changes(
                paths,
                plain,
                options,
                folder=None if is_url(store) else Path(store),
                progress=lambda n: bars.update(bar, advance=n),
            )
        return changes, plain.space if plain is not None else None


def _embedder(
    name: str | None, pooling: str | None, space: EmbeddingSpace | None, output: Output, precision: str
) -> Embedder:
    """What the store was made with, unless something else is asked for."""
    from .stores import DEFAULT_EMBEDDER, embedder_of, make_embedder

    if name is None and pooling is None:
        return embedder_of(space, output, precision=precision)
    model = name or (space.model if space else DEFAULT_EMBEDDER)
    return make_embedder(model, output, pooling=pooling, precision=precision)


def _say_what_stays(store: StoreLike, output: Output, *, chosen: bool) -> None:
    """That a store keeps the model and the lengths of passages it was made with, where a new one has others."""
    from ..store.ingest import chunking_key
    from .stores import DEFAULT_EMBEDDER

    made_by = store.space.model if store.space else DEFAULT_EMBEDDER
    if made_by != DEFAULT_EMBEDDER and not chosen:
        output.note(
            f"The store was made with {visible(made_by)} and stays with it; a new one gets {DEFAULT_EMBEDDER}. "
            "`langbert store migrate` changes it.",
            "dim",
        )
    key = chunking_key(store.chunker)
    if otherwise := sum(row.chunking not in ("", key) for row in store.documents()):
        output.note(f"{otherwise:,} documents are cut into passages of another length; --force cuts them anew.", "dim")


def _require_documents(changes: Changes, paths: Iterable[Path], output: Output) -> None:
    """Raises DocumentError where nothing under the paths is, or becomes, a document."""
    where = ", ".join(str(path) for path in paths)
    if not changes.files and not changes.report.skipped:
        raise DocumentError(f"there are no files in {where}")
    with output.waiting("reading"):
        if changes.has_documents() or changes.report.unchanged:
            return
    skipped = changes.report.skipped
    first = "; ".join(f"{file}: {reason}" for file, reason in skipped[:5])
    more = f" (and {len(skipped) - 5} more)" if len(skipped) > 5 else ""
    raise DocumentError(f"none of the files in {where} could be read: {first}{more}")


class _Bar:
    """How far the indexing is: bytes of files set the pace, files and passages are shown."""

    def __init__(self, bars: Bars, files: list[SourceFile]) -> None:
        self._bars = bars
        self._began = time.perf_counter()
        self._files = self._size = self._passages = 0
        self._task = bars.add_task(
            "indexing",
            total=sum(file.size for file in files) or 1,
            files=0,
            of=len(files),
            passages=0,
            rate=0.0,
            tokens=0.0,
        )

    def watch(self, embedder: WatchedEmbedder, batch: Batch) -> None:
        """Move as the passages of ``batch`` are embedded."""
        size = sum(file.size for file in batch.files)

        def embedded(passages: int, of: int) -> None:
            self._passages += passages
            seconds = time.perf_counter() - self._began
            rate, tokens = self._passages / seconds, embedder.tokens / seconds
            self._bars.update(
                self._task, advance=size * passages / of, passages=self._passages, rate=rate, tokens=tokens
            )

        embedder.watch = embedded

    def stored(self, batch: Batch) -> None:
        self._files += len(batch.files)
        self._size += sum(file.size for file in batch.files)
        self._bars.update(self._task, completed=self._size, files=self._files)


@contextmanager
def _bar(output: Output, files: list[SourceFile]) -> Iterator[_Bar]:
    from rich.progress import TextColumn

    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[files]}/{task.fields[of]} files"),
        TextColumn(
            "[dim]{task.fields[passages]:,} passages, {task.fields[rate]:.0f}/s, {task.fields[tokens]:,.0f} tokens/s[/]"
        ),
    )
    with output.bars(*columns) as bars:
        yield _Bar(bars, files)


def _show_files(output: Output, header: str, reason_header: str, files: Iterable[tuple[str, str]]) -> None:
    """Files beside what is to say about them, those of one reason together."""
    from rich.text import Text

    by_reason: dict[str, list[str]] = {}
    for file, reason in files:
        by_reason.setdefault(reason, []).append(file)
    if not by_reason:
        return
    table = plain_table()
    table.add_column(header, overflow="fold")
    table.add_column(reason_header, style="dim", overflow="fold")
    for reason, names in by_reason.items():
        more = [f"… and {len(names) - _NAMED} more; --json names all"] if len(names) > _NAMED else []
        table.add_row(Text(visible("\n".join(names[:_NAMED] + more))), Text(visible(reason)))
    output.err.print(table)
    output.err.print()


def _show(output: Output, report: SyncReport, seconds: float) -> None:
    from rich.text import Text

    from ..documents.formats import NOT_READ, supported_suffixes

    _show_files(output, "skipped", "reason", report.skipped)
    if any(NOT_READ in reason for _, reason in report.skipped):  # said once, not of each file
        output.note(f"Read are {' '.join(suffix[1:] for suffix in supported_suffixes())}.", "dim")
    _show_files(output, "read", "remark", report.remarks)
    counts = [
        f"{count:,} {word}"
        for word, count in (
            ("added", report.added),
            ("updated", report.updated),
            ("unchanged", report.unchanged),
            ("removed", report.removed),
            ("skipped", len(report.skipped)),
        )
        if count
    ]
    output.out.print(Text(", ".join(counts) or "nothing to do", "bold"), Text(f"in {seconds:.1f} s", "dim"))
