"""``open_store``: a folder or the URL of an engine outside → a store."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import MissingExtra, StoreError
from ..records import EmbedderLike
from .base import BaseStore
from .checks import shards_in
from .ingest import ChunkerLike
from .store import Store

_POSTGRES = ("langbert_scale.postgres", "PostgresDatabase", "psycopg", "pgvector")
_ENGINES = {  # scheme → module, its database, what it needs, the extra that brings it
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "qdrant": ("langbert_scale.qdrant", "QdrantDatabase", "qdrant-client", "qdrant"),
    "milvus": ("langbert_scale.milvus", "MilvusDatabase", "pymilvus", "milvus"),
}


def is_url(place: str | Path) -> bool:
    """Whether ``place`` names an engine outside, not a folder."""
    return isinstance(place, str) and "://" in place


def open_store(
    place: str | Path,
    *,
    embedder: EmbedderLike | None = None,
    chunker: ChunkerLike | None = None,
    late_chunking: bool | None = None,
    create: bool = True,
    read_only: bool = False,
    shards: int | None = None,
    **options: Any,
) -> BaseStore:
    """The store at ``place``, a folder or ``postgresql://…``, ``qdrant://…``, ``milvus://…``: made where there is none.

    Args:
        embedder, chunker, late_chunking, create, read_only: as for :meth:`Store.open`.
        shards: makes a folder of so many stores that are searched as one (:class:`.sharded.ShardedStore`); what is
            there says itself whether it is one.
        options: what else the kind of store takes: see :meth:`Store.open` and the databases of :mod:`langbert_scale`.

    Raises:
        StoreError: it cannot be opened; see :meth:`Store.open`.
        StoreMismatch: its vectors were made in another embedding space.
        MissingExtra: what talks to the engine is not installed.
    """
    given: dict[str, Any] = {"embedder": embedder, "chunker": chunker, "late_chunking": late_chunking}
    if not is_url(place):
        if shards is not None or shards_in(Path(place)) is not None:
            from .sharded import ShardedStore

            return ShardedStore.open(place, shards, **given, create=create, read_only=read_only, **options)
        return Store.open(place, **given, create=create, read_only=read_only, **options)
    from .outside import OutsideStore

    scheme = str(place).partition("://")[0]
    if shards is not None:
        raise StoreError(f"shards={shards!r} is for folders; {scheme}:// has shards or partitions of its own")
    if scheme not in _ENGINES:
        raise StoreError(f"{scheme}:// is no kind of store; there are {', '.join(_ENGINES)}, and folders")
    module, name, package, extra = _ENGINES[scheme]
    try:
        connect = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("langbert"):
            raise
        raise MissingExtra(package, extra, f"a store at {scheme}://") from error
    database = connect(str(place), create=create and not read_only, read_only=read_only, **options)
    return OutsideStore(database, **given)
