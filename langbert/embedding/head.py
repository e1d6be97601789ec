"""Hidden states → vectors of texts: pooling, the layers after it, the first dimensions, length 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.layers.pooling import AttentionPooling, Pooling, cumulative, pool
from .long_texts import ONE_TOKEN


@dataclass(frozen=True, slots=True)
class SentenceHead:
    """What an embedder does with the states of its encoder.

    Attributes:
        pooler: the trained layer over the first token; for ``POOLER`` only.
        attention: what says how much each token counts; for ``ATTENTION`` only.
        dense: layers on the pooled vector.
        dimensions: how many of a vector's first numbers are kept; None keeps all.
        normalize: whether vectors get length 1.
    """

    pooling: Pooling
    pooler: nn.Module | None
    attention: AttentionPooling | None
    dense: nn.Sequential
    dimensions: int | None
    normalize: bool

    def __call__(self, states: Tensor, lengths: Sequence[int], skip: int = 0) -> NDArray[np.float32]:
        """Packed ``(total, H)`` states of texts with so many tokens each → ``(n, dimension)``.

        Args:
            skip: tokens at the start of each text that take no part in pooling.
        """
        cu_seqlens = cumulative(lengths, states.device)
        if self.pooling in ONE_TOKEN:  # the states are those tokens
            vectors = pool(states, cu_seqlens, Pooling.MEAN)
        elif self.pooling is Pooling.ATTENTION and self.attention is not None:
            vectors = self.attention(states.float(), cu_seqlens, skip=skip)
        else:
            vectors = pool(states, cu_seqlens, self.pooling, skip=skip)
        if self.pooling is Pooling.POOLER and self.pooler is not None:
            vectors = self.pooler(vectors)
        vectors = self.dense(vectors)[:, : self.dimensions]
        found: Tensor = nn.functional.normalize(vectors) if self.normalize else vectors
        return found.cpu().numpy()

    def weights(self) -> Mapping[str, Tensor]:
        """The tensors that the vectors depend on beside the encoder's."""
        parts: dict[str, nn.Module | None] = {"dense": self.dense}
        if self.pooling is Pooling.POOLER:
            parts["pooler"] = self.pooler
        if self.pooling is Pooling.ATTENTION:
            parts["attention"] = self.attention
        modules = {part: module for part, module in parts.items() if module is not None}
        return {
            f"{part}.{name}": tensor for part, module in modules.items() for name, tensor in module.state_dict().items()
        }
