"""The Transformer as its paper has it: an encoder reads a source, a decoder writes a target and looks back at it.

Vaswani et al. 2017, "Attention Is All You Need", §3: sinusoidal (or learned) positions added to the embeddings,
LayerNorm behind each residual sum, ReLU, biases everywhere, the embedding also the output layer. Every token of the
source looks at all of the source; every token of the target looks at those before it and, by cross-attention, at all of
the source.

It is trained here, and saved in Marian's layout (Junczys-Dowmunt et al. 2018), which transformers computes: so a
:class:`langbert.Generator` runs it as it runs a T5 or any other encoder–decoder.

Shapes: B sequences, S tokens of source, T tokens of target, D = hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..files.json_files import write_json
from ..files.weights import SAME, NameTable, Row, save_tensors, stacked
from ..layers.kv_cache import KVCache
from ..layers.lookup_table import lookup_table


@dataclass(frozen=True, slots=True)
class Seq2SeqConfig:
    """Everything that decides the shape of a Transformer.

    Attributes:
        n_layers: of the encoder; the decoder has ``n_decoder_layers``.
        positions: ``"sinusoidal"`` waves or ``"learned"`` vectors, added to embeddings.
        context_length: the most tokens of a source, and of a target.
        start_id: the token that stands before every target.
        dropout: of embeddings, attention weights and each residual branch; only in training.
    """

    vocab_size: int
    n_layers: int
    n_decoder_layers: int
    n_heads: int
    hidden_size: int
    intermediate_size: int
    context_length: int
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    start_id: int = 0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "n_layers", "n_decoder_layers", "n_heads", "hidden_size", "intermediate_size")
        for name in (*sizes, "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of n_heads ({self.n_heads})")
        if self.positions == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(f"sinusoidal positions need an even hidden_size, got {self.hidden_size}")
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
            elif name == "token_embedding.weight":
                nn.init.normal_(parameter, std=width**-0.5)
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
        return F.linear(hidden_states, self.token_embedding.weight)

    def new_cache(self, capacity: int, *, batch: int = 1) -> KVCache:
        """An empty cache for ``capacity`` tokens of target, of the model's dtype and on its device."""
        weight, config = self.token_embedding.weight, self.config
        return KVCache(
            config.n_decoder_layers,
            config.n_heads,
            config.hidden_size // config.n_heads,
            capacity,
            batch=batch,
            dtype=weight.dtype,
            device=weight.device,
        )

    def _embed(self, token_ids: Tensor) -> Tensor:
        embedded: Tensor = self.token_embedding(token_ids) * math.sqrt(self.config.hidden_size)  # §3.4
        return embedded


class Stack(nn.Module):
    """The encoder, or the decoder, which ``writes``: it looks back only, and at the source."""

    def __init__(self, config: Seq2SeqConfig, n_layers: int, *, writes: bool) -> None:
        super().__init__()
        self.config, self.writes = config, writes
        learned = config.positions == "learned"
        self.positions = lookup_table(config.context_length, config.hidden_size) if learned else None
        self.layers = nn.ModuleList(Layer(config, i, writes=writes) for i in range(n_layers))
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
        if past + length > self.config.context_length:
            raise ValueError(f"{past + length} tokens do not fit the context of {self.config.context_length}")
        places = torch.arange(past, past + length, device=embedded.device)
        waves = (
            sinusoids(places, embedded.shape[2], embedded.dtype) if self.positions is None else self.positions(places)
        )
        hidden: Tensor = self.dropout(embedded + waves)
        if self.writes and length > 1:
            mask = torch.ones(length, past + length, dtype=torch.bool, device=embedded.device).tril(past)
        for i, layer in enumerate(self.layers):
            memory = None if source is None else source.keys_values[i]
            hidden = layer(hidden, mask, cache, memory, None if source is None else source.mask)
        return hidden

    def keys_values(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each layer of the decoder sees of the encoder's hidden states, (B, S, D)."""
        return [cast(Layer, layer).cross_attention.keys_values(memory) for layer in self.layers]


class Layer(nn.Module):
    """Self-attention, in the decoder cross-attention, a feed-forward network; a residual sum and a norm for each."""

    def __init__(self, config: Seq2SeqConfig, index: int, *, writes: bool) -> None:
        super().__init__()
        self.attention = SelfAttention(config, index)
        self.attention_norm = nn.LayerNorm(config.hidden_size)
        if writes:
            self.cross_attention = CrossAttention(config)
            self.cross_attention_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config.hidden_size, config.intermediate_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
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
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, mask, cache)))
        if memory is not None:
            read = self.cross_attention(hidden, memory, memory_mask)
            hidden = self.cross_attention_norm(hidden + self.dropout(read))
        output: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return output


class SelfAttention(nn.Module):
    """A sequence looks at itself; one matrix makes queries, keys and values (§3.2)."""

    def __init__(self, config: Seq2SeqConfig, index: int) -> None:
        super().__init__()
        self.index, self.n_heads, self.dropout = index, config.n_heads, config.dropout
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        """(B, T, D) → (B, T, D); ``mask`` is bool, True where one may look."""
        queries, keys, values = _heads(self.qkv(hidden), 3, self.n_heads)
        if cache is not None:
            keys, values = cache.write(self.index, keys, values)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, dropout_p=dropout)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class CrossAttention(nn.Module):
    """A target looks at its source, whose keys and values are made once (§3.2.3)."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.n_heads, self.dropout = config.n_heads, config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key_value = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's (B, S, D) → keys and values, (B, n_heads, S, head_dim) each."""
        keys, values = _heads(self.key_value(memory), 2, self.n_heads)
        return keys, values

    def forward(self, hidden: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        (queries,) = _heads(self.query(hidden), 1, self.n_heads)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, *memory, mask, dropout_p=dropout)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class FeedForward(nn.Module):
    """max(0, x W₁) W₂ (§3.3)."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(hidden_size, intermediate_size)
        self.down = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        output: Tensor = self.down(F.relu(self.up(hidden)))
        return output


def sinusoids(positions: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(T,) → (T, width): sin and cos of position / 10000^(2i / width) (§3.5).

    Sines fill the first half and cosines the second, as in Marian; the paper alternates them, which is the same network
    with its columns in another order.
    """
    exponents = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width
    angles = positions[:, None] * 10_000.0**-exponents
    return torch.cat((angles.sin(), angles.cos()), dim=-1).to(dtype)


def _heads(projected: Tensor, parts: int, n_heads: int) -> tuple[Tensor, ...]:
    """(B, T, parts · D) → so many (B, n_heads, T, head_dim)."""
    batch, length, _ = projected.shape
    return projected.view(batch, length, parts, n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


@torch.no_grad()
def greedy(
    model: Seq2Seq,
    source_ids: Tensor,
    source_mask: Tensor | None = None,
    *,
    max_tokens: int,
    end_ids: Collection[int],
) -> list[list[int]]:
    """The likeliest next token, again and again, for every source of a batch.

    Args:
        source_ids: (B, S) int64; ``source_mask`` is 0 or False at padding, which is on the right.
        max_tokens: the most tokens of a target, its end included.
        end_ids: tokens that end one.

    Returns:
        Of each source its target's tokens, without start and end.
    """
    batch, device = len(source_ids), source_ids.device
    source = model.read(source_ids, source_mask)
    cache = model.new_cache(max_tokens, batch=batch)
    ends = torch.tensor(sorted(end_ids), device=device)
    tokens = torch.full((batch, 1), model.config.start_id, device=device)
    chosen: list[list[int]] = [[] for _ in range(batch)]
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    for _ in range(max_tokens):
        tokens = model.logits(model.decode(tokens, source, cache=cache)[:, -1]).argmax(-1, keepdim=True)
        done |= torch.isin(tokens[:, 0], ends)
        for target, token, finished in zip(chosen, tokens[:, 0].tolist(), done.tolist(), strict=True):
            if not finished:
                target.append(token)
        if done.all():
            break
    return chosen


def save_seq2seq(network: Seq2Seq, folder: Path, special: dict[str, Any]) -> None:
    """``config.json`` and ``model.safetensors`` of a ``MarianMTModel``.

    Args:
        special: the ids of control tokens, by what ``config.json`` calls them.
    """
    config = network.config
    settings = {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "decoder_vocab_size": config.vocab_size,
        "encoder_layers": config.n_layers,
        "decoder_layers": config.n_decoder_layers,
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), config.n_heads),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), config.intermediate_size),
        "d_model": config.hidden_size,
        "max_position_embeddings": config.context_length,
        "static_position_embeddings": config.positions == "sinusoidal",
        "activation_function": "relu",
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "forced_eos_token_id": None,
        "dropout": config.dropout,
        "dtype": "float32",
    }
    write_json({**settings, **special}, folder / "config.json")
    write_json(special, folder / "generation_config.json")
    save_tensors(seq2seq_table(config).to_theirs(network.state_dict()), folder / "model.safetensors")


def seq2seq_table(config: Seq2SeqConfig) -> NameTable:
    """The names that Marian's tensors have in transformers."""
    modules: dict[str, tuple[str, ...]] = {"token_embedding": ("shared",)}
    for stack in ("encoder", "decoder"):
        layer = f"{stack}.layers.{{layer}}"
        modules |= {
            f"{stack}.positions": (f"{stack}.embed_positions",),
            f"{layer}.attention.qkv": tuple(f"{layer}.self_attn.{part}_proj" for part in "qkv"),
            f"{layer}.attention.output": (f"{layer}.self_attn.out_proj",),
            f"{layer}.attention_norm": (f"{layer}.self_attn_layer_norm",),
            f"{layer}.feed_forward.up": (f"{layer}.fc1",),
            f"{layer}.feed_forward.down": (f"{layer}.fc2",),
            f"{layer}.feed_forward_norm": (f"{layer}.final_layer_norm",),
        }
    ours, theirs = "decoder.layers.{layer}.cross_attention", "decoder.layers.{layer}.encoder_attn"
    modules |= {
        f"{ours}.query": (f"{theirs}.q_proj",),
        f"{ours}.key_value": (f"{theirs}.k_proj", f"{theirs}.v_proj"),
        f"{ours}.output": (f"{theirs}.out_proj",),
        f"{ours}_norm": (f"{theirs}_layer_norm",),
    }
    joined = {1: SAME, **{n: stacked(*[config.hidden_size] * n) for n in (2, 3)}}
    rows = [
        Row(f"{module}.{kind}", tuple(f"model.{name}.{kind}" for name in names), joined[len(names)])
        for module, names in modules.items()
        for kind in ("weight", "bias")
        if kind == "weight" or "layers." in module
    ]
    return NameTable("Marian", tuple(rows), n_layers=max(config.n_layers, config.n_decoder_layers))
