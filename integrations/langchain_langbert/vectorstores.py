"""``LangBertVectorStore``: :class:`langbert.Store` as a LangChain vector store, and the retriever over it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from pydantic import Field, model_validator

from langbert import Candidate, Chunk, Store, StoreLike, open_store
from langbert.errors import StoreError
from langbert.records import SearchMode

from ._convert import chunk_of, document_of, found_of
from ._fields import check_fields, unknown_option
from ._foreign import embedder_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from .record_manager import LangBertRecordManager

Filter = Mapping[str, Any] | Callable[[dict[str, Any]], bool]
_SEARCH_OPTIONS = ("k", "filter", "score_threshold")
_MODES: dict[str, SearchMode] = {"similarity": "dense", "hybrid": "hybrid", "lexical": "lexical"}


class LangBertVectorStore(VectorStore):
    """A vector store in one folder (or in memory): SQLite for the truth, FAISS and a lexical index beside it.

    Documents are stored as given, one vector each. Adding an id again updates it; a deleted or missing id is no
    error; every write is durable when the call returns. ``filter`` is a dict: ``{"source": "a.pdf"}``, ``{"year":
    {"$gte": 2020}}``, ``{"$or": [...]}``, or a function of the metadata, ``lambda metadata: …``; it is applied inside
    the search, so that ``k`` documents come back if ``k`` match.
    Scores are in [0, 1], higher is better, and relevances in dense searches. A ``score_threshold`` is of the relevance
    in every search: what has nothing to do with the question is below 0.5, whichever encoder and whatever question
    (see :mod:`langbert.store.relevance`). The async methods run in worker threads.

    Args:
        embedding: any LangChain ``Embeddings``, ours or not.
        path: a folder, made where it does not exist, or the URL of an engine outside (see :func:`langbert.open_store`);
            None keeps everything in memory.
        create: False refuses a place without a store.

    Raises:
        StoreMismatch: the folder was filled with another embedding model.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from langchain_langbert import LangBertVectorStore
        >>> store = LangBertVectorStore(DeterministicFakeEmbedding(size=8))
        >>> store.add_texts(["red", "blue"], [{"n": 1}, {"n": 2}], ids=["a", "b"])
        ['a', 'b']
        >>> store.similarity_search("red", k=1, filter={"n": {"$gt": 1}})
        [Document(id='b', metadata={'n': 2}, page_content='blue')]
    """

    def __init__(self, embedding: Embeddings, path: str | Path | None = None, *, create: bool = True) -> None:
        self.embedding = embedding
        self._embedder = embedder_of(embedding)
        self.store: StoreLike = (
            Store.open(embedder=self._embedder)
            if path is None
            else open_store(path, embedder=self._embedder, create=create)
        )

    @property
    def embeddings(self) -> Embeddings:
        return self.embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Adds or updates ``texts``, generators too: LangChain's own reading of one leaves nothing to add, and what has
        no id where others have one is left out."""
        if isinstance(texts, str):
            raise TypeError(f"add_texts takes texts, got one str: give [{texts!r:.40}]")
        texts = list(texts)
        about = [{}] * len(texts) if metadatas is None else [metadata or {} for metadata in metadatas]
        if len(about) != len(texts):
            raise ValueError(f"{len(about)} metadatas came for {len(texts)} texts: give one a text, or none")
        documents = [Document(page_content=text, metadata=said) for text, said in zip(texts, about, strict=True)]
        return self.add_documents(documents, ids, **kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        return await run_in_executor(None, self.add_texts, texts, metadatas, ids=ids, **kwargs)

    def add_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """Adds or updates; ``ids`` win over the documents' own, and new ids are made where there are none.
        ``batch_size``, which LangChain's ``index()`` passes, is taken and means nothing: all are one commit."""
        _refuse("add_documents", kwargs, "ids", takes="batch_size")
        documents, ids = list(documents), None if ids is None else list(ids)
        if ids is not None and len(ids) != len(documents):
            raise ValueError(f"{len(ids)} ids came for {len(documents)} documents: give one id a document, or none")
        given = ids if ids is not None else [document.id for document in documents]
        return self.store.add(
            [chunk_of(document, id or uuid4().hex) for document, id in zip(documents, given, strict=True)]
        )

    async def aadd_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """:meth:`add_documents` in a worker thread; LangChain's own goes through a generator twice and adds nothing."""
        return await run_in_executor(None, self.add_documents, documents, **kwargs)

    def delete(self, ids: list[str] | None = None, *, filter: Filter | None = None, **kwargs: Any) -> bool:
        """Removes ``ids``, or all that match ``filter`` (``{}`` matches everything)."""
        _refuse("delete", kwargs, "ids", "filter")
        if ids is None and filter is None:
            raise ValueError("delete() needs ids=[…] or filter={…}; filter={} removes everything")
        self.store.delete(ids, where=_where_of(filter))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents in the order of ``ids``; missing ones are left out."""
        if isinstance(ids, str):
            raise TypeError(f"get_by_ids takes ids, got one str: give [{ids!r:.40}]")
        return [document_of(item) for item in self.store.get(list(ids))]

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """Search by ``"similarity"``, ``"mmr"``, ``"similarity_score_threshold"``, ``"hybrid"`` or ``"lexical"``."""
        if search_type in _MODES:
            return self.similarity_search(query, mode=_MODES[search_type], **kwargs)
        return super().search(query, search_type, **kwargs)

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        return await run_in_executor(None, self.search, query, search_type, **kwargs)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The ``k`` best documents; ``filter=`` narrows them, ``mode="hybrid"`` reads words as well as meaning,
        ``score_threshold=`` leaves out what is less relevant, ``repeats=False`` what says the same as a better one,
        which then names it in ``metadata["also_in"]``. An unknown option is an error: a mistyped filter would find
        everybody's documents.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, mode: SearchMode = "dense", **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Documents with the score the search orders them by, best first; see
        :meth:`similarity_search_with_relevance_scores` for scores that compare between questions in every mode."""
        return [(found_of(candidate), candidate.score) for candidate in self.candidates(query, k, mode=mode, **kwargs)]

    def candidates(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Filter | None = None,
        mode: SearchMode = "hybrid",
        score_threshold: float = 0.0,
        repeats: bool = True,
        **kwargs: Any,
    ) -> list[Candidate]:
        """What a search finds, best first, with all its scores, as the core gives it."""
        _refuse("search", kwargs, *_SEARCH_OPTIONS, "mode", "repeats")
        found = self.store.search(query, k, mode=mode, where=_where_of(filter), repeats=repeats)
        return _relevant(found, score_threshold)

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Filter | None = None,
        score_threshold: float = 0.0,
        **kwargs: Any,
    ) -> list[Document]:
        _refuse("search by vector", kwargs, *_SEARCH_OPTIONS)
        candidates = self.store.search_vector(np.asarray(embedding, dtype=np.float32), k, where=_where_of(filter))
        return [document_of(candidate.chunk) for candidate in _relevant(candidates, score_threshold)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        found = self.candidates(query, k, **({"mode": "dense"} | kwargs))
        scored = [(found_of(candidate), _relevance(candidate)) for candidate in found]
        return sorted(scored, key=lambda pair: -pair[1])

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return await run_in_executor(None, self._similarity_search_with_relevance_scores, query, k, **kwargs)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """``k`` of the ``fetch_k`` best, each unlike those before it; ``lambda_mult``: 0 variety … 1 relevance."""
        vector = self._embedder.embed([query], "query")[0].tolist()
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        _refuse("search for variety", kwargs, "k", "fetch_k", "lambda_mult", "filter")
        query = np.asarray(embedding, dtype=np.float32)
        for attempts_left in reversed(range(10)):
            candidates = self.store.search_vector(query, max(k, fetch_k), where=_where_of(filter))
            if not candidates:
                return []
            try:
                vectors = list(self.store.vectors([candidate.chunk.id for candidate in candidates]))
                break
            except StoreError:  # one was deleted in between: look again
                if not attempts_left:
                    raise
        picked = maximal_marginal_relevance(query, vectors, lambda_mult=lambda_mult, k=k)
        return [document_of(candidates[index].chunk) for index in picked]

    def as_retriever(self, **kwargs: Any) -> LangBertRetriever:
        """A retriever; ``search_type`` may also be ``"hybrid"`` or ``"lexical"``."""
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return LangBertRetriever(vectorstore=self, tags=tags, **{"search_type": "similarity", **kwargs})

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path | None = None,
        **kwargs: Any,
    ) -> Self:
        """Opens (or makes) a store and adds ``texts`` to it."""
        if unknown := unknown_option("from_texts", kwargs, ("metadatas", "ids", "path")):
            raise TypeError(unknown)
        store = cls(embedding, path)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def record_manager(self, namespace: str = "default") -> LangBertRecordManager:
        """For LangChain's ``index(documents, store.record_manager(), store, cleanup=…)``."""
        from .record_manager import LangBertRecordManager

        return LangBertRecordManager(self.store, namespace)

    def save_local(self, folder_path: str | Path) -> None:
        """Writes a copy of everything into a folder, as one commit; a store that is there is replaced. A store that was
        opened with ``path`` is on disk already."""
        if not isinstance(self.store, Store):
            raise StoreError(f"{self.store} lies outside: `langbert store migrate --to FOLDER` copies it into a folder")
        self.store.copy_to(folder_path)

    @classmethod
    def load_local(cls, folder_path: str | Path, embeddings: Embeddings, **kwargs: Any) -> Self:
        """Opens a folder; what is added later goes into it too. ``allow_dangerous_deserialization`` is taken and means
        nothing: no pickle is read.

        Raises:
            StoreError: there is no store; for a folder of LangChain's FAISS store see :meth:`from_langchain_faiss`.
        """
        if unknown := unknown_option("load_local", kwargs, ("allow_dangerous_deserialization",)):
            raise TypeError(unknown)
        if (old := Path(folder_path) / "index.pkl").exists():
            raise StoreError(
                f"{old.parent} was saved by LangChain's FAISS store: {cls.__name__}.from_langchain_faiss(folder, "
                "embedding, path=NEW_FOLDER) brings it over, once"
            )
        return cls(embeddings, folder_path, create=False)

    @classmethod
    def from_langchain_faiss(
        cls,
        folder: str | Path,
        embedding: Embeddings,
        path: str | Path | None = None,
        index_name: str = "index",
    ) -> Self:
        """Brings over what LangChain's FAISS store saved, with its vectors: nothing is embedded again, but for one text
        that shows whether ``embedding`` is the one they were made with. The pickle is read as data, never run.

        Raises:
            UnsafePickle: ``index.pkl`` names something other than documents and their docstore.
            StoreCorrupt: a file is damaged, or the two do not belong together.
            StoreMismatch: the vectors are those of another embedding.
        """
        from .migration import check_embedding, read_langchain_faiss

        documents, vectors = read_langchain_faiss(folder, index_name)
        check_embedding(embedder_of(embedding), documents, vectors)
        store = cls(embedding, path)
        try:
            store.store.add_vectors([chunk_of(document, document.id or "") for document in documents], vectors)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Lets go of the folder; everything added is on disk already."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class LangBertRetriever(VectorStoreRetriever):
    """Finds the passages for a question.

    Attributes:
        vectorstore: where to look.
        k: how many documents to return.
        search_type: ``"hybrid"`` (meaning and words fused), ``"similarity"``, ``"lexical"``, ``"mmr"`` or
            ``"similarity_score_threshold"``.
        filter: only documents whose metadata match, as a dict or a function of the metadata.
        repeats: whether copies of a document, and passages that say the same of the question, all come back; by
            default the best one does, and names the others in ``metadata["also_in"]``.
        search_kwargs: anything else the search takes (``fetch_k``, ``lambda_mult``, ``score_threshold`` …); also
            accepts ``k`` and ``filter``, as LangChain's own retrievers do.

    ``invoke(question, k=3, filter={…})`` overrides them for one call; a list given as ``scored=`` is filled with the
    candidates behind the documents, with all their scores.
    """

    vectorstore: LangBertVectorStore
    k: int = Field(default=4, ge=1)
    search_type: str = "hybrid"
    filter: dict[str, Any] | Callable[[dict[str, Any]], bool] | None = None
    repeats: bool = False

    @model_validator(mode="before")
    @classmethod
    def _check_fields(cls, values: Any) -> Any:
        return check_fields(cls, values)

    allowed_search_types: ClassVar[Collection[str]] = (
        "hybrid",
        "similarity",
        "lexical",
        "mmr",
        "similarity_score_threshold",
    )

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        scored: list[Candidate] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        if self.search_type not in _MODES:
            return self.vectorstore.search(query, self.search_type, **(self._options() | kwargs))
        candidates = self.candidates(query, **kwargs)
        if scored is not None:
            scored += candidates
        return [found_of(candidate) for candidate in candidates]

    def candidates(self, question: str, **kwargs: Any) -> list[Candidate]:
        """What the search finds, with all its scores, as the core gives it; a hybrid one for ``mmr`` and thresholds."""
        mode = _MODES.get(self.search_type, "hybrid")
        return self.vectorstore.candidates(
            question, mode=mode, **({"repeats": self.repeats} | self._options() | kwargs)
        )

    def _options(self) -> dict[str, Any]:
        return {"k": self.k, "filter": self.filter} | self.search_kwargs

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **kwargs
        )


def _refuse(owner: str, given: Mapping[str, Any], *known: str, takes: str = "") -> None:
    """Raises:
    TypeError: an option came that is not ``known`` (nor the one that is taken and means nothing).
    """
    if unknown := unknown_option(owner, [name for name in given if name != takes], known):
        raise TypeError(unknown)


def _relevant(candidates: Sequence[Candidate], threshold: float) -> list[Candidate]:
    return [candidate for candidate in candidates if _relevance(candidate) >= threshold]


def _relevance(candidate: Candidate) -> float:
    return candidate.score if candidate.relevance is None else candidate.relevance


def _where_of(filter: Filter | None) -> Mapping[str, Any] | Callable[[Chunk], bool] | None:
    """A function sees the metadata that callers see."""
    if not callable(filter):
        return filter
    return lambda chunk: bool(filter(document_of(chunk).metadata))
