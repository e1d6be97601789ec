"""A decoder prepared for answering on a CPU: it reads prompts in floating point, then steps with weights of few bits.

The two ask for different things. A prompt is many rows: the arithmetic counts, so weights are laid out in the blocks
that oneDNN multiplies, in bfloat16 where the processor does, and activations are fused into the products. A step is one
row: reading the weights is what takes the time, so they are kept a second time in 4 or 8 bits
(:mod:`langbert.models.layers.low_bit_linear`).

A step is thirty layers of small products; what counts beside reading the weights is how many calls there are. So keys
and values lie in one array in float32, queries, keys and values are turned by one complex product, the scale of
attention is part of it, and the heads of a group stand where tokens do, which spares the copies of grouped attention.

Shapes: T new tokens, S tokens in all, D = hidden_size. There is no batch: answers are written one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..hardware import multiplies_bfloat16
from ..layers.kv_cache import KVCache
from ..layers.low_bit_linear import Grid, LowBitHead, LowBitLinear, find_grid, low_bit_linear, low_bits_work
from ..layers.projection import Projection
from ..layers.rotary import rotary_table, rotate
from .network import GPT, Block, FeedForward, SwiGLU

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
        model: on the CPU, in what prompts are to be read in; see :func:`can_prepare`. Its blocks are taken out one by
            one, and are gone afterwards: so weights that are mapped files need not be in memory twice.
        grids: for linear layers by module name (``"blocks.0.attention.qkv"``), the grid its weight lies on.

    Raises:
        ValueError: this network, or this processor, cannot be prepared for.
    """

    @torch.inference_mode()
    def __init__(self, model: GPT, grids: Mapping[str, Grid] | None = None) -> None:
        if not can_prepare(model):
            raise ValueError(
                "only networks with norms before their branches can be prepared, on CPUs, in bfloat16 or float32"
            )
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
        return KVCache(config.n_layers, config.n_kv_heads, config.head_dim, capacity, dtype=self.embedding.dtype)

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


class Stepper:
    """One sequence behind its prompt, a token at a time, or a few to be checked.

    Shapes: T new tokens, S in all, G query heads to one of keys, D = hidden_size.

    Args:
        model: the network.
        prompt: what it has read; copied, and not needed any more.
        capacity: the most tokens, prompt included.
    """

    @torch.inference_mode()
    def __init__(self, model: PreparedGPT, prompt: KVCache, capacity: int) -> None:
        config = model.config
        self._model = model
        self.length = prompt.length
        pairs = (config.n_layers, config.n_kv_heads, prompt.length, 2, config.head_dim // 2)
        # keys, then values, of each layer: (n_layers, 2 n_kv_heads, capacity, head_dim)
        self._kept = torch.empty(config.n_layers, 2 * config.n_kv_heads, capacity, config.head_dim)
        keys, values = self._kept[:, :, : prompt.length].chunk(2, dim=1)
        keys.view(*pairs[:3], pairs[4], pairs[3]).copy_(
            prompt.keys[:, 0, :, : prompt.length].view(pairs).transpose(-1, -2)
        )
        values.copy_(prompt.values[:, 0, :, : prompt.length])
        self._turns = torch.ones(capacity, config.head_dim // 2, dtype=torch.complex64)
        if config.rotary is not None:
            table = rotary_table(torch.arange(capacity), config.head_dim, config.rotary, torch.float32)
            self._turns = torch.complex(*table)

    @property
    def capacity(self) -> int:
        return self._kept.shape[2]

    def truncate(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} tokens")
        self.length = length

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        """Append T tokens; the normalised output of each of them, (T, D).

        Raises:
            ValueError: there is no room for them.
        """
        model, config = self._model, self._model.config
        length, start, end = len(token_ids), self.length, self.length + len(token_ids)
        if end > self.capacity:
            raise ValueError(f"the KV cache holds {self.capacity} tokens, {end} are needed: make a larger one")
        n_kv, n_heads, head_dim = config.n_kv_heads, config.n_heads, config.head_dim
        group = n_heads // n_kv
        hidden = F.embedding(torch.tensor(token_ids), model.embedding)  # (T, D)
        if model.position_embedding is not None:
            hidden = hidden + model.position_embedding[start:end]
        hidden = hidden.bfloat16()

        turns = self._turns[start:end, None]  # what queries, keys and values are multiplied with
        turn = torch.cat(
            (
                (turns * head_dim**-0.5).expand(-1, n_heads, -1),
                turns.expand(-1, n_kv, -1),
                torch.ones(length, n_kv, head_dim // 2, dtype=turns.dtype),
            ),
            dim=1,
        )  # (T, heads, head_dim / 2)
        projected = torch.empty(length, (n_heads + 2 * n_kv) * head_dim)
        plain = torch.view_as_complex(projected.view(*turn.shape, 2))
        turned = torch.empty_like(turn)
        heads = torch.view_as_real(turned).view(length, -1, head_dim)  # (T, heads, head_dim)
        grouped = heads[:, :n_heads].view(length, n_kv, group, head_dim).transpose(0, 1)  # (n_kv, T, G, head_dim)
        queries = grouped.reshape(n_kv, length * group, head_dim)  # for one token a view, for more a copy
        copied = queries.view(n_kv, length, group, head_dim) if length > 1 else None
        new = heads[:, n_heads:].transpose(0, 1)  # (2 n_kv, T, head_dim)

        slots = self._kept[:, :, start:end].unbind(0)
        keys = self._kept[:, :n_kv, :end].transpose(2, 3).unbind(0)  # (n_kv, head_dim, S) each
        values = self._kept[:, n_kv:, :end].unbind(0)
        scores = torch.empty(n_kv, length * group, end)
        ahead = None
        if length > 1:  # no token looks at those behind it
            ahead = torch.full((length, length), -torch.inf).triu(1).repeat_interleave(group, dim=0)
        newest = scores[:, :, start:]
        mixed = torch.empty(n_kv, length * group, head_dim)
        mixed_heads = mixed.view(n_kv, length, group, head_dim)
        attended = torch.empty(length, n_heads * head_dim, dtype=hidden.dtype)
        attended_heads = attended.view(length, n_kv, group, head_dim).transpose(0, 1)

        for layer, slot, layer_keys, layer_values in zip(model.layers, slots, keys, values, strict=True):
            projected.copy_(layer.step_qkv(layer.step_attention_norm(hidden)))
            torch.mul(plain, turn, out=turned)
            slot.copy_(new)
            if copied is not None:
                copied.copy_(grouped)
            torch.bmm(queries, layer_keys, out=scores)
            if ahead is not None:
                newest.add_(ahead)
            torch.softmax(scores, dim=-1, out=scores)
            torch.bmm(scores, layer_values, out=mixed)
            attended_heads.copy_(mixed_heads)
            hidden = hidden.add_(layer.step_output(attended))
            inner = layer.step_up(layer.step_feed_forward_norm(hidden))
            if layer.gate is None:
                inner = F.gelu(inner, approximate="tanh")
            else:
                gate, up = inner.chunk(2, dim=-1)
                inner = F.silu(gate).mul_(up)
            hidden = hidden.add_(layer.step_down(inner))
        self.length = end
        return model.norm(hidden.to(model.embedding.dtype))


def grids_of(model: GPT) -> dict[str, Grid]:
    """The linear layers of ``model`` that lie on grids of 16 levels, by module name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and (grid := find_grid(module.weight)) is not None:
            found[name] = grid
    return found


def can_prepare(model: GPT) -> bool:
    """Whether :class:`PreparedGPT` takes this network: on a CPU that computes in its dtype, norms before branches."""
    weight = model.token_embedding.weight
    computes = weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and multiplies_bfloat16())
    return computes and weight.device.type == "cpu" and model.config.norm_first and low_bits_work()


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


def _norm(module: nn.Module, dtype: torch.dtype | None = None) -> Norm:
    """The norm with a copy of its own of the weights, so that those of the checkpoint can be let go of."""
    if isinstance(module, nn.RMSNorm):
        weight, eps = module.weight.detach().to(dtype, copy=True), module.eps
        return lambda x: F.rms_norm(x, weight.shape, weight, eps)
    if isinstance(module, nn.LayerNorm):
        scale, shift = (tensor.detach().to(dtype, copy=True) for tensor in (module.weight, module.bias))
        eps = module.eps
        return lambda x: F.layer_norm(x, scale.shape, scale, shift, eps)
    raise ValueError(f"{type(module).__name__} is not a norm that can be prepared")


def _step_norm(module: nn.Module) -> Norm:
    """The same for a few rows. Of x and -x together the mean is 0 and the variance the mean square: so LayerNorm, one
    fast kernel, does for RMSNorm, which torch puts together from many small ones."""
    if not isinstance(module, nn.RMSNorm):
        return _norm(module, torch.bfloat16)
    weight, eps = module.weight.detach().bfloat16(), module.eps or 0.0
    doubled, width = torch.cat((weight, torch.zeros_like(weight))), len(weight)

    def norm(x: Tensor) -> Tensor:
        normalised = torch.layer_norm(torch.cat((x, -x), dim=1), doubled.shape, doubled, None, eps)
        return normalised.narrow(1, 0, width).contiguous()

    return norm
