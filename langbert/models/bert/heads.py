"""Small networks on top of the encoder's hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Pooler", "SequenceClassifier"]


class Pooler(nn.Module):
    """``tanh(W h + b)`` of the first token: what BERT's next-sentence task is read from (Devlin et al. 2019, §3.1)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, first_tokens: Tensor) -> Tensor:
        """``(B, H)`` hidden states of each sequence's first token → ``(B, H)`` in (-1, 1)."""
        return torch.tanh(self.dense(first_tokens))


class SequenceClassifier(nn.Module):
    """One score per label for a whole sequence, from its pooled first token (§3.2); a cross-encoder has one label."""

    def __init__(self, hidden_size: int, n_labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, n_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, H)`` from :class:`Pooler` → ``(B, n_labels)`` logits."""
        logits: Tensor = self.linear(self.dropout(pooled))
        return logits
