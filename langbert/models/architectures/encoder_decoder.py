"""One encoder–decoder, by configuration: the original Transformer and T5.

The encoder reads a source, every token looking at every token; the decoder writes a target, each token looking at those
before it and, by cross-attention, at all of the source.

* Transformer (Vaswani et al. 2017, "Attention Is All You Need", §3): sinusoidal or learned positions added to the
  embeddings, LayerNorm behind each residual sum, ReLU, biases everywhere.
* T5 (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", §2.1):
  relative positions, RMSNorm before each branch and at the end of each stack, no biases, QKᵀ as it is; version 1.1 with
  a gated GELU (Shazeer 2020, "GLU Variants Improve Transformer").

Shapes: B sequences, S tokens of source, T tokens of target, D = hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.kv_cache import KVCache
from ..layers.lookup_table import lookup_table
from ..layers.relative_bias import RelativeBias

__all__ = ["Seq2Seq", "Seq2SeqConfig", "Source", "sinusoids"]


@dataclass(frozen=True, slots=True)
class Seq2SeqConfig:
    """Everything that decides the shape and the arithmetic of an encoder–decoder.

    Attributes:
        n_layers: of the encoder; the decoder has ``n_decoder_layers``.
        head_dim: width of one head; 0 stands for ``hidden_size / n_heads``.
        positions: ``"sinusoidal"`` waves or ``"learned"`` vectors, added to embeddings; or ``"relative"``, a bias of
            attention scores.
        context_length: the most tokens of a source, and of a target; None: no limit (not with learned positions).
        norm: ``"layernorm"`` behind each residual sum, or ``"rmsnorm"`` before each branch and behind the last.
        feed_forward: ``"relu"`` or ``"gated_gelu"`` (its tanh approximation).
        bias: whether the linear layers have one.
        tied_head: the token embedding is also the output layer.
        scaling: where the size of vectors is put right: ``"inputs"``, embeddings times √hidden_size and scores divided
            by √head_dim (Transformer, §3.2.1 and §3.4); ``"output"``, hidden states divided by √hidden_size before the
            head (T5); ``"none"`` (T5 1.1).
        start_id: the token that stands before every target.
        n_buckets, max_distance: of relative positions.
        dropout: of embeddings, attention weights and each residual branch; only in training.
    """

    vocab_size: int
    n_layers: int
    n_decoder_layers: int
    n_heads: int
    hidden_size: int
    intermediate_size: int
    head_dim: int = 0
    positions: Literal["sinusoidal", "learned", "relative"] = "sinusoidal"
    context_length: int | None = None
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_eps: float = 1e-5
    feed_forward: Literal["relu", "gated_gelu"] = "relu"
    bias: bool = True
    tied_head: bool = True
    scaling: Literal["inputs", "output", "none"] = "inputs"
    start_id: int = 0
    n_buckets: int = 32
    max_distance: int = 128
    dropout: float = 0.1

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "n_layers", "n_decoder_layers", "n_heads", "hidden_size", "intermediate_size")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.head_dim:
            if self.hidden_size % self.n_heads:
                raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of n_heads ({self.n_heads})")
            object.__setattr__(self, "head_dim", self.hidden_size // self.n_heads)
        if self.positions == "learned" and not self.context_length:
            raise ValueError("learned positions need a context_length: how many there are to learn")
        if self.positions == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_size, got {self.hidden_size}")
        if self.positions == "relative" and not 4 <= self.n_buckets < 2 * self.max_distance:
            raise ValueError(f"{self.n_buckets} buckets for distances up to {self.max_distance}: expected 4 or more")
        if not 0 <= self.start_id < self.vocab_size:
            raise ValueError(f"start_id is {self.start_id}, the vocabulary has {self.vocab_size} tokens")


class Source(NamedTuple):
    """A source as the decoder looks at it.

    Attributes:
        keys_values: for each decoder layer, keys and values, (B, n_heads, S, head_dim) each.
        mask: (B, 1, 1, S) bool, True at tokens; None without padding.
    """

    keys_values: Sequence[tuple[Tensor, Tensor]]
    mask: Tensor | None


class Seq2Seq(nn.Module):
    """Source and target ids → logits, trainable.

    Or read a source once and write from it, step by step::

        source = model.read(source_ids)                        # source_ids (1, S)
        cache = model.new_cache(max_tokens)
        hidden = model.decode(next_id, source, cache=cache)    # next_id (1, 1): first start_id, then what was chosen
        logits = model.logits(hidden[:, -1])
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = lookup_table(config.vocab_size, config.hidden_size)
        self.encoder = Stack(config, config.n_layers, writes=False)
        self.decoder = Stack(config, config.n_decoder_layers, writes=True)
        self.head = None if config.tied_head else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.input_scale = math.sqrt(config.hidden_size) if config.scaling == "inputs" else 1.0
        self.output_scale = config.hidden_size**-0.5 if config.scaling == "output" else 1.0
        if not self.token_embedding.weight.is_meta:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh weights: Glorot's for matrices, embeddings of unit variance once scaled, learned positions as waves."""
        width = self.config.hidden_size
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 1.0 if name.endswith("norm.weight") else 0.0)
            elif name.endswith("positions.weight"):
                parameter.copy_(sinusoids(torch.arange(len(parameter)), width, parameter.dtype))
            elif name.endswith(("relative.weight", "head.weight")):
                nn.init.normal_(parameter, std=width**-0.5)
            elif name == "token_embedding.weight":
                nn.init.normal_(parameter, std=1 / self.input_scale)
            else:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, source_ids: Tensor, target_ids: Tensor, *, source_mask: Tensor | None = None, at: Tensor | None = None
    ) -> Tensor:
        """Logits of the next token after every token of the target, as it should be (teacher forcing).

        Args:
            source_ids: (B, S) int64.
            target_ids: (B, T) int64, beginning with ``start_id``; padding on the right is seen by nothing before it.
            source_mask: (B, S), 0 or False at padding, which is on the right.
            at: (B, T) bool; logits after these n tokens only.

        Returns:
            (B, T, vocab_size), or (n, vocab_size) with ``at``.
        """
        hidden = self.decode(target_ids, self.read(source_ids, source_mask))
        return self.logits(hidden if at is None else hidden[at])

    def encode(self, source_ids: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """The encoder's last hidden states, (B, S, D); those of padding mean nothing."""
        mask = None if source_mask is None else source_mask.bool()[:, None, None, :]
        hidden: Tensor = self.encoder(self._embed(source_ids), mask)
        return hidden

    def read(self, source_ids: Tensor, source_mask: Tensor | None = None) -> Source:
        """Encode a source, (B, S), and make each decoder layer's keys and values of it.

        Raises:
            ValueError: it is longer than the context.
        """
        memory = self.encode(source_ids, source_mask)
        mask = None if source_mask is None else source_mask.bool()[:, None, None, :]
        return Source(self.decoder.keys_values(memory), mask)

    def decode(self, target_ids: Tensor, source: Source, *, cache: KVCache | None = None) -> Tensor:
        """The decoder's last hidden states, (B, T, D).

        Args:
            target_ids: (B, T) int64, the tokens not yet in ``cache``; the very first is ``start_id``.
            cache: what came before; the new tokens are added to it.

        Raises:
            ValueError: the target would be longer than the context or the cache.
        """
        hidden: Tensor = self.decoder(self._embed(target_ids), None, source, cache)
        if cache is not None:
            cache.advance(target_ids.shape[1])
        return hidden

    def logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) → (…, vocab_size)."""
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return F.linear(hidden_states * self.output_scale, weight)

    def new_cache(self, capacity: int, *, batch: int = 1) -> KVCache:
        """An empty cache for ``capacity`` tokens of target, of the model's dtype and on its device."""
        weight, config = self.token_embedding.weight, self.config
        return KVCache(
            config.n_decoder_layers,
            config.n_heads,
            config.head_dim,
            capacity,
            batch=batch,
            dtype=weight.dtype,
            device=weight.device,
        )

    def _embed(self, token_ids: Tensor) -> Tensor:
        embedded: Tensor = self.token_embedding(token_ids) * self.input_scale
        return embedded


class Stack(nn.Module):
    """The encoder, or the decoder, which ``writes``: it looks back only, and at the source."""

    def __init__(self, config: Seq2SeqConfig, n_layers: int, *, writes: bool) -> None:
        super().__init__()
        self.config, self.writes = config, writes
        self.positions = self.relative = None
        if config.positions == "learned" and config.context_length:
            self.positions = lookup_table(config.context_length, config.hidden_size)
        if config.positions == "relative":
            self.relative = RelativeBias(config.n_heads, config.n_buckets, config.max_distance, two_sided=not writes)
        self.layers = nn.ModuleList(Layer(config, i, writes=writes) for i in range(n_layers))
        self.norm = _norm(config) if config.norm == "rmsnorm" else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, embedded: Tensor, mask: Tensor | None, source: Source | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """(B, T, D) → (B, T, D).

        Args:
            mask: of padding, (B, 1, 1, T) bool; the decoder, which looks back, needs none.
        """
        past = 0 if cache is None else cache.length
        length = embedded.shape[1]
        limit = self.config.context_length
        if limit is not None and past + length > limit:
            raise ValueError(f"{past + length} tokens do not fit the context of {limit}")
        hidden: Tensor = self.dropout(embedded + self._positions(past, embedded))
        if self.writes and length > 1:
            mask = torch.ones(length, past + length, dtype=torch.bool, device=embedded.device).tril(past)
        if self.relative is not None:
            bias: Tensor = self.relative(past, length)  # (1, n_heads, T, S)
            mask = bias if mask is None else bias.masked_fill(~mask, torch.finfo(bias.dtype).min)
        for i, layer in enumerate(self.layers):
            memory = None if source is None else source.keys_values[i]
            hidden = layer(hidden, mask, cache, memory, None if source is None else source.mask)
        if self.norm is not None:
            hidden = self.dropout(self.norm(hidden))
        return hidden

    def keys_values(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each layer of the decoder sees of the encoder's hidden states, (B, S, D)."""
        return [cast(Layer, layer).cross_attention.keys_values(memory) for layer in self.layers]

    def _positions(self, past: int, embedded: Tensor) -> Tensor | float:
        """What is added to the embeddings, (T, D); nothing where positions are relative."""
        if self.config.positions == "relative":
            return 0.0
        positions = torch.arange(past, past + embedded.shape[1], device=embedded.device)
        if self.positions is None:
            return sinusoids(positions, embedded.shape[2], embedded.dtype)
        learned: Tensor = self.positions(positions)
        return learned


class Layer(nn.Module):
    """Self-attention, in the decoder cross-attention, a feed-forward network; a residual and a norm for each."""

    def __init__(self, config: Seq2SeqConfig, index: int, *, writes: bool) -> None:
        super().__init__()
        self.norm_first = config.norm == "rmsnorm"
        self.attention = SelfAttention(config, index)
        self.attention_norm = _norm(config)
        if writes:
            self.cross_attention = CrossAttention(config)
            self.cross_attention_norm = _norm(config)
        self.feed_forward = GatedGELU(config) if config.feed_forward == "gated_gelu" else FeedForward(config)
        self.feed_forward_norm = _norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        cache: KVCache | None,
        memory: tuple[Tensor, Tensor] | None,
        memory_mask: Tensor | None,
    ) -> Tensor:
        """(B, T, D) → (B, T, D); ``memory`` is the source's keys and values, in the decoder alone."""
        hidden = self._add(hidden, self.attention_norm, lambda x: self.attention(x, mask, cache))
        if memory is not None:
            hidden = self._add(
                hidden, self.cross_attention_norm, lambda x: self.cross_attention(x, memory, memory_mask)
            )
        output: Tensor = self._add(hidden, self.feed_forward_norm, self.feed_forward)
        return output

    def _add(self, hidden: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
        output: Tensor
        if self.norm_first:
            output = hidden + self.dropout(branch(norm(hidden)))
        else:
            output = norm(hidden + self.dropout(branch(hidden)))
        return output


class SelfAttention(nn.Module):
    """A sequence looks at itself; one matrix makes queries, keys and values (Transformer, §3.2)."""

    def __init__(self, config: Seq2SeqConfig, index: int) -> None:
        super().__init__()
        self.index, self.n_heads, self.dropout = index, config.n_heads, config.dropout
        self.scale = _score_scale(config)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.n_heads * config.head_dim, bias=config.bias)
        self.output = nn.Linear(config.n_heads * config.head_dim, config.hidden_size, bias=config.bias)

    def forward(self, hidden: Tensor, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        """(B, T, D) → (B, T, D); ``mask`` is bool, True where one may look, or a float to add to the scores."""
        queries, keys, values = _heads(self.qkv(hidden), 3, self.n_heads)
        if cache is not None:
            keys, values = cache.write(self.index, keys, values)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, dropout_p=dropout, scale=self.scale)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class CrossAttention(nn.Module):
    """A target looks at its source, whose keys and values are made once (Transformer, §3.2.3)."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.n_heads, self.dropout = config.n_heads, config.dropout
        self.scale = _score_scale(config)
        self.query = nn.Linear(config.hidden_size, config.n_heads * config.head_dim, bias=config.bias)
        self.key_value = nn.Linear(config.hidden_size, 2 * config.n_heads * config.head_dim, bias=config.bias)
        self.output = nn.Linear(config.n_heads * config.head_dim, config.hidden_size, bias=config.bias)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's (B, S, D) → keys and values, (B, n_heads, S, head_dim) each."""
        keys, values = _heads(self.key_value(memory), 2, self.n_heads)
        return keys, values

    def forward(self, hidden: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        (queries,) = _heads(self.query(hidden), 1, self.n_heads)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, *memory, mask, dropout_p=dropout, scale=self.scale)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """max(0, x W₁) W₂ (Transformer, §3.3)."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.bias)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        output: Tensor = self.down(F.relu(self.up(hidden)))
        return output


class GatedGELU(nn.Module):
    """(GELU(x W) ⊙ x V) W₂; one matrix makes both factors."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.bias)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        gate, up = self.gate_up(hidden).chunk(2, dim=-1)
        output: Tensor = self.down(F.gelu(gate, approximate="tanh") * up)
        return output


def sinusoids(positions: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(T,) → (T, width): sin and cos of position / 10000^(2i / width) (Transformer, §3.5).

    Sines fill the first half and cosines the second, as in Marian; the paper alternates them, which is the same network
    with its columns in another order.
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width
    angles = positions[:, None] * 10_000.0**-exponents
    return torch.cat((angles.sin(), angles.cos()), dim=-1).to(dtype)


def _heads(projected: Tensor, parts: int, n_heads: int) -> tuple[Tensor, ...]:
    """(B, T, parts · n_heads · head_dim) → so many (B, n_heads, T, head_dim)."""
    batch, length, _ = projected.shape
    return projected.view(batch, length, parts, n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _score_scale(config: Seq2SeqConfig) -> float:
    return config.head_dim**-0.5 if config.scaling == "inputs" else 1.0


def _norm(config: Seq2SeqConfig) -> nn.Module:
    kind: Callable[..., nn.Module] = nn.LayerNorm if config.norm == "layernorm" else nn.RMSNorm
    return kind(config.hidden_size, eps=config.norm_eps)
