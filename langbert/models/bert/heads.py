"""BERT's heads: small networks on the encoder's hidden states, and the losses they learn by (Devlin et al. 2019).

Written out plainly, padded and trainable; the stages of the package run the encoder without padding
(:mod:`langbert.models.bert.inference`) and the heads as they are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.pooling import AttentionPooling, Pooling, pack, pool
from ..layers.projection import ACTIVATIONS
from .network import Bert, BertConfig, Pooler

if TYPE_CHECKING:
    from ..architectures.recurrent import RecurrentEncoder

__all__ = [
    "IGNORED",
    "CrossEncoder",
    "MaskedHead",
    "PreTrainingBert",
    "PreTrainingLogits",
    "SentenceEncoder",
    "SequenceClassifier",
    "SpanReader",
    "TokenClassifier",
    "pretraining_loss",
    "span_loss",
    "token_loss",
]

IGNORED = -100
"""The label of tokens that carry no loss: special tokens, padding, and all but the first piece of a word."""


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


class CrossEncoder(nn.Module):
    """BERT reading two texts at once (§4.1): one score per label; with one label, how well the second answers the
    first."""

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


class SpanReader(nn.Module):
    """BERT pointing at an answer (§4.2, §4.3): question and passage in, a start and an end logit a token out; the first
    token's stand for "no answer here"."""

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


class TokenClassifier(nn.Module):
    """One score per label for every token (§5.3, figure 4 d), decided one by one, without a CRF; on a BERT or on a
    recurrent network."""

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


class SentenceEncoder(nn.Module):
    """One vector per text, not yet normalised: what the Embedder computes without padding.

    Args:
        encoder: any network that takes ``(B, T)`` token ids and a ``(B, T)`` mask and gives ``(B, T, H)``.
        pooling: how token vectors become one.
        pooler: the layer over the first token; for ``POOLER`` only.
        token_weights: what says how much each token counts; for ``ATTENTION`` only.
        projection: layers on the pooled vector, ``(B, H)`` → ``(B, width)``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        pooling: Pooling,
        *,
        pooler: nn.Module | None = None,
        token_weights: AttentionPooling | None = None,
        projection: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if (pooling is Pooling.POOLER) != (pooler is not None):
            raise ValueError(f"pooling {pooling} and a pooler belong together, and neither goes alone")
        if (pooling is Pooling.ATTENTION) != (token_weights is not None):
            raise ValueError(f"pooling {pooling} and token weights belong together, and neither goes alone")
        self.encoder = encoder
        self.pooling = pooling
        self.pooler = pooler
        self.token_weights = token_weights
        self.projection = projection

    def forward(self, token_ids: Tensor, attention_mask: Tensor, *, skip: int = 0) -> Tensor:
        """``(B, T)`` ids and mask → ``(B, width)``.

        Args:
            skip: tokens at the start of each text that take no part in pooling, e.g. a prompt.
        """
        hidden_states, cu_seqlens = pack(self.encoder(token_ids, attention_mask), attention_mask)
        if self.token_weights is not None:
            vectors: Tensor = self.token_weights(hidden_states, cu_seqlens, skip=skip)
        else:
            vectors = pool(hidden_states, cu_seqlens, self.pooling, skip=skip)
        for layer in (self.pooler, self.projection):
            vectors = vectors if layer is None else layer(vectors)
        return vectors


class PreTrainingLogits(NamedTuple):
    """What the two heads say.

    Attributes:
        tokens: ``(n, V)``, for each position that was asked for; ``(B, T, V)`` if all were.
        pairs: ``(B, 2)``: the second text follows the first, or has nothing to do with it; None without that head.
    """

    tokens: Tensor
    pairs: Tensor | None


class MaskedHead(nn.Module):
    """The masked-language head (§3.1): a layer, then a product with the token table itself, tied and not copied."""

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
