"""Folders that LangChain's FAISS store saved (``index.faiss`` and ``index.pkl``), read as data."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from langbert.errors import StoreCorrupt, StoreError, StoreMismatch, UnsafePickle
from langbert.pickled import Instance, read_pickle
from langbert.records import EmbedderLike

from ._faiss_file import read_faiss_vectors

_LOG = logging.getLogger("langbert")
_DOCSTORES = {
    f"{package}.docstore.in_memory.InMemoryDocstore"
    for package in ("langchain_community", "langchain_classic", "langchain")
}
_DOCUMENTS = {
    "langchain_core.documents.base.Document",
    "langchain.schema.Document",
    "langchain.schema.document.Document",
    "langchain.docstore.document.Document",
}
_VALUES: dict[str, Callable[[Instance], str]] = {  # what loaders put into metadata besides JSON, and what becomes of it
    "datetime.datetime": lambda value: _moment(value).isoformat(),
    "datetime.date": lambda value: _moment(value).isoformat(),
    "uuid.UUID": lambda value: str(UUID(int=value.state["int"])),
    "pathlib.PosixPath": lambda value: str(PurePosixPath(*value.args)),
    "pathlib._local.PosixPath": lambda value: str(PurePosixPath(*value.args)),
    "pathlib.WindowsPath": lambda value: str(PureWindowsPath(*value.args)),
    "pathlib._local.WindowsPath": lambda value: str(PureWindowsPath(*value.args)),
}
_MOMENTS: dict[str, Callable[..., Any]] = {
    "datetime.datetime": datetime.datetime,
    "datetime.date": datetime.date,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
}
_ALLOWED = _DOCSTORES | _DOCUMENTS | _VALUES.keys() | _MOMENTS.keys()
_DEEPEST = 64
_EXPANSION = 64  # how much longer than its file what it describes may be
_ALIKE = 0.98  # cosine of the stored and the new vector of one text; other models and poolings are below 0.95


def read_langchain_faiss(folder: str | Path, index_name: str = "index") -> tuple[list[Document], NDArray[np.float32]]:
    """The documents, each with its id, and their vectors ``(n, dim)`` float32 in the same order.

    ``index.pkl`` is never unpickled: see :mod:`langbert.pickled`.

    Raises:
        UnsafePickle: the pickle names something other than documents and their docstore.
        StoreCorrupt: a file is damaged, or the two do not belong together.
        StoreError: a file is not there or cannot be read.
    """
    vectors_file, documents_file = (Path(folder) / f"{index_name}.{kind}" for kind in ("faiss", "pkl"))
    try:
        data = documents_file.read_bytes()
    except OSError as error:
        raise StoreError(
            f"cannot read {documents_file}: {error.strerror or error}; a folder that LangChain's FAISS store saved "
            f"holds {index_name}.faiss and {index_name}.pkl"
        ) from error
    name = str(documents_file)
    try:
        tree = read_pickle(data, _ALLOWED, name=name)
    except UnsafePickle as error:
        raise UnsafePickle(f"{error}. If you trust where it comes from, add the documents again from source") from error
    except ValueError as error:
        raise StoreCorrupt(f"{error}: restore it from where it was made") from error
    reader = _Reader(name, _EXPANSION * len(data) + 100_000)
    try:
        documents = reader.documents(tree)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreCorrupt(f"{name} is not what LangChain's FAISS store saves ({error})") from error
    vectors = read_faiss_vectors(vectors_file)
    if len(vectors) != len(documents):
        raise StoreCorrupt(f"{vectors_file} holds {len(vectors)} vectors, {documents_file} {len(documents)} documents")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))  # float32 has no room for squares
    if len(lengths) and lengths.max() > 1.01 * lengths.min():
        _LOG.warning("%s: the vectors have several lengths; only directions count here, so ranks may change", folder)
    return documents, vectors


def check_embedding(embedder: EmbedderLike, documents: list[Document], vectors: NDArray[np.float32]) -> None:
    """Embeds the shortest text again and compares.

    Raises:
        StoreMismatch: the vectors are another model's.
    """
    written = [place for place, document in enumerate(documents) if document.page_content.strip()]
    if not written:
        return
    place = min(written, key=lambda place: len(documents[place].page_content))
    old, new = vectors[place], embedder.embed([documents[place].page_content], "document")[0]
    if old.shape != new.shape:
        raise StoreMismatch(f"the old vectors have {len(old)} dimensions, this embedding makes {len(new)}: {_ADVICE}")
    cosine = float(old @ new / max(float(np.linalg.norm(old) * np.linalg.norm(new)), np.finfo(np.float32).tiny))
    if not cosine >= _ALIKE:
        raise StoreMismatch(f"this embedding is not the one that made the old vectors (cosine {cosine:.3f}): {_ADVICE}")


_ADVICE = "give the embedding the folder was made with, or index the documents again"


class _Reader:
    """From what the pickle describes to Documents, within a budget: shared parts of a pickle can unfold without end."""

    def __init__(self, name: str, budget: int) -> None:
        self._name = name
        self._budget = budget

    def documents(self, tree: Any) -> list[Document]:
        docstore, places = tree
        if not isinstance(docstore, Instance) or docstore.name not in _DOCSTORES or not isinstance(places, dict):
            raise ValueError("no docstore with its ids")
        entries = docstore.state["_dict"]
        if sorted(places) != list(range(len(places))):
            raise ValueError("its positions are not 0, 1, 2 …")
        return [self._document(place, places[place], entries[places[place]]) for place in range(len(places))]

    def _document(self, place: int, id: Any, entry: Any) -> Document:
        if not isinstance(entry, Instance) or entry.name not in _DOCUMENTS:
            raise ValueError(f"document {id!r} is a {getattr(entry, 'name', type(entry).__name__)}")
        fields = entry.state.get("__dict__", entry.state)
        text, metadata = fields["page_content"], fields.get("metadata") or {}
        if not isinstance(id, str | int | None) or not isinstance(text, str) or not isinstance(metadata, dict):
            raise ValueError(f"document {id!r} has no text or metadata")
        self._spend(len(text))
        # LangChain keeps a document without an id under None where others have one; the same folder gives the same id
        name = str(uuid5(NAMESPACE_OID, f"{place}:{text}")) if id is None else str(id)
        return Document(id=name, page_content=text, metadata=self._plain(metadata, 0))

    def _plain(self, value: Any, depth: int) -> Any:
        self._spend(1 + (len(value) if isinstance(value, str) else 0))
        if depth > _DEEPEST:
            raise ValueError(f"metadata nest more than {_DEEPEST} deep")
        if value is None or isinstance(value, str | int | float):
            return value
        if isinstance(value, list | tuple):
            return [self._plain(item, depth + 1) for item in value]
        if isinstance(value, Mapping):
            return {self._name_of(key): self._plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, Instance) and value.name in _VALUES:
            return _VALUES[value.name](value)
        raise UnsafePickle(f"{self._name} has {getattr(value, 'name', type(value).__name__)} among its metadata")

    def _name_of(self, key: Any) -> str:
        self._spend(len(key) if isinstance(key, str) else 1)
        return key if isinstance(key, str) else str(key)

    def _spend(self, amount: int) -> None:
        self._budget -= amount
        if self._budget < 0:
            raise UnsafePickle(f"{self._name} unfolds to more than {_EXPANSION} times its size, as no saved store does")


def _moment(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, Instance):
        return value
    if depth > 3:
        raise ValueError("a time nests in itself")
    return _MOMENTS[value.name](*(_moment(part, depth + 1) for part in value.args))
