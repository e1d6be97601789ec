"""Rotary position embedding: a query or key is turned by an angle that grows with its position.

Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", section 3.2. The halves of a head are
the pairs that turn together (``x[i]`` with ``x[i + head_dim / 2]``), as Hugging Face checkpoints have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RotaryConfig:
    """How fast the angles grow, and how they are slowed down for contexts longer than the model was trained on.

    Attributes:
        theta: the base; pair ``i`` turns by ``theta ** (-2 i / head_dim)`` radians a position.
        factor: how much longer the context is than the original one; 1 leaves the angles alone.
        original_context: 0 slows every pair by ``factor`` (Chen et al. 2023, position interpolation). Otherwise only
            the pairs that turn slowly over that many positions (Llama 3.1), with a smooth ramp between
            ``low`` and ``high`` turns.
    """

    theta: float = 10_000.0
    factor: float = 1.0
    original_context: int = 0
    low: float = 1.0
    high: float = 4.0


@lru_cache(maxsize=16)
def _frequencies(config: RotaryConfig, head_dim: int, device: torch.device) -> Tensor:
    """Radians a position for each pair, (head_dim / 2,) float32."""
    with torch.inference_mode(False):  # cached: an inference tensor would be of no use to a later training step
        exponents = torch.arange(0, head_dim, 2, device=device).float() / head_dim
        frequencies = 1.0 / config.theta**exponents
        if config.factor == 1.0:
            return frequencies
        if not config.original_context:
            return frequencies / config.factor
        turns = config.original_context * frequencies / (2 * math.pi)
        kept = ((turns - config.low) / (config.high - config.low)).clamp(0.0, 1.0)
        return frequencies * (kept + (1.0 - kept) / config.factor)


def rotary_table(positions: Tensor, head_dim: int, config: RotaryConfig, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines for ``positions`` (..., T): two tensors (..., T, head_dim / 2) of ``dtype``."""
    angles = positions[..., None].float() * _frequencies(config, head_dim, positions.device)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """``x`` (B, n_heads, T, head_dim) turned by a table that broadcasts to (B, 1, T, head_dim / 2)."""
    cos, sin = table
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
