"""Past one machine: stores in engines outside (PostgreSQL, Qdrant, Milvus), and indexing on a Ray cluster.

:func:`langbert.open_store` opens the stores by URL. Each is a :class:`langbert.store.outside.OutsideStore` over an
engine, and keeps what :class:`langbert.testing.StoreSuite` asks of a store, but for what its suite declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import Cluster, embed, index

__all__ = ["Cluster", "embed", "index"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import pipeline

    return getattr(pipeline, name)
