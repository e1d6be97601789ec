"""Fusing two rankings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.store.fusion import reciprocal_ranks, relative_scores

cosines = st.lists(st.floats(-1, 1), min_size=1, max_size=20)
weights = st.floats(0, 1)


@given(dense=cosines, bm25=st.lists(st.floats(0, 100), min_size=20, max_size=20), weight=weights)
def test_relative_scores_are_in_range_and_monotone(dense, bm25, weight):
    d, b = np.array(dense), np.array(bm25[: len(dense)])
    fused = relative_scores(d, b, weight)
    assert fused.shape == d.shape
    assert (fused >= 0).all()
    assert (fused <= 1 + 1e-12).all()
    for i in range(len(d)):
        better = (d >= d[i]) & (b >= b[i])
        assert (fused[better] >= fused[i] - 1e-12).all()


@given(st.permutations(range(8)), st.permutations(range(8)), weights)
def test_reciprocal_ranks_follow_the_formula(dense, lexical, weight):
    d, b = np.array(dense), np.array([rank if rank < 5 else -1 for rank in lexical])
    fused = reciprocal_ranks(d, b, weight)
    for i in range(8):
        expected = weight / (61 + d[i]) + ((1 - weight) / (61 + b[i]) if b[i] >= 0 else 0)
        assert fused[i] * (1 / 61) == pytest.approx(expected)


def test_first_in_both_is_one():
    assert reciprocal_ranks(np.array([0, 1]), np.array([0, -1]), 0.3)[0] == pytest.approx(1)
    assert relative_scores(np.array([0.9, 0.1]), np.array([12.0, 0.0]), 0.3)[0] == pytest.approx(1)


def test_no_word_matches_leaves_the_dense_order():
    fused = relative_scores(np.array([0.2, 0.8, 0.5]), np.zeros(3), 0.5)
    assert np.argsort(-fused).tolist() == [1, 2, 0]
