"""How long reading takes beside embedding, and what a run keeps when files do harm and the process is killed.

``python benchmarks/ingestion.py time FOLDER``: the files of a folder read, cut, embedded and written by ``sync``,
beside the time in the embedder alone. ``python benchmarks/ingestion.py harm [--files 2000] [--kills 5]``: so many small
files, one in a hundred of which is broken, crashes its reader or hangs, indexed by a process that is killed on the way.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from store_tools import HashEmbedder, LineChunker  # noqa: E402

from langbert import Embedder, Store, sync  # noqa: E402
from langbert.documents import workers  # noqa: E402
from langbert.indexing import Limits  # noqa: E402

KINDS = ("CRASH", "HANG", "EXIT", "broken")


class Clocked:
    """An embedder that knows how long it was at work."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.seconds = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._embedder, name)

    def embed(self, *arguments: object, **options: object) -> object:
        started = time.perf_counter()
        try:
            return self._embedder.embed(*arguments, **options)  # type: ignore[arg-type]
        finally:
            self.seconds += time.perf_counter() - started


def measure(folder: Path, name: str, n_workers: int | None) -> None:
    embedder = Clocked(Embedder(name))
    embedder.embed(["warm"])
    embedder.seconds = 0.0
    with tempfile.TemporaryDirectory() as place, Store.open(place, embedder=embedder) as store:  # type: ignore[arg-type]
        started = time.perf_counter()
        report = sync(folder, store, workers=n_workers)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        sync(folder, store, workers=n_workers)
        again = time.perf_counter() - started
        print(
            f"{report.added} documents, {len(store)} passages: {seconds:.1f} s, of which {embedder.seconds:.1f} s "
            f"embedding: {seconds / embedder.seconds:.2f} ×; again, nothing changed: {again:.2f} s"
        )


def harm(n_files: int, kills: int) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder, store_path = Path(place, "docs"), Path(place, "store")
        folder.mkdir()
        bad = {}
        for i in range(n_files):
            name, text = f"{i:05}.md", f"# 第{i}章\n\nFile {i} says {rng.random()}.\n\n第{i}个文件。\n"
            if i % 100 == 50:
                bad[name] = text = KINDS[i // 100 % len(KINDS)]
                if text == "broken":
                    name, text = f"{i:05}.pdf", "%PDF-1.7 broken"
                    bad[name] = bad.pop(f"{i:05}.md")
            (folder / name).write_text(text, encoding="utf-8")
        command = [sys.executable, __file__, "run", str(folder), str(store_path)]
        started = time.perf_counter()
        for kill in range(kills):
            running = subprocess.Popen(command)
            share = (kill + 1) / (kills + 1)
            while running.poll() is None and n_documents(store_path) < n_files * share:
                time.sleep(0.05)
            print(f"killed with {n_documents(store_path):,} documents stored", flush=True)
            running.kill()
            running.wait()
        subprocess.run(command, check=True)
        print(f"{time.perf_counter() - started:.1f} s in all")
        with Store.open(store_path, embedder=HashEmbedder(), chunker=LineChunker()) as store:
            states = Counter(record.state for record in store.files)
            sources = Counter(row.source for row in store.documents())
            failed = {record.source: record.reason for record in store.files if record.state == "failed"}
        print(f"{states}, {len(bad)} made to fail, stored twice: {sum(n > 1 for n in sources.values())}")
        print(f"named rightly: {failed.keys() == bad.keys()}; reasons: {Counter(failed.values())}")
        print(f"lost: {n_files - len(bad) - len(sources)}")


def n_documents(path: Path) -> int:
    import sqlite3

    if not (path / "store.sqlite").exists():
        return 0
    with sqlite3.connect(f"file:{path / 'store.sqlite'}?mode=ro", uri=True) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])
        except sqlite3.Error:
            return 0


def run(folder: Path, store: Path) -> None:
    workers._READER = "hostile_reader"
    with Store.open(store, embedder=HashEmbedder(), chunker=LineChunker()) as opened:
        report = sync(folder, opened, limits=Limits(seconds=2), workers=2)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"added {report.added}, unchanged {report.unchanged}; memory {most:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    timed = commands.add_parser("time")
    timed.add_argument("folder", type=Path)
    timed.add_argument("--embedder", default="minilm")
    timed.add_argument("--workers", type=int)
    harmed = commands.add_parser("harm")
    harmed.add_argument("--files", type=int, default=2000)
    harmed.add_argument("--kills", type=int, default=5)
    ran = commands.add_parser("run")
    ran.add_argument("folder", type=Path)
    ran.add_argument("store", type=Path)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if options.command == "time":
        measure(options.folder, options.embedder, options.workers)
    elif options.command == "harm":
        harm(options.files, options.kills)
    else:
        run(options.folder, options.store)


if __name__ == "__main__":
    main()
