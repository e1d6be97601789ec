"""A long text read by a network that remembers: its loss with the memory, and without."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.architectures.transformer_xl import TransformerXL
from .batching import IGNORED

_LANES = 8


def stream_loss(network: nn.Module, stream: Tensor, device: torch.device, *, forget: bool = False) -> float:
    """Nats of all tokens of ``stream`` but the first, together: the sum over :func:`segment_losses`."""
    return float(segment_losses(network, stream, device, forget=forget)[0].sum())


def segment_losses(
    network: nn.Module, stream: Tensor, device: torch.device, *, forget: bool = False
) -> tuple[Tensor, Tensor]:
    """How well every token of ``stream`` but the first is guessed, by its place in the segment.

    The stream is cut into a few lanes that are read side by side, each from an empty memory (Dai et al. 2019, released
    code), segment by segment.

    Args:
        network: a :class:`TransformerXL`, or peft's wrapping of one.
        stream: (n,), at least two token ids.
        forget: read every segment as if nothing stood before it.

    Returns:
        Nats of the tokens at each place together, and how many tokens those are; both (segment_length,), float64.
    """
    model = cast(TransformerXL, cast(Any, getattr(network, "get_base_model", lambda: network))())
    size = model.config.segment_length
    n = len(stream) - 1
    lanes = min(_LANES, -(-n // size))
    width = -(-n // lanes)
    inputs = F.pad(stream[:-1].long(), (0, lanes * width - n)).view(lanes, width).to(device)
    labels = F.pad(stream[1:].long(), (0, lanes * width - n), value=IGNORED).view(lanes, width).to(device)
    memory: Tensor | None = None
    nats, counts = torch.zeros(2, size, dtype=torch.float64)
    for ids, wanted in zip(torch.split(inputs, size, dim=1), torch.split(labels, size, dim=1), strict=True):
        hidden, memory = model.read(ids, None if forget else memory)
        logits = model.logits(hidden).float().transpose(1, 2)
        lost = F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="none")  # (lanes, up to size)
        nats[: ids.shape[1]] += lost.sum(dim=0).double().cpu()
        counts[: ids.shape[1]] += (wanted != IGNORED).sum(dim=0).cpu()
    return nats, counts
