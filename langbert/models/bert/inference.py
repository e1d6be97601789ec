"""The fast path: BERT for inference, without padding.

:class:`PreparedBert` computes what :class:`langbert.models.bert.network.Bert` defines, from a prepared copy of its
weights. All sequences lie one after the other in one ``(total, H)`` matrix, so that every linear layer is one matrix
product over real tokens only; attention alone knows where a sequence ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from itertools import chain, groupby
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..hardware import multiplies_bfloat16
from ..layers.attention import attend, attend_base_two
from ..layers.int8_projection import Int8Projection
from ..layers.projection import Projection
from .int8 import Int8Weights, int8_layers
from .network import Bert, Layer

__all__ = ["PreparedBert"]


_ROWS = 16
"""Matrix products get a multiple of this many rows. Math libraries take another path, with another rounding, for a
handful of rows; with this, a text has the same vector alone and in a batch, to the bit on the CPUs we measured. Sums of
integers are the same on any path."""

_SCORES = 1 << 20
"""Attention scores held at once, in numbers: 2 MB, about what a core has for itself."""


class _Run(NamedTuple):
    """Neighbouring sequences of one length: attention takes them as one batch."""

    start: int
    stop: int
    length: int


class _PreparedLayer(NamedTuple):
    """One layer's weights, prepared, in the order they are used."""

    qkv: Projection | Int8Projection  # (total, H) → (total, 3H)
    output: Projection | Int8Projection
    attention_norm: _Norm
    up: Projection | Int8Projection  # (total, H) → (total, I)
    down: Projection | Int8Projection
    output_norm: _Norm


class _Norm:
    """LayerNorm over the last dimension, with weights of its own."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype, device: torch.device) -> None:
        self._shape, self._eps = norm.normalized_shape, norm.eps
        self._weight, self._bias = (tensor.detach().to(device, dtype) for tensor in (norm.weight, norm.bias))

    def __call__(self, hidden: Tensor) -> Tensor:
        return F.layer_norm(hidden, self._shape, self._weight, self._bias, self._eps)


def _projections(
    layer: Layer, activation: str, dtype: torch.dtype, device: torch.device, query_scale: float
) -> tuple[Projection, ...]:
    def prepared(part: nn.Linear, rows: Tensor | None = None) -> Projection:
        weight, bias = part.weight.detach(), part.bias.detach()
        if rows is not None:
            weight, bias = weight * rows[:, None], bias * rows
        return Projection(weight.to(device, dtype), bias.to(device, dtype), activation)

    qkv = layer.attention.qkv
    scales = torch.ones(qkv.out_features, device=qkv.weight.device)
    scales[: qkv.in_features] = query_scale
    return prepared(qkv, scales), prepared(layer.attention.output), prepared(layer.up), prepared(layer.down)


class PreparedBert:
    """A frozen, padding-free copy of a :class:`Bert`; training the original afterwards does not change it.

    Args:
        bert: the network whose weights to take.
        dtype: what to compute in: float32, bfloat16 where the hardware multiplies it, or int8, which is for CPUs: the
            linear layers then multiply 8-bit integers (:mod:`langbert.models.bert.int8`), and states are float32.
        device: where to compute.
        int8: the layers in 8 bits, where that is asked for (:mod:`langbert.models.bert.calibration` makes them);
            the matrices of ``bert`` are then not looked at.

    Attributes:
        dtype: of the states.

    Raises:
        ValueError: int8 is asked for, and these are not the weights of as many layers.
    """

    def __init__(
        self,
        bert: Bert,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        int8: Sequence[Int8Weights] = (),
    ) -> None:
        self.config = bert.config
        self.device = torch.device(device)
        embeddings = bert.embeddings
        # the tables stay as they are: three small look-ups are no bottleneck, and their sum is rounded once
        self._tokens, self._positions, self._segments = (
            deepcopy(table).to(self.device) if self.device.type != "cpu" else table
            for table in (embeddings.tokens, embeddings.positions, embeddings.segments)
        )
        self._norm = _Norm(embeddings.norm, torch.float32, self.device)
        integers = dtype == torch.int8
        if integers and len(int8) != len(bert.layers):
            raise ValueError(f"8 bits need the weights of {len(bert.layers)} layers, got those of {len(int8)}")
        self._rows = 1 if integers else _ROWS
        self.dtype = torch.float32 if integers else dtype
        within = (torch.bfloat16 if multiplies_bfloat16() else torch.float32) if integers else dtype  # within attention
        self._base_two = within == torch.bfloat16 and self.device.type == "cpu"  # elsewhere torch's kernels are quicker
        width = self.config.hidden_size // self.config.n_heads
        scale = math.log2(math.e) / math.sqrt(width) if self._base_two else 1.0
        layers = [cast(Layer, layer) for layer in bert.layers]
        found: Sequence[tuple[Projection | Int8Projection, ...]] = (
            int8_layers(int8, self.config.activation, dtype=within, query_scale=scale)
            if integers
            else [_projections(layer, self.config.activation, dtype, self.device, scale) for layer in layers]
        )
        self._layers = [
            _PreparedLayer(
                qkv,
                output,
                _Norm(layer.attention_norm, self.dtype, self.device),
                up,
                down,
                _Norm(layer.output_norm, self.dtype, self.device),
            )
            for layer, (qkv, output, up, down) in zip(layers, found, strict=True)
        ]

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        """Hidden states of packed sequences. Quickest where sequences of one length are neighbours.

        Args:
            sequences: token ids, any number of each.
            segments: the segment id of each token; None for single texts.

        Returns:
            ``(total, H)`` in ``dtype``: the tokens of the first sequence, then those of the second, …
        """
        lengths = [len(sequence) for sequence in sequences]
        if not sum(lengths):
            return torch.empty(0, self.config.hidden_size, dtype=self.dtype, device=self.device)
        runs = _runs(lengths)
        hidden = self._embed(sequences, segments, runs)
        total = len(hidden)
        hidden = F.pad(hidden, (0, 0, 0, -total % self._rows))
        for layer in self._layers:
            hidden = self._through(layer, hidden, runs)
        return hidden[:total]

    def _embed(
        self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None, runs: Sequence[_Run]
    ) -> Tensor:
        positions = torch.cat([torch.arange(run.length).repeat((run.stop - run.start) // run.length) for run in runs])
        types = self._segments(_joined(segments).to(self.device)) if segments else self._segments.weight[:1]
        summed = self._tokens(_joined(sequences).to(self.device)) + self._positions(positions.to(self.device)) + types
        return self._norm(summed).to(self.dtype)

    def _through(self, layer: _PreparedLayer, hidden: Tensor, runs: Sequence[_Run]) -> Tensor:
        context = self._attention(layer.qkv(hidden), runs)
        hidden = layer.attention_norm(layer.output.added(context, hidden))
        return layer.output_norm(layer.down.added(layer.up.activated(hidden), hidden))

    def _attention(self, qkv: Tensor, runs: Sequence[_Run]) -> Tensor:
        """Attention within each sequence: ``(total, 3H)`` → ``(total, H)``."""
        n_heads, width = self.config.n_heads, self.config.hidden_size
        context = qkv.new_zeros(len(qkv), width)
        kernel = attend_base_two if self._base_two else attend
        for run in runs:
            step = run.length * max(1, _SCORES // (n_heads * run.length**2))
            for start in range(run.start, run.stop, step):
                stop = min(start + step, run.stop)
                heads = qkv[start:stop].view(-1, run.length, 3, n_heads, width // n_heads)
                query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (sequences, n_heads, length, d)
                joined = kernel(query, key, value).transpose(1, 2)
                context[start:stop].view(joined.shape).copy_(joined)
        return context


def _runs(lengths: Sequence[int]) -> list[_Run]:
    runs = []
    start = 0
    for length, group in groupby(lengths):
        stop = start + length * sum(1 for _ in group)
        if length:
            runs.append(_Run(start, stop, length))
        start = stop
    return runs


def _joined(sequences: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(list(chain.from_iterable(sequences)), dtype=torch.int64)
