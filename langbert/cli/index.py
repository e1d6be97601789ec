"""``langbert index``: folders of files into a store, only what changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ..errors import DocumentError
from .output import Debug, Json, Offline, Output, Quiet, StoreFolder, plain_table

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from ..records import Document
    from ..store import Store
    from .stores import Watched

__all__ = ["index"]

_NAMED = 10  # skipped files of one reason that are listed: a folder may hold thousands of pictures
_BATCH_CHARACTERS = 100_000  # about 250 passages: a few seconds of embedding, one transaction


@dataclass(slots=True)
class _File:
    """A file on disk, as the index sees it."""

    path: Path
    source: str
    size: int
    digest: str = ""


@dataclass(slots=True)
class _Report:
    """What happened."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        skipped = [{"file": file, "reason": reason} for file, reason in self.skipped]
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "skipped": skipped,
        }


def index(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files and folders.", exists=True)],
    store: StoreFolder,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="minilm, owner/name on the Hugging Face hub, or a folder. By default what the store was made with, "
            "or minilm.",
            show_default=False,
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="cls, mean, max … By default what the model was trained with.", show_default=False),
    ] = None,
    late_chunking: Annotated[
        bool,
        typer.Option(
            "--late-chunking",
            help="Let a passage's vector depend on the document around it; decided when the store is made.",
        ),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove documents of these folders whose files are gone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Read every file again, changed or not.")] = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read documents into a store; on the next run only what changed.

    Reads txt, md, rst, html, pdf, docx and more. A file that cannot be read is named at the end, the rest is indexed.

    Examples:

        langbert index docs/ --store my-index

        langbert index reports/ notes.md --store my-index --prune
    """
    output = Output(as_json=json, quiet=quiet, debug=debug)
    started = time.perf_counter()
    report = _Report()
    from ..store import Store
    from .stores import DEFAULT_EMBEDDER, Watched, embedder_of, exists, make_embedder, open_plain

    known, space = {}, None
    if exists(store):
        with open_plain(store) as plain:
            known, space = _known(plain), plain.space
    files = _find(paths, store, report)
    if not files and not prune:
        _fail(paths, report)
    changed = _changed(files, {} if force else known, output, report)
    batches = _batches(changed, report)
    with output.waiting("reading"):
        first = next(batches, [])
    if report.skipped and not report.unchanged and not prune and not _documents(first):
        _fail(paths, report)
    encoder = None
    if _documents(first) or embedder or pooling:  # it takes seconds to load: not where there is nothing to embed
        if embedder is None and pooling is None:
            encoder = embedder_of(space, output, offline=offline)
        else:
            model = embedder or (space.model if space else DEFAULT_EMBEDDER)
            encoder = make_embedder(model, output, offline=offline, pooling=pooling)
    watched = Watched(encoder) if encoder else None
    before = {row.id for row in known.values()}
    with Store.open(store, embedder=watched, late_chunking=late_chunking or None) as opened:
        with _bar(output, changed) as bar:
            for batch in chain([first], batches):
                _add(opened, watched, batch, before, bar, report)
        if prune:
            report.removed = _prune(opened, paths, files, known)
        documents, passages, space = opened.n_documents, len(opened), opened.space
    seconds = time.perf_counter() - started
    if json:
        holds = {"documents": documents, "passages": passages, "embedder": space.model if space else None}
        output.json({**report.to_dict(), **holds, "store": str(store), "seconds": round(seconds, 2)})
        return
    from rich.text import Text

    _show(output, report, seconds)
    output.out.print(
        Text(f"{store} now holds {documents:,} documents in {passages:,} passages.", "dim"), soft_wrap=True
    )


def _find(paths: Iterable[Path], store: Path, report: _Report) -> list[_File]:
    """The files under ``paths``, without the store's own; a folder that cannot be listed counts as skipped."""
    from ..documents import find_files

    def on_skip(path: Path, error: DocumentError) -> None:
        report.skipped.append((str(path), _reason(path, error)))

    own = Path(os.path.abspath(store))
    found = find_files(paths, on_skip=on_skip)
    return [_File(path, source, _size(path)) for path, source in found if own not in path.parents]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone or forbidden since it was listed: reading it will say so
        return 0


def _known(store: Store) -> dict[str, Any]:
    """What the store holds that came from files: path → its row."""
    return {row.metadata["path"]: row for row in store.documents() if "path" in row.metadata}


def _changed(files: list[_File], known: dict[str, Any], output: Output, report: _Report) -> list[_File]:
    """The files whose bytes (or name in citations) are not the ones in the store; only the bytes are looked at."""
    from rich.progress import MofNCompleteColumn, TextColumn

    from ..documents.files import printable

    changed = []
    with output.bars(MofNCompleteColumn(), TextColumn("files")) as bars:
        for file in bars.track(files, description="comparing"):
            row = known.get(printable(file.path))
            file.digest = _digest(file.path)
            if row and file.digest and row.metadata.get("sha256") == file.digest and row.source == file.source:
                report.unchanged += 1
            else:
                changed.append(file)
    return changed


def _digest(path: Path) -> str:
    """SHA-256 of a file's bytes; empty if it cannot be read (reading it will say why)."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return _file_digest(stream)
    except OSError:
        return ""


def _file_digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


_Batch: TypeAlias = "list[tuple[_File, Document | None]]"


def _documents(batch: _Batch) -> list[Document]:
    return [document for _, document in batch if document is not None]


def _add(store: Store, embedder: Watched | None, batch: _Batch, before: set[str], bar: _Bar, report: _Report) -> None:
    """Chunk, embed and store one batch: it is kept, whatever happens to the next."""
    documents = _documents(batch)
    if documents and embedder:
        size = sum(file.size for file, _ in batch)
        embedder.watch = lambda count, of: bar.embedded(count, size * count / of, embedder.tokens)
        store.add(documents)
        report.updated += sum(document.id in before for document in documents)
        report.added += sum(document.id not in before for document in documents)
    bar.stored([file for file, _ in batch])


class _Bar:
    """How far the indexing is: bytes of files set the pace, files and passages are shown."""

    def __init__(self, bars: Bars, files: list[_File]) -> None:
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

    def embedded(self, passages: int, size: float, tokens: int) -> None:
        self._passages += passages
        seconds = time.perf_counter() - self._began
        rate, tokens_rate = self._passages / seconds, tokens / seconds
        self._bars.update(self._task, advance=size, passages=self._passages, rate=rate, tokens=tokens_rate)

    def stored(self, files: list[_File]) -> None:
        self._files += len(files)
        self._size += sum(file.size for file in files)
        self._bars.update(self._task, completed=self._size, files=self._files)


@contextmanager
def _bar(output: Output, files: list[_File]) -> Iterator[_Bar]:
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


def _batches(files: Iterable[_File], report: _Report) -> Iterator[_Batch]:
    """Files with their documents (None: skipped), so many at a time that a batch is a few seconds of work."""
    from ..documents import read_document

    batch: _Batch = []
    characters = 0
    for file in files:
        document: Document | None = None
        try:
            document = read_document(file.path, source=file.source)
        except DocumentError as error:
            report.skipped.append((file.source, _reason(file.path, error)))
        else:
            document = replace(document, metadata={**document.metadata, "sha256": file.digest})
            characters += len(document.text)
        batch.append((file, document))
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _prune(store: Store, paths: Iterable[Path], files: Iterable[_File], known: dict[str, Any]) -> int:
    """Remove what came from the given folders and is gone from disk: nothing else, and nothing merely unreadable."""
    from ..documents.files import printable

    folders = [os.path.join(printable(os.path.abspath(path)), "") for path in paths if path.is_dir()]
    present = {printable(file.path) for file in files}
    gone = [
        row.id
        for path, row in known.items()
        if path not in present and path.startswith(tuple(folders)) and _is_gone(path)
    ]
    return len(gone) if gone and store.delete(gone) else 0


def _is_gone(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # a folder that may not be entered hides its files, it does not delete them
        return False
    return False


def _reason(path: Path, error: DocumentError) -> str:
    """The reason without the file's name, which stands beside it."""
    from ..documents.files import printable

    return str(error).removeprefix(f"{printable(path)}: ")


def _fail(paths: Iterable[Path], report: _Report) -> None:
    where = ", ".join(str(path) for path in paths)
    if not report.skipped:
        raise DocumentError(f"there are no files in {where}")
    first = "; ".join(f"{file}: {reason}" for file, reason in report.skipped[:5])
    more = f" (and {len(report.skipped) - 5} more)" if len(report.skipped) > 5 else ""
    raise DocumentError(f"none of the files in {where} could be read: {first}{more}")


def _show(output: Output, report: _Report, seconds: float) -> None:
    from rich.text import Text

    if report.skipped:
        table = plain_table()
        table.add_column("skipped", overflow="fold")
        table.add_column("reason", style="dim", overflow="fold")
        by_reason: dict[str, list[str]] = {}
        for file, reason in report.skipped:
            by_reason.setdefault(reason, []).append(file)
        for reason, names in by_reason.items():
            more = [f"… and {len(names) - _NAMED} more; --json names all"] if len(names) > _NAMED else []
            table.add_row(Text("\n".join(names[:_NAMED] + more)), Text(reason))
        output.err.print(table)
        output.err.print()
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
