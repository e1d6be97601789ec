"""Store: add, upsert, delete, search, filter; durable; one writer, many readers.

Nothing to desynchronise: what counts is one SQLite commit. The dense and the lexical index are caches of it that catch
up before they answer, in this process or any other, and are rebuilt where they are missing or damaged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

from ..errors import StoreError, require_choice
from ..files import sweep
from ..records import Candidate, EmbedderLike
from .base import BaseStore, described
from .checks import DERIVED, STORE_FILE, check_folder
from .database import Database, Durability
from .dense import IndexPrecision
from .filters import Where
from .indexes import Indexes
from .ingest import ChunkerLike
from .pictures import ImageEmbedderLike, Pictures
from .ranking import Query
from .snapshot import Snapshot
from .space import SpaceCheck
from .transaction import Transaction

_LOG = logging.getLogger("langbert")

_ABSORB_NOW = 256  # changes after which adding brings the indexes up to date itself, not the next search


class Store(BaseStore):
    """Chunks with their vectors and words, in one folder or in memory. Made by :meth:`open`.

    Attributes:
        pictures: those of its documents (:class:`langbert.store.pictures.Pictures`).

    Safe to use from several threads. Each method sees everything that any process committed before it was called.
    """

    _database: Database

    def __init__(
        self,
        folder: Path | None,
        database: Database,
        indexes: Indexes,
        space: SpaceCheck,
        *,
        embedder: EmbedderLike | None,
        chunker: ChunkerLike | None,
        image_embedder: ImageEmbedderLike | None = None,
    ) -> None:
        super().__init__(database, space, embedder=embedder, chunker=chunker)
        self.path = folder
        self.pictures = Pictures(self, database, image_embedder)
        self.indexes = indexes
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
        image_embedder: ImageEmbedderLike | None = None,
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
            image_embedder: makes the vectors of pictures (:class:`langbert.ImageEmbedder`): a second space, in which
                ``store.pictures`` looks for them by words, and for passages by a picture.

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
            indexes = Indexes(database, folder and folder / DERIVED, index, index_precision)
            with database.reading() as snapshot:
                space = SpaceCheck(database.name, embedder, late_chunking, snapshot)
                indexes.check(snapshot.dimension or (None if embedder is None else embedder.dimension))
        except BaseException:
            database.close()
            raise
        opened = cls(
            folder, database, indexes, space, embedder=embedder, chunker=chunker, image_embedder=image_embedder
        )
        opened._options = {
            "embedder": embedder,
            "chunker": chunker,
            "read_only": read_only,
            "durability": durability,
            "lock_timeout": lock_timeout,
            "image_embedder": image_embedder,
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
                    self._refresh(wait=False)
                with self.snapshot() as snapshot:
                    self.indexes.save(snapshot)
        except StoreError as error:
            _LOG.warning("closing %s: the indexes will catch up at the next opening (%s)", self._database.name, error)
        finally:
            self._closed = True
            self.indexes.close()
            self._database.close()

    def __repr__(self) -> str:
        return f"Store({'in memory' if self.path is None else str(self.path)!r})"

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with self._database.reading() as snapshot:
            yield snapshot

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
        self._refresh(wait=True)

    def _refresh(self, *, wait: bool) -> None:
        with self.snapshot() as snapshot:
            self.indexes.refresh(snapshot, wait=wait)
        self._unabsorbed = 0

    def _added(self) -> None:
        if self._unabsorbed >= _ABSORB_NOW:
            self._refresh(wait=False)

    def _found(self, query: Query, k: int, where: Where | None) -> list[Candidate]:
        return self.indexes.search(query, k, where, self._space.check)

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
            return {
                "path": None if self.path is None else str(self.path),
                "format": snapshot.format,
                **described(snapshot),
                "change": snapshot.mark.change,
                **self.pictures.info(snapshot),
                "dense_index": self.indexes.describe(snapshot),
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
                self.indexes.refresh(snapshot)
                self.indexes.save(snapshot, always=True)
                mark = snapshot.mark
            with self._database.writing() as transaction:
                forgotten = transaction.forget_before(mark)
                transaction.drop_pictures()
            self._database.vacuum()
        return {"bytes_before": before, "bytes_after": self._bytes(), "forgotten": forgotten}

    def _bytes(self) -> int:
        if self.path is None:
            return 0
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
