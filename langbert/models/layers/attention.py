"""Scaled dot-product attention over many heads (Vaswani et al. 2017, "Attention Is All You Need", §3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEAST_SUM = 2.0**-64
"""A row of powers with a smaller sum may have lost some of them to the end of the number format."""

_LARGEST_SUM = 2.0**96
"""One with a larger sum may, times the values, leave it at the other end: whether it did is looked up."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """``softmax(QKᵀ/√d) V``, fused by torch where that is the quickest (§3.2.1).

    Args:
        query: ``(B, n_heads, T, d)``.
        key, value: ``(B, n_heads, S, d)``.
        mask: boolean, broadcastable to ``(B, n_heads, T, S)``; True where a query may look at a key. A query that may
            look nowhere gets zeros.
        causal: each query looks only at keys up to its own position; needs ``mask=None``.
        dropout: the chance that a weight is dropped; 0 outside training.

    Returns:
        ``(B, n_heads, T, d)``.
    """
    learns = torch.is_grad_enabled() and query.requires_grad
    if learns and query.device.type == "cpu" and not causal and (mask is None or mask.shape[1:3] == (1, 1)):
        return _attend_unfused(query, key, value, mask, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal)


def _attend_unfused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """The same in three products. Learning on a CPU it takes a third of the time of torch's fused backward pass.

    Every query of a sequence looks at the same keys: ``mask`` is ``(B, 1, 1, S)``.
    """
    batch, n_heads, length, width = query.shape
    queries, keys, values = (tensor.flatten(0, 1) for tensor in (query, key, value))  # (B · n_heads, T or S, d)
    bias = torch.zeros(1, dtype=query.dtype)
    if mask is not None:
        lowest = torch.finfo(query.dtype).min  # not -inf: a sequence of nothing but padding must not become NaN
        bias = bias.expand(batch, 1, keys.shape[1]).masked_fill(~mask[:, 0], lowest)
        bias = bias.repeat_interleave(n_heads, dim=0)  # (B · n_heads, 1, S)
    scores = torch.baddbmm(bias, queries, keys.transpose(1, 2), alpha=width**-0.5)
    weights = F.dropout(torch.softmax(scores, dim=-1, dtype=query.dtype), dropout)
    return torch.bmm(weights, values).view(batch, n_heads, length, width)


def attend_base_two(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``softmax(QKᵀ/√d) V`` for bfloat16 inference on a CPU, where it takes half the time of torch's fused kernel.

    ``2^x`` needs no look for the largest score as long as it stays in the number format's range, which is that of
    float32; that is checked by the sums, and rows beyond it go the usual way.

    Args:
        query: ``(B, n_heads, T, d)``, times ``log₂(e)/√d``.
        key, value: ``(B, n_heads, S, d)``.

    Returns:
        ``(B, n_heads, T, d)``.
    """
    queries, keys, values = (tensor.flatten(0, 1) for tensor in (query, key, value))  # (B · n_heads, T or S, d)
    powers = torch.bmm(queries, keys.transpose(1, 2)).exp2_()
    sums = powers.sum(-1, keepdim=True)
    lowest, highest = (float(bound) for bound in torch.aminmax(sums))
    if lowest > _LEAST_SUM and math.isfinite(highest):
        context = torch.bmm(powers, values)
        if highest < _LARGEST_SUM or bool(context.isfinite().all()):
            return context.div_(sums).view(query.shape)
    scores = torch.bmm(queries, keys.transpose(1, 2)).float()
    weights = torch.softmax(scores * math.log(2), dim=-1).to(value.dtype)
    return torch.bmm(weights, values).view(query.shape)


class MultiHeadAttention(nn.Module):
    """Every token looks at every token, in ``n_heads`` subspaces at once (§3.2.2).

    The three projections are one matrix: rows ``[0, H)`` make queries, ``[H, 2H)`` keys, ``[2H, 3H)`` values.

    Args:
        hidden_size: H, the width of a token.
        n_heads: how many subspaces; divides ``hidden_size``.
        dropout: on the attention weights, while training.
    """

    def __init__(self, hidden_size: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if hidden_size % n_heads:
            raise ValueError(f"hidden_size {hidden_size} is not a multiple of n_heads {n_heads}")
        self.n_heads = n_heads
        self.dropout = dropout
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """One round of attention.

        Args:
            hidden_states: ``(B, T, H)``.
            mask: boolean, broadcastable to ``(B, n_heads, T, T)``; True where a token may be looked at.

        Returns:
            ``(B, T, H)``.
        """
        batch, length, width = hidden_states.shape
        qkv = self.qkv(hidden_states).view(batch, length, 3, self.n_heads, width // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, n_heads, T, d)
        context = attend(query, key, value, mask, dropout=self.dropout if self.training else 0.0)
        joined: Tensor = self.output(context.transpose(1, 2).reshape(batch, length, width))
        return joined
