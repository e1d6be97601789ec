"""A writer made to be killed, and the model of what it was told was done.

``python kill_tools.py`` is a nursery: it imports everything once, then forks a writer for each line ``folder seed log``
on its standard input and says its pid. The writer notes in ``log`` what it is about to do, and again when the call has
returned; whoever kills it replays those notes into a :class:`Model`.
"""

from __future__ import annotations

import copy
import json
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

from store_tools import HashEmbedder, LineChunker

from langbert.records import Chunk, Document
from langbert.store import Store

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


def write_until_killed(folder: Path, seed: int, log: Path, start: Model) -> None:
    """Never returns. Every note is one ``write`` to a file, which survives the process."""
    rng, model = random.Random(seed), start
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def open_store() -> Store:
        return Store.open(folder, embedder=HashEmbedder(), chunker=LineChunker())

    def note(word: str, step: dict) -> None:
        os.write(notes, f"{word} {json.dumps(step)}\n".encode())

    store = open_store()
    note("done", {"do": "open"})
    for number in range(1_000_000):
        step = next_step(rng, model, seed * 1000 + number)
        note("doing", step)
        what = step["do"]
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
            store.copy_to(folder.with_name(SNAPSHOT))
        elif what == "reopen":
            store.close()
            store = open_store()
        model.apply(step)
        note("done", step)


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
        folder, seed, log, start = json.loads(line)
        child = os.fork()
        if child == 0:
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
