"""Linear layers for a handful of rows, the step of a decoder, where reading the weight is what takes the time.

The weight is kept in 4 bits where it lies on such a grid anyway, as that of a Q4 file does, else in 8; the products are
in bfloat16 with float32 sums (Frantar et al. 2022, "GPTQ", section 4, have the same split: few bits to store, floating
point to compute).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .int8_projection import WIDE, Limits, nearest, weight_limits

GROUP = 32
"""Neighbours in a row that share a grid, as in llama.cpp's formats."""

_TOLERANCE = 2.0**-6
"""How far from the grid a weight may lie, of the largest in its group: weights, scale and zero have been rounded to
bfloat16. Weights on no grid are two to four times as far from it."""

_SAMPLE = 16
"""Rows that are looked at first; most weights that are on no grid show it there."""

_SIGMAS = 8.0
"""Standard deviations of the rounding error within which the likeliest token is looked for."""

_SHORTEST = 4096
"""A smaller vocabulary is multiplied whole: the look at the best alone would take longer."""


class Grid(NamedTuple):
    """A weight as ``scale · (level - 8) + zero``, 16 levels, scale and zero shared by :data:`GROUP` neighbours.

    Attributes:
        levels: ``(out, in / 2)`` uint8, two to a byte, the first in the upper half.
        scales: ``(in / GROUP, out, 2)`` bfloat16: scale and zero.
    """

    levels: Tensor
    scales: Tensor

    def rows(self, order: Tensor) -> Grid:
        """The grid of ``weight[order]``."""
        return Grid(self.levels[order], self.scales[:, order].contiguous())

    def expanded(self) -> Tensor:
        """The levels one by one, ``(out, in)`` int32, 0 to 15."""
        pairs = torch.empty(*self.levels.shape, 2, dtype=torch.int32)
        pairs[..., 0] = self.levels >> 4
        pairs[..., 1] = self.levels & 15
        return pairs.view(len(self.levels), -1)

    def weight(self) -> Tensor:
        """``(out, in)`` float32."""
        scale, zero = self.scales.float().transpose(0, 1).unsqueeze(-1).unbind(2)  # (out, groups, 1) each
        levels = self.expanded().view(len(self.levels), -1, GROUP)
        return ((levels - 8) * scale + zero).flatten(1)


def find_grid(weight: Tensor) -> Grid | None:
    """The 16-level grid that ``weight`` ``(out, in)`` lies on, within the rounding of bfloat16; None if it does not."""
    n_rows, n_columns = weight.shape
    if n_columns % GROUP or n_rows % 16:
        return None
    if n_rows > _SAMPLE and find_grid(weight[:_SAMPLE]) is None:
        return None
    groups = weight.detach().float().view(n_rows, -1, GROUP)
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scale = ((high - low) / 15).clamp(min=torch.finfo(torch.float32).tiny)
    levels = ((groups - low) / scale).round_().clamp_(0, 15)
    scale, zero = scale.bfloat16(), (low + 8 * scale).bfloat16()
    distance = ((levels - 8) * scale + zero - groups).abs_().amax(dim=-1, keepdim=True)
    if not bool((distance <= _TOLERANCE * torch.maximum(low.abs(), high.abs())).all()):
        return None
    pairs = levels.to(torch.uint8).view(n_rows, -1, 2)
    scales = torch.cat((scale, zero), dim=-1).transpose(0, 1).contiguous()
    return Grid(pairs[..., 0] << 4 | pairs[..., 1], scales)


class LowBitLinear:
    """``x Wᵀ + b``: ``(n, in)`` → ``(n, out)``, both bfloat16, quickest for up to four rows."""

    def __init__(self, bias: Tensor | None) -> None:
        self._bias = bias

    @property
    def n_bytes(self) -> int:
        """What is read of memory for a row."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def __call__(self, x: Tensor) -> Tensor:
        product = self._product(x)
        return product if self._bias is None else product.add_(self._bias)

    def _product(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class FourBitLinear(LowBitLinear):
    """With the weight on a :class:`Grid`."""

    def __init__(self, grid: Grid, bias: Tensor | None = None) -> None:
        super().__init__(bias)
        self._weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(grid.expanded(), 1)
        self._scales = grid.scales.clone()  # or a mapped file would stay open for its sake

    def _product(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x, self._weight, GROUP, self._scales)
        return product


class EightBitLinear(LowBitLinear):
    """With the weight in 255 levels and a scale for each row."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__(bias)
        self._weight, scales = _eight_bits(weight)
        self._scales = scales.bfloat16()

    def _product(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.aten._weight_int8pack_mm(x, self._weight, self._scales)
        return product


def low_bit_linear(weight: Tensor, bias: Tensor | None, grid: Grid | None) -> LowBitLinear:
    """The layer in as few bits as its weight loses nothing, or next to nothing, by."""
    return EightBitLinear(weight, bias) if grid is None else FourBitLinear(grid, bias)


def low_bits_work() -> bool:
    """Whether this build of torch, on this processor, has the products, and they come out right."""
    weight = torch.arange(64 * 64).view(64, 64) % 16 - 7.5
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    grid = find_grid(weight)
    try:
        with torch.inference_mode():
            products = [
                layer(x).float() for layer in (EightBitLinear(weight), *([FourBitLinear(grid)] if grid else []))
            ]
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    expected = weight.sum(1)
    return len(products) == 2 and all(torch.allclose(found[0], expected, atol=1.0) for found in products)


class LowBitHead:
    """The output layer: hidden states → logits, in 8 bits, and once more in full for those that might be the largest.

    So the likeliest token is that of the full weight: of the tokens whose 8-bit logit is so near the largest that
    rounding may have changed their order, each gets its exact logit.

    Args:
        weight: ``(vocab_size, D)``; it is not copied.
    """

    def __init__(self, weight: Tensor) -> None:
        self._exact = weight.detach()
        self._short = len(weight) >= _SHORTEST
        if not self._short:
            return
        levels, self._scales = _eight_bits(weight, weight_limits())
        # the expected square of what rounding the weight, and of what rounding the input, adds to a logit
        self._weight_error = float(self._scales.square().amax()) / 12
        squares = [
            float((part.float().square().mean(1) * s.square()).amax()) for part, s in _parts(levels, self._scales)
        ]
        self._input_error = max(squares) / 12
        self._weight = torch.ops.onednn.qlinear_prepack(levels, [1, levels.shape[1]])
        self._zeros = torch.zeros(len(levels), dtype=torch.int32)

    @property
    def n_bytes(self) -> int:
        """What is read of memory for a row: in 8 bits a byte a weight."""
        return self._exact.numel() if self._short else self._exact.nbytes

    def __call__(self, hidden: Tensor) -> Tensor:
        """``(n, D)`` → ``(n, vocab_size)`` float32."""
        if not self._short:
            return F.linear(hidden.float(), self._exact.float())
        return torch.cat([self._row(row) for row in hidden.float().unbind(0)])

    def _row(self, hidden: Tensor) -> Tensor:
        scale = float(hidden.abs().amax()) / 127
        if not 0.0 < scale < math.inf:
            return F.linear(hidden.to(self._exact.dtype), self._exact)[None].float()
        levels = torch.add(torch.tensor(128.0), hidden, alpha=1 / scale).round_().to(torch.uint8)
        logits: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels[None], scale, 128, self._weight, self._scales, self._zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        error = self._weight_error * float(hidden.dot(hidden)) + self._input_error * len(hidden) * scale * scale
        values = logits.numpy()[0]  # the same memory; numpy looks through it several times as fast
        near = torch.from_numpy(np.flatnonzero(values >= values.max() - _SIGMAS * math.sqrt(2 * error)))
        logits[0, near] = self._exact[near].float() @ hidden
        return logits


def _eight_bits(weight: Tensor, limits: Limits = WIDE) -> tuple[Tensor, Tensor]:
    """Levels ``(out, in)`` int8 and the scale of each row, ``(out,)`` float32; made in parts, to save memory."""
    scales = torch.cat([limits.scales(part.float()) for part in torch.split(weight.detach(), 4096)])
    parts = [nearest(part.float(), own) for part, own in _parts(weight, scales)]
    return torch.cat(parts), scales


def _parts(weight: Tensor, scales: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(weight.detach(), 4096), torch.split(scales, 4096), strict=True)
