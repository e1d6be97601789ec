"""A store in shards keeps what every store keeps, and finds what one store finds."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from store_tools import HashEmbedder, LineChunker

from langbert import Chunk, Document, Rag, Store, StoreLike, open_store, sync
from langbert.cli import run
from langbert.errors import StoreError, StoreMismatch
from langbert.store.maintenance.moving import move
from langbert.store.shards import shard_of
from langbert.testing import StoreSuite

SHARDS = 3


class TestSharded(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "store")

    def open(self, place: str, embedder: HashEmbedder | None = None, **options: Any) -> StoreLike:
        return super().open(place, embedder, shards=SHARDS, **options)

    def test_a_client_that_is_killed(self, place: str) -> None:
        self.open(place).close()  # the client takes what is there
        super().test_a_client_that_is_killed(place)
        assert json.loads((Path(place) / "shards.json").read_text())["shards"] == SHARDS


def opened(place: Path, shards: int | None = SHARDS, **options: Any):
    return open_store(place, embedder=HashEmbedder(), chunker=LineChunker(), shards=shards, **options)


def made(n: int) -> list[Document]:
    """Of words with Zipf's frequencies, English and Chinese."""
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(200)] + list("蜜蜂在夏天酿蜜茶红绿黑白山水")
    ranks = np.minimum(rng.zipf(1.4, size=(n, 40)) - 1, len(words) - 1)
    order = rng.permutation(len(words))
    texts = ["\n".join(" ".join(words[order[rank]] for rank in line) for line in row.reshape(4, 10)) for row in ranks]
    return [Document(f"d{i}", f"{text}\n", f"{i}.txt", {"third": i % 3}) for i, text in enumerate(texts)]


def hits(store: StoreLike, question: str, **options: Any) -> list[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in store.search(question, 10, repeats=True, **options)]


def test_it_finds_what_one_store_finds(tmp_path: Path) -> None:
    with opened(tmp_path / "four", 4) as sharded, opened(tmp_path / "one", None) as one:
        for store in (sharded, one):
            store.add(made(300))
        assert min(len(shard) for shard in sharded.shards) > 200
        assert {row.id for row in sharded.documents()} == {row.id for row in one.documents()}
        shared = []
        for question in ("word3 word17 word60", "蜜蜂 word5", "红茶", "word1 word120"):
            for where in (None, {"third": 1}):
                near = [store.search(question, mode="dense", where=where, repeats=True) for store in (sharded, one)]
                assert [hit.scores for hit in near[0]] == [hit.scores for hit in near[1]]
                words = [dict(hits(store, question, mode="lexical", where=where)) for store in (sharded, one)]
                for id in words[0].keys() & words[1].keys():
                    # few chunks have Chinese characters, so the shards' averages of how many differ
                    assert words[0][id] == pytest.approx(words[1][id], rel=0.3 if question[0] in "蜜红" else 0.02)
                fused = [dict(hits(store, question, where=where)) for store in (sharded, one)]
                shared += [len(mine.keys() & theirs.keys()) / len(theirs) for mine, theirs in (words, fused)]
        assert np.mean(shared) > 0.9  # what is left out has the score of what is not


def test_words_are_as_rare_as_in_all_shards_together(tmp_path: Path) -> None:
    """A word that fills one shard and is rare in the others would count for nothing there, and for much here."""
    documents = [Document(f"d{i}", "common text\n") for i in range(60)]
    full = [one for one in documents if shard_of(one.id, SHARDS) == 0]
    with opened(tmp_path / "s") as sharded, opened(tmp_path / "one", None) as one:
        for store in (sharded, one):
            store.add(documents)
            store.add([Document(each.id, "common word\n") for each in full])
            store.add([Document("other", "rare text\n")])
        for question in ("word rare", "common word", "rare"):
            mine, theirs = (dict(hits(store, question, mode="lexical")) for store in (sharded, one))
            assert sorted(mine.values()) == pytest.approx(sorted(theirs.values()), rel=0.02)


def test_words_are_as_rare_where_most_shards_are_empty(tmp_path: Path) -> None:
    documents = [Document(f"d{i}", text) for i, text in enumerate(("common rare text", "common text 蜜", "common 蜜"))]
    found = []
    for shards in (None, 30):
        with open_store(tmp_path / str(shards), chunker=LineChunker(), shards=shards) as store:
            store.add(documents)
            found += [hit.scores["lexical"] for hit in store.search("common rare 蜜", mode="lexical", repeats=True)]
    assert found[:3] == pytest.approx(found[3:], rel=0.25)  # but for the lengths, measured by each shard's average


def test_a_chunk_that_goes_to_another_document_goes_to_its_shard(tmp_path: Path) -> None:
    homes = {shard_of(name, SHARDS): name for name in ("a", "b", "c", "d", "e", "f", "g")}
    assert len(homes) == SHARDS
    with opened(tmp_path / "s") as store:
        for name in (homes[2], homes[0], homes[1]):
            for text in ("one text", "another text"):
                store.add([Chunk("c", name, text)])
                assert (len(store), store.get(["c"])[0].document_id) == (1, name)
                assert [len(shard) for shard in store.shards].index(1) == shard_of(name, SHARDS)
                store.add_vectors([Chunk("c", homes[1], text)], np.ones((1, 16), np.float32))
                assert [len(shard) for shard in store.shards] == [0, 1, 0]
        assert store.delete(["c"]) == 1


WRITER = """
import sys
import time
from langbert import Document, open_store
from langbert.testing.small import HashEmbedder, LineChunker
with open_store(sys.argv[1], embedder=HashEmbedder(), chunker=LineChunker()) as store:
    for i in range(0, 60, 10):
        store.add([Document(f"{sys.argv[2]}-{i + j}", f"by {sys.argv[2]}\\nnumber {i + j}\\n") for j in range(10)])
"""


def test_several_processes_write_at_the_same_time(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "s"), name]) for name in "abc"]
        assert [writer.wait(120) for writer in writers] == [0, 0, 0]
        assert (store.n_documents, len(store)) == (180, 360)
        assert len(store.search("number", 200, mode="lexical", repeats=True)) == 180
        assert store.space == HashEmbedder().space


def test_one_shard_s_writer_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    names = {shard_of(f"d{i}", SHARDS): f"d{i}" for i in range(20)}
    with opened(tmp_path / "s") as store, opened(tmp_path / "s", lock_timeout=0.2) as other:
        store.add([Document("first", "text\n")])
        with store.shards[2].transaction():
            other.add([Document(names[1], "text\n")])
            with pytest.raises(StoreError, match="another process has been writing"):
                other.add([Document(names[2], "text\n")])


def test_the_first_vectors_are_every_shard_s(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        store.add([Document("d", "text\n")])
        assert {shard.dimension for shard in store.shards} == {16}
    with opened(tmp_path / "two") as first, opened(tmp_path / "two") as second:
        first.add([Document("d", "text\n")])
        with pytest.raises(StoreMismatch, match="16"):
            second.add_vectors([Chunk("c", "d", "text")], np.ones((1, 24), np.float32))
    with pytest.raises(StoreMismatch, match="pooling"):
        open_store(tmp_path / "s", embedder=HashEmbedder(pooling="cls"))
    other = HashEmbedder(pooling="cls")
    with Store.open(tmp_path / "s" / "shard-0001") as shard, shard.transaction() as transaction:
        transaction.set_space(other.dimension, other.space)  # as half a migration does
    with pytest.raises(StoreError, match="different embedding spaces"):
        open_store(tmp_path / "s")


def test_files_are_synced_and_answers_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for i in range(8):
        (folder / f"{i}.txt").write_text(f"Note {i} says that town {i} has {i + 3} bridges.")
    (folder / "中文.txt").write_text("蜜蜂在夏天酿蜜。", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with opened(Path("s")) as store:
        assert sync(folder, store, workers=0).added == 9
        assert sync(folder, store, workers=0).unchanged == 9
        (folder / "3.txt").unlink()
        report = sync(folder, store, workers=0, prune=True)
        assert (report.removed, store.n_documents) == (1, 8)
        assert len(list(store.files)) == 8
        answer = Rag(store).ask("How many bridges has town 5?", mode="extract")
        assert answer.citations[0].source == "5.txt"
        assert store.search("蜜蜂什么时候酿蜜？", 1, mode="lexical")[0].chunk.source == "中文.txt"
        monkeypatch.chdir(folder)
        again = pickle.loads(pickle.dumps(store))
        assert len(again) == len(store)
        again.close()


def test_what_is_there_says_itself_that_it_is_in_shards(tmp_path: Path) -> None:
    opened(tmp_path / "s", 2).close()
    with open_store(tmp_path / "s") as store:
        assert store.info()["shards"] == 2
    with pytest.raises(StoreError, match="has 2 shards, not 3"):
        open_store(tmp_path / "s", shards=3)
    with pytest.raises(StoreError, match="one by one"):
        Store.open(tmp_path / "s")
    Store.open(tmp_path / "plain").close()
    with pytest.raises(StoreError, match="not in shards"):
        open_store(tmp_path / "plain", shards=2)
    for wrong in (0, 1001, True, "2"):
        with pytest.raises(StoreError, match="from 1 to 1000"):
            open_store(tmp_path / "new", shards=wrong)
    with pytest.raises(StoreError, match="for folders"):
        open_store("postgresql://nobody@nowhere/x", shards=2)
    (tmp_path / "s" / "shards.json").write_text('{"format": 2, "shards": 2}')
    with pytest.raises(StoreError, match="expected format 1"):
        open_store(tmp_path / "s")
    (tmp_path / "s" / "shards.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        open_store(tmp_path / "s")


def test_commands_take_a_store_in_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(tmp_path / "one", None).close()
    with opened(tmp_path / "one", None) as one:
        one.add(made(30))

    def told(*command: str) -> Any:
        assert run([*command, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    store = str(tmp_path / "s")
    moved = told("store", "migrate", "--store", str(tmp_path / "one"), "--to", store, "--shards", "3")
    assert moved["chunks"] == 120
    assert told("store", "info", "--store", store)["shards"] == 3
    found = told("search", "word3 word17", "--store", store, "--mode", "lexical")
    assert found["hits"]
    assert told("store", "compact", "--store", store)["bytes_after"] > 0
    assert told("store", "export", str(tmp_path / "s.jsonl"), "--store", store)["chunks"] == 120
    assert told("store", "rm", "d7", "--store", store)["removed"] == ["d7"]
    assert len(told("bench", "search", "--store", store, "--queries", "3", "--no-embed", "--exact", "1")["results"]) > 2
    assert [part["state_now"] for part in told("doctor", "--store", store)["shards"]] == ["sound"] * 3
    (tmp_path / "s" / "shard-0001" / "derived" / "dense.index").write_bytes(b"damaged")
    assert run(["doctor", "--store", store]) == 3
    assert run(["doctor", "--store", store, "--repair"]) == 0


def test_a_shard_that_is_gone_is_missed(tmp_path: Path) -> None:
    opened(tmp_path / "s").close()
    (tmp_path / "s" / "shard-0001").rename(tmp_path / "lost")
    with pytest.raises(StoreError, match=r"no store in .*shard-0001"):
        open_store(tmp_path / "s")


def test_a_store_moves_into_shards_and_into_others(tmp_path: Path) -> None:
    documents = made(40)
    with (
        opened(tmp_path / "one", None) as one,
        opened(tmp_path / "two", 2) as two,
        opened(tmp_path / "five", 5) as five,
    ):
        one.add([*documents, Chunk("alone", "nobody", "A chunk of its own.")])
        one.ledger("web").record(["alone"], ["group"], at=one.ledger("web").now())
        there = move(one, two)
        assert move(two, five) == there
        assert (there.documents, there.chunks) == (40, 161)
        assert five.ledger("web").keys(groups=["group"]) == ["alone"]
        assert five.delete(["alone"]) == 1
        assert five.ledger("web").keys() == []
        assert [row.id for row in five.documents()] == sorted(each.id for each in documents)
        five.compact()
        near = [store.search("word3 word17", mode="dense", repeats=True) for store in (five, one)]
        assert [hit.scores for hit in near[0]] == [hit.scores for hit in near[1]]


def test_what_another_process_indexes_is_left_to_it(tmp_path: Path) -> None:
    with opened(tmp_path / "s", 1) as store:
        store.add([Document("first", "text\n")])
        store.refresh()
        index = store.shards[0].indexes.lexical
        before = index.mark
        with FileLock(tmp_path / "s" / "shard-0000" / "derived" / "lexical.lock"):
            began = time.monotonic()
            store.add(made(100))  # enough to be indexed at once
            assert (index.mark, index._private) == (before, None)
            assert time.monotonic() - began < 9  # which waiting for it would take
        assert len(store.search("text", mode="lexical")) == 1
        assert index.mark != before
