"""Stores in Qdrant: three collections a store, dense vectors and sparse ones of our terms.

Qdrant has no transactions: a reader may see a document between two of its versions, and a client that is killed leaves
one so, to be made whole by adding it again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qdrant_client import QdrantClient, models

from langbert.errors import LangbertError, StoreError
from langbert.records import EmbedderLike
from langbert.store.outside import FIRST_META, ChunkerLike, OutsideDatabase, OutsideStore

from ._qdrant_state import QdrantReading, QdrantWriting

__all__ = ["open_store"]

_NAME = "langbert"
_INDEXED = {"": ("document_id", "tokens"), "-documents": (), "-records": ("kind",)}


def open_store(
    url: str,
    *,
    embedder: EmbedderLike | None = None,
    chunker: ChunkerLike | None = None,
    late_chunking: bool | None = None,
    create: bool = True,
    read_only: bool = False,
) -> OutsideStore:
    """The store under a name of a Qdrant server, made where there is none.

    Args:
        url: ``qdrant://HOST:PORT/NAME``, with ``?https=1`` for TLS; ``qdrant:///FOLDER`` is the client's local mode, of
            one process. An API key comes from the environment, ``QDRANT_API_KEY``.
        embedder, chunker, late_chunking, create, read_only: as for :meth:`langbert.Store.open`.

    Raises:
        StoreError: the server cannot be reached, or there is no store.
        StoreMismatch: the store's vectors were made in another embedding space.
    """
    database = QdrantDatabase(url, create=create and not read_only, read_only=read_only)
    return OutsideStore(database, embedder=embedder, chunker=chunker, late_chunking=late_chunking)


class QdrantDatabase(OutsideDatabase):
    def __init__(self, url: str, *, create: bool, read_only: bool) -> None:
        parts = urlsplit(url)
        self.name = f"qdrant://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.read_only = read_only
        self.local = not parts.hostname
        self.prefix = _NAME if self.local else parts.path.strip("/") or _NAME
        self._lock = threading.RLock()  # local mode is for one thread, and one client writes at a time
        with self._errors():
            if self.local:
                self.client = QdrantClient(path=parts.path)
            else:
                scheme = "https" if parse_qs(parts.query).get("https") else "http"
                place = f"{scheme}://{parts.hostname}:{parts.port or 6333}"
                self.client = QdrantClient(url=place, api_key=os.environ.get("QDRANT_API_KEY"))
            if not self.client.collection_exists(f"{self.prefix}-records"):
                if not create:
                    self.close()
                    raise StoreError(f"there is no store in {self.name}: make one with `langbert index`")
                self.make("-documents")
                self.make("-records")
                state = QdrantWriting(self)
                for key, value in FIRST_META.items():
                    state.set_meta(key, value)

    def make(self, part: str, **vectors: Any) -> None:
        """A collection."""
        self.client.create_collection(self.prefix + part, **({"vectors_config": {}} | vectors))
        for field in () if self.local else _INDEXED[part]:
            self.client.create_payload_index(self.prefix + part, field, models.PayloadSchemaType.KEYWORD)

    def close(self) -> None:
        self.client.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[QdrantReading]:
        with self._errors(), self._lock if self.local else contextlib.nullcontext():
            yield QdrantReading(self)

    @contextlib.contextmanager
    def writing(self) -> Iterator[QdrantWriting]:
        if self.read_only:
            raise StoreError(f"{self.name} was opened with read_only=True: open it without to change it")
        with self._errors(), self._lock:
            yield QdrantWriting(self)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (LangbertError, ValueError, TypeError, KeyError):
            raise
        except Exception as error:  # of the client, of its transport
            raise StoreError(f"{self.name}: {str(error).splitlines()[0] if str(error) else error!r}") from error
