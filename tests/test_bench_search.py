"""Measuring searches: questions out of the store's own chunks, statistics, recall against exhaustive search, command.

No time is ever compared with another: that would fail on a busy machine.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_tools import DIMENSION, HashEmbedder

from langbert.bench import PreparedEmbedder, SearchSpeed, Timing, make_questions, measure_search
from langbert.cli import run
from langbert.records import Chunk, EmbeddingSpace
from langbert.store import Store

N = 120
WORDS = ["harbour", "bridge", "storm", "light", "water", "list", "novel", "valley", "token", "map"]


def chunks(n: int = N) -> list[Chunk]:
    return [
        Chunk(
            f"c{i}",
            f"d{i // 10}",
            " ".join(WORDS[(i * step + step) % len(WORDS)] + str(i % 7) for step in range(1, 12)),
            source=f"{i // 10}.txt",
            metadata={"odd": i % 2 == 1},
        )
        for i in range(n)
    ]


def vectors(n: int = N) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, DIMENSION)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of vectors that nobody says the origin of."""
    with Store.open(tmp_path / "store") as store:
        store.add_vectors(chunks(), vectors())
    return tmp_path / "store"


def by_kind(speeds: list[SearchSpeed]) -> dict[str, SearchSpeed]:
    return {speed.kind: speed for speed in speeds}


# --- questions ---------------------------------------------------------------------------------------------------


def test_questions_are_words_of_the_stores_own_chunks(folder: Path) -> None:
    with Store.open(folder) as store:
        questions = make_questions(store, 30)
    assert len({question.chunk.id for question in questions}) == 30
    for question in questions:
        assert question.text in question.chunk.text
        assert len(question.text.split()) == 8
        assert question.vector is not None
        own = vectors()[int(question.chunk.id[1:])]
        cosine = question.vector @ own / np.linalg.norm(question.vector) / np.linalg.norm(own)
        assert 0.5 < cosine < 0.999, "aside of the chunk's own vector"


def test_the_same_seed_asks_the_same(folder: Path) -> None:
    with Store.open(folder) as store:
        asked = [make_questions(store, 10, seed=seed) for seed in (0, 0, 1)]
    texts = [[question.text for question in questions] for questions in asked]
    assert texts[0] == texts[1] != texts[2]


def test_an_embedder_makes_the_vectors(folder: Path) -> None:
    heard: list[int] = []
    embedder = HashEmbedder()
    with Store.open(folder) as store:
        questions = make_questions(store, 5, embedder=embedder, progress=heard.append)
    assert heard == [1] * len(questions)
    for question in questions:
        np.testing.assert_array_equal(question.vector, embedder.embed([question.text], "query")[0])


def test_text_without_spaces_is_cut_by_characters() -> None:
    text = "这座港口在一八九七年的风暴之后重建，两座码头一直使用到今天。"
    with Store.open() as store:
        store.add([Chunk("c", "d", text)])
        (question,) = make_questions(store, 5)
    assert question.text in text
    assert len(question.text) == 12
    assert question.vector is None


def test_deleted_chunks_and_empty_stores_give_no_questions(folder: Path) -> None:
    with Store.open(folder) as store:
        store.delete([f"c{i}" for i in range(N) if i != 77])
        assert [question.chunk.id for question in make_questions(store, 10)] == ["c77"]
        store.delete(where={})
        assert make_questions(store, 10) == []
        with pytest.raises(ValueError, match="got none"):
            measure_search(store, [])


# --- measuring ---------------------------------------------------------------------------------------------------


def test_every_kind_of_search_is_measured(folder: Path) -> None:
    heard: list[str] = []
    with Store.open(folder) as plain:
        questions = make_questions(plain, 20)
    prepared = PreparedEmbedder(
        EmbeddingSpace("", "", "", "mean", False, DIMENSION), {q.text: q.vector for q in questions}
    )
    with Store.open(folder, embedder=prepared) as store:
        speeds = by_kind(measure_search(store, questions, 5, repeats=2, progress=heard.append))
    kinds = ["dense", "lexical", "hybrid"]
    assert list(speeds) == [*kinds, *(f"{kind} filtered" for kind in kinds)]
    assert sorted(heard) == sorted([*speeds] * 2)
    for kind, speed in speeds.items():
        assert len(speed.timing.seconds) == 20
        found = json.loads(json.dumps(speed.to_dict()))
        assert found["kind"] == kind
        assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["slowest_ms"]
    assert speeds["dense"].recall == 1
    assert speeds["dense"].hits == speeds["dense filtered"].hits == 5
    assert speeds["hybrid"].hits == 5
    assert speeds["lexical"].recall is None


def test_a_filter_of_ones_own_narrows_the_searches(folder: Path) -> None:
    with Store.open(folder) as store:
        questions = make_questions(store, 5)
        speeds = by_kind(measure_search(store, questions, 10, repeats=1, exact=0, where={"source": {"$in": ["3.txt"]}}))
        assert speeds["dense filtered"].hits == 10
        none = by_kind(measure_search(store, questions, 10, repeats=1, where={"source": "no.txt"}))
    assert none["dense filtered"].hits == 0
    assert speeds["dense"].recall is None, "nobody asked"
    assert "hybrid" not in speeds, "nothing makes the vectors of its words"


def test_a_store_of_words_is_searched_by_words() -> None:
    with Store.open() as store:
        store.add(chunks(20))
        speeds = by_kind(measure_search(store, make_questions(store, 5), repeats=1))
    assert list(speeds) == ["lexical", "lexical filtered"]
    assert speeds["lexical"].hits > 0


class ForgetfulStore(Store):
    """One whose index finds every other chunk only."""

    def search_vector(self, vector, k=10, *, where=None):  # type: ignore[no-untyped-def]
        return super().search_vector(vector, 2 * k, where=where)[::2]


def test_recall_is_the_share_of_the_true_nearest(folder: Path) -> None:
    with ForgetfulStore.open(folder) as store:
        speeds = by_kind(measure_search(store, make_questions(store, 20), 10, repeats=1))
    assert speeds["dense"].recall == 0.5


def test_equal_vectors_cannot_be_missed() -> None:
    with Store.open() as store:
        store.add_vectors(chunks(50), np.ones((50, DIMENSION), dtype=np.float32))
        assert by_kind(measure_search(store, make_questions(store, 5), 3, repeats=1))["dense"].recall == 1


def test_fewer_chunks_than_asked_for_are_all_there_is() -> None:
    with Store.open() as store:
        store.add_vectors(chunks(4), vectors(4))
        speed = by_kind(measure_search(store, make_questions(store, 4), 10, repeats=1))["dense"]
    assert (speed.hits, speed.recall) == (4, 1)


def test_no_round_is_refused(folder: Path) -> None:
    with Store.open(folder) as store, pytest.raises(ValueError, match="at least one round"):
        measure_search(store, make_questions(store, 1), repeats=0)


def test_a_speed_is_told_in_milliseconds() -> None:
    speed = SearchSpeed("dense", Timing((0.001, 0.002, 0.004)), hits=10, recall=0.98)
    told = speed.to_dict()
    assert told["p50_ms"] == 2
    assert told["p95_ms"] == pytest.approx(3.8)
    assert (told["slowest_ms"], told["hits"], told["recall"]) == (4, 10, 0.98)


def test_a_prepared_embedder_knows_nothing_else() -> None:
    vector = np.ones(3, dtype=np.float32)
    embedder = PreparedEmbedder(EmbeddingSpace("m", "w", "t", "mean", True, 3), {"known": vector})
    np.testing.assert_array_equal(embedder.embed(["known", "known"], "query"), [vector, vector])
    with pytest.raises(KeyError):
        embedder.embed(["unknown"], "query")


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_log() -> Iterator[None]:
    log = logging.getLogger("langbert")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.mark.usefixtures("quiet_log")
def test_bench_search_prints_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "search", "--store", str(folder), "--queries", "8", "-k", "4", "--repeats", "1"]
    assert run([*arguments, "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["chunks"], document["queries"], document["k"], document["dimension"]) == (N, 8, 4, DIMENSION)
    found = {result["kind"]: result for result in document["results"]}
    assert len(found) == 6
    assert found["dense"]["recall"] == 1
    assert found["dense filtered"]["hits"] == 4
    assert "embedding" not in document


@pytest.mark.usefixtures("quiet_log")
def test_bench_search_shows_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "search", "--store", str(folder), "--queries", "5", "--repeats", "1", "--where", "odd=true"]
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert "recall@10" in captured.out
    assert "hybrid filtered" in captured.out
    assert "120 chunks, 5 questions" in captured.err
    assert "pushed aside" in captured.err


@pytest.mark.usefixtures("quiet_log")
def test_bench_search_changes_nothing(folder: Path) -> None:
    with Store.open(folder, read_only=True) as store:
        before = store.info()
    assert run(["bench", "search", "--store", str(folder), "--queries", "5", "--repeats", "1", "--quiet"]) == 0
    with Store.open(folder, read_only=True) as store:
        after = store.info()
    assert before["change"] == after["change"]
    assert after["embedding_space"] is None


@pytest.mark.usefixtures("quiet_log")
def test_bench_search_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "search", "--store", str(tmp_path / "nowhere")]) != 0
    assert "there is no store" in capsys.readouterr().err
    with Store.open(tmp_path / "empty"):
        pass
    assert run(["bench", "search", "--store", str(tmp_path / "empty")]) == 2
    assert "no text in the store" in capsys.readouterr().err


@pytest.mark.models
@pytest.mark.usefixtures("quiet_log")
def test_bench_search_embeds_with_the_model_of_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "harbour.txt").write_text("\n\n".join(f"The {word} was rebuilt after the storm." for word in WORDS))
    assert run(["index", str(tmp_path / "harbour.txt"), "--store", str(tmp_path / "store"), "--quiet"]) == 0
    capsys.readouterr()
    assert (
        run(["bench", "search", "--store", str(tmp_path / "store"), "--queries", "2", "--repeats", "1", "--json"]) == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["embedding"]["p50_ms"] > 0
    assert [result["kind"] for result in document["results"]][:3] == ["dense", "lexical", "hybrid"]


# --- the benchmark's made-up chunks ------------------------------------------------------------------------------


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))


@pytest.mark.usefixtures("benchmarks")
def test_blocks_are_the_same_in_any_order_and_with_or_without_words() -> None:
    from stores.corpus import Corpus

    first, again = Corpus(12_000).block(1, 50), Corpus(12_000).block(1, 50, words=False)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    np.testing.assert_array_equal(first.shelves, again.shelves)
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), 1, rtol=1e-5)
    assert all(20 <= len(text.split()) <= 200 for text in first.texts)
    assert len(set(first.ids)) == 50
    assert first.part(3, 2).ids == first.ids[3:5]
    assert [len(block) for block in Corpus(12_000).blocks(words=False)] == [5_000, 5_000, 2_000]
    assert Corpus(12_000).beyond(10).start >= 12_000


@pytest.mark.usefixtures("benchmarks")
def test_the_answers_of_the_benchmark_are_those_of_exhaustive_search(tmp_path: Path) -> None:
    from stores.corpus import Corpus

    corpus = Corpus(7_000)
    made = corpus.questions(tmp_path / "questions.npz")
    blocks = list(corpus.blocks(words=False))
    vectors = np.concatenate([block.vectors for block in blocks])
    shelves = np.concatenate([block.shelves for block in blocks])
    for i in (0, 57, 199):
        cosines = vectors @ made.vectors[i]
        assert set(np.argsort(-cosines)[:10]) == set(made.nearest[i])
        cosines[shelves != made.shelf(i)] = -np.inf
        assert set(np.argsort(-cosines)[:10]) == set(made.nearest_on_shelf[i])
    kept = corpus.questions(tmp_path / "questions.npz")
    assert kept.texts == made.texts
    np.testing.assert_array_equal(kept.nearest, made.nearest)


@pytest.mark.usefixtures("benchmarks")
def test_the_benchmark_asks_a_store_of_ours(tmp_path: Path) -> None:
    from stores.child import ask, ids
    from stores.contenders import KnownVectors, open_store
    from stores.corpus import Corpus

    corpus = Corpus(5_000)
    questions = corpus.questions(tmp_path / "questions.npz")
    known = KnownVectors(zip(questions.texts, questions.vectors, strict=True))
    store = open_store("langbert", tmp_path / "store", known)
    store.add(corpus.block(0))
    for on_shelf in (False, True):
        found = ask(store, questions, 60, on_shelf=on_shelf)
        assert (len(found["seconds"]), found["hits"], found["recall"]) == (190, 10, 1)
    store.close()
    assert ids({"name": "langbert", "folder": str(tmp_path / "ids")}) == {"existing": "update", "missing": "no error"}


@pytest.mark.usefixtures("benchmarks")
def test_the_benchmark_counts_what_is_lost() -> None:
    from stores.tables import stores_table

    found = {"opens": True, "rows": 40, "there": 37, "disturbed": 0.0}
    broken = {"opens": False, "rows": 0, "there": 0, "disturbed": 0.0}
    cells = {"kill": {"facts": {}, "rounds": {"faiss": [found, broken], "langbert": [{**found, "there": 40}]}}}
    lines = stores_table({"settings": {"chunks": 10, "dimension": 384}, "cells": cells}).splitlines()
    assert lines[0] == "|  | langbert.Store | LangChain FAISS |"
    assert lines[2:4] == [
        "| killed while writing: opens again | 1 of 1 | 1 of 2 |",
        "| … acknowledged rows lost | 0 | 3, and 1 whole store |",
    ]
