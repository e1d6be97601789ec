"""Who stores: langbert, and the local vector stores people use today, through their LangChain classes as they come.

Each is told the same: open a folder, add texts whose vectors an ``Embeddings`` looks up, search, delete, close. What
makes an addition last, where that takes a call of its own, is ``save``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from langchain_core.embeddings import Embeddings

from .corpus import DIMENSION, Block, Floats

BASE = "faiss"
"""The one that ratios are to."""


class KnownVectors(Embeddings):
    """Looks vectors up; ``seconds`` is what that has taken, and nobody's merit."""

    def __init__(self, vectors: Iterable[tuple[str, Floats]] = ()) -> None:
        self._vectors = dict(vectors)
        self.seconds = 0.0

    def know(self, texts: Iterable[str], vectors: Floats) -> None:
        self._vectors.update(zip(texts, vectors, strict=True))

    def forget(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._vectors.pop(text, None)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        start = time.perf_counter()
        found: list[list[float]] = np.stack([self.vector(text) for text in texts]).tolist()
        self.seconds += time.perf_counter() - start
        return found

    def embed_query(self, text: str) -> list[float]:
        found: list[float] = self.vector(text).tolist()
        return found

    def vector(self, text: str) -> Floats:
        """Some vector for a text nobody told of: peers try their embedding out on one."""
        return self._vectors.get(text, np.full(DIMENSION, DIMENSION**-0.5, dtype=np.float32))


class Opened(Protocol):
    """A store in a folder, made where there is none."""

    def add(self, block: Block) -> None: ...

    def save(self) -> None:
        """After this, what was added lasts, as far as it ever does."""

    def search(self, text: str, k: int, shelf: int | None = None) -> list[tuple[str, str]]:
        """``(id, text)`` of the nearest to the vector known for ``text``, best first."""

    def present(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that are there."""

    def count(self) -> int: ...

    def delete(self, ids: list[str]) -> None: ...

    def close(self) -> None: ...


class LangbertStore:
    """``langbert.Store``, given vectors as arrays."""

    precision: Any = None

    def __init__(self, folder: Path, known: KnownVectors) -> None:
        from langbert.store import Store

        self._known = known
        self.store = Store.open(folder, index_precision=self.precision)

    def add(self, block: Block) -> None:
        self.store.add_vectors(chunks_of(block), block.vectors)

    def save(self) -> None:
        pass  # what was added is there for good when the call returns

    def search(self, text: str, k: int, shelf: int | None = None) -> list[tuple[str, str]]:
        where = None if shelf is None else {"shelf": shelf}
        found = self.store.search_vector(self._known.vector(text), k, where=where)
        return [(candidate.chunk.id, candidate.chunk.text) for candidate in found]

    def present(self, ids: Sequence[str]) -> set[str]:
        return {item.id for item in self.store.get(ids)}

    def count(self) -> int:
        return len(self.store)

    def delete(self, ids: list[str]) -> None:
        self.store.delete(ids)

    def close(self) -> None:
        self.store.close()


class LangbertHalf(LangbertStore):
    precision = "float16"


class LangbertBytes(LangbertStore):
    precision = "int8"


class _LangChain:
    """What the LangChain classes have in common."""

    vectorstore: Any

    def add(self, block: Block) -> None:
        self.vectorstore.add_texts(block.texts, block.metadatas, ids=block.ids)

    def save(self) -> None:
        pass

    def search(self, text: str, k: int, shelf: int | None = None) -> list[tuple[str, str]]:
        options = {} if shelf is None else self.on_shelf(shelf)
        found = self.vectorstore.similarity_search(text, k=k, **options)
        return [(document.metadata["id"], document.page_content) for document in found]

    def on_shelf(self, shelf: int) -> dict[str, Any]:
        return {"filter": {"shelf": shelf}}

    def present(self, ids: Sequence[str]) -> set[str]:
        return {document.metadata["id"] for document in self.vectorstore.get_by_ids(list(ids))}

    def delete(self, ids: list[str]) -> None:
        self.vectorstore.delete(ids)

    def close(self) -> None:
        pass


class LangbertVectorStore(_LangChain):
    def __init__(self, folder: Path, known: KnownVectors) -> None:
        from langchain_langbert import LangBertVectorStore

        self.vectorstore = LangBertVectorStore(known, folder)

    def count(self) -> int:
        return len(self.vectorstore.store)

    def close(self) -> None:
        self.vectorstore.close()


class Faiss(_LangChain):
    """Exact, in memory; lasts when ``save_local`` has written everything anew."""

    def __init__(self, folder: Path, known: KnownVectors) -> None:
        import faiss
        from langchain_community.docstore.in_memory import InMemoryDocstore
        from langchain_community.vectorstores import FAISS

        self._folder = folder
        if folder.is_dir() and any(folder.iterdir()):
            self.vectorstore = FAISS.load_local(str(folder), known, allow_dangerous_deserialization=True)
        else:
            self.vectorstore = FAISS(known, faiss.IndexFlatL2(DIMENSION), InMemoryDocstore(), {})

    def save(self) -> None:
        self.vectorstore.save_local(str(self._folder))

    def count(self) -> int:
        return int(self.vectorstore.index.ntotal)

    def present(self, ids: Sequence[str]) -> set[str]:
        told = set(self.vectorstore.index_to_docstore_id.values())
        return super().present([id for id in ids if id in told])


class Chroma(_LangChain):
    """HNSW with its own numbers."""

    def __init__(self, folder: Path, known: KnownVectors) -> None:
        import chromadb
        import langchain_chroma

        folder.mkdir(parents=True, exist_ok=True)
        client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
        self.vectorstore = langchain_chroma.Chroma("chunks", known, client=client)

    def count(self) -> int:
        return int(self.vectorstore._collection.count())


class Qdrant(_LangChain):
    """Qdrant's local mode: exact, in memory, over SQLite."""

    def __init__(self, folder: Path, known: KnownVectors) -> None:
        from langchain_qdrant import QdrantVectorStore
        from qdrant_client import QdrantClient, models

        self._models = models
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says that it is not for so many rows
            self._client = QdrantClient(path=str(folder))
        if not self._client.collection_exists("chunks"):
            size = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
            self._client.create_collection("chunks", vectors_config=size)
        self.vectorstore = QdrantVectorStore(self._client, "chunks", known)

    def on_shelf(self, shelf: int) -> dict[str, Any]:
        match = self._models.MatchValue(value=shelf)
        return {"filter": self._models.Filter(must=[self._models.FieldCondition(key="metadata.shelf", match=match)])}

    def count(self) -> int:
        return int(self._client.count("chunks").count)

    def close(self) -> None:
        self._client.close()


class LanceDb(_LangChain):
    """Exact, from the file, as long as nobody builds an index; told to filter before it searches."""

    def __init__(self, folder: Path, known: KnownVectors) -> None:
        import lancedb
        from langchain_community.vectorstores import LanceDB

        self.vectorstore = LanceDB(lancedb.connect(str(folder)), known, table_name="chunks", mode="append")

    def on_shelf(self, shelf: int) -> dict[str, Any]:
        return {"filter": f"metadata.shelf = {shelf}", "prefilter": True}

    def present(self, ids: Sequence[str]) -> set[str]:
        listed = ", ".join(f"'{id}'" for id in ids)
        query = self.vectorstore.get_table().search().where(f"id IN ({listed})").select(["id"]).limit(len(ids) + 1)
        return set(query.to_arrow()["id"].to_pylist())

    def count(self) -> int:
        table = self.vectorstore.get_table()
        return 0 if table is None else int(table.count_rows())


CONTENDERS: dict[str, tuple[str, type[Any]]] = {
    "langbert": ("langbert.Store", LangbertStore),
    "langbert-float16": ("langbert.Store, index in float16", LangbertHalf),
    "langbert-int8": ("langbert.Store, index in int8", LangbertBytes),
    "langbert-langchain": ("LangBertVectorStore", LangbertVectorStore),
    "faiss": ("LangChain FAISS", Faiss),
    "chroma": ("Chroma", Chroma),
    "qdrant": ("Qdrant, local", Qdrant),
    "lancedb": ("LanceDB", LanceDb),
}
"""Name → how it is shown, and how a folder is opened with it."""

VARIANTS = ("langbert", "langbert-float16", "langbert-int8")
"""Those that differ only in how the index holds vectors, compared among themselves."""


def open_store(name: str, folder: Path, known: KnownVectors) -> Opened:
    opened: Opened = CONTENDERS[name][1](folder, known)
    return opened


def chunks_of(block: Block) -> list[Any]:
    """As langbert's records."""
    from langbert.records import Chunk

    return [
        Chunk(id, metadata["source"], text, source=metadata["source"], metadata={"shelf": metadata["shelf"]})
        for id, text, metadata in zip(block.ids, block.texts, block.metadatas, strict=True)
    ]
