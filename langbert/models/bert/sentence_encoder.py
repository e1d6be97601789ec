"""One vector per text, in a form that can be trained: an encoder, a pooling, perhaps layers after it.

What :class:`langbert.embedding.embedder.Embedder` runs without padding, written out plainly.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..layers.pooling import AttentionPooling, Pooling, pack, pool

__all__ = ["SentenceEncoder"]


class SentenceEncoder(nn.Module):
    """Token ids in, vectors out, not yet normalised.

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
