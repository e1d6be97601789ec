"""One BERT that reads a pair of texts once and tells three things of it: a cross-encoder with several heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .heads import SequenceClassifier
from .network import Bert, Pooler

__all__ = ["ENTAILMENT", "HEADS", "EvidenceEncoder", "EvidenceLogits"]

ENTAILMENT = ("entailed", "neutral", "contradicted")
"""How a hypothesis stands to its premise (Bowman et al. 2015, "SNLI", §2), in the order of the logits."""

HEADS = ("span_head", "relevance_head", "entailment_head")


class EvidenceLogits(NamedTuple):
    """What :class:`EvidenceEncoder` says of pairs.

    Attributes:
        spans: ``(B, T, 2)``: where the answer starts and ends; the first token's stand for "no answer here".
        relevance: ``(B,)``: whether the second text, a passage, answers the first, a question.
        entailment: ``(B, 3)``: how the second text, a hypothesis, stands to the first: :data:`ENTAILMENT`.
    """

    spans: Tensor
    relevance: Tensor
    entailment: Tensor


class PairHead(nn.Sequential):
    """Logits of a pair from its first token: a pooler, then a linear layer (Devlin et al. 2019, §4.1)."""

    def __init__(self, hidden_size: int, n_labels: int) -> None:
        super().__init__(Pooler(hidden_size), SequenceClassifier(hidden_size, n_labels, dropout=0.0))


class EvidenceEncoder(nn.Module):
    """Relevance and answer span of a question and a passage, and entailment of a premise and a hypothesis."""

    def __init__(self, bert: Bert) -> None:
        super().__init__()
        self.bert = bert
        self.span_head = nn.Linear(bert.config.hidden_size, 2)
        self.relevance_head = PairHead(bert.config.hidden_size, 1)
        self.entailment_head = PairHead(bert.config.hidden_size, len(ENTAILMENT))

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> EvidenceLogits:
        """``(B, T)`` ids, mask (padding on the right) and segments, as :meth:`Bert.forward` takes them."""
        hidden_states = self.bert(token_ids, attention_mask, segment_ids)
        return self.heads(hidden_states, hidden_states[:, 0])

    def heads(self, hidden_states: Tensor, first_tokens: Tensor) -> EvidenceLogits:
        """``(…, H)`` states of all tokens and ``(B, H)`` of each pair's first → logits."""
        return EvidenceLogits(
            self.span_head(hidden_states),
            self.relevance_head(first_tokens)[:, 0],
            self.entailment_head(first_tokens),
        )
