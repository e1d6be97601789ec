"""A linear layer in 8-bit integers, weights and activations, for inference on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .projection import ACTIVATIONS, POST_OPS, ROWS


class Limits(NamedTuple):
    """How large the integers of a weight may be.

    Attributes:
        each: one by itself.
        pair: the sum of two neighbours of one sign, the first, third … with the one behind it. Processors without VNNI
            instructions add up the products of such a pair in 16 bits, and do not say when the sum was too large.
    """

    each: int
    pair: int

    def scales(self, weight: Tensor) -> Tensor:
        """What 1 stands for in each row of ``weight``, ``(out, in)`` float32: ``(out,)``."""
        scales = _reach(weight) / self.each
        if self.pair < 2 * self.each:
            if not self.pairs(weight.shape[1]):
                scales = scales * self.each / min(self.each, self.pair // 2)
            else:  # two of different signs add up to less than the larger, which ``each`` bounds already
                scales = torch.maximum(scales, _reach(weight[:, ::2] + weight[:, 1::2]) / self.pair)
        return scales.clamp(min=torch.finfo(torch.float32).tiny)

    @staticmethod
    def pairs(width: int) -> bool:
        """Whether it is known which two of ``width`` numbers are added up: oneDNN takes rows by fours, others apart."""
        return width % 4 == 0


def _reach(weight: Tensor) -> Tensor:
    """``(out, in)`` → how far from zero each row gets, ``(out,)``; a third of the time of ``abs().amax(1)``."""
    return torch.maximum(weight.amax(1), -weight.amin(1))


WIDE = Limits(127, 254)
"""All that 8 bits hold."""


def nearest(weight: Tensor, scales: Tensor) -> Tensor:
    """The levels of ``weight``, ``(out, in)`` int8, each number rounded by itself on the scale of its row."""
    return (weight / scales[:, None]).round_().to(torch.int8)


@lru_cache(maxsize=1)
def weight_limits() -> Limits:
    """How large the integers of a weight may be on this processor: extremes are tried.

    Raises:
        ValueError: nothing comes out right, or torch was built without the product.
    """
    for limits in (WIDE, Limits(127, 127), Limits(63, 126)):
        most = limits.each
        rest = min(most, limits.pair + 1 - most)  # two numbers rounded up may come to one more than the limit
        half = (most + rest) // 2
        pairs = torch.tensor([[most, rest], [rest, most], [half, half]])
        weight = torch.cat([pairs[:1].expand(3, 2), pairs.repeat(1, 95)], dim=1)
        weight = torch.cat([weight, -weight]).repeat(8, 1)
        try:
            own = Limits(most, 2 * most)  # which every row reaches: 1 stands for 1
            projection = Int8Projection(
                Int8Weight.of(weight.float(), torch.zeros(len(weight)), Levels(1.0, 0), limits=own)
            )
            product = projection.levels_projected(torch.full((16, weight.shape[1]), 255, dtype=torch.uint8))
        except (AttributeError, RuntimeError, NotImplementedError):
            break
        if bool((product == 255 * weight.sum(1)).all()):
            return limits
    raise ValueError("8-bit products do not work on this processor with this torch; choose precision='auto'")


class Levels:
    """The grid of one activation: level ``l`` stands for ``scale · (l - zero_point)``, l from 0 to 255.

    Args:
        scale, zero_point: the grid.
        shift, stretch: ``(width,)`` each; given, the grid is that of ``(x - shift) / stretch``.
    """

    def __init__(
        self, scale: float, zero_point: int, shift: Tensor | None = None, stretch: Tensor | None = None
    ) -> None:
        self.scale, self.zero_point = scale, zero_point
        self.shift, self.stretch = shift, stretch
        self._factor: Tensor | None = None
        self._offset = torch.tensor(zero_point - 128.0)
        if shift is not None and stretch is not None:
            self._factor = 1 / (stretch * scale)
            self._offset = self._offset - shift * self._factor

    def of(self, x: Tensor) -> Tensor:
        """``(n, width)`` floating point → the nearest levels, uint8."""
        x = x.float()
        if self._factor is None:
            placed = torch.add(self._offset, x, alpha=1 / self.scale)
        else:
            placed = torch.addcmul(self._offset, x, self._factor)
        # signed, then the sign bit turned: torch converts to int8 nine times as fast as to uint8
        return placed.clamp_(-128, 127).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(128)


class Int8Weight(NamedTuple):
    """A linear layer in 8-bit integers, before it is laid out for a processor.

    Attributes:
        rounded: ``(out, in)`` int8.
        scales: what 1 stands for in each row, ``(out,)`` float32.
        bias: ``(out,)`` float32.
        levels: of what the layer is given.
    """

    rounded: Tensor
    scales: Tensor
    bias: Tensor
    levels: Levels

    @classmethod
    def of(
        cls,
        weight: Tensor,
        bias: Tensor,
        levels: Levels,
        *,
        mean: Tensor | None = None,
        rounded: Tensor | None = None,
        limits: Limits = WIDE,
    ) -> Int8Weight:
        """Quantise a layer.

        Args:
            weight: ``(out, in)`` float32, for ``(x - shift) / stretch`` if ``levels`` has those.
            bias: ``(out,)`` float32.
            levels: of ``x``.
            mean: ``(in,)`` of what it is usually given: the bias takes up what rounding the weight makes of that (Nagel
                et al. 2019, "Data-Free Quantization", §4.2), which averages over tokens would not get rid of.
            rounded: ``(out, in)`` int8, the weight's levels on the scales of ``limits``; None rounds each to the
                nearest.
            limits: of the weight's integers; see :func:`weight_limits`.
        """
        scales = limits.scales(weight)
        if rounded is None:
            rounded = nearest(weight, scales)
        if mean is not None:
            bias = bias + weight @ mean - scales * (rounded.float() @ mean)
        return cls(rounded, scales, bias.detach().float().contiguous(), levels)


class Int8Projection:
    """A :class:`~langbert.models.layers.projection.Projection` in 8-bit integers: ``x Wᵀ + b``, also activated, or
    added to a residual.

    Args:
        weight: it is copied, its scales and bias are not.
        out_levels: of what :meth:`activated` returns.
        activation: of :meth:`activated`: a key of :data:`~langbert.models.layers.projection.ACTIVATIONS`.
        dtype: of what calling it returns.
    """

    def __init__(
        self,
        weight: Int8Weight,
        *,
        out_levels: Levels | None = None,
        activation: str = "gelu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.out_features, self.in_features = weight.rounded.shape
        self._levels, self._out_levels, self._dtype = weight.levels, out_levels, dtype
        self._activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]
        self._post_op = POST_OPS.get(activation)
        self._weight = torch.ops.onednn.qlinear_prepack(weight.rounded, [ROWS, self.in_features])
        self._scales, self._bias = weight.scales, weight.bias
        self._zeros = torch.zeros(self.out_features, dtype=torch.int32)

    def __call__(self, x: Tensor) -> Tensor:
        """``(n, in)`` → ``(n, out)`` in ``dtype``."""
        return self.levels_projected(self._levels.of(x))

    def levels_projected(self, levels: Tensor) -> Tensor:
        """As :meth:`__call__`, of ``(n, in)`` uint8 levels."""
        return self._product(levels, self._dtype, "none", "", 1.0, 0)

    def activated(self, x: Tensor) -> Tensor:
        """``(n, in)`` → ``(n, out)`` through the activation: uint8 of ``out_levels``, which :meth:`added` takes."""
        if self._out_levels is None:
            raise ValueError("this projection was prepared without levels for its activated output")
        levels = self._levels.of(x)
        if self._post_op is None:
            return self._out_levels.of(self._activation(self._product(levels, torch.float32, "none", "", 1.0, 0)))
        return self._product(levels, torch.uint8, *self._post_op, self._out_levels.scale, self._out_levels.zero_point)

    def added(self, x: Tensor, residual: Tensor) -> Tensor:
        """``(n, in)`` levels or floating point, ``(n, out)`` float32 → their sum after the projection.

        The sum is written over ``residual``: that saves a tenth of the time.
        """
        levels = x if x.dtype == torch.uint8 else self._levels.of(x)
        summed: Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            levels, self._levels.scale, self._levels.zero_point, self._weight, self._scales, self._zeros,
            residual, self._bias, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "",
        )  # fmt: skip
        return summed

    def _product(
        self, levels: Tensor, dtype: torch.dtype, post_op: str, formula: str, scale: float, zero_point: int
    ) -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels, self._levels.scale, self._levels.zero_point, self._weight, self._scales, self._zeros,
            self._bias, scale, zero_point, dtype, post_op, [], formula,
        )  # fmt: skip
        return product
