"""Weights in few bits: a grid is found where there is one; products and the likeliest token are as with all bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert.models.layers.low_bit_linear import (
    EightBitLinear,
    FourBitLinear,
    Grid,
    LowBitHead,
    find_grid,
    low_bit_linear,
    low_bits_work,
)

needs_products = pytest.mark.skipif(not low_bits_work(), reason="this torch has no products in few bits here")


def on_a_grid(n_rows: int, n_columns: int, seed: int = 0) -> torch.Tensor:
    """As a Q4_1 file is: in groups of 32 sixteen levels from the least to the most."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 16, (n_rows, n_columns // 32, 32), generator=generator)
    levels[..., 0], levels[..., 1] = 0, 15
    scale = torch.rand(n_rows, n_columns // 32, 1, generator=generator) + 0.1
    least = torch.randn(n_rows, n_columns // 32, 1, generator=generator) - 2
    return (levels * scale + least).flatten(1)


@settings(max_examples=60)
@given(rows=st.integers(1, 5), groups=st.integers(1, 4), seed=st.integers(0, 99), rounded=st.booleans())
def test_a_weight_on_a_grid_is_found_on_it(rows: int, groups: int, seed: int, rounded: bool) -> None:
    weight = on_a_grid(16 * rows, 32 * groups, seed)
    grid = find_grid(weight.bfloat16() if rounded else weight)
    assert grid is not None
    torch.testing.assert_close(grid.weight(), weight, atol=float(weight.abs().max()) / 64, rtol=0)


@pytest.mark.parametrize("shape", [(16, 64), (48, 96), (8, 64), (16, 40)])
def test_a_weight_on_no_grid_or_of_an_odd_shape_has_none(shape: tuple[int, int]) -> None:
    assert find_grid(torch.randn(shape, generator=torch.Generator().manual_seed(1))) is None
    mixed = on_a_grid(64, 64)
    mixed[63] = torch.randn(64, generator=torch.Generator().manual_seed(2))
    assert find_grid(mixed) is None  # one row is enough


def test_rows_of_a_grid_are_rows_of_the_weight() -> None:
    grid = find_grid(on_a_grid(32, 64))
    assert grid is not None
    order = torch.randperm(32, generator=torch.Generator().manual_seed(3))
    assert torch.equal(grid.rows(order).weight(), grid.weight()[order])


@needs_products
@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("biased", [False, True])
def test_products_in_few_bits_are_those_of_the_weight(n: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    weight, x = on_a_grid(48, 96) / 10, torch.randn(n, 96, generator=generator).bfloat16()
    bias = torch.randn(48, generator=generator).bfloat16() if biased else None
    grid = find_grid(weight)
    four, eight = low_bit_linear(weight, bias, grid), low_bit_linear(weight, bias, None)
    assert isinstance(four, FourBitLinear)
    assert isinstance(eight, EightBitLinear)
    expected = x.float() @ weight.T + (0 if bias is None else bias.float())
    for found in (four(x), eight(x)):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), expected, atol=0.15, rtol=0.02)
    assert four.n_bytes < eight.n_bytes < weight.nbytes


@needs_products
@pytest.mark.parametrize("vocab_size", [100, 5000])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_likeliest_token_is_that_of_the_whole_vocabulary(vocab_size: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(vocab_size, 64, generator=generator).bfloat16()
    weight[vocab_size // 2 :] = weight[: vocab_size - vocab_size // 2]
    weight[vocab_size // 2 :] *= 1.01  # near ties, which 8 bits cannot tell apart
    hidden = (torch.randn(40, 64, generator=generator) * scale).bfloat16()
    expected = hidden.float() @ weight.float().T
    found = LowBitHead(weight)(hidden)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())


@needs_products
@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_hidden_states_without_a_scale_give_what_the_weight_gives(value: float) -> None:
    weight = torch.randn(5000, 8, generator=torch.Generator().manual_seed(6)).bfloat16()
    hidden = torch.full((1, 8), value).bfloat16()
    found: Any = LowBitHead(weight)(hidden)
    torch.testing.assert_close(found, (hidden @ weight.T).float(), equal_nan=True)


def test_a_grid_unpacks_to_its_levels() -> None:
    grid = Grid(torch.tensor([[0x0F, 0xA1]], dtype=torch.uint8), torch.ones(1, 1, 2, dtype=torch.bfloat16))
    assert grid.expanded().tolist() == [[0, 15, 10, 1]]
