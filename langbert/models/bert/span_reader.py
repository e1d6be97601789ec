"""BERT pointing at an answer: a start and an end score for every token (Devlin et al. 2019, §4.2 and §4.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .network import Bert

__all__ = ["SpanReader", "span_loss"]


class SpanReader(nn.Module):
    """Question and passage in, two logits a token out; the first token's stand for "no answer here"."""

    def __init__(self, bert: Bert) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Linear(bert.config.hidden_size, 2)

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """``(B, T)`` ids, mask and segments as :meth:`Bert.forward` takes them → ``(B, T, 2)`` start and end logits."""
        logits: Tensor = self.head(self.bert(token_ids, attention_mask, segment_ids))
        return logits


def span_loss(logits: Tensor, starts: Tensor, ends: Tensor, allowed: Tensor) -> Tensor:
    """The mean of the two cross-entropies (§4.2: the sum of the log-likelihoods of start and end).

    Args:
        logits: ``(B, T, 2)``.
        starts, ends: ``(B,)`` int64 positions; 0 where there is no answer.
        allowed: ``(B, T)`` bool: the passage's tokens, and the first one.
    """
    masked = logits.float().masked_fill(~allowed[..., None], torch.finfo(torch.float32).min)
    losses = [nn.functional.cross_entropy(masked[..., side], target) for side, target in enumerate((starts, ends))]
    return (losses[0] + losses[1]) / 2
