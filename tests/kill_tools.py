"""A writer made to be killed, and the model of what it was told was done.

``python kill_tools.py`` is a nursery: it imports everything once, then forks a writer for each line ``[folder, seed,
log, what is there]`` (and perhaps the failpoint to be killed at) on its standard input and says its pid. The writer
notes in ``log`` what it is about to do, and again when the call has returned; whoever kills it replays those notes into
a :class:`Model`.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store_tools import HashEmbedder, LineChunker

from langbert.records import Chunk, Document
from langbert.store import Store, lexical

WORDS = ["fox", "bear", "owl", "机器学习", "PEP-8", "max_length", "river", "stone"]
SNAPSHOT = "snapshot"


@dataclass
class Model:
    """What a store must hold: documents with their texts, and chunks that came by themselves with text and number."""

    documents: dict[str, str] = field(default_factory=dict)
    chunks: dict[str, tuple[str, int]] = field(default_factory=dict)

    def apply(self, step: dict) -> None:
        what = step["do"]
        if what == "chunks":
            self.chunks.update({id: (text, n) for id, (text, n) in step["items"].items()})
        elif what == "documents":
            self.documents.update(step["items"])
        elif what == "delete":
            for id in step["ids"]:
                self.chunks.pop(id, None)
                self.documents.pop(id, None)
        elif what == "delete where":
            self.chunks = {id: (text, n) for id, (text, n) in self.chunks.items() if n >= step["below"]}

    def texts(self) -> dict[str, str]:
        """Chunk id → text."""
        texts = {id: text for id, (text, _) in self.chunks.items()}
        for id, text in self.documents.items():
            texts.update({chunk.id: chunk.text for chunk in LineChunker().split(Document(id, text))})
        return texts

    def copy(self) -> Model:
        return copy.deepcopy(self)


def held(store: Store, models: list[Model]) -> Model:
    """What ``store`` holds, among the ids that any of ``models`` knows; it must hold nothing else."""
    documents = store.get(sorted({id for model in models for id in model.documents}))
    chunk_ids = sorted({id for model in models for id in model.texts()})
    chunks = store.get(chunk_ids)
    assert len(store) == len(chunks)
    assert len(list(store.documents())) == len(documents)
    loose = {chunk.id: (chunk.text, chunk.metadata["n"]) for chunk in chunks if "n" in chunk.metadata}
    found = Model({document.id: document.text for document in documents}, loose)
    assert found.texts() == {chunk.id: chunk.text for chunk in chunks}
    return found


def next_step(rng: random.Random, model: Model, number: int) -> dict:
    """Something to do next; the longer there is much in the store, the more is deleted."""
    full = len(model.chunks) + 3 * len(model.documents) > 400
    weights = {"chunks": 6, "documents": 3, "delete": 8 if full else 2, "delete where": 1 if full else 0.1}
    weights |= {"search": 2, "compact": 0.5, "reopen": 0.7, "copy": 0.5}
    (what,) = rng.choices([*weights], [*weights.values()])
    step: dict = {"do": what}
    if what == "chunks":
        ids = [f"c{number}-{i}" for i in range(rng.randrange(1, 40))]
        if model.chunks:  # some of them are there already: another text, or only another number
            ids += rng.sample(sorted(model.chunks), min(5, len(model.chunks)))
        step["items"] = {id: (_text(rng, id), rng.randrange(100)) for id in ids}
    elif what == "documents":
        ids = [f"d{rng.randrange(40)}" for _ in range(rng.randrange(1, 4))]
        step["items"] = {id: "\n".join(_text(rng, id) for _ in range(rng.randrange(1, 6))) for id in ids}
    elif what == "delete":
        there = [*sorted(model.chunks), *sorted(model.documents)]
        step["ids"] = rng.sample(there, min(len(there), rng.randrange(1, 60)))
    elif what == "delete where":
        step["below"] = rng.randrange(30)
    return step


def _text(rng: random.Random, id: str) -> str:
    return f"common {rng.choice(WORDS)} {rng.choice(WORDS)} {id} {rng.randrange(1000)}"


class Writer:
    """Does steps, and notes each before and after with one ``write`` to a file, which survives the process."""

    def __init__(self, folder: Path, log: Path, model: Model) -> None:
        self._folder = folder
        self._notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._store = self._open()
        self.model = model
        self._note("done", {"do": "open"})

    def _open(self) -> Store:
        return Store.open(self._folder, embedder=HashEmbedder(), chunker=LineChunker())

    def _note(self, word: str, step: dict) -> None:
        os.write(self._notes, f"{word} {json.dumps(step)}\n".encode())

    def do(self, step: dict) -> None:
        self._note("doing", step)
        what, store = step["do"], self._store
        if what == "chunks":
            store.add([Chunk(id, f"loose-{id}", text, metadata={"n": n}) for id, (text, n) in step["items"].items()])
        elif what == "documents":
            store.add([Document(id, text) for id, text in step["items"].items()])
        elif what == "delete":
            store.delete(step["ids"])
        elif what == "delete where":
            store.delete(where={"n": {"$lt": step["below"]}})
        elif what == "search":
            store.search("common fox", 3)
        elif what == "compact":
            store.compact()
        elif what == "copy":
            store.copy_to(self._folder.with_name(SNAPSHOT))
        elif what == "reopen":
            store.close()
            self._store = self._open()
        self.model.apply(step)
        self._note("done", step)


def write_until_killed(folder: Path, seed: int, log: Path, start: Model) -> None:
    """Never returns."""
    rng, writer = random.Random(seed), Writer(folder, log, start)
    for number in range(1_000_000):
        writer.do(next_step(rng, writer.model, seed * 1000 + number))


def write_up_to(folder: Path, log: Path, at: int) -> None:
    """A little of everything, killed at one of its failpoints; if it comes to the end, it notes them all."""
    points = Failpoints(at)
    points.install()
    writer = Writer(folder, log, Model())
    steps: list[dict] = [
        {"do": "chunks", "items": {f"c{i}": (f"common {WORDS[i % 8]} number{i}", i) for i in range(300)}},
        {"do": "documents", "items": {"d1": "common one\ncommon two\n第三行 common", "d2": "common other"}},
        {"do": "search"},
        {"do": "delete", "ids": ["d2", *(f"c{i}" for i in range(0, 300, 2))]},
        {"do": "chunks", "items": {f"c{i}": (f"common changed {i}", i) for i in range(1, 20)}},
        {"do": "copy"},
        {"do": "compact"},
        {"do": "reopen"},
        {"do": "delete where", "below": 100},
        {"do": "documents", "items": {"d1": "common one\nanother common line"}},
        {"do": "copy"},
        {"do": "reopen"},
    ]
    for step in steps:
        writer.do(step)
    log.with_suffix(".points").write_text(json.dumps(points.met), encoding="utf-8")


class Failpoints:
    """The moments before and after each call that makes something last: of SQLite, Tantivy and the file system.

    Args:
        at: where the process kills itself, from 0; -1 for nowhere.
    """

    def __init__(self, at: int) -> None:
        self.met: list[str] = []
        self._at = at

    def _meet(self, name: str) -> None:
        self.met.append(name)
        if len(self.met) - 1 == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._meet(f"before {name}")
            result = real(*arguments, **options)
            self._meet(f"after {name}")
            return result

        return call

    def install(self) -> None:
        for module, name in ((os, "link"), (os, "fsync"), (os, "open"), (os, "unlink"), (os, "mkdir")):
            setattr(module, name, self.around(name, getattr(module, name)))
        Path.replace = self.around("replace", Path.replace)  # type: ignore[method-assign]
        shutil.rmtree = self.around("rmtree", shutil.rmtree)
        connect, points = sqlite3.connect, self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
                if sql.split()[0] in ("BEGIN", "COMMIT", "PRAGMA", "VACUUM", "CREATE", "DELETE"):
                    return points.around(sql.split()[0], super().execute)(sql, *rest)
                return super().execute(sql, *rest)

            def executemany(self, sql: str, *rest: Any) -> sqlite3.Cursor:
                return points.around(" ".join(sql.split()[:3]), super().executemany)(sql, *rest)

            def backup(self, *arguments: Any, **options: Any) -> None:
                points.around("backup", super().backup)(*arguments, **options)

        sqlite3.connect = lambda *a, **o: connect(*a, factory=Connection, **o)  # type: ignore[assignment]
        lexical.Index = self._indexes(lexical.Index)  # type: ignore[misc, assignment]

    def _indexes(self, real: Any) -> Any:
        """Tantivy's ``Index`` with a writer whose commits are failpoints."""
        points = self

        class Around:
            def __init__(self, inner: Any, names: tuple[str, ...]) -> None:
                self._inner, self._names = inner, names

            def __getattr__(self, name: str) -> Any:
                found = getattr(self._inner, name)
                if name == "writer":
                    return lambda *a: Around(found(*a), ("commit", "wait_merging_threads"))
                return points.around(f"tantivy {name}", found) if name in self._names else found

        class Opener:
            def __call__(self, *arguments: Any, **options: Any) -> Around:
                return Around(points.around("tantivy create", real)(*arguments, **options), ("reload",))

            def open(self, path: str) -> Around:
                return Around(real.open(path), ("reload",))

        return Opener()


def replay(log: Path, model: Model, snapshot: Model | None) -> tuple[list[Model], list[Model | None]]:
    """What the store, and its snapshot, may hold now: what was acknowledged, or that and the step that was cut short,
    wholly."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    pending = None
    for line in lines:
        word, _, text = line.partition(" ")
        step = json.loads(text)
        pending = step if word == "doing" else None
        if word == "done":
            model.apply(step)
            if step["do"] == "copy":
                snapshot = model.copy()
    after, copied = model.copy(), [snapshot]
    if pending is not None:
        after.apply(pending)
        if pending["do"] == "copy":
            copied.append(model.copy())
    return [model, after], copied


def _nursery() -> None:
    for line in sys.stdin:
        folder, seed, log, start, *at = json.loads(line)
        child = os.fork()
        if child == 0:
            if at:
                write_up_to(Path(folder), Path(log), at[0])
                os._exit(0)
            chunks = {id: (text, n) for id, (text, n) in start["chunks"].items()}
            write_until_killed(Path(folder), seed, Path(log), Model(start["documents"], chunks))
            os._exit(1)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _nursery()
