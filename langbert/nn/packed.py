"""The fast path: BERT for inference, without padding.

:class:`PackedBert` computes what :class:`langbert.nn.bert.Bert` defines, from a prepared copy of its weights. All
sequences lie one after the other in one ``(total, H)`` matrix, so that every linear layer is one matrix product over
real tokens only; attention alone knows where a sequence ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from .attention import attend
from .bert import ACTIVATIONS, Bert, Layer

__all__ = ["PackedBert", "cumulative"]


_ROWS = 16
"""Matrix products get a multiple of this many rows. Math libraries take another path, with another rounding, for a
handful of rows; with this, a text has the same vector alone and in a batch, to the bit on the CPUs we measured."""


class _Run(NamedTuple):
    """Neighbouring sequences of one length: attention takes them as one batch."""

    start: int
    stop: int
    length: int


class _LayerWeights(NamedTuple):
    """One layer's tensors in the order they are used, in the chosen dtype."""

    qkv_weight: Tensor  # (3H, H)
    qkv_bias: Tensor
    output_weight: Tensor  # (H, H)
    output_bias: Tensor
    attention_norm_weight: Tensor  # (H,)
    attention_norm_bias: Tensor
    up_weight: Tensor  # (I, H)
    up_bias: Tensor
    down_weight: Tensor  # (H, I)
    down_bias: Tensor
    output_norm_weight: Tensor  # (H,)
    output_norm_bias: Tensor

    @classmethod
    def of(cls, layer: Layer, dtype: torch.dtype, device: torch.device) -> _LayerWeights:
        parts = (
            layer.attention.qkv,
            layer.attention.output,
            layer.attention_norm,
            layer.up,
            layer.down,
            layer.output_norm,
        )
        tensors = (tensor for part in parts for tensor in (part.weight, part.bias))
        return cls(*(tensor.detach().to(device, dtype) for tensor in tensors))


def cumulative(lengths: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Where each sequence starts and the last one ends: ``cu_seqlens (n + 1,)`` int64."""
    return F.pad(torch.tensor(lengths, dtype=torch.int64).cumsum(0), (1, 0)).to(device)


class PackedBert:
    """A frozen, padding-free copy of a :class:`Bert`; training the original afterwards does not change it.

    Args:
        bert: the network whose weights to take.
        dtype: what to compute in: float32, or bfloat16 where the hardware multiplies it.
        device: where to compute.
    """

    def __init__(self, bert: Bert, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        self.config = bert.config
        self.dtype = dtype
        self.device = torch.device(device)
        embeddings = bert.embeddings
        # the tables stay in float32: three small look-ups are no bottleneck, and their sum is rounded once
        self._tokens, self._positions, self._segments, self._norm_weight, self._norm_bias = (
            tensor.detach().to(self.device, torch.float32)
            for tensor in (
                embeddings.tokens.weight,
                embeddings.positions.weight,
                embeddings.segments.weight,
                embeddings.norm.weight,
                embeddings.norm.bias,
            )
        )
        self._layers = [_LayerWeights.of(cast(Layer, layer), dtype, self.device) for layer in bert.layers]
        self._activation = ACTIVATIONS[self.config.activation]

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor, lengths: Sequence[int], segment_ids: Tensor | None = None) -> Tensor:
        """Hidden states of packed sequences. Quickest where sequences of one length are neighbours.

        Args:
            token_ids: ``(total,)`` int64, one sequence after the other.
            lengths: tokens in each; they sum to total.
            segment_ids: ``(total,)`` int64; None for single texts.

        Returns:
            ``(total, H)`` in ``dtype``.
        """
        if not sum(lengths):
            return torch.empty(0, self.config.hidden_size, dtype=self.dtype, device=self.device)
        runs = _runs(lengths)
        hidden = self._embed(token_ids.to(self.device), runs, segment_ids)
        total = len(hidden)
        hidden = F.pad(hidden, (0, 0, 0, -total % _ROWS))
        for weights in self._layers:
            hidden = self._layer(hidden, weights, runs)
        return hidden[:total]

    def _embed(self, token_ids: Tensor, runs: Sequence[_Run], segment_ids: Tensor | None) -> Tensor:
        positions = torch.cat([torch.arange(run.length).repeat((run.stop - run.start) // run.length) for run in runs])
        segments = self._segments[0] if segment_ids is None else self._segments[segment_ids.to(self.device)]
        summed = self._tokens[token_ids] + self._positions[positions.to(self.device)] + segments
        return self._norm(summed, self._norm_weight, self._norm_bias).to(self.dtype)

    def _layer(self, hidden: Tensor, weights: _LayerWeights, runs: Sequence[_Run]) -> Tensor:
        qkv = F.linear(hidden, weights.qkv_weight, weights.qkv_bias)  # (total, 3H)
        attended = F.linear(self._attention(qkv, runs), weights.output_weight, weights.output_bias)
        hidden = self._norm(hidden + attended, weights.attention_norm_weight, weights.attention_norm_bias)
        inner = self._activation(F.linear(hidden, weights.up_weight, weights.up_bias))  # (total, I)
        transformed = F.linear(inner, weights.down_weight, weights.down_bias)
        return self._norm(hidden + transformed, weights.output_norm_weight, weights.output_norm_bias)

    def _attention(self, qkv: Tensor, runs: Sequence[_Run]) -> Tensor:
        """Attention within each sequence: ``(total, 3H)`` → ``(total, H)``."""
        n_heads, width = self.config.n_heads, self.config.hidden_size
        context = qkv.new_zeros(len(qkv), width)
        for run in runs:
            heads = qkv[run.start : run.stop].view(-1, run.length, 3, n_heads, width // n_heads)
            query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (sequences, n_heads, length, d)
            joined = attend(query, key, value).transpose(1, 2).reshape(-1, width)
            context[run.start : run.stop] = joined
        return context

    def _norm(self, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(hidden, (self.config.hidden_size,), weight, bias, self.config.layer_norm_eps)


def _runs(lengths: Sequence[int]) -> list[_Run]:
    runs = []
    start = 0
    for length, group in groupby(lengths):
        stop = start + length * sum(1 for _ in group)
        if length:
            runs.append(_Run(start, stop, length))
        start = stop
    return runs
