"""Guesses at what comes next, out of what was read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from langbert.models.gpt.decoder import PromptLookup


def test_what_followed_last_time_is_guessed() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 1, 2, 5, 6, 9], n_gram=2)
    assert lookup.guess(1, 3) == []
    assert lookup.guess(2, 3) == [5, 6, 9]
    assert lookup.guess(5, 1) == [6]
    assert PromptLookup([7], n_gram=2).guess(7, 3) == []
    assert PromptLookup([7, 7], n_gram=2).guess(7, 3) == [7]


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=20), st.integers(0, 4))
def test_guesses_are_those_of_looking_through_everything(prompt: list[int], told: list[int], most: int) -> None:
    lookup, tokens = PromptLookup(prompt, n_gram=2), list(prompt)
    for token in told:
        tokens.append(token)
        earlier = [i for i in range(len(tokens) - 2) if tokens[i : i + 2] == tokens[-2:]]
        expected = tokens[earlier[-1] + 2 : earlier[-1] + 2 + most] if earlier else []
        assert lookup.guess(token, most) == (expected if len(tokens) > 1 else [])
