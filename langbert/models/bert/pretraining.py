"""BERT as it is pre-trained: with a masked-language and a next-sentence head (Devlin et al. 2019, §3.1, appendix A)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.projection import ACTIVATIONS
from .heads import Pooler
from .network import Bert, BertConfig

__all__ = ["MaskedHead", "PreTrainingBert", "PreTrainingLogits", "pretraining_loss"]


class PreTrainingLogits(NamedTuple):
    """What the two heads say.

    Attributes:
        tokens: ``(n, V)``, for each position that was asked for; ``(B, T, V)`` if all were.
        pairs: ``(B, 2)``: the second text follows the first, or has nothing to do with it; None without that head.
    """

    tokens: Tensor
    pairs: Tensor | None


class MaskedHead(nn.Module):
    """A layer, then a product with the token table itself, which is not copied: the two are one ("tied")."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, hidden_states: Tensor, token_table: Tensor) -> Tensor:
        """``(…, H)`` hidden states and the ``(V, H)`` token table → ``(…, V)`` logits."""
        return F.linear(self.norm(self.activation(self.dense(hidden_states))), token_table, self.bias)


class PreTrainingBert(nn.Module):
    """An encoder and its two heads, which are new.

    Args:
        bert: the encoder; it gets a pooler if it has none and ``next_sentence`` needs one, and loses it otherwise.
        next_sentence: whether there is a next-sentence head.
    """

    def __init__(self, bert: Bert, *, next_sentence: bool = True) -> None:
        super().__init__()
        config = bert.config
        self.bert = bert
        self.masked_head = MaskedHead(config)
        self.next_head = nn.Linear(config.hidden_size, 2) if next_sentence else None
        fresh: list[nn.Module | None] = [self.masked_head.dense, self.next_head]
        if not next_sentence:
            bert.pooler = None
        elif bert.pooler is None:
            bert.pooler = Pooler(config.hidden_size)
            fresh.append(bert.pooler.dense)
        for layer in fresh:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=config.initializer_range)
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        token_ids: Tensor,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        chosen: Tensor | None = None,
    ) -> PreTrainingLogits:
        """Ask both heads.

        Args:
            token_ids, attention_mask, segment_ids: as :meth:`Bert.forward` takes them, padded on the right.
            chosen: ``(n,)`` int64, the positions to predict in the flattened ``(B · T)`` tokens: the product with the
                token table is the dearest of all, and 15 % of it is enough. None predicts every one.
        """
        hidden_states: Tensor = self.bert(token_ids, attention_mask, segment_ids)
        asked = hidden_states if chosen is None else hidden_states.flatten(0, 1)[chosen]
        tokens = self.masked_head(asked, self.bert.embeddings.tokens.weight)
        if self.next_head is None or self.bert.pooler is None:
            return PreTrainingLogits(tokens, None)
        return PreTrainingLogits(tokens, self.next_head(self.bert.pooler(hidden_states[:, 0])))


def pretraining_loss(logits: PreTrainingLogits, targets: Tensor, unrelated: Tensor | None = None) -> Tensor:
    """The sum of the mean masked-token and the mean next-sentence cross-entropy, in nats (appendix A.2).

    Args:
        logits: of the chosen tokens.
        targets: ``(n,)`` int64, what stood there.
        unrelated: ``(B,)`` int64, 0 where the second text follows the first and 1 where it is a random one, as
            ``transformers`` has it; None without that task.
    """
    loss = F.cross_entropy(logits.tokens.float(), targets, reduction="sum") / max(len(targets), 1)
    if logits.pairs is not None and unrelated is not None:
        loss = loss + F.cross_entropy(logits.pairs.float(), unrelated)
    return loss
