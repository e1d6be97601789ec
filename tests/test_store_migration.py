"""Another embedder: everything is embedded again, nothing else changes, and it can be interrupted at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from store_tools import HashEmbedder, LineChunker

from langbert.errors import StoreError, StoreMismatch
from langbert.records import Chunk, Document
from langbert.store import Store
from langbert.store.maintenance.doctor import examine
from langbert.store.maintenance.migration import migrate

HERE = str(Path(__file__).parent)
NEW = 24


def fill(path: Path) -> None:
    with Store.open(path, embedder=HashEmbedder(), chunker=LineChunker()) as store:
        store.add([Document(f"doc{i:03}", f"line one {i}\nline two {i}", f"{i}.txt") for i in range(150)])
        store.add([Chunk(f"c{i}", "loose", f"loose chunk {i}", metadata={"n": i}) for i in range(150)])
        store.delete(["doc007:0", "c9", "doc008"])
        store.ledger("a").record(["c1", "doc001:0"], at=1.0)
        store.search("line")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fill(tmp_path / "s")
    return tmp_path / "s"


def ids() -> list[str]:
    return [f"doc{i:03}:{at}" for i in range(150) for at in range(20)] + [f"c{i}" for i in range(150)]


def test_only_the_vectors_change(path: Path) -> None:
    with Store.open(path) as store:
        before, documents = store.get(ids()), list(store.documents())
    steps: list[tuple[str, int, int]] = []
    result = migrate(path, HashEmbedder(NEW), chunker=LineChunker(), watch=lambda *step: steps.append(step))
    assert result.changed
    assert (result.documents, result.chunks, result.resumed) == (149, 446, 0)
    assert {doing for doing, _, _ in steps} == {"embedding", "swapping", "building the indexes"}
    with Store.open(path, embedder=HashEmbedder(NEW), chunker=LineChunker()) as store:
        assert store.get(ids()) == before
        assert list(store.documents()) == documents
        assert store.vectors(["c1"]).tobytes() == HashEmbedder(NEW).embed(["loose chunk 1"]).tobytes()
        assert store.search("loose chunk 77", 1)[0].chunk.id == "c77"
        assert store.ledger("a").known(["c1", "doc001:0"]) == {"c1", "doc001:0"}
    with pytest.raises(StoreMismatch, match="dimension: 24 != 16"):
        Store.open(path, embedder=HashEmbedder())
    assert examine(path).findings == []
    assert [file.name for file in path.parent.iterdir()] == ["s"]
    again = migrate(path, HashEmbedder(NEW), chunker=LineChunker())
    assert not again.changed


def test_documents_are_cut_anew_unless_chunks_are_to_be_kept(path: Path) -> None:
    class Halves(LineChunker):
        def split(self, document: Document) -> list[Chunk]:
            return [Chunk(f"{document.id}:whole", document.id, document.text)]

    kept = migrate(path, HashEmbedder(NEW), chunker=Halves("halves"), keep_chunks=True)
    assert kept.chunks == 446
    with Store.open(path) as store:
        assert len(store.get(["doc001:0", "doc001:whole"])) == 1
    fill(path.with_name("t"))
    cut = migrate(path.with_name("t"), HashEmbedder(NEW), chunker=Halves("halves"))
    assert cut.chunks == 148 + 1 + 149  # one document's chunks had been changed by hand
    with Store.open(path.with_name("t")) as store:
        assert [item.id for item in store.get(["doc001:0", "doc001:whole", "doc007:11"])] == [
            "doc001:whole",
            "doc007:11",
        ]
        assert store.ledger("a").known(["c1", "doc001:0"]) == {"c1"}  # what is gone is not indexed


def test_readers_go_on_and_never_mix_the_two(path: Path) -> None:
    with (
        Store.open(path, embedder=HashEmbedder(), read_only=True) as old,
        Store.open(path, read_only=True) as plain,
    ):
        assert old.search("loose chunk 5", 1)[0].chunk.id == "c5"
        plain.search_vector(np.ones(16), 1)
        migrate(path, HashEmbedder(16, pooling="max"), chunker=LineChunker())
        assert plain.search("loose chunk 5", 1, mode="lexical")[0].chunk.id == "c5"
        assert len(plain.search_vector(np.ones(16), 500)) == 446
        with pytest.raises(StoreMismatch, match="pooling"):
            old.search("loose chunk 5", 1)
        with pytest.raises(StoreMismatch, match="pooling"):
            old.search("loose chunk 5", 1, mode="dense")
    with Store.open(path) as store:
        assert len(store.search_vector(np.ones(16), 500)) == 446


_STOPPED = """
import os, sys; sys.path.insert(0, sys.argv[2])
from test_store_migration import *
class Stopping(HashEmbedder):
    def embed(self, texts, role="document", *, progress=None):
        if len(self.embedded) > int(sys.argv[3]):
            os._exit(9)
        return super().embed(texts, role)
def watch(doing, done, total):
    if doing == sys.argv[4] and done:
        os._exit(9)
migrate(sys.argv[1], Stopping(NEW), chunker=LineChunker(), watch=watch)
"""


def test_a_killed_migration_goes_on_where_it_stopped(path: Path) -> None:
    for most, doing in (("100", ""), ("150", ""), ("9999", "swapping")):
        done = subprocess.run([sys.executable, "-c", _STOPPED, str(path), HERE, most, doing], check=False)
        assert done.returncode == 9
        assert examine(path).state == "sound"
        with Store.open(path, embedder=HashEmbedder()) as store:
            assert len(store) == 446
            assert store.search("loose chunk 5", 1)[0].chunk.id == "c5"
    with Store.open(path, embedder=HashEmbedder(), chunker=LineChunker()) as store:  # and it was in use meanwhile
        store.add([Chunk("c5", "loose", "changed meanwhile"), Document("doc010", "a line"), Chunk("late", "l", "late")])
        store.delete(["c6", "doc020"])
    with pytest.raises(StoreMismatch, match="unfinished migration"):
        migrate(path, HashEmbedder(12), chunker=LineChunker())
    embedder = HashEmbedder(NEW)
    result = migrate(path, embedder, chunker=LineChunker())
    assert result.resumed == 446
    assert sorted(embedder.embedded) == ["a line", "changed meanwhile", "late"]
    with Store.open(path, embedder=HashEmbedder(NEW)) as store:
        assert store.get(["c6", "doc020", "doc020:0"]) == []
        assert [item.text for item in store.get(["c5", "doc010", "late"])] == ["changed meanwhile", "a line", "late"]
    assert examine(path).findings == []


def test_a_full_disk_leaves_the_store_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from langbert.store.database import Database

    configure = Database._configure

    def limited(self: Database, connection: sqlite3.Connection) -> None:
        configure(self, connection)
        if self.file is not None and "migrating" in str(self.file):
            connection.execute("PRAGMA max_page_count = 14")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "_configure", limited)
        with pytest.raises(StoreError, match=r"no space left .* is as it was.*goes on from there"):
            migrate(path, HashEmbedder(NEW), chunker=LineChunker())
    with Store.open(path, embedder=HashEmbedder()) as store:
        assert len(store) == 446
    assert migrate(path, HashEmbedder(NEW), chunker=LineChunker()).changed
    assert os.listdir(path.parent) == ["s"]
