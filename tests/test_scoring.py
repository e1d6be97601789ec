"""Exact match, F1 and containment against torchmetrics (the SQuAD script) and the CMRC 2018 script's own procedure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.evaluation.scoring import best_over_answers, holds_answer

WORDS = st.lists(st.sampled_from(["the", "a", "An", "Normans", "normans'", "in", "1,066", "U.S.", "-", "co-op"]))


@given(WORDS, WORDS)
def test_english_is_scored_as_the_squad_script_does(predicted: list[str], answer: list[str]) -> None:
    pytest.importorskip("torchmetrics")
    from torchmetrics.functional.text.squad import _compute_exact_match_score, _compute_f1_score

    guess, truth = " ".join(predicted), " ".join(answer)
    exact, f1 = best_over_answers(guess, [truth])
    assert exact == float(_compute_exact_match_score(guess, truth))
    assert f1 == pytest.approx(float(_compute_f1_score(guess, truth)))


def cmrc_f1(predicted: str, answer: str) -> float:
    """``calc_f1_score`` of the CMRC 2018 script, for text of Chinese characters and its punctuation alone."""
    guess, truth = ([char for char in text if char not in "，。《》"] for text in (predicted, answer))
    table = [[0] * (len(truth) + 1) for _ in range(len(guess) + 1)]
    longest = 0
    for i, mine in enumerate(guess):
        for j, theirs in enumerate(truth):
            if mine == theirs:
                table[i + 1][j + 1] = table[i][j] + 1
                longest = max(longest, table[i + 1][j + 1])
    if longest == 0:
        return 0.0
    precision, recall = longest / len(guess), longest / len(truth)
    return 2 * precision * recall / (precision + recall)


CHINESE = st.text("诺曼人在法国，。《》", min_size=1).filter(lambda text: any(char not in "，。《》" for char in text))


@given(CHINESE, CHINESE)
def test_chinese_is_scored_as_the_cmrc_script_does(predicted: str, answer: str) -> None:
    exact, f1 = best_over_answers(predicted, [answer])
    assert f1 == pytest.approx(cmrc_f1(predicted, answer))
    assert (exact == 1.0) == (f1 == 1.0)


def test_values_worked_by_hand() -> None:
    assert best_over_answers("The Normans.", ["normans", "Vikings"]) == (1.0, 1.0)
    assert best_over_answers("in northern Normandy", ["Normandy"]) == (0.0, 0.5)  # precision 1/3, recall 1
    assert best_over_answers("在诺曼底地区", ["诺曼底"]) == (0.0, pytest.approx(2 * 3 / (6 + 3)))
    assert best_over_answers("1066年", ["1066 年"]) == (1.0, 1.0)
    assert best_over_answers("", ["Normandy"]) == (0.0, 0.0)
    assert best_over_answers("Normandy", []) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "answers", "held"),
    [
        ("They settled in Normandy, in the North.", ["Normandy"], True),
        ("It cost $1,066.", ["1066"], True),
        ("Normandy", ["Norman"], False),  # words, not letters
        ("red and green", ["red green"], False),
        ("诺曼人定居在法国北部。", ["法国北部"], True),
        ("诺曼人定居在法国的北部。", ["法国北部"], False),
        ("anything", ["the"], False),  # nothing is left of it to look for
        ("anything", [], False),
    ],
)
def test_an_answer_is_contained_word_by_word(text: str, answers: list[str], held: bool) -> None:
    assert holds_answer(text, answers) is held
