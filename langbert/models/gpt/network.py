"""One decoder, by configuration: GPT-1 to 3 and the Llama family (Llama, SmolLM, Mistral, Qwen2 …).

All are stacks of blocks of causal attention and a feed-forward network:

* GPT: learned positions, LayerNorm, GELU, biases everywhere; see :data:`GPT_SIZES`.
* Llama: rotary positions (Su et al. 2021), RMSNorm (Zhang & Sennrich 2019, section 3), SwiGLU (Shazeer 2020,
  "GLU Variants Improve Transformer"), grouped-query attention (Ainslie et al. 2023, section 2.2).

Shapes: B sequences, T new tokens, S tokens in all (cached ones included), D = hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.kv_cache import KVCache
from ..layers.lookup_table import lookup_table
from ..layers.rotary import RotaryConfig, rotary_table, rotate


class Size(NamedTuple):
    """Fields of :class:`GPTConfig`; papers and released code say what dropout there was in training."""

    vocab_size: int
    context_length: int
    n_layers: int
    n_heads: int
    hidden_size: int
    norm_first: bool
    dropout: float


def _gpt2(n_layers: int, n_heads: int, hidden_size: int) -> Size:
    return Size(50_257, 1024, n_layers, n_heads, hidden_size, norm_first=True, dropout=0.1)


def _gpt3(n_layers: int, n_heads: int, hidden_size: int) -> Size:
    return Size(50_257, 2048, n_layers, n_heads, hidden_size, norm_first=True, dropout=0.0)


GPT_SIZES = {
    "gpt1": Size(40_478, 512, 12, 12, 768, norm_first=False, dropout=0.1),  # 117 million parameters
    "gpt2": _gpt2(12, 12, 768),  # 124 million; the paper's own counts (117, 345, 762, 1542) were wrong, its authors say
    "gpt2-medium": _gpt2(24, 16, 1024),  # 355 million
    "gpt2-large": _gpt2(36, 20, 1280),  # 774 million
    "gpt2-xl": _gpt2(48, 25, 1600),  # 1.56 billion
    "gpt3-small": _gpt3(12, 12, 768),  # 125 million
    "gpt3-medium": _gpt3(24, 16, 1024),  # 350 million
    "gpt3-large": _gpt3(24, 16, 1536),  # 760 million
    "gpt3-xl": _gpt3(24, 16, 2048),  # 1.3 billion
    "gpt3-2.7b": _gpt3(32, 32, 2560),
    "gpt3-6.7b": _gpt3(32, 32, 4096),
    "gpt3-13b": _gpt3(40, 40, 5120),
    "gpt3-175b": _gpt3(96, 96, 12_288),
}
"""The networks of the three GPT papers, for :meth:`GPTConfig.named`.

* GPT-1 (Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", §4.1): the decoder of
  Vaswani et al. 2017 without cross-attention: norms behind each residual sum, 512 learned positions, GELU, and 40,000
  byte-pair merges over characters.
* GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", §2.3): norms before each branch and
  one behind the last block, residual branches that begin smaller, byte-level pairs (50,257 tokens), 1,024 positions.
* GPT-3 (Brown et al. 2020, "Language Models are Few-Shot Learners", §2.1 and table 2.1): the same made larger, 2,048
  positions. In every other layer the paper's attention is sparse (Child et al. 2019); here all of it is dense.
  Its table has two rows that cannot be: XL with 24 heads of 128 at a width of 2,048 (here 16 heads), 13B with 40
  heads of 128 at 5,140 (here 5,120); with the sizes here the parameters are as many as it says.

Feed-forward networks are four times as wide as the network, in all of them.
"""


@dataclass(frozen=True, slots=True)
class GPTConfig:
    """Everything that decides the shape and the arithmetic of a decoder.

    Attributes:
        context_length: the most tokens, prompt and answer together, that one sequence may have.
        n_kv_heads: heads of keys and values; ``n_heads`` is a multiple of it, equal to it without grouping.
        intermediate_size: width of the feed-forward network.
        head_dim: width of one head; 0 stands for ``hidden_size / n_heads``.
        rotary: how queries and keys are turned; None learns a vector for each position instead.
        norm: ``"layernorm"`` (mean and variance, with bias) or ``"rmsnorm"`` (root mean square, no bias).
        norm_first: norms stand before each branch and behind the last block (GPT-2 and later), or behind each residual
            sum (GPT-1, as in Vaswani et al. 2017).
        feed_forward: ``"gelu"`` (its tanh approximation, as GPT-2 has it) or ``"swiglu"``.
        bias: which linear layers have one: all, only queries, keys and values (Qwen2), or none (Llama).
        tied_head: the token embedding is also the output layer.
        dropout: after embeddings, attention weights and each residual branch; only in training.
    """

    vocab_size: int
    context_length: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    hidden_size: int
    intermediate_size: int
    head_dim: int = 0
    rotary: RotaryConfig | None = None
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norm_eps: float = 1e-5
    norm_first: bool = True
    feed_forward: Literal["gelu", "swiglu"] = "gelu"
    bias: Literal["all", "qkv", "none"] = "all"
    tied_head: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = (
            "vocab_size",
            "context_length",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "hidden_size",
            "intermediate_size",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads ({self.n_heads}) is not a multiple of n_kv_heads ({self.n_kv_heads})")
        if not self.head_dim:
            if self.hidden_size % self.n_heads:
                raise ValueError(f"hidden_size ({self.hidden_size}) is not a multiple of n_heads ({self.n_heads})")
            object.__setattr__(self, "head_dim", self.hidden_size // self.n_heads)
        if self.rotary is not None and self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head_dim, got {self.head_dim}")

    @classmethod
    def named(cls, name: str, **changes: Any) -> GPTConfig:
        """A network of a paper: ``GPTConfig.named("gpt2-medium")``.

        Args:
            name: one of :data:`GPT_SIZES`.
            changes: fields that shall be otherwise, such as ``vocab_size``.

        Raises:
            ValueError: there is none of that name.
        """
        if name not in GPT_SIZES:
            raise ValueError(f"there is no GPT called {name!r}: known are {', '.join(GPT_SIZES)}")
        size = GPT_SIZES[name]
        fields: dict[str, Any] = {
            **size._asdict(),
            "n_kv_heads": size.n_heads,
            "intermediate_size": 4 * size.hidden_size,
        }
        return cls(**fields | changes)


class GPT(nn.Module):
    """Token ids → logits, trainable, with an optional KV cache.

    Read a prompt in one pass, then step::

        cache = model.new_cache(len(prompt) + max_tokens)
        logits = model(prompt_ids, cache=cache)              # prompt_ids (1, T)
        logits = model(next_id, cache=cache)                 # next_id (1, 1), again and again
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = lookup_table(config.vocab_size, config.hidden_size)
        self.position_embedding = (
            lookup_table(config.context_length, config.hidden_size) if config.rotary is None else None
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = _norm(config) if config.norm_first else nn.Identity()  # the last block ends in one
        self.head = None if config.tied_head else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if not self.token_embedding.weight.is_meta:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh weights: N(0, 0.02), where a residual branch ends divided by √(2 n_layers) (GPT-2, section 2.3).

        GPT-1 has them all alike: its norms keep the residual sums from growing.
        """
        smaller = 0.02 / math.sqrt(2 * self.config.n_layers) if self.config.norm_first else 0.02
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 1.0 if name.endswith("norm.weight") else 0.0)
            else:
                residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=smaller if residual else 0.02)

    def forward(
        self,
        token_ids: Tensor,
        *,
        cache: KVCache | None = None,
        attention_mask: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token after every token, (B, T, vocab_size).

        For the last token's alone, which is all that generation needs, use
        ``model.logits(model.hidden_states(token_ids, cache=cache)[:, -1])``.

        Args:
            at: (B, T) bool; logits after these n tokens only, (n, vocab_size). A large vocabulary makes them the
                costliest part of a training step, and a prompt needs none.
        """
        hidden = self.hidden_states(token_ids, cache=cache, attention_mask=attention_mask)
        return self.logits(hidden if at is None else hidden[at])

    def hidden_states(
        self, token_ids: Tensor, *, cache: KVCache | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """The last block's normalised output, (B, T, D).

        Args:
            token_ids: (B, T) int64, the tokens not yet in ``cache``.
            cache: what came before; the new tokens are added to it.
            attention_mask: (B, S), 0 or False at padding (either side). Several sequences may stand in one row, each
                under a number of its own: a token looks only at tokens of its number, and its position counts them.

        Raises:
            ValueError: the sequence would be longer than the context, the cache or the mask.
        """
        past = cache.length if cache is not None else 0
        total = past + token_ids.shape[1]
        if total > self.config.context_length:
            raise ValueError(f"{total} tokens do not fit the context of {self.config.context_length}")
        if attention_mask is None:
            positions = torch.arange(past, total, device=token_ids.device)  # (T,)
            mask = None
        else:
            if attention_mask.shape[1] != total:
                raise ValueError(f"attention_mask covers {attention_mask.shape[1]} tokens, expected {total}")
            mask = _own_causal_mask(attention_mask, past)  # (B, 1, T, S)
            positions = mask[:, 0].sum(-1) - 1  # (B, T)
        hidden = self.token_embedding(token_ids)  # (B, T, D)
        table = None
        if self.config.rotary is not None:
            cos, sin = rotary_table(positions, self.config.head_dim, self.config.rotary, hidden.dtype)
            table = (cos[..., None, :, :], sin[..., None, :, :])  # (B or absent, 1, T, head_dim / 2)
        elif self.position_embedding is not None:
            hidden = hidden + self.position_embedding(positions)
        hidden = self.dropout(hidden)
        for block in self.blocks:
            hidden = block(hidden, table, cache, mask)
        if cache is not None:
            cache.advance(token_ids.shape[1])
        normalised: Tensor = self.norm(hidden)
        return normalised

    def logits(self, hidden_states: Tensor) -> Tensor:
        """(…, D) → (…, vocab_size)."""
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return F.linear(hidden_states, weight)

    def new_cache(self, capacity: int, *, batch: int = 1) -> KVCache:
        """An empty cache for ``capacity`` tokens, of the model's dtype and on its device."""
        weight, config = self.token_embedding.weight, self.config
        return KVCache(
            config.n_layers,
            config.n_kv_heads,
            config.head_dim,
            capacity,
            batch=batch,
            dtype=weight.dtype,
            device=weight.device,
        )


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``; GPT-1: ``norm(x + attention(x))`` and so on."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention_norm = _norm(config)
        self.attention = CausalAttention(config, layer)
        self.feed_forward_norm = _norm(config)
        self.feed_forward = SwiGLU(config) if config.feed_forward == "swiglu" else FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, table: tuple[Tensor, Tensor] | None, cache: KVCache | None, mask: Tensor | None
    ) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        if not self.norm_first:
            hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, table, cache, mask)))
            normalised: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
            return normalised
        attended: Tensor = hidden + self.dropout(self.attention(self.attention_norm(hidden), table, cache, mask))
        output: Tensor = attended + self.dropout(self.feed_forward(self.feed_forward_norm(attended)))
        return output


class CausalAttention(nn.Module):
    """softmax(QKᵀ/√head_dim)V over this token and those before it; one matrix makes queries, keys and values."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.dropout = config.dropout
        rows = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, rows, bias=config.bias != "none")
        self.output = nn.Linear(config.n_heads * config.head_dim, config.hidden_size, bias=config.bias == "all")

    def forward(
        self, hidden: Tensor, table: tuple[Tensor, Tensor] | None, cache: KVCache | None, mask: Tensor | None
    ) -> Tensor:
        """(B, T, D) → (B, T, D); ``table`` turns queries and keys, ``mask`` (B, 1, T, S) is True where one may look."""
        batch, length, _ = hidden.shape
        qkv: Tensor = self.qkv(hidden)
        heads = qkv.view(batch, length, -1, self.head_dim).transpose(1, 2)  # (B, n_heads + 2 n_kv_heads, T, head_dim)
        rotated, values = heads[:, : -self.n_kv_heads], heads[:, -self.n_kv_heads :]
        if table is not None:
            rotated = rotate(rotated, table)
        queries, keys = rotated[:, : self.n_heads], rotated[:, self.n_heads :]
        if cache is not None:
            keys, values = cache.write(self.layer, keys, values)  # (B, n_kv_heads, S, head_dim)
        mixed = self._attend(queries, keys, values, mask)  # (B, n_heads, T, head_dim)
        output: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, length, -1))
        return output

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        batch, _, length, _ = queries.shape
        total = keys.shape[2]
        if length == 1 and mask is None:
            # One new token sees everything, so the heads of a group can stand where tokens do: no copy of the cache.
            grouped = queries.reshape(batch, self.n_kv_heads, -1, self.head_dim)
            return F.scaled_dot_product_attention(grouped, keys, values).view(batch, self.n_heads, 1, self.head_dim)
        if mask is None and total > length:
            mask = torch.ones(length, total, dtype=torch.bool, device=queries.device).tril(total - length)
        return F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.n_heads != self.n_kv_heads,
        )


class FeedForward(nn.Module):
    """GELU(x W₁) W₂, with the tanh approximation of GELU (Hendrycks & Gimpel 2016, section 2)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.bias == "all")
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.bias == "all")

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        output: Tensor = self.down(F.gelu(self.up(hidden), approximate="tanh"))
        return output


class SwiGLU(nn.Module):
    """(SiLU(x W) ⊙ x V) W₂; one matrix makes both factors."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=config.bias == "all")
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.bias == "all")

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        gate, up = self.gate_up(hidden).chunk(2, dim=-1)
        output: Tensor = self.down(F.silu(gate) * up)
        return output


def _norm(config: GPTConfig) -> nn.Module:
    kind: Callable[..., nn.Module] = nn.LayerNorm if config.norm == "layernorm" else nn.RMSNorm
    return kind(config.hidden_size, eps=config.norm_eps)


def _own_causal_mask(numbers: Tensor, past: int) -> Tensor:
    """(B, S) → (B, 1, S - past, S) bool: look back, at tokens of the same number.

    Padding looks at padding: a row that sees nothing would be NaN.
    """
    total = numbers.shape[1]
    causal = torch.ones(total - past, total, dtype=torch.bool, device=numbers.device).tril(past)
    return (causal & (numbers[:, past:, None] == numbers[:, None, :]))[:, None]
