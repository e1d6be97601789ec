"""Stores in Milvus: two collections a store, dense vectors beside our terms, weighted by Milvus's own BM25.

Milvus has no transactions: a reader may see a document between two of its versions, and a client that is killed leaves
one so, to be made whole by adding it again.
"""

from __future__ import annotations

import os
from typing import Any

from pymilvus import DataType, Function, FunctionType, MilvusClient

from langbert.store.outside import FIRST_META

from ._client import ClientDatabase
from ._milvus_state import MOST_BYTES, MilvusReading, MilvusWriting

_MOST_TOKENS = 4096  # that an array of Milvus holds


class MilvusDatabase(ClientDatabase):
    """The collections of one store.

    Args:
        url: ``milvus://HOST:PORT/NAME``, with ``?https=1`` for TLS; ``milvus:///FOLDER`` is Milvus Lite, of one
            process. A token comes from the environment, ``MILVUS_TOKEN``.
    """

    scheme = "milvus"
    states = (MilvusReading, MilvusWriting)

    def __init__(self, url: str, *, create: bool, read_only: bool) -> None:
        super().__init__(url, read_only=read_only)
        self.chunks, self.records = self.collection, f"{self.collection}_records"
        with self._errors():
            place = self._parts.path if self.local else self._address(19530)
            if self.local and not create and not os.path.exists(place):
                raise self._missing()
            self.client = MilvusClient(uri=place, token=os.environ.get("MILVUS_TOKEN", ""))
            if not self.client.has_collection(self.records):
                if not create:
                    self.close()
                    raise self._missing()
                self._make_records()
                state = MilvusWriting(self)
                for key, value in FIRST_META.items():
                    state.set_meta(key, value)
            for collection in filter(self.client.has_collection, (self.chunks, self.records)):
                self.client.load_collection(collection)

    def _make_records(self) -> None:
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("kind", DataType.VARCHAR, max_length=1024)
        for name in ("key", "value"):
            schema.add_field(name, DataType.VARCHAR, max_length=MOST_BYTES)
        schema.add_field("part", DataType.INT64)  # of a value that is too long for one
        schema.add_field("none", DataType.FLOAT_VECTOR, dim=2)  # without one there is no collection
        index = self.client.prepare_index_params()
        index.add_index("none", index_type="FLAT", metric_type="L2")
        self._create(self.records, schema, index)

    def make_chunks(self, dimension: int | None) -> None:
        """The collection of chunks, anew; with vectors, if they have a dimension."""
        self.client.drop_collection(self.chunks)
        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("document", DataType.INT64)
        schema.add_field("columns", DataType.VARCHAR, max_length=MOST_BYTES)  # JSON
        schema.add_field(
            "tokens", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=_MOST_TOKENS, max_length=16
        )
        schema.add_field("numbers", DataType.JSON)
        schema.add_field(
            "terms",
            DataType.VARCHAR,
            max_length=MOST_BYTES,
            enable_analyzer=True,
            analyzer_params={"tokenizer": "standard"},
        )
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        names = {"input_field_names": ["terms"], "output_field_names": ["words"]}
        schema.add_function(Function(name="bm25", function_type=FunctionType.BM25, **names))
        index = self.client.prepare_index_params()
        weights = {"bm25_k1": 1.2, "bm25_b": 0.75}
        index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=weights)
        if dimension is not None:
            schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dimension)
            index.add_index("embedding", index_type="AUTOINDEX", metric_type="COSINE")
        self._create(self.chunks, schema, index)

    def _create(self, name: str, schema: Any, index: Any) -> None:
        self.client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
