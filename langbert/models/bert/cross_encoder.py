"""BERT reading two texts at once (Devlin et al. 2019, §4.1, sentence-pair classification)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .heads import Pooler, SequenceClassifier
from .network import Bert, BertConfig

__all__ = ["CrossEncoder"]


class CrossEncoder(nn.Module):
    """Gives a pair of texts one score per label; with one label, how well the second answers the first."""

    def __init__(self, config: BertConfig, n_labels: int = 1) -> None:
        super().__init__()
        self.bert = Bert(config, pooler=False)
        self.pooler = Pooler(config.hidden_size)
        self.classifier = SequenceClassifier(config.hidden_size, n_labels, config.dropout)

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """``(B, T)`` ids, mask and segments as :meth:`Bert.forward` takes them → ``(B, n_labels)`` logits."""
        hidden_states = self.bert(token_ids, attention_mask, segment_ids)
        if attention_mask is None:
            return self.classify(hidden_states[:, 0])
        first = attention_mask.int().argmax(dim=1)
        return self.classify(hidden_states[torch.arange(len(first), device=first.device), first])

    def classify(self, first_tokens: Tensor) -> Tensor:
        """``(B, H)`` hidden states of each pair's first token → ``(B, n_labels)`` logits."""
        logits: Tensor = self.classifier(self.pooler(first_tokens))
        return logits
