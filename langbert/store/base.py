"""What every store does alike, wherever it keeps its rows: looking up, adding, deleting and searching."""

from __future__ import annotations

import random
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError, require_choice
from ..records import Calibration, Candidate, Chunk, Document, EmbedderLike, EmbeddingSpace, Progress, SearchMode
from ..text.question import checked_question
from . import ingest
from .checks import checked_vectors
from .confidence import put_calibration, read_calibration
from .encoding import encode_chunk, vector_to
from .engine import DatabaseLike, Reading, Writing
from .files import Files
from .filters import Where
from .fusion import Fusion
from .ingest import ChunkerLike
from .ledger import Ledger
from .ranking import Query
from .repeats import different
from .snapshot import FileRecord, StoredChunk, StoredDocument
from .space import SpaceCheck

if TYPE_CHECKING:
    from typing_extensions import Self

_PAGE = 500  # documents listed at a time


def described(state: Reading) -> dict[str, Any]:
    """How much it is and what made it, as JSON values."""
    space, calibration = state.space, read_calibration(state)
    return {
        "documents": state.n_documents,
        "chunks": state.n_chunks,
        "dimension": state.dimension,
        "embedding_space": None if space is None else asdict(space),
        "calibration": None if calibration is None else asdict(calibration),
    }


class BaseStore:
    """Looking up, adding, deleting and searching over a database and whatever searches it; each call sees everything
    that was committed before it.

    Scores: ``Candidate.scores["dense"]`` is the cosine, ``["lexical"]`` the BM25 score, each where it was computed;
    ``Candidate.score`` is in [0, 1] and orders the list: the relevance for dense, ``bm25 / (bm25 + 10)`` for lexical,
    the fused score for hybrid. ``Candidate.relevance`` tells what has to do with the question from what has not,
    whatever was asked (see :mod:`langbert.store.relevance`).
    """

    def __init__(
        self,
        database: DatabaseLike,
        space: SpaceCheck,
        *,
        embedder: EmbedderLike | None,
        chunker: ChunkerLike | None,
    ) -> None:
        self._database = database
        self.embedder = embedder
        self.read_only = database.read_only
        self._space = space
        self._chunker = chunker
        self._adding = threading.RLock()  # one add at a time computes vectors

    @property
    def embedder_space(self) -> EmbeddingSpace | None:
        """What the vectors that are made here can be compared with; None without an embedder."""
        return self._space.mine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    path: Path | None
    """The folder of an embedded store."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """What the store holds and where, as JSON values."""

    @abstractmethod
    def close(self) -> None:
        """Lets go; nothing is lost without it."""

    @contextmanager
    def snapshot(self) -> Iterator[Reading]:
        """One commit's view, unchanged until the block ends."""
        with self._database.reading() as snapshot:
            yield snapshot

    @contextmanager
    def transaction(self) -> Iterator[Writing]:
        """Changes that become one commit when the block ends, or none if it raises.

        Raises:
            StoreLocked: another process has been writing for longer than ``lock_timeout``.
            StoreError: the store was opened for reading, or cannot be written; nothing was changed.
        """
        with self._database.writing() as transaction:
            yield transaction

    @property
    def files(self) -> Files:
        """What became of the files that :func:`langbert.sync` was given."""
        return Files(self._database)

    def ledger(self, namespace: str) -> Ledger:
        """Keeps account, in the store itself, of which keys of an outside source are indexed."""
        return Ledger(self._database, namespace)

    def _added(self) -> None:
        """Called when an ``add`` is done."""

    @abstractmethod
    def _found(self, query: Query, k: int, where: Where | None) -> list[Candidate]:
        """The ``k`` best chunks that match ``where``, all read from one state."""

    # --- looking up --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many chunks there are."""
        with self.snapshot() as snapshot:
            return snapshot.n_chunks

    @property
    def space(self) -> EmbeddingSpace | None:
        """What made the stored vectors; None where there are none, or nobody said."""
        with self.snapshot() as snapshot:
            return snapshot.space

    @property
    def dimension(self) -> int | None:
        """Of the stored vectors; None before the first one."""
        with self.snapshot() as snapshot:
            return snapshot.dimension

    @property
    def calibration(self) -> Calibration | None:
        """What its own questions taught about confidence (``langbert calibrate``); None where nobody asked them."""
        with self.snapshot() as snapshot:
            return read_calibration(snapshot)

    @property
    def n_documents(self) -> int:
        """How many documents there are; chunks may have come without theirs."""
        with self.snapshot() as snapshot:
            return snapshot.n_documents

    def get(self, ids: Iterable[str]) -> list[Document | Chunk]:
        """The documents and chunks of these ids in their order; missing ones are left out."""
        if isinstance(ids, str):
            raise StoreError(f"ids must be a list of ids; got the str {ids!r}: put it in a list")
        names = list(ids)
        with self.snapshot() as snapshot:
            found: dict[str, Document | Chunk] = {**snapshot.chunks_by_id(names)}
            for name in snapshot.document_states(names):
                if document := snapshot.document(name):
                    found[name] = document
        return [found[name] for name in names if name in found]

    def document(self, document_id: str) -> Document | None:
        """The document with its text, or None."""
        with self.snapshot() as snapshot:
            return snapshot.document(document_id)

    def documents(self) -> Iterator[StoredDocument]:
        """All documents without their texts, by id; chunks added without a document have none."""
        last = ""
        while True:
            with self.snapshot() as snapshot:
                page = snapshot.documents_after(last, _PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1].id

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of these chunks in their order, ``(n, dim)`` float32, as they were given.

        Raises:
            StoreError: an id is not that of a stored chunk.
        """
        with self.snapshot() as snapshot:
            rows = snapshot.rows_of(ids)
            missing = [id for id in ids if id not in rows]
            if missing:
                raise StoreError(
                    f"no chunk {missing[0]!r} in {self._database.name} ({len(missing)} of {len(ids)} missing)"
                )
            return snapshot.vectors([rows[id] for id in ids])

    def vector_blocks(self) -> Iterator[NDArray[np.float32]]:
        """All vectors of one commit, block by block, ``(n, dim)`` float32, as they were given."""
        with self.snapshot() as snapshot:
            for _, vectors in snapshot.vectors_since(0):
                yield vectors

    def sample(self, n: int, *, seed: int = 0) -> list[Chunk]:
        """At most ``n`` different chunks, chosen by chance; those next to deleted ones a little more often."""
        with self.snapshot() as snapshot:
            rows = snapshot.sample_rows(n, random.Random(seed))  # noqa: S311 - no secret
            chunks = snapshot.chunks(rows)
        return [chunks[row] for row in rows]

    # --- adding ------------------------------------------------------------------------------------------------------

    def add(
        self,
        items: Iterable[Document | Chunk],
        *,
        progress: Progress | None = None,
        files: Iterable[FileRecord] = (),
    ) -> list[str]:
        """Adds documents (cut into chunks) and chunks; an id that is there is updated, the last of equal ids counts.

        What has not changed costs nothing, and text that has not changed keeps its vector. Items are committed batch by
        batch, each wholly or not at all: what ``progress`` was told of is stored for good, and an interrupted ``add``
        can simply be repeated.

        Args:
            progress: told how many more items are done.
            files: those that documents among the items were read from, recorded in the same commit.

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
        records = list(files)
        with self._adding:
            for batch in ingest.batches(items):
                added = [item.id for item in batch]
                here = set(added)
                self._add_batch(batch, [record for record in records if record.document_id in here])
                ids += added
                if progress is not None:
                    progress(len(batch))
            self._added()
        return ids

    def _add_batch(self, items: Sequence[Document | Chunk], records: Sequence[FileRecord]) -> None:
        with self.snapshot() as snapshot:
            self._space.check(snapshot)
            if self.embedder is None and snapshot.dimension is not None:
                raise StoreError(
                    f"{self._database.name} holds vectors, so adding text needs the embedder that made them: "
                    "open it with embedder=Embedder(…); vectors of your own go in with add_vectors"
                )
        chunker = self.chunker if any(isinstance(item, Document) for item in items) else None
        batch = ingest.prepare(
            items, self._database, chunker=chunker, embedder=self.embedder, spans=self._space.span_embedder
        )
        if batch is not None or records:
            self._commit(batch, records)

    def _commit(self, batch: ingest.Batch | None, records: Sequence[FileRecord]) -> None:
        with self.transaction() as transaction:
            if batch is not None:
                if self.embedder is not None:
                    self._space.claim(transaction, self.embedder.dimension)
                ingest.write(transaction, batch)
            if records:
                transaction.put_files(records)

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
        if rows:
            self._commit_vectors([(row, vector_to(vector)) for row, vector in rows.values()], vectors.shape[1])
        return [chunk.id for chunk in chunks]

    def _commit_vectors(self, chunks: Sequence[StoredChunk], dimension: int) -> None:
        with self.transaction() as transaction:
            self._space.claim(transaction, dimension)
            ingest.put_alone(transaction, chunks)

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

    def keep_calibration(self, calibration: Calibration | None) -> None:
        """Keeps what its own questions taught about confidence, in the place of what is kept; None forgets that.

        Raises:
            StoreError: the store cannot be written.
        """
        with self.transaction() as transaction:
            put_calibration(transaction, calibration)

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
        k = int(k) if isinstance(k, np.integer) else k
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be an int of at least 1; got {k!r}")
        return self._found(query, k, where)
