"""A decoder prepared for answering on a CPU: it reads prompts in bfloat16 and then steps with weights of few bits.

The two ask for different things. A prompt is many rows: the arithmetic counts, so weights are laid out in the blocks
that oneDNN multiplies in bfloat16, and activations are fused into the products. A step is one row: reading the weights
is what takes the time, so they are kept a second time in 4 or 8 bits (:mod:`langbert.models.layers.low_bit_linear`).

Shapes: T new tokens, S tokens in all, D = hidden_size. There is no batch: answers are written one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..hardware import multiplies_bfloat16
from ..layers.kv_cache import KVCache
from ..layers.low_bit_linear import Grid, LowBitHead, LowBitLinear, low_bit_linear, low_bits_work
from ..layers.projection import Projection
from ..layers.rotary import rotary_table, rotate
from .network import GPT, Block, FeedForward, SwiGLU

__all__ = ["PreparedGPT", "PreparedLayer", "can_prepare"]

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class PreparedLayer:
    """One block: its projections for many rows, and, in 4 or 8 bits, for a few.

    Attributes:
        query, key_value, gate, up: parts of the network's joint matrices; apart they are multiplied much faster, and
            the activation, or the product with the gate, costs nothing. ``gate`` is None without SwiGLU.
        step_qkv: its queries and keys have the two of each pair that turns together side by side.
    """

    attention_norm: Norm
    query: Projection
    key_value: Projection
    output: Projection
    feed_forward_norm: Norm
    gate: Projection | None
    up: Projection
    down: Projection
    step_attention_norm: Norm
    step_qkv: LowBitLinear
    step_output: LowBitLinear
    step_feed_forward_norm: Norm
    step_up: LowBitLinear
    step_down: LowBitLinear


class PreparedGPT:
    """:class:`~langbert.models.gpt.network.GPT` for inference.

    Args:
        model: bfloat16, on the CPU; see :func:`can_prepare`. Its blocks are taken out one by one, and are gone
            afterwards: so weights that are mapped files need not be in memory twice.
        grids: for linear layers by module name (``"blocks.0.attention.qkv"``), the grid its weight lies on.

    Raises:
        ValueError: this network, or this processor, cannot be prepared for.
    """

    @torch.inference_mode()
    def __init__(self, model: GPT, grids: Mapping[str, Grid] | None = None) -> None:
        if not can_prepare(model):
            raise ValueError("only networks with norms before their branches can be prepared, in bfloat16 on CPUs")
        self.config = model.config
        self.embedding = model.token_embedding.weight.detach()
        self.position_embedding = None if model.position_embedding is None else model.position_embedding.weight.detach()
        self.norm = _norm(model.norm)
        self.logits = LowBitHead(self.embedding if model.head is None else model.head.weight)
        self.layers: list[PreparedLayer] = []
        for i in range(self.config.n_layers):
            block, model.blocks[i] = model.blocks[i], nn.Identity()
            if isinstance(block, Block):
                self.layers.append(_prepared(block, f"blocks.{i}", grids or {}))

    @property
    def step_bytes(self) -> int:
        """What is read of memory for a single token, without its keys and values."""
        layers = [(each.step_qkv, each.step_output, each.step_up, each.step_down) for each in self.layers]
        return self.logits.n_bytes + sum(part.n_bytes for layer in layers for part in layer)

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache for ``capacity`` tokens."""
        config = self.config
        return KVCache(config.n_layers, config.n_kv_heads, config.head_dim, capacity, dtype=torch.bfloat16)

    @torch.inference_mode()
    def read(self, token_ids: Tensor, cache: KVCache) -> Tensor:
        """Append ``token_ids`` (T,) int64 to the cache; the last one's normalised output, (1, D).

        Raises:
            ValueError: the cache is too small.
        """
        past, length = cache.length, len(token_ids)
        positions = torch.arange(past, past + length)
        hidden = F.embedding(token_ids, self.embedding)  # (T, D)
        table = None
        if self.config.rotary is not None:
            table = rotary_table(positions, self.config.head_dim, self.config.rotary, hidden.dtype)
        elif self.position_embedding is not None:
            hidden = hidden + self.position_embedding[positions]
        for i, layer in enumerate(self.layers):
            hidden = self._read_layer(i, layer, hidden, table, cache)
        cache.advance(length)
        return self.norm(hidden)

    def _read_layer(
        self, i: int, layer: PreparedLayer, hidden: Tensor, table: tuple[Tensor, Tensor] | None, cache: KVCache
    ) -> Tensor:
        """(T, D) → (T, D); of the last layer (1, D), since nobody looks at other tokens' output."""
        normalised = layer.attention_norm(hidden)
        keys, values = self._heads(layer.key_value(normalised)).chunk(2, dim=1)  # (1, n_kv_heads, T, head_dim)
        if table is not None:
            keys = rotate(keys, table)
        keys, values = cache.write(i, keys, values)
        if i + 1 == len(self.layers):
            hidden, normalised = hidden[-1:], normalised[-1:]
            table = table and (table[0][-1:], table[1][-1:])
        queries = self._heads(layer.query(normalised))  # (1, n_heads, T, head_dim)
        if table is not None:
            queries = rotate(queries, table)
        mixed = _attend(queries, keys, values).transpose(1, 2).reshape(len(hidden), -1)
        hidden = layer.output.added(mixed, hidden)
        normalised = layer.feed_forward_norm(hidden)
        if layer.gate is None:
            inner = layer.up.activated(normalised)
        else:
            inner = layer.up.multiplied(normalised, layer.gate.activated(normalised))
        return layer.down.added(inner, hidden)

    def _heads(self, projected: Tensor) -> Tensor:
        """(T, heads * head_dim) → (1, heads, T, head_dim), a view."""
        return projected.view(1, len(projected), -1, self.config.head_dim).transpose(1, 2)


def can_prepare(model: GPT) -> bool:
    """Whether :class:`PreparedGPT` takes this network: bfloat16, a CPU that multiplies it, norms before branches."""
    weight = model.token_embedding.weight
    fits = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and model.config.norm_first
    return fits and multiplies_bfloat16() and low_bits_work()


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The last T of S tokens look at themselves and those before: (1, n_heads, T, head_dim)."""
    length, total, group = queries.shape[2], keys.shape[2], queries.shape[1] // keys.shape[1]
    if length == 1:
        grouped = queries.view(1, keys.shape[1], group, -1)
        return F.scaled_dot_product_attention(grouped, keys, values).view(queries.shape)
    mask = None
    if total > length:
        mask = torch.ones(length, total, dtype=torch.bool).tril(total - length)
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=group > 1
    )


def _prepared(block: Block, name: str, grids: Mapping[str, Grid]) -> PreparedLayer:
    attention, feed_forward = block.attention, block.feed_forward
    split = attention.n_heads * attention.head_dim
    weight, bias = attention.qkv.weight, attention.qkv.bias
    step_up, step_bias, step_name = _joint_up(feed_forward)
    gate = None
    if isinstance(feed_forward, SwiGLU):
        gate_weight, up_weight = step_up.chunk(2)
        gate_bias, up_bias = (None, None) if step_bias is None else step_bias.chunk(2)
        gate = Projection(gate_weight, gate_bias, "silu")
        up = Projection(up_weight, up_bias, "silu")
    else:
        up = Projection(step_up, step_bias, "gelu_new")

    def few(part: str, weight: Tensor, bias: Tensor | None) -> LowBitLinear:
        return low_bit_linear(weight, bias, grids.get(f"{name}.{part}"))

    order = _pairs_together(attention.n_heads + attention.n_kv_heads, attention.n_kv_heads, attention.head_dim)
    grid = grids.get(f"{name}.attention.qkv")
    step_qkv = low_bit_linear(weight[order], None if bias is None else bias[order], grid and grid.rows(order))
    return PreparedLayer(
        attention_norm=_norm(block.attention_norm),
        query=Projection(weight[:split], None if bias is None else bias[:split]),
        key_value=Projection(weight[split:], None if bias is None else bias[split:]),
        output=Projection(attention.output.weight, attention.output.bias),
        feed_forward_norm=_norm(block.feed_forward_norm),
        gate=gate,
        up=up,
        down=Projection(feed_forward.down.weight, feed_forward.down.bias),
        step_attention_norm=_step_norm(block.attention_norm),
        step_qkv=step_qkv,
        step_output=few("attention.output", attention.output.weight, attention.output.bias),
        step_feed_forward_norm=_step_norm(block.feed_forward_norm),
        step_up=few(f"feed_forward.{step_name}", step_up, step_bias),
        step_down=few("feed_forward.down", feed_forward.down.weight, feed_forward.down.bias),
    )


def _joint_up(feed_forward: SwiGLU | FeedForward) -> tuple[Tensor, Tensor | None, str]:
    if isinstance(feed_forward, SwiGLU):
        return feed_forward.gate_up.weight, feed_forward.gate_up.bias, "gate_up"
    return feed_forward.up.weight, feed_forward.up.bias, "up"


def _pairs_together(n_turned: int, n_rest: int, head_dim: int) -> Tensor:
    """The order of rows that puts the two that turn together, half a head apart, side by side; values stay in order."""
    heads = torch.arange(n_turned * head_dim).view(n_turned, 2, head_dim // 2).transpose(1, 2).flatten()
    return torch.cat((heads, torch.arange(len(heads), len(heads) + n_rest * head_dim)))


def _norm(module: nn.Module) -> Norm:
    """The norm with a copy of its own of the weights, so that those of the checkpoint can be let go of."""
    if isinstance(module, nn.RMSNorm):
        weight, eps = module.weight.detach().clone(), module.eps
        return lambda x: F.rms_norm(x, weight.shape, weight, eps)
    if isinstance(module, nn.LayerNorm):
        scale, shift, eps = module.weight.detach().clone(), module.bias.detach().clone(), module.eps
        return lambda x: F.layer_norm(x, scale.shape, scale, shift, eps)
    raise ValueError(f"{type(module).__name__} is not a norm that can be prepared")


def _step_norm(module: nn.Module) -> Norm:
    """The same for a few rows. Of x and -x together the mean is 0 and the variance the mean square: so LayerNorm, one
    fast kernel, does for RMSNorm, which torch puts together from many small ones."""
    if not isinstance(module, nn.RMSNorm):
        return _norm(module)
    weight, eps = module.weight.detach(), module.eps or 0.0
    doubled, width = torch.cat((weight, torch.zeros_like(weight))), len(weight)

    def norm(x: Tensor) -> Tensor:
        normalised = torch.layer_norm(torch.cat((x, -x), dim=1), doubled.shape, doubled, None, eps)
        return normalised.narrow(1, 0, width).contiguous()

    return norm
