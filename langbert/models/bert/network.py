"""BERT as its paper has it (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers").

This is the definition: a plain padded network that can be trained. :mod:`langbert.models.bert.inference` runs the same
weights without padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import require_choice
from ..layers.attention import MultiHeadAttention
from ..layers.lookup_table import lookup_table
from ..layers.low_bit_table import LowBitTable
from ..layers.projection import ACTIVATIONS

__all__ = ["Bert", "BertConfig", "Pooler"]


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The sizes of one BERT; the defaults are BERT-base, uncased (§3, "Model Architecture")."""

    vocab_size: int = 30522
    hidden_size: int = 768
    n_layers: int = 12
    n_heads: int = 12
    intermediate_size: int = 3072
    max_positions: int = 512
    n_segments: int = 2
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    initializer_range: float = 0.02
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        require_choice("activation", self.activation, ACTIVATIONS)
        sizes = ("vocab_size", "hidden_size", "n_layers", "n_heads", "intermediate_size", "max_positions", "n_segments")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not 0 < self.layer_norm_eps < 1:
            raise ValueError(f"layer_norm_eps is {self.layer_norm_eps}, expected a little more than 0")
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}")


class Embeddings(nn.Module):
    """Token + segment + position, each looked up in a learned table, then LayerNorm and dropout (§3, figure 2)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.tokens: nn.Embedding | LowBitTable = lookup_table(config.vocab_size, config.hidden_size)
        self.positions = lookup_table(config.max_positions, config.hidden_size)
        self.segments = lookup_table(config.n_segments, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, token_ids: Tensor, segment_ids: Tensor, positions: Tensor) -> Tensor:
        """Three ``(B, T)`` integer tensors → ``(B, T, H)``."""
        summed = self.tokens(token_ids) + self.positions(positions) + self.segments(segment_ids)
        embedded: Tensor = self.dropout(self.norm(summed))
        return embedded


class Layer(nn.Module):
    """Attention, then a feed-forward network; a residual and a LayerNorm after each (post-LN)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(config.hidden_size, config.n_heads, config.attention_dropout)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
        """``(B, T, H)`` → ``(B, T, H)``."""
        attended = self.dropout(self.attention(hidden_states, mask))
        hidden_states = self.attention_norm(hidden_states + attended)
        transformed = self.dropout(self.down(self.activation(self.up(hidden_states))))
        normed: Tensor = self.output_norm(hidden_states + transformed)
        return normed


class Pooler(nn.Module):
    """``tanh(W h + b)`` of the first token: what BERT's next-sentence task is read from (Devlin et al. 2019, §3.1)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, first_tokens: Tensor) -> Tensor:
        """``(B, H)`` hidden states of each sequence's first token → ``(B, H)`` in (-1, 1)."""
        return torch.tanh(self.dense(first_tokens))


class Bert(nn.Module):
    """The encoder: token ids in, one contextual vector per token out.

    Args:
        config: the sizes.
        pooler: whether to have the tanh layer over the first token; some checkpoints come without.
    """

    def __init__(self, config: BertConfig, *, pooler: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.pooler = Pooler(config.hidden_size) if pooler else None
        self.apply(self._initialize)

    def _initialize(self, module: nn.Module) -> None:
        """Normal weights of the configured width, zero biases (as the paper's released code does)."""
        if not isinstance(module, nn.Linear | nn.Embedding) or module.weight.is_meta:  # a checkpoint will fill those
            return
        nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """Encode padded sequences.

        Positions count from each sequence's first real token, so that padding on the left gives the same vectors as
        padding on the right.

        Args:
            token_ids: ``(B, T)`` int64, ``T <= config.max_positions``.
            attention_mask: ``(B, T)``, 1 or True for real tokens; None if there is no padding.
            segment_ids: ``(B, T)`` int64, 0 for the first text and 1 for the second; None for one text.

        Returns:
            hidden states ``(B, T, H)``; those of padding mean nothing.

        Raises:
            ValueError: the sequences are longer than the position table.
        """
        length = token_ids.shape[1]
        if length > self.config.max_positions:
            raise ValueError(f"sequences of {length} tokens; this BERT has {self.config.max_positions} positions")
        positions = torch.arange(length, device=token_ids.device).expand_as(token_ids)
        mask = None
        if attention_mask is not None:
            is_token = attention_mask.bool()
            positions = (positions - is_token.int().argmax(dim=1, keepdim=True)).clamp(min=0)
            mask = is_token[:, None, None, :]  # (B, 1, 1, T): the same keys for every head and query
        if segment_ids is None:
            segment_ids = torch.zeros_like(token_ids)
        hidden_states: Tensor = self.embeddings(token_ids, segment_ids, positions)
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask)
        return hidden_states
