"""``python -m benchmarks.scale.shards``: a store in shards beside one store of the same chunks and vectors.

Chunks are those of :mod:`benchmarks.stores.outside`. Each question is made of eight words of one chunk and a vector
near its own: that chunk is what should be found. Stores are filled by processes of their own; seconds are the clock's
and the processor's, of all of them together, less what making the chunks takes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.stores.outside import made
from langbert import Candidate, StoreLike, open_store
from langbert.store.ranking import Query

_BATCH = 500
_DEPTH = 10


def fill(place: str, n: int, part: int, of: int) -> None:
    """Adds every ``of``-th batch of the chunks; without any, only makes them."""
    chunks, vectors = made(n, np.random.default_rng(0))
    if of:
        with open_store(place) as store:
            for start in range(part * _BATCH, n, of * _BATCH):
                store.add_vectors(chunks[start : start + _BATCH], vectors[start : start + _BATCH])


def filled(place: str, n: int, processes: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.scale.shards", "--fill", place, "--chunks", str(n)]
    parts = range(max(processes, 1))
    running = [subprocess.Popen([*command, "--part", str(part), "--of", str(processes)]) for part in parts]
    if any(process.wait() for process in running):
        raise SystemExit(f"filling {place} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, spent


def compare(stores: dict[str, StoreLike], n: int, questions: int) -> None:
    rng = np.random.default_rng(1)
    chunks, vectors = made(n, np.random.default_rng(0))
    rows = rng.choice(n, questions, replace=False)
    asked = vectors[rows] + 0.02 * rng.standard_normal((questions, vectors.shape[1])).astype(np.float32)
    words = [" ".join(rng.choice(chunks[row].text.split(), 8, replace=False)) for row in rows]
    nearest = [[f"c{i}" for i in np.argsort(-(vectors @ one))[:_DEPTH]] for one in asked]
    for mode in ("dense", "lexical", "hybrid"):
        first: list[list[str]] = []
        for name, store in stores.items():
            began = time.process_time()
            found = [
                [hit.chunk.id for hit in _search(store, Query(mode, text, None if mode == "lexical" else vector))]
                for text, vector in zip(words, asked, strict=True)
            ]
            spent = (time.process_time() - began) / questions
            ndcg = np.mean([_gain(ids, f"c{row}") for ids, row in zip(found, rows, strict=True)])
            said = f"{mode:8} {name:10} nDCG@10 {ndcg:.4f}, {1000 * spent:.1f} ms of the processor"
            if mode == "dense":
                said += f", recall@10 {_shared(nearest, found):.4f}"
            if first:
                same = np.mean([mine == theirs for mine, theirs in zip(first, found, strict=True)])
                said += f"; {_shared(first, found):.2%} of what one store finds, {same:.0%} of the lists in its order"
            first = first or found
            print(said, flush=True)


def _gain(ids: list[str], wanted: str) -> float:
    return 1 / np.log2(ids.index(wanted) + 2) if wanted in ids else 0.0


def _shared(these: list[list[str]], those: list[list[str]]) -> float:
    return float(np.mean([len({*a} & {*b}) / max(len(a), 1) for a, b in zip(these, those, strict=True)]))


def _search(store: StoreLike, query: Query) -> list[Candidate]:
    return store._found(query, _DEPTH, None)  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=40_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--fill", help=argparse.SUPPRESS)
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill:
        fill(given.fill, given.chunks, given.part, given.of)
        return
    with tempfile.TemporaryDirectory() as folder:
        ways = {"one store": (None, 1), f"{given.shards} shards": (given.shards, 1)}
        ways[f"{given.shards} shards, {given.processes} processes"] = given.shards, given.processes
        places = {name: str(Path(folder) / f"store{i}") for i, name in enumerate(ways)}
        idle = filled("nothing", given.chunks, 0)
        for name, (shards, processes) in ways.items():
            open_store(places[name], shards=shards).close()
            wall, spent = filled(places[name], given.chunks, processes)
            wall, spent = wall - idle[0], spent - processes * idle[1]
            print(f"{name}: filled in {wall:.1f} s, {spent:.1f} s of the processor", flush=True)
        stores = {name: open_store(place) for name, place in list(places.items())[:2]}
        compare(stores, given.chunks, given.questions)


if __name__ == "__main__":
    main()
