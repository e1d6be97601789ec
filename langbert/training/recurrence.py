"""A long text read by a network that remembers: its loss with the memory, and without."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.transformer_xl import TransformerXL
from .packing import IGNORED

__all__ = ["stream_loss"]

_LANES = 8


def stream_loss(network: nn.Module, stream: Tensor, device: torch.device, *, forget: bool = False) -> float:
    """Nats of all tokens of ``stream`` but the first, together.

    The stream is cut into a few lanes that are read side by side, each from an empty memory (Dai et al. 2019, released
    code), segment by segment.

    Args:
        network: a :class:`TransformerXL`, or peft's wrapping of one.
        stream: (n,), at least two token ids.
        forget: read every segment as if nothing stood before it.
    """
    model = cast(TransformerXL, cast(Any, getattr(network, "get_base_model", lambda: network))())
    n = len(stream) - 1
    lanes = min(_LANES, -(-n // model.config.segment_length))
    width = -(-n // lanes)
    inputs = F.pad(stream[:-1].long(), (0, lanes * width - n)).view(lanes, width).to(device)
    labels = F.pad(stream[1:].long(), (0, lanes * width - n), value=IGNORED).view(lanes, width).to(device)
    memory: Tensor | None = None
    total = 0.0
    size = model.config.segment_length
    for ids, wanted in zip(torch.split(inputs, size, dim=1), torch.split(labels, size, dim=1), strict=True):
        hidden, memory = model.read(ids, None if forget else memory)
        logits = model.logits(hidden).float().flatten(0, 1)
        total += float(F.cross_entropy(logits, wanted.flatten(), ignore_index=IGNORED, reduction="sum"))
    return total
