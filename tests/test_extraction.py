"""Which span is the answer: the choice among passages, alone and with the shipped models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert import Candidate, Chunk, Rag, Reader, Store
from langbert.answering.evidence import answer_words, belief, best_evidence, chance, expected

NORMANDY = "The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, in France."
PASSAGES = [
    NORMANDY,
    "Bees make honey from the nectar of flowers. They store it in wax combs.",
    "Harald crossed the sea. The Normans took Sicily in 1091, after thirty years of war.",
]
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def sources(passages: list[str], scores: list[float] | None = None) -> list[Candidate]:
    return [
        Candidate(Chunk(id=f"c{i}", document_id=f"d{i}", text=text), score)
        for i, (text, score) in enumerate(zip(passages, scores or [0.5] * len(passages), strict=True))
    ]


@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(0, 1)), min_size=1, max_size=30))
def test_belief_is_shared_out_and_follows_logits_and_scores(spans: list[tuple[float, float]]) -> None:
    logits, scores = [span[0] for span in spans], [span[1] for span in spans]
    shares = belief(logits, scores)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    louder = belief([logits[0] + 1, *logits[1:]], scores)
    assert louder[0] >= shares[0] - 1e-12
    higher = belief(logits, [min(scores[0] + 0.1, 1.0), *scores[1:]])
    assert higher[0] >= shares[0] - 1e-12


@given(st.lists(st.tuples(texts, st.floats(0.01, 1)), min_size=1, max_size=12))
def test_every_answer_is_named_once_and_expects_no_more_than_all(spans: list[tuple[str, float]]) -> None:
    said = [span[0] for span in spans]
    shares = np.array([span[1] for span in spans])
    ranked = expected(said, shares / shares.sum())
    words = [answer_words(said[i]) for i, _ in ranked]
    assert len(set(words)) == len(words)
    assert set(words) == {answer_words(text) for text in said}
    assert all(0 <= agreed <= 1 + 1e-9 for _, agreed in ranked)
    assert [agreed for _, agreed in ranked] == sorted((agreed for _, agreed in ranked), reverse=True)


def test_passages_that_agree_outvote_a_louder_one() -> None:
    said = ["Paris", "in 1091", "the 1091", "1091"]
    best, _ = expected(said, np.array([0.4, 0.1, 0.25, 0.25]))[0]
    assert answer_words(said[best]) == ("1091",)
    alone, _ = expected(said[:1], np.array([1.0]))[0]
    assert said[alone] == "Paris"


def test_of_spans_that_differ_at_their_ends_the_middle_one_wins() -> None:
    said = ["Denmark", "Denmark, Iceland", "Denmark, Iceland and Norway", "Rollo"]
    best, _ = expected(said, np.array([0.24, 0.22, 0.24, 0.30]))[0]
    assert said[best] == "Denmark, Iceland"


def test_chinese_answers_are_compared_by_character() -> None:
    assert answer_words("诺曼底 in the France") == ("诺", "曼", "底", "in", "france")
    assert answer_words("The") == ("the",)
    assert answer_words("…") == ("…",)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-20, 20), st.floats(0, 5))
def test_the_probability_rises_with_agreement_and_margin(one: float, other: float, margin: float, more: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= chance(low, margin) <= chance(high, margin) <= 1
    assert chance(one, margin) <= chance(one, margin + more)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(precision="float32")


@pytest.mark.models
def test_the_words_that_answer_come_first_with_their_sentence(reader: Reader) -> None:
    given = sources(PASSAGES)
    found = best_evidence("When did the Normans take Sicily?", given, reader)
    assert "1091" in found[0].short
    for evidence in found:
        assert evidence.answer is not None
        start, end = evidence.answer
        assert evidence.candidate.text[start:end] == evidence.short
        assert evidence.start <= start < end <= evidence.end
    assert found[0].quote == "The Normans took Sicily in 1091, after thirty years of war."
    probabilities = [evidence.score for evidence in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len({answer_words(evidence.short) for evidence in found}) == len(found)


@pytest.mark.models
def test_the_order_of_the_sources_does_not_count_and_their_score_does(reader: Reader) -> None:
    question = "Who gave their name to Normandy?"
    forward = best_evidence(question, sources(PASSAGES), reader)
    backward = best_evidence(question, sources(PASSAGES[::-1]), reader)
    assert forward[0].short == backward[0].short
    assert forward[0].score == pytest.approx(backward[0].score, abs=1e-3)
    twice = ["The bridge was built in 1850.", "The bridge was built in 1920."]
    for scores, year in (([0.9, 0.2], "1850"), ([0.2, 0.9], "1920")):
        assert year in best_evidence("When was the bridge built?", sources(twice, scores), reader)[0].short


@pytest.mark.models
def test_nothing_to_read_is_no_span(reader: Reader) -> None:
    assert best_evidence("Who?", [], reader) == []
    assert best_evidence("Who?", sources([""]), reader) == []


@pytest.mark.models
def test_a_right_answer_is_surer_than_one_from_another_subject(reader: Reader) -> None:
    question = "What do bees make honey from?"
    right = best_evidence(question, sources([PASSAGES[1]]), reader)[0]
    wrong = best_evidence(question, sources([NORMANDY]), reader)[0]
    assert "nectar" in right.short
    assert right.margin is not None
    assert wrong.margin is not None
    assert right.margin > wrong.margin
    assert right.score > wrong.score


@pytest.mark.models
def test_a_line_is_79_characters_long_in_the_peps(peps: Store) -> None:
    answer = Rag(peps).ask("What is the maximum line length?", mode="extract")
    assert "79" in answer.citations[0].quote or "72" in answer.citations[0].quote
    assert answer.citations[0].source == "pep-0008.rst"
