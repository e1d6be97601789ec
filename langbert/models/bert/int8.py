"""BERT's linear layers in 8-bit integers, weights and activations, for inference on CPUs.

A weight has one scale per output channel; an activation lies on one grid of 256 levels, fixed beforehand by running
the network over a few sentences (:mod:`langbert.models.bert.calibration`). LayerNorm, attention, residuals and sums
stay in floating point. Plain rounding of that kind costs about a hundredth of the cosine; three things bring it to a
thousandth, and cost next to no time:

* Where a LayerNorm is in front, every channel is moved and scaled so that all have the same range, and the weight
  takes it back (Xiao et al. 2022, "SmoothQuant", §4; the move: Wei et al. 2023, "Outlier Suppression+", §3.2).
* Within the feed-forward network some neurons reach five times as far as all others, often on one token of a sequence
  (Sun et al. 2024, "Massive Activations"). A grid that has room for them is too coarse for the rest. Such a neuron is
  split as in Zhao et al. 2019 ("Outlier Channel Splitting"), but by height: it fills the grid up to its top, copies
  of it with lowered biases fill it with what is above, and the next layer adds them up.
* Where that is not enough, the second weight of the feed-forward network is rounded for what it is given
  (:mod:`langbert.models.layers.rounding`): without VNNI, minilm's cosine goes from 0.9970 to 0.9989. The other weights
  gain next to nothing by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.int8_projection import Int8Projection, Int8Weight, Levels, Limits, nearest, weight_limits
from ..layers.projection import ACTIVATIONS
from ..layers.rounding import rounded
from .network import Bert, Layer

__all__ = ["Int8Layer", "Int8Weights", "Ranges", "activation_ranges", "int8_layers", "int8_weights"]

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


class Ranges(NamedTuple):
    """What the activations of one layer come to, and so all that its integers depend on beside its weights.

    Attributes:
        qkv, up: the least, the greatest and the mean of each channel that goes into these projections, ``(3, H)``.
        output: the least and the greatest that goes into this one, ``(2,)``.
        output_mean: the mean of its channels, ``(H,)``.
        inner: scale and zero point of the grid of activated neurons, ``(2,)``.
        neurons: which neuron each copy is of, ``(copies,)`` int64.
        lowered: how far the copy's bias is below the neuron's, ``(copies,)``.
        inner_mean: the mean of neurons and copies on that grid, ``(I + copies,)``.
        down: the levels of the weight that takes them, ``(H, I + copies)`` int8.
    """

    qkv: Tensor
    output: Tensor
    output_mean: Tensor
    up: Tensor
    inner: Tensor
    neurons: Tensor
    lowered: Tensor
    inner_mean: Tensor
    down: Tensor


class Int8Weights(NamedTuple):
    """The four linear layers of one layer."""

    qkv: Int8Weight  # H → 3H
    output: Int8Weight
    up: Int8Weight  # H → I and copies of neurons
    down: Int8Weight

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """All of it under names that begin with ``prefix``, to be kept in a file."""
        found = {}
        for part, weight in self._asdict().items():
            levels = weight.levels
            grid = torch.tensor([levels.scale, levels.zero_point], dtype=torch.float64)
            channels = {} if levels.shift is None else {"shift": levels.shift, "stretch": levels.stretch}
            own = {"rounded": weight.rounded, "scales": weight.scales, "bias": weight.bias, "grid": grid, **channels}
            found.update({f"{prefix}{part}.{name}": tensor for name, tensor in own.items()})
        return found

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], prefix: str) -> Int8Weights:
        """What :meth:`tensors` gave.

        Raises:
            KeyError: one is missing.
        """

        def weight(part: str) -> Int8Weight:
            name = f"{prefix}{part}."
            scale, zero_point = tensors[f"{name}grid"].tolist()
            levels = Levels(scale, int(zero_point), tensors.get(f"{name}shift"), tensors.get(f"{name}stretch"))
            return Int8Weight(tensors[f"{name}rounded"], tensors[f"{name}scales"], tensors[f"{name}bias"], levels)

        return cls(*map(weight, cls._fields))


class Int8Layer(NamedTuple):
    """The four projections of one layer."""

    qkv: Int8Projection  # (total, H) → (total, 3H)
    output: Int8Projection
    up: Int8Projection  # (total, H) → (total, I and copies of neurons)
    down: Int8Projection


@torch.inference_mode()
def activation_ranges(
    bert: Bert,
    sequences: Sequence[Sequence[int]],
    segments: Sequence[Sequence[int]] | None = None,
    *,
    careful: bool = False,
) -> list[Ranges]:
    """What ``bert`` computes for ``sequences``, layer by layer.

    It runs once, in its own precision, as a padded batch: sequences of like length are quickest, and a thousand
    tokens of many kinds enough. Only one layer's activations are held at a time.

    Args:
        bert: a network in evaluation mode, float32, on the CPU.
        sequences: token ids with their special tokens, at least one.
        segments: the segment id of each token; None for single texts.
        careful: round the second weight of the feed-forward network for what it is given, half a second a layer.

    Raises:
        ValueError: there is no sequence.
    """
    if not any(sequences):
        raise ValueError("8-bit layers need at least one sequence of tokens to find their grids from, got none")
    mask = torch.tensor([[i < len(ids) for i in range(max(map(len, sequences)))] for ids in sequences])
    token_ids, segment_ids = torch.zeros(2, *mask.shape, dtype=torch.int64)
    token_ids[mask] = torch.tensor([token for ids in sequences for token in ids])
    if segments is not None:
        segment_ids[mask] = torch.tensor([segment for ids in segments for segment in ids])
    found: list[Ranges] = []
    seen: dict[str, Tensor] = {}

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0][mask]  # (n, in), real tokens only

        return hook

    def note(module: nn.Module, *_: object) -> None:
        found.append(_ranges(cast(Layer, module), bert.config.activation, seen, careful))

    handles = []
    try:
        for module in bert.layers:
            layer = cast(Layer, module)
            parts = {"qkv": layer.attention.qkv, "output": layer.attention.output, "up": layer.up}
            handles += [part.register_forward_pre_hook(look(name)) for name, part in parts.items()]
            handles.append(layer.register_forward_hook(note))
        bert(token_ids, mask, segment_ids)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _ranges(layer: Layer, activation: str, seen: dict[str, Tensor], careful: bool) -> Ranges:
    before = F.linear(seen["up"], layer.up.weight, layer.up.bias)
    inner, neurons, lowered = _split(before, ACTIVATIONS[activation], layer.down.weight)
    levels = inner.of(ACTIVATIONS[activation](torch.cat([before, before[:, neurons] - lowered], dim=1)))
    taken = (levels.float() - inner.zero_point) * inner.scale
    down, limits = _with_copies(layer.down, neurons), weight_limits()
    scales = limits.scales(down)
    return Ranges(
        torch.stack([*torch.aminmax(seen["qkv"], dim=0), seen["qkv"].mean(0)]),
        torch.stack(torch.aminmax(seen["output"])),
        seen["output"].mean(0),
        torch.stack([*torch.aminmax(seen["up"], dim=0), seen["up"].mean(0)]),
        torch.tensor([inner.scale, inner.zero_point]),
        neurons,
        lowered,
        taken.mean(0),
        rounded(down, scales, taken, limits) if careful else nearest(down, scales),
    )


def _with_copies(down: nn.Linear, neurons: Tensor) -> Tensor:
    """The weight for neurons and their copies, ``(H, I + copies)``."""
    return torch.cat([down.weight, down.weight[:, neurons]], dim=1)


@torch.inference_mode()
def int8_weights(bert: Bert, ranges: Sequence[Ranges]) -> list[Int8Weights]:
    """The layers of ``bert`` in 8 bits.

    Args:
        bert: a network in float32, on the CPU.
        ranges: of its layers.

    Raises:
        ValueError: this processor cannot (see :func:`weight_limits`), or the ranges are not those of as many layers.
    """
    limits = weight_limits()
    if len(ranges) != len(bert.layers):
        raise ValueError(f"8-bit layers need the ranges of {len(bert.layers)} layers, got those of {len(ranges)}")
    return [_int8_weights(cast(Layer, layer), own, limits) for layer, own in zip(bert.layers, ranges, strict=True)]


def _int8_weights(layer: Layer, ranges: Ranges, limits: Limits) -> Int8Weights:
    qkv_weight, qkv_bias, qkv_levels, qkv_mean = _smoothed(layer.attention.qkv, ranges.qkv)
    output = layer.attention.output
    up_weight, up_bias, up_levels, up_mean = _smoothed(layer.up, ranges.up)
    scale, zero_point = ranges.inner.tolist()
    inner, neurons = Levels(scale, int(zero_point)), ranges.neurons
    return Int8Weights(
        Int8Weight.of(qkv_weight, qkv_bias, qkv_levels, mean=qkv_mean, limits=limits),
        Int8Weight.of(
            output.weight, output.bias, _grid(*ranges.output.tolist()), mean=ranges.output_mean, limits=limits
        ),
        Int8Weight.of(
            torch.cat([up_weight, up_weight[neurons]]),
            torch.cat([up_bias, up_bias[neurons] - ranges.lowered]),
            up_levels,
            mean=up_mean,
            limits=limits,
        ),
        Int8Weight.of(
            _with_copies(layer.down, neurons),
            layer.down.bias,
            inner,
            mean=ranges.inner_mean,
            rounded=ranges.down,
            limits=limits,
        ),
    )


def int8_layers(
    weights: Sequence[Int8Weights],
    activation: str,
    *,
    dtype: torch.dtype = torch.float32,
    query_scale: float = 1.0,
) -> list[Int8Layer]:
    """Layers laid out for this processor.

    Args:
        weights: of each.
        activation: between ``up`` and ``down``.
        dtype: of queries, keys and values, for attention.
        query_scale: what the queries are multiplied by.
    """

    def laid_out(layer: Int8Weights) -> Int8Layer:
        qkv = layer.qkv
        rows = torch.ones_like(qkv.scales)
        rows[: qkv.rounded.shape[1]] = query_scale
        return Int8Layer(
            Int8Projection(qkv._replace(scales=qkv.scales * rows, bias=qkv.bias * rows), dtype=dtype),
            Int8Projection(layer.output),
            Int8Projection(layer.up, out_levels=layer.down.levels, activation=activation),
            Int8Projection(layer.down),
        )

    return [laid_out(layer) for layer in weights]


def _smoothed(linear: nn.Linear, ranges: Tensor) -> tuple[Tensor, Tensor, Levels, Tensor]:
    """Weight and bias for an input whose channels are centred and have been given like ranges; its levels and mean."""
    low, high, mean = ranges
    shift, reach = (low + high) / 2, ((high - low) / 2).clamp(min=1e-5)
    weights = linear.weight.abs().amax(dim=0).clamp(min=1e-5)
    stretch = reach**_SMOOTHING / weights ** (1 - _SMOOTHING)
    levels = Levels(float((reach / stretch).max()) / 127, 128, shift, stretch)
    return linear.weight * stretch, linear.bias + linear.weight @ shift, levels, (mean - shift) / stretch


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
