"""What is done to one store in a process of its own.

``python -m stores.child ACTION`` reads a line of JSON on stdin, its arguments, and prints one, what it found. ``write``
and ``stay`` print others before it, as they go.

Importing a contender's library is never part of a time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .contenders import KnownVectors, Opened, open_store
from .corpus import BLOCK, Block, Corpus, K, Questions, id_of

Arguments = dict[str, Any]
Findings = dict[str, Any]

_WARM_UPS = 10
_BATCH = 20


class Peak:
    """The most memory of this process, sampled: all that is resident, and that without mapped files."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self.resident = self.own = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.sample()

    def sample(self) -> None:
        memory = self._process.memory_info()
        self.resident = max(self.resident, memory.rss / 1e6)
        self.own = max(self.own, (memory.rss - getattr(memory, "shared", 0)) / 1e6)

    def stop(self) -> dict[str, float]:
        self._stop.set()
        self._thread.join()
        self.sample()
        return {"peak_mb": round(self.resident, 1), "peak_own_mb": round(self.own, 1)}


class Timed:
    """Adds up seconds, less those of looking vectors up."""

    def __init__(self, known: KnownVectors) -> None:
        self._known = known

    def __call__(self, call: Callable[[], object]) -> float:
        start, before = time.perf_counter(), self._known.seconds
        call()
        return time.perf_counter() - start - (self._known.seconds - before)


def build(arguments: Arguments) -> Findings:
    """Adds the whole corpus, block by block."""
    name, folder, corpus = arguments["name"], Path(arguments["folder"]), Corpus(arguments["n"])
    known = KnownVectors()
    timed = Timed(known)
    _import(name)
    store = open_store(name, folder, known)
    peak = Peak()
    adding = []
    for block in corpus.blocks():
        known.know(block.texts, block.vectors)
        adding.append(timed(lambda block=block: store.add(block)))  # type: ignore[misc]
        known.forget(block.texts)
    saving = timed(store.save)
    closing = timed(store.close)
    return {"adding": adding, "saving": saving, "closing": closing, "bytes": size_of(folder), **peak.stop()}


def read(arguments: Arguments) -> Findings:
    """Opens, answers once, then many times, then within one shelf."""
    name, folder, questions = _questions(arguments)
    _import(name)
    known = KnownVectors(zip(questions.texts, questions.vectors, strict=True))
    before = _resident()
    start = time.perf_counter()
    store = open_store(name, folder, known)
    opened = time.perf_counter() - start
    store.search(questions.texts[0], K)
    answered = time.perf_counter() - start
    findings: Findings = {"open": opened, "answer": answered, "mb": _resident(), "mb_before": before}
    findings["search"] = ask(store, questions, arguments["seconds"], on_shelf=False)
    findings["filter"] = ask(store, questions, arguments["seconds"], on_shelf=True)
    store.close()
    return findings


def ask(store: Opened, questions: Questions, seconds: float, *, on_shelf: bool) -> Findings:
    """All questions, or as many as fit; what the first ones take does not count. The last are for warming up."""
    expected = questions.nearest_on_shelf if on_shelf else questions.nearest
    n = len(questions.texts)
    end = time.monotonic() + seconds
    for i in range(n - _WARM_UPS, n):
        store.search(questions.texts[i], K, questions.shelf(i) if on_shelf else None)
        if time.monotonic() > end:
            break
    taken, hits, right, wanted = [], [], 0, 0
    for i in range(n - _WARM_UPS):
        start = time.perf_counter()
        found = store.search(questions.texts[i], K, questions.shelf(i) if on_shelf else None)
        taken.append(time.perf_counter() - start)
        there = {id_of(row) for row in expected[i].tolist() if row >= 0}
        hits.append(len(found))
        right += len(there & {id for id, _ in found})
        wanted += len(there)
        if time.monotonic() > end and len(taken) >= 5:
            break
    return {"seconds": taken, "hits": sum(hits) / len(hits), "recall": right / wanted}


def more(arguments: Arguments) -> Findings:
    """Adds to a store that is open and in use, until it lasts; then until a search finds it."""
    name, folder, questions = _questions(arguments)
    block = Corpus(arguments["n"]).beyond(arguments["more"])
    known = KnownVectors(zip(questions.texts, questions.vectors, strict=True))
    known.know(block.texts, block.vectors)
    timed = Timed(known)
    store = open_store(name, folder, known)
    store.search(questions.texts[0], K)

    def add() -> None:
        store.add(block)
        store.save()

    start = time.perf_counter()
    lasts = timed(add)
    found = store.search(block.texts[-1], 1)
    seen = time.perf_counter() - start - known.seconds
    store.close()
    return {"lasts": lasts, "seen": seen, "found": bool(found) and found[0][0] == block.ids[-1]}


def ids(arguments: Arguments) -> Findings:
    """Adds an id that is there with another text, then a new one; deletes one that is not there."""
    name, folder = arguments["name"], Path(arguments["folder"])
    corpus = Corpus(BLOCK)
    block, other = corpus.block(0).part(0, 500), corpus.beyond(600)
    known = KnownVectors()
    for some in (block, other):
        known.know(some.texts, some.vectors)
    store = open_store(name, folder, known)
    store.add(block)
    store.save()
    again = replace(other.part(0, 1), names=block.ids[:1])
    error = _error(lambda: store.add(again))
    existing = "error" if error else ("update" if store.count() == len(block) else "duplicate row")
    if existing == "update" and [text for _, text in store.search(again.texts[0], 1)] != again.texts:
        existing = "ignored"
    later = other.part(100, 500)
    store.add(later)
    right = sum(_first(store, text) == id for text, id in zip(later.texts, later.ids, strict=True))
    if right < len(later):
        existing += f", then {100 * (len(later) - right) / len(later):.0f} % wrong"
    error = _error(lambda: store.delete([id_of(10**9)]))
    missing = "error" if error else "no error"
    store.close()
    return {"existing": existing, "missing": missing}


def fill(arguments: Arguments) -> Findings:
    """Adds the first batches to a new store."""
    known = KnownVectors()
    block = Corpus(BLOCK).block(0).part(0, arguments["batches"] * _BATCH)
    known.know(block.texts, block.vectors)
    store = open_store(arguments["name"], Path(arguments["folder"]), known)
    store.add(block)
    store.save()
    store.close()
    return {}


def write(arguments: Arguments) -> Findings:
    """Adds batch after batch for ever, and says which are there for good; to be killed."""
    name, folder = arguments["name"], Path(arguments["folder"])
    known = KnownVectors()
    number = arguments["batch"]
    store = open_store(name, folder, known)
    corpus = Corpus(BLOCK)
    while True:
        block = _batch(corpus, number)
        known.know(block.texts, block.vectors)
        store.add(block)
        store.save()
        say({"batch": number})
        number += 1


def check(arguments: Arguments) -> Findings:
    """Opens what a killed process left, and looks for the rows of every acknowledged batch, by id and by vector."""
    name, folder, acknowledged = arguments["name"], Path(arguments["folder"]), arguments["acknowledged"]
    known = KnownVectors()
    corpus = Corpus(BLOCK)
    blocks = [_batch(corpus, number) for number in acknowledged]
    for block in blocks:
        known.know(block.texts, block.vectors)
    try:
        store = open_store(name, folder, known)
        store.search("anything", 1)
    except Exception as error:
        return {"opens": False, "rows": 0, "there": 0, "error": f"{type(error).__name__}: {error}"[:200]}
    rows = there = 0
    for block in blocks:
        present = store.present(block.ids)
        rows += len(block)
        for id, text in zip(block.ids, block.texts, strict=True):
            there += id in present and _first(store, text) == id
    store.close()
    return {"opens": True, "rows": rows, "there": there}


def stay(arguments: Arguments) -> Findings:
    """Opens and asks; told to on stdin, asks for what another process has added, adds something itself, closes."""
    name, folder = arguments["name"], Path(arguments["folder"])
    known, mine, theirs = _two(arguments)
    store = open_store(name, folder, known)
    store.search(mine.texts[0], 1)
    say({"ready": True})
    if arguments["wait"]:
        sys.stdin.readline()
    sees = _error(lambda: None) or _first(store, theirs.texts[0]) == theirs.ids[0]
    refused = _error(lambda: (store.add(mine), store.save()))
    _error(store.close)
    return {"sees": sees, "refused": refused}


def look(arguments: Arguments) -> Findings:
    """How many of the rows of both processes are found, by vector."""
    known, mine, theirs = _two(arguments)
    store = open_store(arguments["name"], Path(arguments["folder"]), known)
    found = [
        sum(_first(store, text) == id for text, id in zip(block.texts, block.ids, strict=True))
        for block in (mine, theirs)
    ]
    store.close()
    return {"mine": found[0], "theirs": found[1], "of": _BATCH}


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _two(arguments: Arguments) -> tuple[KnownVectors, Block, Block]:
    """The rows that two processes add at once: this one's, and the other one's."""
    corpus = Corpus(BLOCK)
    number = arguments.get("me", 0)
    blocks = [_batch(corpus, 100 + number), _batch(corpus, 101 - number)]
    known = KnownVectors()
    for block in blocks:
        known.know(block.texts, block.vectors)
    return known, blocks[0], blocks[1]


def _batch(corpus: Corpus, number: int) -> Block:
    per_block = BLOCK // _BATCH
    return _BLOCKS.setdefault(number // per_block, corpus.block(number // per_block)).part(
        number % per_block * _BATCH, _BATCH
    )


_BLOCKS: dict[int, Block] = {}


def _first(store: Opened, text: str) -> str | None:
    """The id nearest to the vector known for ``text``; None where the search itself fails."""
    try:
        found = store.search(text, 1)
    except Exception:
        return None
    return found[0][0] if found else None


def _error(call: Callable[[], object]) -> str:
    """What went wrong; empty if nothing did."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def _questions(arguments: Arguments) -> tuple[str, Path, Questions]:
    corpus = Corpus(arguments["n"])
    return arguments["name"], Path(arguments["folder"]), corpus.questions(Path(arguments["questions"]))


def _import(name: str) -> None:
    """Loads the contender's library, by opening an empty store in a folder of its own."""
    import tempfile

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        known = KnownVectors()
        store = open_store(name, Path(folder) / "empty", known)
        block = Corpus(BLOCK).block(0).part(0, 20)
        known.know(block.texts, block.vectors)
        store.add(block)
        store.search(block.texts[0], 1, 1)
        store.close()


def _resident() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss / 1e6)


def say(findings: Findings) -> None:
    os.write(1, (json.dumps(findings) + "\n").encode())


ACTIONS: dict[str, Callable[[Arguments], Findings]] = {
    action.__name__: action for action in (build, read, more, ids, fill, write, check, stay, look)
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    say(ACTIONS[sys.argv[1]](json.loads(sys.stdin.readline())))
