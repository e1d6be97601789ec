"""The steps of a decoder prepared for a CPU: one token, or a few to be checked, behind a prompt it has read.

A step is thirty layers of small products; what counts beside reading the weights is how many calls there are. So keys
and values lie in one array in float32, queries, keys and values are turned by one complex product, the scale of
attention is part of it, and the heads of a group stand where tokens do, which spares the copies of grouped attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers.kv_cache import KVCache
from ..layers.rotary import rotary_table
from .inference import PreparedGPT

__all__ = ["Stepper"]


class Stepper:
    """One sequence behind its prompt.

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
        self.length, self._n_kv = prompt.length, config.n_kv_heads
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
        """Append T tokens; the normalised output of each of them, (T, D) bfloat16.

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
        return model.norm(hidden)
