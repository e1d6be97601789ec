"""An encoder giving every token a label: BERT (Devlin et al. 2019, §5.3, figure 4 d), or a recurrent network."""

from __future__ import annotations

from torch import Tensor, nn

from ..architectures.recurrent import RecurrentEncoder
from .network import Bert

__all__ = ["IGNORED", "TokenClassifier", "token_loss"]

IGNORED = -100
"""The label of tokens that carry no loss: special tokens, padding, and all but the first piece of a word."""


class TokenClassifier(nn.Module):
    """One score per label for every token, from its hidden state; labels are decided one by one, without a CRF."""

    def __init__(self, encoder: Bert | RecurrentEncoder, n_labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(encoder.config.dropout)
        self.head = nn.Linear(encoder.config.hidden_size, n_labels)

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """``(B, T)`` ids, mask and segments as :meth:`Bert.forward` takes them → ``(B, T, n_labels)`` logits."""
        logits: Tensor = self.head(self.dropout(self.encoder(token_ids, attention_mask, segment_ids)))
        return logits


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy over the tokens that carry a label.

    Args:
        logits: ``(B, T, n_labels)``.
        labels: ``(B, T)`` int64; :data:`IGNORED` where there is none.
    """
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
