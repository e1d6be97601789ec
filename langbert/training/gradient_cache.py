"""Large contrastive batches in little memory.

A query's loss depends on every vector of its batch, so a batch cannot be cut as accumulation would cut it. Gao et al.
2021 ("Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", §3) encode without keeping
activations, take the gradient of the loss with respect to the vectors, then encode once more, a few texts at a time,
and carry that gradient on into the weights. Checkpointing the encoder, one checkpoint for every few texts, is that very
computation, with random states kept, and autograd does it inside an ordinary ``backward()``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["encode_in_chunks"]


def encode_in_chunks(
    encode: Callable[[Tensor, Tensor], Tensor], token_ids: Tensor, attention_mask: Tensor, size: int = 0
) -> Tensor:
    """Vectors whose gradient costs the memory of ``size`` texts and the time of a second forward pass.

    Args:
        encode: ``(n, T)`` ids and mask → ``(n, D)``, each row for itself.
        token_ids, attention_mask: ``(N, T)``, padded on the right.
        size: texts encoded at a time; 0 takes all at once, and every activation is kept.

    Returns:
        ``(N, D)``.
    """
    if not size or len(token_ids) <= size or not torch.is_grad_enabled():
        return encode(*_trimmed(token_ids, attention_mask))
    chunks = zip(torch.split(token_ids, size), torch.split(attention_mask, size), strict=True)
    return torch.cat([checkpoint(encode, *_trimmed(*chunk), use_reentrant=False) for chunk in chunks])


def _trimmed(token_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Without the columns that are padding in every row."""
    longest = int(attention_mask.sum(dim=1).max())
    return token_ids[:, :longest], attention_mask[:, :longest]
