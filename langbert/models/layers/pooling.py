"""From one vector per token to one vector per text.

There is one implementation, for packed input: all tokens of all sequences one after the other, ``(total, H)``, and
``cu_seqlens (n + 1,)``, where sequence ``i`` is ``hidden[cu_seqlens[i] : cu_seqlens[i + 1]]``. Padded input is packed
first, which makes the side of the padding irrelevant by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch
from torch import Tensor, nn


class Pooling(str, Enum):
    """How the token vectors of a text become one vector."""

    CLS = "cls"
    """The first token: ``[CLS]``, which BERT reserves for this (Devlin et al. 2019, §3)."""

    MEAN = "mean"
    """The mean of all tokens, special ones included (Reimers and Gurevych 2019, §3); most embedding models use it."""

    MAX = "max"
    """The largest value of each dimension over all tokens."""

    POOLER = "pooler"
    """The first token through BERT's trained tanh layer; needs a checkpoint that has one."""

    WEIGHTED_MEAN = "weighted_mean"
    """The mean weighted by position, 1 for the first token, 2 for the second, … (Muennighoff 2022, SGPT, §4)."""

    MEAN_SQRT_LEN = "mean_sqrt_len"
    """The sum of all tokens over the square root of their number: longer texts get longer vectors."""

    ATTENTION = "attention"
    """A mean whose weights a trained layer gives: :class:`AttentionPooling`."""

    LAST = "last"
    """The last token; for decoders, where only it has seen the whole text."""

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"pooling {value!r} is unknown; expected one of {', '.join(cls)}")


def pool(
    hidden_states: Tensor, cu_seqlens: Tensor, pooling: Pooling, scores: Tensor | None = None, *, skip: int = 0
) -> Tensor:
    """One vector per packed sequence, computed in float32 at least.

    Args:
        hidden_states: ``(total, H)``.
        cu_seqlens: ``(n + 1,)`` int64, from 0 to total, never falling.
        pooling: which; ``POOLER`` gives the first token, on which the caller puts the tanh layer.
        scores: ``(total,)``, how much each token counts before the softmax; for ``ATTENTION`` only.
        skip: tokens at the start of each sequence that take no part, e.g. a prompt; positions still count from the
            first of them.

    Returns:
        ``(n, H)``, float32 (float64 for float64 input); zeros for a sequence without tokens.
    """
    hidden = hidden_states.to(torch.promote_types(hidden_states.dtype, torch.float32))
    lengths = cu_seqlens.diff()
    if skip:
        starts = torch.repeat_interleave(cu_seqlens[:-1], lengths)
        kept = torch.arange(len(hidden), device=hidden.device) - starts >= skip
        hidden, scores = hidden[kept], None if scores is None else scores[kept]
        lengths = (lengths - skip).clamp(min=0)
        cu_seqlens = nn.functional.pad(lengths.cumsum(0), (1, 0))
    if pooling in (Pooling.CLS, Pooling.POOLER, Pooling.LAST):
        rows = cu_seqlens[1:] - 1 if pooling is Pooling.LAST else cu_seqlens[:-1]
        picked = hidden.new_zeros(len(lengths), hidden.shape[1])
        return picked.index_put((lengths.nonzero().squeeze(1),), hidden[rows[lengths > 0]])
    owners = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), lengths)  # (total,)
    if pooling is Pooling.MAX:
        lowest = hidden.new_zeros(len(lengths), hidden.shape[1])
        return lowest.scatter_reduce(0, owners[:, None].expand_as(hidden), hidden, "amax", include_self=False)
    if pooling is Pooling.ATTENTION:
        if scores is None:
            raise ValueError("attention pooling needs a score for each token: use AttentionPooling")
        weights = _softmax(scores.to(hidden.dtype), owners, len(lengths))
        return hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, owners, hidden * weights[:, None])
    if pooling is Pooling.WEIGHTED_MEAN:
        ranks = torch.arange(1, len(hidden) + 1, device=hidden.device) - cu_seqlens[owners] + skip
        hidden = hidden * ranks[:, None]
        divisors = lengths * (lengths + 1) / 2 + lengths * skip
    elif pooling is Pooling.MEAN_SQRT_LEN:
        divisors = lengths.to(hidden.dtype).sqrt()
    else:
        divisors = lengths.to(hidden.dtype)
    sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, owners, hidden)
    return sums / divisors.to(hidden.dtype).clamp(min=1)[:, None]


def _softmax(scores: Tensor, owners: Tensor, n: int) -> Tensor:
    """Softmax of ``(total,)`` scores within each sequence."""
    # the largest score is only subtracted against overflow: no gradient is due through it
    highest = scores.new_zeros(n).scatter_reduce(0, owners, scores.detach(), "amax", include_self=False)
    powers = (scores - highest[owners]).exp()
    return powers / powers.new_zeros(n).index_add(0, owners, powers)[owners]


def cumulative(lengths: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Where each sequence starts and the last one ends: ``cu_seqlens (n + 1,)`` int64."""
    return nn.functional.pad(torch.tensor(lengths, dtype=torch.int64).cumsum(0), (1, 0)).to(device)


def pack(hidden_states: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Leave padding out: ``(B, T, H)`` and its ``(B, T)`` mask → ``(total, H)`` and ``cu_seqlens (B + 1,)``."""
    is_token = attention_mask.bool()
    cu_seqlens = nn.functional.pad(is_token.sum(dim=1).cumsum(0), (1, 0))
    return hidden_states[is_token], cu_seqlens


def pool_padded(
    hidden_states: Tensor, attention_mask: Tensor, pooling: Pooling, scores: Tensor | None = None
) -> Tensor:
    """One vector per padded sequence, whichever side the padding is on.

    Args:
        hidden_states: ``(B, T, H)``.
        attention_mask: ``(B, T)``, 1 or True for the tokens that count.
        pooling: as in :func:`pool`.
        scores: ``(B, T)``, for ``ATTENTION`` only.

    Returns:
        ``(B, H)``, float32.
    """
    packed, cu_seqlens = pack(hidden_states, attention_mask)
    return pool(packed, cu_seqlens, pooling, None if scores is None else scores[attention_mask.bool()])


class AttentionPooling(nn.Module):
    """A mean whose weights are ``softmax(uᵀ tanh(W h + b))`` over a text's tokens (Yang et al. 2016, §2.2)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def scores(self, hidden_states: Tensor) -> Tensor:
        """``(…, H)`` → ``(…,)``: how much each token counts, before the softmax."""
        scored: Tensor = self.score(torch.tanh(self.dense(hidden_states)))
        return scored.squeeze(-1)

    def forward(self, hidden_states: Tensor, cu_seqlens: Tensor, *, skip: int = 0) -> Tensor:
        """``(total, H)`` packed → ``(n, H)``; ``skip`` as in :func:`pool`."""
        return pool(hidden_states, cu_seqlens, Pooling.ATTENTION, self.scores(hidden_states), skip=skip)
