"""Relevances: what has nothing to do with a question is below 1/2, whichever encoder, language and mode."""

from __future__ import annotations

import numpy as np
import pytest
from store_tools import HashEmbedder

from langbert import Chunk, Embedder, Store
from langbert.store.relevance import Curve, level_of, of_words
from langchain_langbert import LangBertEmbeddings, LangBertVectorStore

PASSAGES = {
    "en": {
        "How is the espresso machine descaled?": "To remove limescale from the coffee machine, fill its tank with "
        "citric acid and water, press DESCALE for three seconds and let two litres run through.",
        "When do night buses run?": "Between midnight and five o'clock the lines N1 to N7 leave the station hourly.",
        "Who may borrow books from the library?": "Loans need a library card. It is issued to everyone who lives or "
        "works in the town, and allows ten books at a time.",
        "How thick is the ice of Antarctica?": "The Antarctic ice sheet is on average 2.2 kilometres thick.",
        "Can I return shoes that do not fit?": "Footwear can be sent back within thirty days if not worn outside.",
    },
    "zh": {
        "咖啡机怎么除垢？": "清除水垢时,在水箱中加入柠檬酸和水,按住除垢键三秒钟,让两升水流过机器。",
        "夜班公交车几点开？": "零点到五点之间,N1到N7路公交车每小时从车站发车一次。",
        "谁可以在图书馆借书？": "读者需要借书证,凡在本市居住或工作的人都可以办理,每次可借十本书。",
        "乙醇的沸点是多少？": "在标准大气压下,乙醇在78.4摄氏度沸腾,可以与水混溶。",
        "鞋子不合脚可以退货吗？": "未在室外穿过的鞋子可以在三十天内退回。",
    },
}


@pytest.mark.parametrize("slope", [0.5, 3.0, 150.0])
@pytest.mark.parametrize("half", [-0.9, 0.0, 0.4, 0.95])
def test_a_curve_rises_from_0_over_a_half_to_1(slope: float, half: float) -> None:
    curve = Curve(slope, half)
    assert curve(np.array([half, 1.0, 1.1])) == pytest.approx([0.5, 1, 1])
    told = curve(np.linspace(-1.001, 1.001, 99))
    assert (np.diff(told) >= 0).all()
    assert 0 <= told[0] <= told[-1] <= 1
    assert curve.above(0.5)(np.array([0.5 + half / 2, 1.0])) == pytest.approx([0.5, 1])


def test_of_an_unknown_encoder_its_vectors_tell_the_range() -> None:
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(60, 24)) + 3  # all of them point one way, as those of many encoders do
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    store = Store.open(embedder=HashEmbedder(24))
    store.add_vectors([Chunk(str(n), str(n), "text") for n in range(60)], vectors)
    near = vectors[7] + 0.1 * (vectors[7] - vectors[8])
    hits = store.search_vector(near / np.linalg.norm(near), 60)
    assert min(hit.scores["dense"] for hit in hits) > 0.5
    assert hits[0].chunk.id == "7"
    assert hits[0].score == hits[0].relevance > 0.95
    assert np.median([hit.score for hit in hits]) < 0.1
    assert level_of(vectors[:1]) == 0


def test_words_weigh_as_much_in_a_small_store_as_in_a_large_one() -> None:
    lines = [f"Note {n} is about the {word} of the harbour." for n, word in enumerate(["tide", "pier", "crane"] * 30)]
    for size in (4, 90):
        store = Store.open()
        store.add([Chunk(str(n), str(n), line) for n, line in enumerate(lines[:size])])
        store.add([Chunk("fog", "fog", "In fog, ships sound a horn every two minutes.")])
        (first, *_) = store.search("How often must ships sound a horn in fog?", 3, mode="lexical")
        assert first.chunk.id == "fog"
        assert first.relevance is not None
        assert first.relevance > 0.7
        for hit in store.search("Which museum of the capital shows paintings by Vermeer?", 3, mode="lexical"):
            assert hit.relevance is not None
            assert hit.relevance < 0.5
    assert of_words(np.array([3.0]), 0.0).tolist() == [0]


@pytest.mark.models
@pytest.mark.parametrize(("model", "language"), [("minilm", "en"), ("e5-small", "en"), ("e5-small", "zh")])
def test_a_threshold_of_a_half_keeps_what_answers_and_nothing_else(model: str, language: str) -> None:
    asked = PASSAGES[language]
    vectorstore = LangBertVectorStore(LangBertEmbeddings(model=model))
    vectorstore.add_texts(list(asked.values()))
    strict = {"search_kwargs": {"score_threshold": 0.5, "k": 5}}
    retrievers = [
        vectorstore.as_retriever(search_type=kind, **strict) for kind in ("similarity_score_threshold", "hybrid")
    ]
    for question, passage in asked.items():
        for retriever in retrievers:
            assert [document.page_content for document in retriever.invoke(question)] == [passage], question
        scored = vectorstore.similarity_search_with_relevance_scores(question, k=5)
        assert [score >= 0.5 for _, score in scored] == [True, False, False, False, False]
        assert scored == [(document, score) for document, score in sorted(scored, key=lambda pair: -pair[1])]
    unrelated = "Who won the football match on Saturday?" if language == "en" else "星期六的足球比赛谁赢了？"
    for retriever in retrievers:
        assert retriever.invoke(unrelated) == []


@pytest.mark.models
@pytest.mark.parametrize("model", ["minilm", "e5-small"])
def test_the_curves_are_of_the_encoders_that_are_shipped(model: str) -> None:
    from langbert.store.relevance import Calibration, _fitted

    embedder = Embedder(model)
    with Store.open(embedder=embedder) as store:
        store.add([Chunk("a", "a", "Bees hum.")])
        with store.snapshot() as snapshot:
            curve = Calibration().of(snapshot, "bees")
    assert curve == Curve(**_fitted()["encoders"][embedder.space.fingerprint]["spaced"])
