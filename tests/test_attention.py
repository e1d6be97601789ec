"""Attention against the formula of the paper, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from langbert.models.layers.attention import MultiHeadAttention, attend, attend_base_two


def literal(query, key, value, mask):
    """softmax(QKᵀ/√d) V, step by step."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1) @ value


def test_attend_is_the_formula():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 8).unbind(0)
    mask = torch.rand(2, 1, 7, 7) > 0.3
    mask[..., 0] = True  # every query may look somewhere
    torch.testing.assert_close(attend(query, key, value, mask), literal(query, key, value, mask), atol=1e-6, rtol=0)


def test_causal_queries_see_only_what_came_before():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)
    before = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(
        attend(query, key, value, causal=True), literal(query, key, value, before), atol=1e-6, rtol=0
    )


def test_a_query_that_may_look_nowhere_gets_zeros():
    query, key, value = torch.randn(3, 1, 1, 2, 4).unbind(0)
    mask = torch.tensor([[True, True], [False, False]])
    assert attend(query, key, value, mask)[0, 0, 1].abs().max() == 0


def test_fused_projection_is_three_projections():
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, n_heads=3).eval()
    hidden = torch.randn(2, 5, 12)
    weights, biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    query, key, value = (
        (hidden @ w.T + b).view(2, 5, 3, 4).transpose(1, 2) for w, b in zip(weights, biases, strict=True)
    )
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None]
    context = literal(query, key, value, mask).transpose(1, 2).reshape(2, 5, 12)
    torch.testing.assert_close(attention(hidden, mask), attention.output(context), atol=1e-6, rtol=0)


def test_dropout_only_while_training():
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, n_heads=2, dropout=0.5)
    hidden = torch.randn(1, 6, 8)
    assert not torch.equal(attention(hidden), attention(hidden))
    attention.eval()
    assert torch.equal(attention(hidden), attention(hidden))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="10 is not a multiple of n_heads 3"):
        MultiHeadAttention(10, n_heads=3)


@pytest.mark.parametrize("masked", [False, True])
def test_learning_gives_the_same_values_and_gradients_as_the_fused_path(masked):
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 4, 7, 8, requires_grad=True) for _ in range(3))
    looked_at = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] + [0] * 6], dtype=torch.bool)
    mask = looked_at[:, None, None] if masked else None
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    wanted = torch.autograd.grad(expected.square().sum(), (query, key, value))
    got = attend(query, key, value, mask)
    assert torch.allclose(got, expected, atol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(got.square().sum(), (query, key, value)), wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_nothing_but_padding_gives_no_nan_while_learning():
    query = torch.randn(1, 2, 3, 4, requires_grad=True)
    out = attend(query, query, query, torch.zeros(1, 1, 1, 3, dtype=torch.bool))
    out.sum().backward()
    assert out.isfinite().all()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def base_two(query, key, value):
    return attend_base_two((query * math.log2(math.e) / query.shape[-1] ** 0.5).bfloat16(), key, value)


def test_powers_of_two_are_the_softmax():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 8).bfloat16() for _ in range(3))
    found = base_two(query.double() * 2, key, value)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(
        found.double(), attend(query.double() * 2, key.double(), value.double()), atol=0.04, rtol=0
    )


@pytest.mark.parametrize("size", [100.0, -100.0, 400.0, -400.0])
def test_powers_of_two_beyond_the_number_formats_range(size):
    """Scores around ±400 would be 2^±577, infinite or nothing at all, if nobody looked."""
    torch.manual_seed(0)
    query, key, value = torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 5, 8), torch.randn(1, 2, 5, 8).bfloat16()
    query[..., 0], key[..., 0] = size, 8**0.5 * torch.linspace(1, 1.4, 5)  # scores a tenth of size apart
    best = value[:, :, 4 if size > 0 else 0].double()
    found = base_two(query.double(), key.bfloat16(), value).double()
    torch.testing.assert_close(found, best[:, :, None].expand(found.shape), atol=0.02, rtol=0)


@pytest.mark.parametrize("score", [90, 110, 126, 127.3, 127.9])
def test_powers_of_two_that_are_finite_until_they_meet_the_values(score):
    """A Chinese text once had a score of 127.3: 2^127.3 is a number, 2^127.3 times 3 is none."""
    generator = torch.Generator().manual_seed(3)
    key, value = (torch.randn(1, 1, 7, 32, generator=generator) for _ in range(2))
    query = torch.zeros(1, 1, 7, 32)
    query[..., 0], key[..., 0] = score / 8, torch.tensor([8.0, 8, 7, -3, 1, 0, 2])
    found = attend_base_two(query.bfloat16(), key.bfloat16(), value.bfloat16() * 3)
    expected = torch.softmax(query @ key.transpose(-1, -2) * math.log(2), -1) @ (value * 3)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.05)
