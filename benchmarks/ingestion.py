"""How long reading takes beside embedding, and what a run keeps when files do harm and the process is killed.

    python benchmarks/ingestion.py time FOLDER [--embedder NAME] [--store PLACE]
    python benchmarks/ingestion.py harm PLACE [--files 10000] [--kills 5] [--real FOLDER …]
    python benchmarks/ingestion.py rate FILE.pdf …

``time``: the files of a folder read, cut, embedded and written by ``sync``, beside the time in the embedder alone; the
store is kept where a place is given.
``harm``: so many small files of eleven formats, one in a hundred of which is broken, crashes its reader or hangs, and
those of further folders, indexed by a process that is killed on the way; the vectors are hashes, since nothing is
searched. It fails unless all others are stored once. ``rate``: pages read in a second by one process and by two.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from small_files import HTML, ODT, zipped  # noqa: E402
from store_tools import HashEmbedder  # noqa: E402

from langbert import Chunk, Document, Embedder, Store, sync  # noqa: E402
from langbert.documents import read_document, workers  # noqa: E402
from langbert.documents.reading import Task  # noqa: E402
from langbert.documents.workers import Workers, read_in_order  # noqa: E402
from langbert.errors import DocumentError  # noqa: E402
from langbert.indexing import Limits  # noqa: E402

KINDS = ("CRASH", "HANG", "EXIT", "broken")


class Clocked:
    """An embedder that knows how long it was at work."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.seconds = 0.0
        self.worked = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._embedder, name)

    def embed(self, *arguments: object, **options: object) -> object:
        started, worked = time.perf_counter(), time.process_time()
        try:
            return self._embedder.embed(*arguments, **options)  # type: ignore[arg-type]
        finally:
            self.seconds += time.perf_counter() - started
            self.worked += time.process_time() - worked


def measure(folder: Path, name: str, n_workers: int | None, kept: Path | None) -> None:
    embedder = Clocked(Embedder(name))
    embedder.embed(["warm"])
    embedder.seconds = embedder.worked = 0.0
    with tempfile.TemporaryDirectory() as place, Store.open(kept or place, embedder=embedder) as store:  # type: ignore[arg-type]
        started, before = time.perf_counter(), _worked()
        report = sync(folder, store, workers=n_workers)
        seconds, worked = time.perf_counter() - started, _worked() - before
        started = time.perf_counter()
        sync(folder, store, workers=n_workers)
        again = time.perf_counter() - started
        print(
            f"{report.added} documents, {len(store)} passages: {seconds:.1f} s, of which {embedder.seconds:.1f} s "
            f"embedding: {seconds / embedder.seconds:.2f} ×; of a processor {worked:.1f} s and "
            f"{embedder.worked:.1f} s: {worked / embedder.worked:.2f} ×; again, nothing changed: {again:.2f} s"
        )


def text_of(number: int) -> dict[str, bytes]:
    """A small file of each format, which no other number has."""
    named = f"depot {number}, 仓库{number}"
    mail = f"Subject: {named}\nFrom: a@example.org\nContent-Type: text/plain; charset=utf-8\n\nThe {named}.\n"
    cells = [{"cell_type": "markdown", "source": f"# Hours\n\nThe {named} opens at six."}]
    page = f"# Opening hours\n\nThe {named} opens at six.\n"
    return {
        ".md": page.encode(),
        ".txt": f"The {named} opens at six.\n".encode(),
        ".rst": f"Hours\n=====\n\nThe {named} opens at six.\n".encode(),
        ".html": HTML.replace("depot", named).encode(),
        ".csv": f"place,opens\ndepot {number},6\n".encode(),
        ".py": f"def opens():  # {named}\n    return 6\n".encode(),
        ".rtf": rf"{{\rtf1\ansi The depot {number} opens at six.\par}}".encode(),
        ".ipynb": json.dumps({"cells": cells, "nbformat": 4}).encode(),
        ".eml": mail.encode(),
        ".odt": zipped({"content.xml": ODT.replace("depot", named)}),
        ".zip": zipped({"notes.md": page.encode()}),
    }


def generate(folder: Path, n_files: int) -> set[str]:
    """The files, and the names of those, one in a hundred, that are broken, crash their reader or hang."""
    bad = set()
    for number in range(n_files):
        suffix, data = list(text_of(number).items())[number % 11]
        if number % 100 == 50:
            kind = KINDS[number // 100 % len(KINDS)]
            suffix, data = (".pdf", b"%PDF-1.7 broken") if kind == "broken" else (suffix, kind.encode())
            bad.add(f"{number:05}{suffix}")
        file = folder / f"{number // 1000:02}" / f"{number:05}{suffix}"
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            file.write_bytes(data)
    return bad


def harm(place: Path, n_files: int, kills: int, real: list[Path]) -> None:
    """Goes on where it was, if it was stopped itself and ``place`` is the same."""
    folder, store_path = place / "docs", place / "store"
    folder.mkdir(exist_ok=True, parents=True)
    bad = generate(folder, n_files)
    command = [sys.executable, __file__, "run", str(store_path), str(folder), *map(str, real)]
    started, peaks = time.perf_counter(), Counter[str]()
    for kill in range(kills + 1):
        wanted = n_files * (kill + 1) / (kills + 1) if kill < kills else float("inf")
        running = subprocess.Popen(command)
        while running.poll() is None and n_documents(store_path) < wanted:
            watch(running.pid, peaks)
            time.sleep(0.2)
        if running.poll() is None:
            running.kill()
            print(f"killed with {n_documents(store_path):,} documents stored", flush=True)
        assert running.wait() in (0, -9)
    seconds = time.perf_counter() - started
    with Store.open(store_path, embedder=HashEmbedder(), chunker=Pieces()) as store:
        records = {record.path: record for record in store.files}
        stored = Counter(row.metadata["path"] for row in store.documents())
    made = {path: record for path, record in records.items() if Path(path).is_relative_to(folder.resolve())}
    refused = {Path(path).name for path, record in made.items() if record.state != "done"}
    assert len(made) == n_files, "files that nothing is known of"
    assert refused == bad, refused ^ bad
    assert max(stored.values()) == 1, "stored twice"
    assert stored.keys() == {path for path, record in records.items() if record.state == "done"}, "lost"
    others = {path: record for path, record in records.items() if path not in made}
    for path, record in others.items():
        if record.state != "done" and "took longer" not in record.reason:  # busy machines are slow
            with suppress(DocumentError):
                read_document(path, ocr=False)
                raise AssertionError(f"{path} can be read, and was not: {record.reason}")
    states = Counter(record.state for record in others.values())
    print("| made | refused | real | refused | killed | stored twice | lost | seconds | its memory | a reader's |")
    print(
        f"| {n_files:,} | {len(bad)} | {len(others):,} | {len(others) - states['done']} | {kills} times | 0 | 0 "
        f"| {seconds:.0f} | {peaks['main'] >> 20:,} MiB | {peaks['reader'] >> 20:,} MiB |"
    )
    print(Counter(record.reason[:60] for record in records.values() if record.reason).most_common(8))


def watch(pid: int, peaks: Counter[str]) -> None:
    """The most memory that the process, and each that reads for it, has had so far."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        peaks["main"] = max(peaks["main"], process.memory_info().rss)
        for reader in process.children():
            with suppress(psutil.Error):
                peaks["reader"] = max(peaks["reader"], reader.memory_info().rss)


def rate(files: list[Path], rounds: int) -> None:
    """Pages of PDFs read in a second, by one process and by two in turns; and what a page takes of a processor."""
    tasks = [(Task(str(file.resolve()), file.name, ocr=False), file.stat().st_size) for file in files] * 4
    spent: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(rounds):
        for n in spent:
            workers = Workers(n)
            workers.start()
            before, worked = time.perf_counter(), os.times()
            read = list(read_in_order(tasks, workers))
            seconds = time.perf_counter() - before
            workers.close()  # what ended processes took is known
            spent[n].append((seconds, _worked() - sum(worked[:4])))
    pages = sum(len(reading.document.page_starts) for reading in read if reading.document)
    medians = {n: [statistics.median(column) for column in zip(*times, strict=True)] for n, times in spent.items()}
    ratio = statistics.median(one / two for (one, _), (two, _) in zip(spent[1], spent[2], strict=True))
    print("| readers | pages | pages/s, median | pages for each second of a processor |")
    for n, (seconds, worked) in medians.items():
        print(f"| {n} | {pages:,} | {pages / seconds:.0f} | {pages / worked:.0f} |")
    print(f"two are {ratio:.2f} × as fast as one, the median of {rounds} rounds")


def _worked() -> float:
    """Seconds that a processor was at work for this process and those it has ended."""
    return sum(os.times()[:4])


class Pieces:
    """Cuts every thousand characters: nothing here is searched."""

    key = "pieces"

    def split(self, document: Document) -> list[Chunk]:
        return [
            Chunk(f"{document.id}:{at}", document.id, document.text[at : at + 1000], at, source=document.source)
            for at in range(0, len(document.text), 1000)
        ]


def n_documents(path: Path) -> int:
    import sqlite3

    if not (path / "store.sqlite").exists():
        return 0
    with sqlite3.connect(f"file:{path / 'store.sqlite'}?mode=ro", uri=True) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])
        except sqlite3.Error:
            return 0


def run(store: Path, paths: list[Path]) -> None:
    workers._READER = "hostile_reader"
    with Store.open(store, embedder=HashEmbedder(), chunker=Pieces()) as opened:
        sync(paths, opened, limits=Limits(seconds=10), workers=2, ocr=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    timed = commands.add_parser("time")
    timed.add_argument("folder", type=Path)
    timed.add_argument("--embedder", default="minilm")
    timed.add_argument("--workers", type=int)
    timed.add_argument("--store", type=Path, help="a new folder for the store, which is kept")
    harmed = commands.add_parser("harm")
    harmed.add_argument("place", type=Path, help="a folder, in which it goes on if it was stopped")
    harmed.add_argument("--files", type=int, default=10_000)
    harmed.add_argument("--kills", type=int, default=5)
    harmed.add_argument("--real", type=Path, nargs="*", default=[], help="folders of further files")
    rated = commands.add_parser("rate")
    rated.add_argument("files", type=Path, nargs="+", help="PDFs")
    rated.add_argument("--rounds", type=int, default=3)
    ran = commands.add_parser("run")
    ran.add_argument("store", type=Path)
    ran.add_argument("paths", type=Path, nargs="+")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if options.command == "time":
        measure(options.folder, options.embedder, options.workers, options.store)
    elif options.command == "harm":
        harm(options.place, options.files, options.kills, options.real)
    elif options.command == "rate":
        rate(options.files, options.rounds)
    else:
        run(options.store, options.paths)


if __name__ == "__main__":
    main()
