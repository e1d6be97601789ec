"""BERT's linear layers in 8-bit integers, weights and activations, for inference on CPUs.

A weight has one scale per output channel; an activation lies on one grid of 256 levels, fixed beforehand by running
the network over a few sentences. LayerNorm, attention, residuals and sums stay in floating point. Plain rounding of
that kind costs about a hundredth of the cosine; two things bring it to a thousandth, and cost next to no time:

* Where a LayerNorm is in front, every channel is moved and scaled so that all have the same range, and the weight
  takes it back (Xiao et al. 2022, "SmoothQuant", §4; the move: Wei et al. 2023, "Outlier Suppression+", §3.2).
* Within the feed-forward network some neurons reach five times as far as all others, often on one token of a sequence
  (Sun et al. 2024, "Massive Activations"). A grid that has room for them is too coarse for the rest. Such a neuron is
  split as in Zhao et al. 2019 ("Outlier Channel Splitting"), but by height: it fills the grid up to its top, copies
  of it with lowered biases fill it with what is above, and the next layer adds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.projection import POST_OPS, ROWS
from .network import ACTIVATIONS, Bert, Layer

__all__ = ["Int8Layer", "Int8Projection", "Levels", "int8_layers", "weight_levels"]

_SMOOTHING = 0.8
"""How much of the difference between channels goes from the activations into the weight: α in SmoothQuant's eq. 4."""

_NEURONS_PER_COPY = 96
"""A layer gets one copy for so many neurons, in sixteens, which vector units like: one per cent more work."""

_FURTHEST = 64
"""Neurons that are looked at for splitting."""

_MOST_EACH = 8
"""Copies of one neuron."""

_NEVER = 1000
"""So many tops below its neuron a copy stays at zero."""


@lru_cache(maxsize=1)
def weight_levels() -> int:
    """The largest integer that a weight may take here: 127, or 63 on processors that add up products in 16 bits.

    Those without VNNI instructions do, and do not say when the sum was too large; so a product of extremes is tried.

    Raises:
        ValueError: neither comes out right, or torch was built without the product.
    """
    for levels in (127, 63):
        try:
            extremes = torch.full((16, 64), levels, dtype=torch.int8)
            projection = Int8Projection(extremes.float(), torch.zeros(16), Levels(1.0, 0), most=levels)
            product = projection.levels_projected(torch.full((16, 64), 255, dtype=torch.uint8))
        except (AttributeError, RuntimeError, NotImplementedError):
            break
        if bool((product == 255 * levels * 64).all()):
            return levels
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


class Int8Projection:
    """:class:`~..layers.projection.Projection` in 8-bit integers: ``x Wᵀ + b``, activated, or added to a residual.

    Args:
        weight: ``(out, in)`` float32, for ``(x - shift) / stretch`` if ``levels`` has those.
        bias: ``(out,)`` float32.
        levels: of ``x``.
        out_levels: of what :meth:`activated` returns.
        activation: of :meth:`activated`: a key of :data:`~langbert.models.bert.network.ACTIVATIONS`.
        dtype: of what calling it returns.
        most: the largest integer a weight may take; see :func:`weight_levels`.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        levels: Levels,
        *,
        out_levels: Levels | None = None,
        activation: str = "gelu",
        dtype: torch.dtype = torch.float32,
        most: int = 127,
    ) -> None:
        self.out_features, self.in_features = weight.shape
        self._levels, self._out_levels, self._dtype = levels, out_levels, dtype
        self._activation: Callable[[Tensor], Tensor] = ACTIVATIONS[activation]
        self._post_op = POST_OPS.get(activation)
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / most
        rounded = (weight / scales[:, None]).round_().clamp_(-most, most).to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [ROWS, self.in_features])
        self._scales = scales
        self._zeros = torch.zeros(self.out_features, dtype=torch.int32)
        self._bias = bias.detach().float().contiguous()

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


class Int8Layer(NamedTuple):
    """The four projections of one layer."""

    qkv: Int8Projection  # (total, H) → (total, 3H)
    output: Int8Projection
    up: Int8Projection  # (total, H) → (total, I and copies of neurons)
    down: Int8Projection


@torch.inference_mode()
def int8_layers(
    bert: Bert, sequences: Sequence[Sequence[int]], *, dtype: torch.dtype = torch.float32, query_scale: float = 1.0
) -> list[Int8Layer]:
    """The layers of ``bert`` in 8 bits, their grids found from what it computes for ``sequences``.

    It runs once, in its own precision, as a padded batch: sequences of like length are quickest, and a thousand
    tokens of many kinds enough. Only one layer's activations are held at a time.

    Args:
        bert: a network in evaluation mode, float32, on the CPU.
        sequences: token ids with their special tokens, at least one.
        dtype: of queries, keys and values, for attention.
        query_scale: what the queries are multiplied by.

    Raises:
        ValueError: there is no sequence, or this processor cannot; see :func:`weight_levels`.
    """
    if not any(sequences):
        raise ValueError("8-bit layers need at least one sequence of tokens to find their grids from, got none")
    most = weight_levels()
    mask = torch.tensor([[i < len(ids) for i in range(max(map(len, sequences)))] for ids in sequences])
    token_ids = torch.zeros(mask.shape, dtype=torch.int64)
    token_ids[mask] = torch.tensor([token for ids in sequences for token in ids])
    layers: list[Int8Layer] = []
    seen: dict[str, Tensor] = {}

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0][mask]  # (n, in), real tokens only

        return hook

    def prepare(module: nn.Module, *_: object) -> None:
        layers.append(_int8_layer(cast(Layer, module), bert.config.activation, seen, dtype, query_scale, most))

    handles = []
    try:
        for module in bert.layers:
            layer = cast(Layer, module)
            parts = {"qkv": layer.attention.qkv, "output": layer.attention.output, "up": layer.up, "down": layer.down}
            handles += [part.register_forward_pre_hook(look(name)) for name, part in parts.items()]
            handles.append(layer.register_forward_hook(prepare))
        bert(token_ids, mask)
    finally:
        for handle in handles:
            handle.remove()
    return layers


def _int8_layer(
    layer: Layer, activation: str, seen: dict[str, Tensor], dtype: torch.dtype, query_scale: float, most: int
) -> Int8Layer:
    hidden_size = layer.up.in_features
    qkv_weight, qkv_bias, qkv_levels = _smoothed(layer.attention.qkv, seen["qkv"])
    for tensor in (qkv_weight, qkv_bias):
        tensor[:hidden_size] *= query_scale
    output = layer.attention.output
    up_weight, up_bias, up_levels = _smoothed(layer.up, seen["up"])
    before = F.linear(seen["up"], layer.up.weight, layer.up.bias)
    inner, neurons, lowered = _split(before, ACTIVATIONS[activation], layer.down.weight)
    return Int8Layer(
        Int8Projection(qkv_weight, qkv_bias, qkv_levels, dtype=dtype, most=most),
        Int8Projection(output.weight, output.bias, _grid(*_extremes(seen["output"])), most=most),
        Int8Projection(
            torch.cat([up_weight, up_weight[neurons]]),
            torch.cat([up_bias, up_bias[neurons] - lowered]),
            up_levels,
            out_levels=inner,
            activation=activation,
            most=most,
        ),
        Int8Projection(
            torch.cat([layer.down.weight, layer.down.weight[:, neurons]], dim=1), layer.down.bias, inner, most=most
        ),
    )


def _smoothed(linear: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor, Levels]:
    """Weight and bias for an input whose channels are centred and have been given like ranges, and its levels."""
    low, high = x.amin(dim=0), x.amax(dim=0)
    shift, reach = (low + high) / 2, ((high - low) / 2).clamp(min=1e-5)
    weights = linear.weight.abs().amax(dim=0).clamp(min=1e-5)
    stretch = reach**_SMOOTHING / weights ** (1 - _SMOOTHING)
    levels = Levels(float((reach / stretch).max()) / 127, 128, shift, stretch)
    return linear.weight * stretch, linear.bias + linear.weight @ shift, levels


class _Split(NamedTuple):
    """How activated neurons fit a grid.

    Attributes:
        levels: the grid.
        neurons: which neuron each copy is of, ``(copies,)``.
        lowered: how far the copy's bias is below the neuron's, ``(copies,)``.
    """

    levels: Levels
    neurons: Tensor
    lowered: Tensor


def _split(before: Tensor, activation: Callable[[Tensor], Tensor], down: Tensor) -> _Split:
    """The grid for activated neurons that leaves the least squared error behind the next layer, and their copies.

    The higher the grid reaches, the coarser it rounds; what lies above it is lost, except for neurons with copies.

    Args:
        before: ``(n, I)``, the neurons before the activation.
        down: ``(H, I)``, the next layer's weight.
    """
    inner = activation(before)
    low, high = _extremes(inner)
    n_tokens, n_neurons = inner.shape
    n_copies = -(-n_neurons // (16 * _NEURONS_PER_COPY)) * 16
    weights = down.square().sum(dim=0)  # (I,): what a squared error of 1 comes to behind the next layer
    furthest = inner.amax(dim=0).topk(min(_FURTHEST, n_neurons)).indices
    before_furthest, far = before[:, furthest], inner[:, furthest]
    least, best = torch.inf, None
    for levels in (_grid(low, high * 0.85**i) for i in range(16)):
        top = levels.scale * (255 - levels.zero_point)
        rest, errors = far, []  # what n copies leave of the furthest neurons, n = 0, 1, …
        for n in range(_MOST_EACH + 1):
            rest = rest - activation(before_furthest - n * top).clamp(max=top)
            errors.append(rest.square().sum(dim=0) * weights[furthest])
        needed = torch.stack(errors).argmin(dim=0)
        gains = errors[0] - torch.stack(errors).amin(dim=0)
        copies: list[tuple[int, int]] = []
        clipped = (inner - top).clamp_(min=0).square_().sum(dim=0)
        error = float(clipped @ weights) + levels.scale**2 / 12 * n_tokens * float(weights.sum())
        for i in (gains / needed.clamp(min=1)).argsort(descending=True).tolist():
            n = int(needed[i])
            if n and len(copies) + n <= n_copies:
                copies += [(int(furthest[i]), 1 + copy) for copy in range(n)]
                error -= float(gains[i])
        if error < least:
            # always the same number: every shape costs time when it is first multiplied
            copies += [(0, _NEVER)] * (n_copies - len(copies))
            neurons, steps = torch.tensor(copies, dtype=torch.int64).unbind(dim=1)
            least, best = error, _Split(levels, neurons, steps * top)
    if best is None:
        raise ValueError("the activations found for 8-bit levels are not finite; is the checkpoint sound?")
    return best


def _extremes(x: Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(x)
    return float(low), float(high)


def _grid(low: float, high: float) -> Levels:
    """A grid from ``low`` to ``high`` on which zero is a level of its own."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, 1e-8)
    return Levels(scale, round(-low / scale))
