"""Transformer-XL against the paper's equation taken literally: relative shift, memory, causality, gradients."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from langbert.models.architectures.encoder_decoder import sinusoids
from langbert.models.architectures.transformer_xl import (
    RelativeAttention,
    TransformerXL,
    TransformerXLConfig,
    relative_shift,
)

CONFIG = TransformerXLConfig(
    vocab_size=37, n_layers=3, n_heads=2, hidden_size=16, intermediate_size=24, segment_length=5, memory_length=8
)


def network(seed: int = 0, **changes: Any) -> TransformerXL:
    """Random weights large enough that every part of the formula counts."""
    torch.manual_seed(seed)
    model = TransformerXL(replace(CONFIG, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.4 if parameter.dim() > 1 else 0.2))
    return model


def text(length: int, batch: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randint(CONFIG.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))


@given(length=st.integers(1, 9), past=st.integers(0, 9))
@settings(max_examples=40)
def test_the_shift_finds_the_distance_of_every_pair(length: int, past: int) -> None:
    total = past + length
    scores = torch.arange(2.0 * length * total).view(2, length, total)
    shifted = relative_shift(scores)
    assert shifted.shape == scores.shape
    for i in range(length):
        for j in range(past + i + 1):
            assert torch.equal(shifted[:, i, j], scores[:, i, total - 1 - (past + i - j)])


@torch.no_grad()
def test_attention_is_the_papers_equation_pair_by_pair() -> None:
    """§3.3, terms (a) to (d), with the keys and values of memory (§3.2)."""
    model = network()
    layer: RelativeAttention = model.layers[1].attention
    u, v = model.content_bias, model.distance_bias
    length, past, d = 4, 6, CONFIG.hidden_size // CONFIG.n_heads
    hidden, before = torch.randn(2, length, 16), torch.randn(2, past, 16)
    waves = sinusoids(torch.arange(past + length - 1, -1, -1), 16)
    expected = torch.zeros(2, length, 16)
    for b in range(2):
        seen = torch.cat((before[b], hidden[b]))
        for h in range(CONFIG.n_heads):
            rows = slice(h * d, (h + 1) * d)
            w_q, w_k_e, w_k_r = layer.query.weight[rows], layer.key_value.weight[rows], layer.distance.weight[rows]
            w_v = layer.key_value.weight[16:][rows]
            for i in range(length):
                q = w_q @ hidden[b, i]
                scores = []
                for j in range(past + i + 1):
                    distance = torch.tensor([float(past + i - j)])
                    r = w_k_r @ sinusoids(distance, 16)[0]
                    k = w_k_e @ seen[j]
                    scores.append((q @ k + q @ r + u[h] @ k + v[h] @ r) / math.sqrt(d))
                weights = torch.softmax(torch.stack(scores), dim=0)
                expected[b, i, rows] = sum(w * (w_v @ seen[j]) for j, w in enumerate(weights))
    expected = expected @ layer.output.weight.T
    torch.testing.assert_close(layer(hidden, before, waves, u, v), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("segment", [1, 3, 7, 23])
def test_with_memory_as_long_as_the_text_segments_are_full_attention(segment: int) -> None:
    token_ids = text(24)
    whole, _ = network(segment_length=24, memory_length=0).read(token_ids)
    pieces, memory = network(segment_length=segment, memory_length=24).read(token_ids)
    assert float((pieces - whole).abs().max()) <= 1e-5
    assert memory.shape == (3, 2, 24, 16)
    alone, _ = network(segment_length=segment, memory_length=0).read(token_ids)
    assert float((alone - whole)[:, segment:].abs().max()) > 0.1  # and the memory is what makes it so


@torch.no_grad()
def test_reading_on_is_reading_at_once() -> None:
    model, token_ids = network(), text(23)
    whole, last = model.read(token_ids)
    first, memory = model.read(token_ids[:, :10])
    second, after = model.read(token_ids[:, 10:], memory)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)
    torch.testing.assert_close(after, last)
    assert last.shape[2] == CONFIG.memory_length


@torch.no_grad()
def test_memory_reaches_as_far_as_layers_times_its_length() -> None:
    """What stood before that is forgotten; what lies within is not."""
    model = network(segment_length=2, memory_length=2)  # the last segment sees 2 tokens of memory a layer, 3 layers
    one = text(16, batch=1)
    for changed, differs in {7: False, 8: True}.items():
        other = one.clone()
        other[0, changed] = (other[0, changed] + 1) % CONFIG.vocab_size
        same = torch.equal(model(one)[:, -2:], model(other)[:, -2:])
        assert same is not differs


@torch.no_grad()
def test_a_later_token_never_changes_an_earlier_one() -> None:
    model, token_ids = network(), text(17)
    logits = model(token_ids)
    for i in (1, 4, 5, 12):
        changed = token_ids.clone()
        changed[:, i:] = (changed[:, i:] + 1) % CONFIG.vocab_size
        torch.testing.assert_close(model(changed)[:, :i], logits[:, :i])


def test_memory_carries_no_gradient() -> None:
    model, token_ids = network(), text(10)
    reached: list[torch.Tensor] = []
    model.token_embedding.register_forward_hook(lambda module, inputs, output: reached.append(output))
    hidden, memory = model.read(token_ids)
    assert not memory.requires_grad
    first, second = reached
    from_first, from_second = torch.autograd.grad(hidden[:, 5:].square().sum(), [first, second])
    assert not from_first.any()
    assert from_second.any()


def test_every_weight_learns_a_text_by_heart() -> None:
    torch.manual_seed(3)
    model = TransformerXL(replace(CONFIG, hidden_size=32, n_layers=2, dropout=0.02)).train()
    sequence = text(31, batch=1)
    wanted = torch.ones(1, 30, dtype=torch.bool)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        loss = F.cross_entropy(model(sequence[:, :-1], at=wanted), sequence[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert model(sequence[:, :-1]).argmax(-1).tolist() == sequence[:, 1:].tolist()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    "changes", [{"n_layers": 0}, {"segment_length": 0}, {"memory_length": -1}, {"n_heads": 3}, {"hidden_size": 15}]
)
def test_impossible_sizes_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="|".join(changes)):
        replace(CONFIG, **changes)
