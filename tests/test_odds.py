"""Log-odds and probabilities, at their ends too."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.log_odds import log_odds, sigmoid


def test_they_undo_each_other() -> None:
    assert sigmoid(0) == 0.5
    assert sigmoid(math.log(3)) == pytest.approx(0.75)
    for share in (0.001, 0.3, 0.999):
        assert sigmoid(log_odds(share)) == pytest.approx(share)
    assert log_odds(0) == pytest.approx(-log_odds(1)) == pytest.approx(-13.8155, abs=1e-4)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_any_number_has_a_probability_and_more_is_never_less(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= sigmoid(low) <= sigmoid(high) <= 1
