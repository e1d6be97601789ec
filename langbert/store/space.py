"""Only vectors of one embedding space come together: who may add to a store, and who may ask it."""

from __future__ import annotations

from typing import cast

from ..errors import StoreError, StoreMismatch
from ..records import EmbedderLike, EmbeddingSpace, SpanEmbedderLike
from .engine import Reading, Writing


class SpaceCheck:
    """Compares what an embedder makes with what is stored.

    Args:
        name: of the store, for messages.
        late_chunking: whether chunks get their vectors from a reading of their whole document; None as the store was
            made.
        snapshot: what is stored.

    Attributes:
        span_embedder: the embedder, if it does that.

    Raises:
        StoreError: the embedder cannot do late chunking.
        StoreMismatch: what is stored was made in another embedding space.
    """

    def __init__(self, name: str, embedder: EmbedderLike | None, late_chunking: bool | None, snapshot: Reading) -> None:
        if late_chunking is None:
            late_chunking = snapshot.space is not None and snapshot.space.late_chunking > 0
        self._name = name
        self._embedder = embedder
        self.span_embedder = _span_embedder(embedder) if late_chunking and embedder is not None else None
        self._fits: str | None = None  # the stored embedding space that the embedder is known to fit
        self.check(snapshot)

    @property
    def mine(self) -> EmbeddingSpace | None:
        """What the vectors made here can be compared with; None without an embedder."""
        if self.span_embedder is not None:
            return self.span_embedder.span_space
        return None if self._embedder is None else self._embedder.space

    def check(self, snapshot: Reading, dimension: int | None = None) -> None:
        """Whether the embedder, and a vector of ``dimension``, belong to what is stored.

        Raises:
            StoreMismatch: they do not; the message names the differences.
        """
        stored = snapshot.dimension
        if dimension is not None and stored is None and snapshot.n_chunks:
            raise StoreMismatch(
                f"{self._name} was filled without an embedder and holds words only: search with mode='lexical', "
                "or add everything again to a new store with an embedder"
            )
        if dimension is not None and stored is not None and stored != dimension:
            raise StoreMismatch(f"the vectors of {self._name} have {stored} dimensions, this one has {dimension}")
        mine = self.mine
        text = snapshot.meta("space")  # looked at each time: another process may have migrated the store
        if mine is None or stored is None or (text is not None and text == self._fits):
            return
        theirs = snapshot.space
        differences = [f"dimension: {stored} != {mine.dimension}"] if stored != mine.dimension else []
        if theirs is not None:
            differences = theirs.differences(mine)
        if differences:
            made = f" by {theirs.model!r}" if theirs else ""
            raise StoreMismatch(
                f"the vectors of {self._name} were made{made} in another embedding space (stored != given): "
                f"{'; '.join(differences)}. Open it with the embedder it was made with, or index into a new folder"
            )
        self._fits = text

    def claim(self, transaction: Writing, dimension: int) -> None:
        """The first vectors decide what all later ones must be.

        Raises:
            StoreMismatch: others came first, and these do not belong to them.
        """
        self.check(transaction, dimension)
        if transaction.dimension is None or transaction.space is None:
            transaction.set_space(dimension, transaction.space or self.mine)


def _span_embedder(embedder: EmbedderLike) -> SpanEmbedderLike:
    """The embedder, if it can give the chunks of a document their vectors in context.

    Raises:
        StoreError: it cannot.
    """
    if not hasattr(embedder, "embed_spans"):
        raise StoreError(
            f"late chunking needs an embedder with embed_spans, such as langbert.Embedder; {type(embedder).__name__} "
            "has none: open the store without late_chunking"
        )
    able = cast(SpanEmbedderLike, embedder)
    try:
        _ = able.span_space
    except ValueError as error:  # its pooling has no such vectors
        raise StoreError(str(error)) from error
    return able
