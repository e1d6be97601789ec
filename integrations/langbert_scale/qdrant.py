"""Stores in Qdrant: three collections a store, dense vectors and sparse ones of our terms.

Qdrant has no transactions: a reader may see a document between two of its versions, and a client that is killed leaves
one so, to be made whole by adding it again.
"""

from __future__ import annotations

import os
from typing import Any

from qdrant_client import QdrantClient, models

from langbert.store.outside import FIRST_META

from ._client import ClientDatabase
from ._qdrant_state import QdrantReading, QdrantWriting

_INDEXED = {"": ("document_id", "tokens"), "-documents": (), "-records": ("kind",)}


class QdrantDatabase(ClientDatabase):
    """The collections of one store.

    Args:
        url: ``qdrant://HOST:PORT/NAME``, with ``?https=1`` for TLS; ``qdrant:///FOLDER`` is the client's local mode, of
            one process. An API key comes from the environment, ``QDRANT_API_KEY``.
    """

    scheme = "qdrant"
    states = (QdrantReading, QdrantWriting)
    client: QdrantClient

    def __init__(self, url: str, *, create: bool, read_only: bool) -> None:
        super().__init__(url, read_only=read_only)
        with self._errors():
            if self.local:
                self.client = QdrantClient(path=self._parts.path)
            else:
                self.client = QdrantClient(url=self._address(6333), api_key=os.environ.get("QDRANT_API_KEY"))
            if not self.client.collection_exists(f"{self.collection}-records"):
                if not create:
                    self.close()
                    raise self._missing()
                self.make("-documents")
                self.make("-records")
                state = QdrantWriting(self)
                for key, value in FIRST_META.items():
                    state.set_meta(key, value)

    def make(self, part: str, **vectors: Any) -> None:
        """A collection."""
        self.client.create_collection(self.collection + part, **({"vectors_config": {}} | vectors))
        for field in () if self.local else _INDEXED[part]:
            self.client.create_payload_index(self.collection + part, field, models.PayloadSchemaType.KEYWORD)
