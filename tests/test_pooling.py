"""Pooling: each mode against its definition, and one result for left-padded, right-padded and packed input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert.models.layers.pooling import AttentionPooling, Pooling, cumulative, pack, pool, pool_padded

DEFINITIONS = {
    Pooling.CLS: lambda h, s: h[0],
    Pooling.POOLER: lambda h, s: h[0],
    Pooling.LAST: lambda h, s: h[-1],
    Pooling.MEAN: lambda h, s: sum(h) / len(h),
    Pooling.MEAN_SQRT_LEN: lambda h, s: sum(h) / math.sqrt(len(h)),
    Pooling.MAX: lambda h, s: torch.stack(list(h)).max(dim=0).values,
    Pooling.WEIGHTED_MEAN: lambda h, s: sum((i + 1) * x for i, x in enumerate(h)) / sum(range(1, len(h) + 1)),
    Pooling.ATTENTION: lambda h, s: sum(w * x for w, x in zip(s.softmax(0), h, strict=True)),
}


def padded(sequences, side, junk):
    """``(B, T, …)`` and its mask, with ``junk`` where there is no token."""
    longest = max(map(len, sequences)) + 2
    rows = torch.full((len(sequences), longest, *sequences[0].shape[1:]), junk)
    mask = torch.zeros(len(sequences), longest, dtype=torch.int64)
    for i, sequence in enumerate(sequences):
        place = slice(0, len(sequence)) if side == "right" else slice(longest - len(sequence), longest)
        rows[i, place] = sequence
        mask[i, place] = 1
    return rows, mask


def test_every_mode_is_defined():
    assert set(DEFINITIONS) == set(Pooling)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 2**31))
@settings(max_examples=40)
@pytest.mark.parametrize("pooling", Pooling)
def test_packed_left_and_right_are_the_definition(pooling, lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = [torch.randn(length, 4, generator=generator) for length in lengths]
    scores = [torch.randn(length, generator=generator) for length in lengths]
    expected = torch.stack([DEFINITIONS[pooling](h, s) for h, s in zip(hidden, scores, strict=True)])
    packed = pool(torch.cat(hidden), cumulative(lengths), pooling, torch.cat(scores))
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=1e-5)
    for side in ("left", "right"):
        states, mask = padded(hidden, side, junk=1e9)
        result = pool_padded(states, mask, pooling, padded(scores, side, junk=1e9)[0])
        assert torch.equal(result, packed), side


@pytest.mark.parametrize("pooling", Pooling)
def test_a_vector_does_not_depend_on_its_neighbours(pooling):
    torch.manual_seed(0)
    hidden, lengths, scores = torch.randn(300, 8), [1, 7, 92, 200], torch.randn(300)
    together = pool(hidden, cumulative(lengths), pooling, scores)
    parts = zip(hidden.split(lengths), scores.split(lengths), lengths, strict=True)
    alone = torch.cat([pool(h, cumulative([n]), pooling, s) for h, s, n in parts])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("pooling", Pooling)
def test_a_sequence_without_tokens_is_zero(pooling):
    hidden = torch.ones(3, 4)
    vectors = pool(hidden, cumulative([0, 3, 0]), pooling, torch.zeros(3))
    assert vectors.isfinite().all()
    assert vectors[0].abs().max() == 0
    assert vectors[2].abs().max() == 0
    assert pool(hidden[:0], cumulative([]), pooling, torch.zeros(0)).shape == (0, 4)


@pytest.mark.parametrize("pooling", Pooling)
def test_skipped_tokens_take_no_part(pooling):
    torch.manual_seed(0)
    hidden, scores = torch.randn(9, 4), torch.randn(9)
    result = pool(hidden, cumulative([5, 4]), pooling, scores, skip=2)
    if pooling is Pooling.WEIGHTED_MEAN:  # positions still count from the skipped ones
        expected = torch.stack(
            [(hidden[2:5].T @ torch.tensor([3.0, 4, 5])) / 12, (hidden[7:].T @ torch.tensor([3.0, 4])) / 7]
        )
    else:
        expected = pool(hidden[[2, 3, 4, 7, 8]], cumulative([3, 2]), pooling, scores[[2, 3, 4, 7, 8]])
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("pooling", Pooling)
def test_gradients_reach_the_tokens_that_count(pooling):
    hidden = torch.randn(2, 5, 4, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
    pool_padded(hidden, mask, pooling, torch.zeros(2, 5)).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[mask == 0].abs().max() == 0
    assert hidden.grad[mask == 1].abs().max() > 0


def test_bfloat16_is_summed_in_float32():
    hidden = torch.ones(1000, 1, dtype=torch.bfloat16) * 1.0078125
    assert pool(hidden, cumulative([1000]), Pooling.MEAN).item() == pytest.approx(1.0078125, abs=1e-6)


def test_attention_pooling_learns_which_tokens_count():
    torch.manual_seed(0)
    attention = AttentionPooling(4)
    optimizer = torch.optim.Adam(attention.parameters(), lr=0.05)
    marked = torch.tensor([5.0, 0, 0, 0])
    for _ in range(100):
        hidden = torch.randn(4, 6, 4)
        hidden[:, 2] = marked
        vectors = attention(*pack(hidden, torch.ones(4, 6)))
        loss = (vectors - marked).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5


def test_attention_needs_scores():
    with pytest.raises(ValueError, match="AttentionPooling"):
        pool(torch.ones(1, 2), cumulative([1]), Pooling.ATTENTION)


def test_pooling_is_its_name():
    assert [str(pooling) for pooling in Pooling] == [pooling.value for pooling in Pooling]
    assert Pooling("mean") is Pooling.MEAN
