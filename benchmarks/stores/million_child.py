"""What is done to the store of a million, in processes of their own: ``python -m stores.million_child ACTION``.

As in ``child.py``; nothing here may import torch, whose memory would be counted.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .child import Arguments, Findings, Peak, say, size_of
from .contenders import KnownVectors, chunks_of
from .corpus import BLOCK, DIMENSION, Corpus, Floats, K, Questions, id_of

MORE = 10_000
KINDS = ("dense", "filtered", "lexical", "lexical filtered", "hybrid", "hybrid filtered")
_WARM_UPS = 10


class KnownQuestions:
    """An embedder of the questions only."""

    def __init__(self, questions: Questions) -> None:
        from langbert.records import EmbeddingSpace

        self._known = KnownVectors(zip(questions.texts, questions.vectors, strict=True))
        self.dimension = DIMENSION
        self.space = EmbeddingSpace("made up", "none", "none", "mean", True, DIMENSION)

    def embed(self, texts: Sequence[str], role: str = "document", *, progress: object = None) -> Floats:
        return np.stack([self._known.vector(text) for text in texts])

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError("nothing is cut here")

    def room(self, role: str = "document") -> int:
        raise NotImplementedError("nothing is cut here")


def _open(arguments: Arguments) -> tuple[Any, Questions]:
    from langbert.store import Store

    questions = Corpus(arguments["n"]).questions(Path(arguments["questions"]))
    embedder: Any = KnownQuestions(questions)
    return Store.open(arguments["folder"], embedder=embedder), questions


def build(arguments: Arguments) -> Findings:
    """Goes on where the store ends, for so many seconds; making the chunks is not counted, closing is."""
    from langbert.store import Store

    corpus, folder = Corpus(arguments["n"]), Path(arguments["folder"])
    end = time.monotonic() + arguments["seconds"]
    start = time.perf_counter()
    store = Store.open(folder)
    opening = time.perf_counter() - start
    peak, adding = Peak(), []
    first = len(store) // BLOCK * BLOCK
    block = corpus.block(0).part(0, 1)  # to look for, if nothing is missing
    for block in corpus.blocks(first):
        chunks = chunks_of(block)
        start = time.perf_counter()
        store.add_vectors(chunks, block.vectors)
        adding.append(time.perf_counter() - start)
        if time.monotonic() > end:
            break
    start = time.perf_counter()
    store.search_vector(block.vectors[0], 1)  # the indexes are complete when something has been found
    store.search(block.texts[0], 1, mode="lexical")
    n = len(store)
    store.close()
    indexing = time.perf_counter() - start
    complete = n >= arguments["n"]
    timings = {"opening": opening, "adding": adding, "indexing": indexing, "added": n - first}
    return {"chunks": n, "complete": complete, "bytes": size_of(folder), **timings, **peak.stop()}


def open(arguments: Arguments) -> Findings:
    """Seconds to have it open, and to its first answer of each kind."""
    import psutil

    from langbert.store import Store

    questions = Corpus(arguments["n"]).questions(Path(arguments["questions"]))
    embedder: Any = KnownQuestions(questions)
    with Store.open() as warm:  # loads the libraries
        warm.add_vectors(chunks_of(Corpus(BLOCK).block(0, 10)), Corpus(BLOCK).block(0, 10).vectors)
        warm.search_vector(questions.vectors[0], 1)
        warm.search(questions.texts[0], 1, mode="lexical")
    start = time.perf_counter()
    store = Store.open(arguments["folder"], embedder=embedder)
    opened = time.perf_counter() - start
    store.search_vector(questions.vectors[0], K)
    dense = time.perf_counter() - start
    store.search(questions.texts[0], K, mode="lexical")
    both = time.perf_counter() - start
    memory = psutil.Process().memory_info()
    megabytes = {"mb": memory.rss / 1e6, "own_mb": (memory.rss - getattr(memory, "shared", 0)) / 1e6}
    store.close()
    return {"open": opened, "dense": dense, "both": both, **megabytes}


def search(arguments: Arguments) -> Findings:
    """Every kind of search: seconds; of those by vector also the recall against exhaustive search."""
    store, questions = _open(arguments)
    n = len(questions.texts)
    found: Findings = {}
    for kind in KINDS:
        mode, filtered = kind.split()[0], "filtered" in kind
        expected = questions.nearest_on_shelf if filtered else questions.nearest
        seconds, hits, right, wanted = [], 0, 0, 0
        for i in [*range(n - _WARM_UPS, n), *range(n - _WARM_UPS)]:
            where = {"shelf": questions.shelf(i)} if filtered else None
            start = time.perf_counter()
            if mode in ("dense", "filtered"):
                candidates = store.search_vector(questions.vectors[i], K, where=where)
            else:
                candidates = store.search(questions.texts[i], K, mode=mode, where=where)
            seconds.append(time.perf_counter() - start)
            hits += len(candidates)
            there = {id_of(row) for row in expected[i].tolist() if row >= 0}
            right += len(there & {candidate.chunk.id for candidate in candidates})
            wanted += len(there)
        found[kind] = {"seconds": seconds[_WARM_UPS:], "hits": hits / n}
        if mode in ("dense", "filtered"):
            found[kind]["recall"] = right / wanted
    store.close()
    return found


def more(arguments: Arguments) -> Findings:
    """10,000 more, until they last, and until the last of them is found."""
    store, questions = _open(arguments)
    block = Corpus(arguments["n"]).beyond(MORE)
    chunks = chunks_of(block)
    store.search_vector(questions.vectors[0], K)
    start = time.perf_counter()
    store.add_vectors(chunks, block.vectors)
    lasts = time.perf_counter() - start
    found = store.search_vector(block.vectors[-1], 1)
    seen = time.perf_counter() - start
    store.close()
    return {"lasts": lasts, "seen": seen, "found": bool(found) and found[0].chunk.id == block.ids[-1]}


ACTIONS: dict[str, Callable[[Arguments], Findings]] = {
    action.__name__: action for action in (build, open, search, more)
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    say(ACTIONS[sys.argv[1]](json.loads(sys.stdin.readline())))
