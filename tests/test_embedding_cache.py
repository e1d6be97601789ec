"""The embedding cache: right or absent, never wrong, whatever happens to its file."""

from __future__ import annotations

import logging
import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from langbert import Embedder
from langbert.embedding.cache import Cached, EmbeddingCache, cache_keys

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "bees", "make", "honey"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return folder


def some(n: int, dim: int = 16, seed: int = 0) -> dict[bytes, Cached]:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    keys = cache_keys([str(seed)], [str(i) for i in range(n)])
    return {key: Cached(vector, bool(i % 2)) for i, (key, vector) in enumerate(zip(keys, vectors, strict=True))}


def check(found: dict[bytes, Cached], expected: dict[bytes, Cached]) -> None:
    assert found.keys() == expected.keys()
    for key, item in found.items():
        np.testing.assert_array_equal(item.vector, expected[key].vector)
        assert item.too_long == expected[key].too_long


def test_gives_back_what_it_got(tmp_path: Path) -> None:
    cache, items = EmbeddingCache(tmp_path / "Ordner 缓存"), some(1201)
    cache.put(items)
    check(EmbeddingCache(cache.path.parent).get([*items, b"x" * 32]), items)
    assert len(cache) == 1201
    cache.put(dict(list(items.items())[:3]))
    assert len(cache) == 1201
    cache.clear()
    assert cache.get(list(items)) == {}


def test_keys_tell_everything_apart() -> None:
    keys = {key for parts in (["a", "b"], ["ab", ""], ["a"]) for key in cache_keys(parts, ["x", "y", "", "\ud83d"])}
    assert len(keys) == 12


def test_stays_within_its_size_and_forgets_the_oldest(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, max_bytes=300_000)
    for seed in range(12):
        cache.put(some(50, dim=256, seed=seed))
    assert cache.path.stat().st_size < 450_000
    assert cache.get(list(some(50, dim=256, seed=0))) == {}
    check(cache.get(list(some(50, dim=256, seed=11))), some(50, dim=256, seed=11))
    with pytest.raises(ValueError, match="max_bytes"):
        EmbeddingCache(tmp_path, max_bytes=0)


@pytest.mark.parametrize("damage", [b"this is no database at all, " * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    cache, items = EmbeddingCache(tmp_path), some(10)
    cache.path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert cache.get(list(items)) == {}
    assert "starts anew" in caplog.text
    cache.put(items)
    check(cache.get(list(items)), items)


def test_a_changed_row_counts_as_absent(tmp_path: Path) -> None:
    cache, items = EmbeddingCache(tmp_path), some(3)
    cache.put(items)
    bad = next(iter(items))
    connection = sqlite3.connect(cache.path)
    connection.execute("UPDATE vectors SET vector = zeroblob(64) WHERE key = ?", (bad,))
    connection.commit()
    connection.close()
    check(cache.get(list(items)), {key: item for key, item in items.items() if key != bad})


def test_a_file_that_cannot_be_opened_costs_nothing_but_time(
    tmp_path: Path, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.path.mkdir()
    with caplog.at_level(logging.WARNING):
        vectors = Embedder(tiny, cache=cache).embed(["hello"])
    np.testing.assert_array_equal(vectors, Embedder(tiny).embed(["hello"]))
    assert "left out this time" in caplog.text
    with pytest.raises(OSError, match="exists"):
        EmbeddingCache(tiny / "vocab.txt")


def _write(folder: Path, seed: int) -> None:
    for n in range(5):
        EmbeddingCache(folder).put(some(40, seed=10 * seed + n))


def test_several_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(tmp_path, seed)) for seed in range(2)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: _write(tmp_path, seed), range(2, 6)))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for seed in range(6):
        for n in range(5):
            check(EmbeddingCache(tmp_path).get(list(some(40, seed=10 * seed + n))), some(40, seed=10 * seed + n))


def counted(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    read: list[int] = []
    made = embedder._made
    monkeypatch.setattr(embedder, "_made", lambda texts, *rest: read.append(len(texts)) or made(texts, *rest))
    return read


def test_the_embedder_embeds_nothing_twice(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["hello", "bees make honey", "hello", "", "honey " * 40, "\ud83d"]
    plain = Embedder(tiny)
    expected = plain.embed(texts)
    done: list[int] = []
    for calls in ([5], []):
        embedder = Embedder(tiny, cache=tmp_path)
        read = counted(embedder, monkeypatch)
        np.testing.assert_array_equal(embedder.embed(texts, progress=done.append), expected)
        assert read == calls
        assert embedder.overflowed == plain.overflowed == 1
    assert sum(done) == 2 * len(texts)
    read = counted(embedder, monkeypatch)
    embedder.embed(["hello", "world"])
    assert read == [1]


@pytest.mark.parametrize(
    "other",
    [
        {"pooling": "cls"},
        {"precision": "bfloat16"},
        {"dimensions": 8},
        {"normalize": False},
        {"on_overflow": "truncate"},
        {"max_length": 10},
        {"document_prompt": "bees "},
    ],
)
def test_other_settings_never_share_vectors(
    tmp_path: Path, tiny: Path, other: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    Embedder(tiny, precision="float32", cache=tmp_path).embed(["hello world"])
    embedder = Embedder(tiny, **{"precision": "float32", **other}, cache=tmp_path)  # type: ignore[arg-type]
    read = counted(embedder, monkeypatch)
    embedder.embed(["hello world"])
    embedder.embed(["hello world"], "query")
    assert read == [1, 1]


def test_true_is_the_users_cache_folder(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGBERT_CACHE", str(tmp_path))
    Embedder(tiny, cache=True).embed(["hello"])
    assert len(EmbeddingCache(tmp_path / "embeddings")) == 1
