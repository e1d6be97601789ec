"""The keys and values of the tokens a decoder has already read, allocated once and filled from the left."""

from __future__ import annotations

import torch
from torch import Tensor


class KVCache:
    """Room for ``capacity`` tokens of ``batch`` sequences in every layer.

    Attributes:
        keys, values: (n_layers, B, n_kv_heads, capacity, head_dim).
        length: how many tokens are in it; all layers agree between two forward passes.
    """

    def __init__(
        self,
        n_layers: int,
        n_kv_heads: int,
        head_dim: int,
        capacity: int,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (n_layers, batch, n_kv_heads, capacity, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    @property
    def n_bytes(self) -> int:
        """Memory of keys and values, empty places included."""
        return self.keys.nbytes + self.values.nbytes

    def head(self, length: int) -> KVCache:
        """A new cache with a copy of the first ``length`` tokens, and room for no more."""
        n_layers, batch, n_kv_heads, _, head_dim = self.keys.shape
        copy = KVCache(
            n_layers, n_kv_heads, head_dim, length, batch=batch, dtype=self.keys.dtype, device=self.keys.device
        )
        copy.copy_from(self, length)
        return copy

    def copy_from(self, other: KVCache, length: int) -> None:
        """Hold the first ``length`` tokens of ``other``, a cache of the same network, and nothing else.

        Raises:
            ValueError: there are not so many, or there is no room for them.
        """
        if not 0 <= length <= min(other.length, self.capacity):
            raise ValueError(f"cannot copy {length} of {other.length} tokens into a cache for {self.capacity}")
        self.keys[:, :, :, :length] = other.keys[:, :, :, :length]
        self.values[:, :, :, :length] = other.values[:, :, :, :length]
        self.length = length

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values (B, n_kv_heads, T, head_dim) behind the old ones of ``layer``.

        Returns:
            All of that layer's keys and values so far, (B, n_kv_heads, length + T, head_dim), without a copy.

        Raises:
            ValueError: there is no room for T more tokens.
        """
        end = self.length + keys.shape[2]
        if end > self.capacity:
            raise ValueError(f"the KV cache holds {self.capacity} tokens, {end} are needed: make a larger one")
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, n_tokens: int) -> None:
        """Count ``n_tokens`` as read, once every layer has written them."""
        self.length += n_tokens

    def truncate(self, length: int) -> None:
        """Forget all but the first ``length`` tokens: what two prompts have in common is read only once."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot keep {length} of {self.length} tokens")
        self.length = length
