"""The Retriever: how a search's scores and a reranker's become one order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langbert import Chunk, Reranker, Retriever, Store

pytestmark = pytest.mark.models

TEXTS = {
    "wax": "Wax is made by young bees.",
    "honey": "Bees make honey from the nectar of flowers.",
    "court": "The court adjourned at noon.",
    "norman": "The Normans gave their name to Normandy.",
    "hive": "A hive holds about 40,000 bees in summer.",
}
QUESTION = "What do bees make from nectar?"


@pytest.fixture(scope="module")
def store(minilm) -> Iterator[Store]:
    with Store.open(embedder=minilm) as store:
        store.add([Chunk(name, name, text) for name, text in TEXTS.items()])
        yield store


@pytest.fixture(scope="module")
def reranker() -> Reranker:
    return Reranker()


def order(candidates) -> list[str]:
    return [candidate.chunk.id for candidate in candidates]


def test_weight_0_is_the_search_and_weight_1_the_reranker(store: Store, reranker: Reranker) -> None:
    searched = store.search(QUESTION, 5)
    assert order(Retriever(store, reranker=reranker, weight=0).retrieve(QUESTION)) == order(searched)
    assert order(Retriever(store, reranker=reranker, weight=1).retrieve(QUESTION)) == order(
        reranker.rerank(QUESTION, searched)
    )


def test_scores_are_the_weighted_parts_and_stay_in_0_to_1(store: Store, reranker: Reranker) -> None:
    found = Retriever(store, reranker=reranker, weight=0.4).retrieve(QUESTION)
    assert order(found)[0] == "honey"
    assert {candidate.chunk.id: candidate.scores["reranker"] for candidate in found} == {
        candidate.chunk.id: candidate.score for candidate in reranker.rerank(QUESTION, store.search(QUESTION, 5))
    }
    total = max(sum(candidate.scores["reranker"] for candidate in found), 0.2)
    for candidate in found:
        share = candidate.scores["reranker"] / total
        assert candidate.score == pytest.approx(0.4 * share + 0.6 * candidate.scores["search"])
        assert 0 <= candidate.score <= 1
    assert [candidate.score for candidate in found] == sorted((candidate.score for candidate in found), reverse=True)


def test_a_reranker_that_believes_in_nothing_changes_little(store: Store, reranker: Reranker) -> None:
    question = "Who won the football world cup in 1998?"
    searched = store.search(question, 5)
    assert sum(reranker.score(question, [candidate.text for candidate in searched])) < 0.2
    for plain, blended in zip(searched, Retriever(store, reranker=reranker).retrieve(question), strict=True):
        assert blended.chunk.id == plain.chunk.id
        assert blended.score == pytest.approx(0.6 * plain.score, abs=0.1)


def test_a_weight_out_of_range_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 2"):
        Retriever(store, weight=2)


def test_the_same_words_take_one_place(minilm) -> None:
    again = "If you ask what bees make from nectar, ask the  beekeeper."
    with Store.open(embedder=minilm) as store:
        store.add([Chunk(f"again{i}", f"file{i}", again) for i in range(40)])
        store.add([Chunk(name, name, text) for name, text in TEXTS.items()])
        for mode in ("hybrid", "dense"):
            found = order(Retriever(store, mode=mode).retrieve(QUESTION, 4))
            assert len(found) == 4
            assert "honey" in found
            assert sum(name.startswith("again") for name in found) <= 1
        assert len(Retriever(store).retrieve(QUESTION, 20)) == 6, "there are no more that differ"
