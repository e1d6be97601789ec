"""Store: add, upsert, delete, search, filter; durable; one writer, many readers.

Nothing to desynchronise: what counts is one SQLite commit. The dense and the lexical index are caches of it that catch
up before they answer, in this process or any other, and are rebuilt where they are missing or damaged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError, require_choice
from ..files import sweep
from ..records import Candidate, Chunk, Document, EmbedderLike, EmbeddingSpace, Progress, SearchMode
from ..text.question import checked_question
from . import ingest
from .checks import STORE_FILE, check_folder, checked_vectors
from .contents import Contents
from .database import Database, Durability
from .dense import IndexPrecision
from .encoding import encode_chunk, vector_to
from .filters import Where
from .fusion import Fusion
from .indexes import Indexes
from .ingest import ChunkerLike
from .ranking import Query
from .repeats import different
from .space import SpaceCheck
from .transaction import Transaction

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Store"]

_LOG = logging.getLogger("langbert")

_ABSORB_NOW = 256  # changes after which adding brings the indexes up to date itself, not the next search
_PAGE = 500


class Store(Contents):
    """Chunks with their vectors and words, in one folder or in memory. Made by :meth:`open`.

    Safe to use from several threads. Each method sees everything that any process committed before it was called.

    Scores: ``Candidate.scores["dense"]`` is the cosine, ``["lexical"]`` the BM25 score, each where it was computed;
    ``Candidate.score`` is in [0, 1] and orders the list: ``(1 + cosine) / 2`` for dense, ``bm25 / (bm25 + 10)`` for
    lexical, the fused score for hybrid.
    """

    def __init__(
        self,
        folder: Path | None,
        database: Database,
        indexes: Indexes,
        space: SpaceCheck,
        *,
        embedder: EmbedderLike | None,
        chunker: ChunkerLike | None,
    ) -> None:
        super().__init__(database)
        self.path = folder
        self.embedder = embedder
        self.read_only = database.read_only
        self._indexes = indexes
        self._space = space
        self._chunker = chunker
        self._adding = threading.RLock()  # one add at a time computes vectors
        self._unabsorbed = 0  # changes committed here that the indexes may not have seen
        self._closed = False
        self._options: dict[str, Any] = {}
        self._place = folder and folder.absolute()  # wherever the process goes

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        embedder: EmbedderLike | None = None,
        chunker: ChunkerLike | None = None,
        late_chunking: bool | None = None,
        create: bool = True,
        read_only: bool = False,
        durability: Durability = "full",
        lock_timeout: float = 30.0,
        index: str | None = None,
        index_precision: IndexPrecision | None = None,
    ) -> Store:
        """A store in the folder ``path``, made where it does not exist; in memory where ``path`` is None.

        Args:
            embedder: makes the vectors. Without one, ``search(mode="lexical")``, ``search_vector``, ``add_vectors``,
                ``get`` and ``delete`` work, and ``add`` makes a store of words only.
            chunker: cuts documents; by default ``Chunker.for_embedder(embedder)``.
            late_chunking: whether the chunks of a document get their vectors from one reading of all of it
                (``embedder.embed_spans``) and not each by itself, under its headings. By default as the store was
                made, False for a new one. Any change in a document then embeds all of it again.
            create: False refuses a folder without a store.
            read_only: never write anything in the folder.
            durability: ``"full"``: what was added survives a power cut. ``"normal"``: a power cut may take back the
                last additions, never more and never half of one. Both survive a killed process.
            lock_timeout: seconds to wait for another process that is writing.
            index: what the dense index is: ``"auto"``, by the number of vectors, or a FAISS factory string, as
                ``"HNSW32"`` or ``"IVF4096,SQ8"``. By default as it was made, ``"auto"`` for a new one.
            index_precision: how an ``"auto"`` index holds vectors: ``"float32"``, ``"float16"`` or ``"int8"``, which
                make it a half and a quarter as large. The vectors themselves stay whole, and score what is returned.
                By default as the index was made, ``"float32"`` for a new one.

        Raises:
            StoreMismatch: the store's vectors were made in another embedding space; the message names the differences.
            StoreError: the path is not a store, is of a newer format, or may not be read or written.
            StoreCorrupt: the store is damaged.
            ValueError: FAISS makes no such ``index``.
        """
        folder = None if path is None else Path(path)
        if index_precision is not None:
            require_choice("index_precision", index_precision, get_args(IndexPrecision))
        if folder is not None:
            check_folder(folder, create=create and not read_only)
        file = folder and folder / STORE_FILE
        database = Database(file, read_only=read_only, durability=durability, lock_timeout=lock_timeout)
        try:
            if folder is not None and not read_only:
                sweep(folder)
            indexes = Indexes(database, folder and folder / "derived", index, index_precision)
            with database.reading() as snapshot:
                space = SpaceCheck(database.name, embedder, late_chunking, snapshot)
                indexes.check(snapshot.dimension or (None if embedder is None else embedder.dimension))
        except BaseException:
            database.close()
            raise
        opened = cls(folder, database, indexes, space, embedder=embedder, chunker=chunker)
        opened._options = {
            "embedder": embedder,
            "chunker": chunker,
            "read_only": read_only,
            "durability": durability,
            "lock_timeout": lock_timeout,
        }
        return opened

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        """Pickled and copied by its folder, which is opened again where it arrives."""
        if self._place is None:
            raise StoreError("a store in memory cannot be pickled or copied: give it a folder, Store.open(path)")
        return partial(type(self).open, create=False, **self._options), (self._place,)

    def close(self) -> None:
        """Brings the derived indexes up to date for whoever opens next, and lets go. Nothing is lost without it."""
        if self._closed:
            return
        try:
            if self.path is not None and not self.read_only:
                if self._unabsorbed:
                    self.refresh()
                with self.snapshot() as snapshot:
                    self._indexes.save(snapshot)
        except StoreError as error:
            _LOG.warning("closing %s: the indexes will catch up at the next opening (%s)", self._database.name, error)
        finally:
            self._closed = True
            self._indexes.close()
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def embedder_space(self) -> EmbeddingSpace | None:
        """What the vectors that are made here can be compared with; None without an embedder."""
        return self._space.mine

    def __repr__(self) -> str:
        return f"Store({'in memory' if self.path is None else str(self.path)!r})"

    # --- one commit --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Changes that become one commit when the block ends, or none if it raises.

        Raises:
            StoreLocked: another process has been writing for longer than ``lock_timeout``.
            StoreError: the store was opened for reading, or the disk is full or failing; nothing was changed.
        """
        with self._database.writing() as transaction:
            before = transaction.mark.change
            yield transaction
        self._unabsorbed += transaction.mark.change - before

    def refresh(self) -> None:
        """Brings the derived indexes up to date, as the next search would."""
        with self.snapshot() as snapshot:
            self._indexes.refresh(snapshot)
        self._unabsorbed = 0

    # --- adding ------------------------------------------------------------------------------------------------------

    def add(self, items: Iterable[Document | Chunk], *, progress: Progress | None = None) -> list[str]:
        """Adds documents (cut into chunks) and chunks; an id that is there is updated, the last of equal ids counts.

        What has not changed costs nothing, and text that has not changed keeps its vector. Items are committed batch by
        batch, each wholly or not at all: what ``progress`` was told of is stored for good, and an interrupted ``add``
        can simply be repeated.

        Args:
            progress: told how many more items are done.

        Returns:
            The ids of the items, in their order.

        Raises:
            StoreError: an item is not in order, or cannot be written; nothing of its batch is stored.
            StoreLocked: another process has been writing for longer than ``lock_timeout``.
        """
        if isinstance(items, str | bytes | Document | Chunk):
            raise StoreError(
                f"add takes a list of Documents or Chunks; got one {type(items).__name__}: put it in a list"
            )
        ids: list[str] = []
        with self._adding:
            for batch in ingest.batches(items):
                self._add_batch(batch)
                ids += [item.id for item in batch]
                if progress is not None:
                    progress(len(batch))
            if self._unabsorbed >= _ABSORB_NOW:
                self.refresh()
        return ids

    def _add_batch(self, items: Sequence[Document | Chunk]) -> None:
        with self.snapshot() as snapshot:
            self._space.check(snapshot)
            if self.embedder is None and snapshot.dimension is not None:
                raise StoreError(
                    f"{self._database.name} holds vectors, so adding text needs the embedder that made them: "
                    "Store.open(path, embedder=Embedder(…)); vectors of your own go in with add_vectors"
                )
        chunker = self.chunker if any(isinstance(item, Document) for item in items) else None
        batch = ingest.prepare(
            items, self._database, chunker=chunker, embedder=self.embedder, spans=self._space.span_embedder
        )
        if batch is not None:
            with self.transaction() as transaction:
                if self.embedder is not None:
                    self._space.claim(transaction, self.embedder.dimension)
                ingest.write(transaction, batch)

    @property
    def chunker(self) -> ChunkerLike:
        """What cuts documents."""
        if self._chunker is None:
            if self.embedder is None:
                raise StoreError("cutting documents needs a chunker or an embedder: Store.open(path, embedder=…)")
            from ..chunking import Chunker

            self._chunker = Chunker.for_embedder(self.embedder)
        return self._chunker

    def add_vectors(self, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> list[str]:
        """Adds or updates chunks with vectors of your own, committed together. Quick: the indexes are left to the next
        search, or to ``close``.

        Args:
            vectors: ``(len(chunks), dim)``, of any length; only their direction counts in searches.

        Raises:
            StoreError: something is not in order; nothing was stored.
            StoreMismatch: the store's vectors have another dimension.
        """
        vectors = checked_vectors(vectors, len(chunks))
        wrong = next((chunk for chunk in chunks if not isinstance(chunk, Chunk)), None)
        if wrong is not None:
            raise StoreError(f"add_vectors takes Chunks; got {type(wrong).__name__} {wrong!r:.60}")
        rows = {chunk.id: (encode_chunk(chunk), vector) for chunk, vector in zip(chunks, vectors, strict=True)}
        if not rows:
            return []
        with self.transaction() as transaction:
            self._space.claim(transaction, vectors.shape[1])
            ingest.put_chunks(transaction, [(row, vector_to(vector)) for row, vector in rows.values()])
            transaction.forget_chunking({row.document_id for row, _ in rows.values()})
        return [chunk.id for chunk in chunks]

    # --- deleting ----------------------------------------------------------------------------------------------------

    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Removes chunks: those of ``ids`` (of chunks, or of documents with all their chunks), those that match
        ``where``, or, if both are given, those of ``ids`` that match. A document whose last chunk goes, goes too.
        Ids that are not there are no error.

        Returns:
            How many chunks were removed.

        Raises:
            StoreError: neither was given (``where={}`` matches everything), or the store cannot be written.
            FilterError: ``where`` cannot be understood.
        """
        if ids is None and where is None:
            raise StoreError("say what to delete: ids=[…], where={…}; where={} removes everything")
        if isinstance(ids, str):
            raise StoreError(f"ids must be a list of ids; got the str {ids!r}: put it in a list")
        names = None if ids is None else list(ids)
        with self.transaction() as transaction:
            return transaction.delete(names, where)

    # --- searching ---------------------------------------------------------------------------------------------------

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        mode: SearchMode = "hybrid",
        where: Where | None = None,
        fusion: Fusion = "scores",
        dense_weight: float = 0.5,
        repeats: bool = False,
    ) -> list[Candidate]:
        """The ``k`` best chunks, best first; of those that say the same (see :mod:`langbert.store.repeats`) the best
        one, with the others as its ``places``.

        Args:
            mode: ``"dense"`` compares meaning, ``"lexical"`` words (BM25), ``"hybrid"`` fuses both.
            where: only chunks that match (see :mod:`langbert.store.filters`; a function of a chunk does too): if ``k``
                match, ``k`` come back, save that ``"lexical"`` only returns chunks that share a word with the question.
            repeats: True returns each chunk by itself, whatever others say.
            fusion: of hybrid: ``"scores"`` (relative scores) or ``"rrf"`` (reciprocal ranks).
            dense_weight: of hybrid, in [0, 1]: how much dense counts against lexical.

        Raises:
            QuestionError: the question is empty or not text.
            FilterError: ``where`` cannot be understood.
            StoreError: dense or hybrid search without an embedder.
            StoreMismatch: the store's vectors were made in another embedding space.
        """
        question = checked_question(question)
        require_choice("mode", mode, get_args(SearchMode))
        require_choice("fusion", fusion, get_args(Fusion))
        if not 0 <= dense_weight <= 1:
            raise ValueError(f"dense_weight must be in [0, 1]; got {dense_weight!r}")
        if mode == "lexical":
            query = Query(mode, question)
        elif self.embedder is not None:
            vector = checked_vectors(self.embedder.embed([question], "query"), 1)[0]
            query = Query(mode, question, vector, fusion, dense_weight)
        else:
            raise StoreError(
                f"{mode} search needs the embedder that made the vectors: Store.open(path, embedder=Embedder(…)); "
                "mode='lexical' works without"
            )
        if repeats:
            return self._search(query, k, where)
        return different(lambda depth: self._search(query, depth, where), question, k)

    def search_vector(self, vector: NDArray[np.float32], k: int = 10, *, where: Where | None = None) -> list[Candidate]:
        """The ``k`` chunks whose vectors have the highest cosine with ``vector`` ``(dim,)``, best first, repeats too.

        Raises:
            StoreMismatch: the store's vectors have another dimension.
            FilterError: ``where`` cannot be understood.
        """
        return self._search(Query("dense", vector=checked_vectors(np.asarray(vector)[None], 1)[0]), k, where)

    def _search(self, query: Query, k: int, where: Where | None) -> list[Candidate]:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be an int of at least 1; got {k!r}")
        return self._indexes.search(query, k, where, self._space.check)

    # --- the whole store ---------------------------------------------------------------------------------------------

    def copy_to(self, path: str | Path) -> None:
        """Writes all the store holds into the folder ``path``, as one commit; a store that is there is replaced.

        Into the store's own folder it writes nothing: everything is there already.

        Raises:
            StoreError: the folder holds something else, or cannot be written; what was there is unchanged.
        """
        folder = Path(path)
        if self.path is not None and folder.absolute().resolve() == self.path.absolute().resolve():
            return
        with Store.open(folder) as copy:
            self._database.copy_to(copy._database)

    def info(self) -> dict[str, Any]:
        """What the store holds and where, as JSON values; brings the dense index up to date, to describe it."""
        with self.snapshot() as snapshot:
            space = snapshot.space
            return {
                "path": None if self.path is None else str(self.path),
                "format": snapshot.format,
                "documents": snapshot.n_documents,
                "chunks": snapshot.n_chunks,
                "dimension": snapshot.dimension,
                "embedding_space": None if space is None else asdict(space),
                "change": snapshot.mark.change,
                "dense_index": self._indexes.describe(snapshot),
                "bytes": self._bytes(),
            }

    def compact(self) -> dict[str, int]:
        """Gives back the space of what was deleted, and writes the dense index anew. A crash at any moment costs
        nothing; it takes room for a second copy of the store while it runs.

        Returns:
            ``bytes_before``, ``bytes_after`` and ``forgotten``: records of deletions that were dropped.

        Raises:
            StoreError: the store cannot be written, or there is not enough room.
            StoreLocked: another process has been writing for longer than ``lock_timeout``.
        """
        if self.read_only:
            raise StoreError(f"{self._database.name} was opened with read_only=True: open it without to compact it")
        before = self._bytes()
        with self._adding:
            with self.snapshot() as snapshot:
                self._indexes.refresh(snapshot)
                self._indexes.save(snapshot, always=True)
                mark = snapshot.mark
            with self._database.writing() as transaction:
                forgotten = transaction.forget_before(mark)
            self._database.vacuum()
        return {"bytes_before": before, "bytes_after": self._bytes(), "forgotten": forgotten}

    def _bytes(self) -> int:
        if self.path is None:
            return 0
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
