"""Relative positions as T5 has them: a number for each head and distance, added to attention scores.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", §2.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RelativeBias", "buckets"]


class RelativeBias(nn.Module):
    """Learned scalars, one a head and bucket of distances, that all layers of a stack share.

    Args:
        two_sided: keys may also stand behind the query (encoder); else only before it (decoder).
    """

    def __init__(self, n_heads: int, n_buckets: int, max_distance: int, *, two_sided: bool) -> None:
        super().__init__()
        self.max_distance, self.two_sided = max_distance, two_sided
        self.weight = nn.Parameter(torch.empty(n_buckets, n_heads))

    def forward(self, past: int, length: int) -> Tensor:
        """For queries at positions ``past`` … ``past + length - 1`` and all keys up to there: (1, n_heads, T, S)."""
        keys = torch.arange(past + length, device=self.weight.device)
        distances = keys - keys[past:, None]  # (T, S); negative where the key comes first
        found = buckets(distances, len(self.weight), self.max_distance, two_sided=self.two_sided)
        return F.embedding(found, self.weight).permute(2, 0, 1)[None]


def buckets(distances: Tensor, n_buckets: int, max_distance: int, *, two_sided: bool) -> Tensor:
    """The bucket of each distance (key's position less query's), int64 of the same shape, from 0.

    Half of the buckets are one distance wide; the others widen logarithmically up to ``max_distance``, and the last
    holds everything beyond. Two-sided, half of all buckets are for keys before the query, half for those behind it.
    """
    first = torch.zeros_like(distances)
    if two_sided:
        n_buckets //= 2
        first = (distances > 0) * n_buckets
        distances = distances.abs()
    else:
        distances = (-distances).clamp(min=0)
    exact = n_buckets // 2
    far = distances.clamp(min=exact).float() / exact  # 1 and more
    wide = exact + (far.log() / math.log(max_distance / exact) * (n_buckets - exact)).long()
    return first + torch.where(distances < exact, distances, wide.clamp(max=n_buckets - 1))
