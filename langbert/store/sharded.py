"""ShardedStore: the folder of a store in shards, and adding to it shard by shard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..files import replacing
from ..records import Candidate, EmbedderLike
from . import ingest
from .base import BaseStore, described
from .checks import MOST_SHARDS, SHARDS_FILE, STORE_FILE, check_folder, parts_of, shard_name, shards_in
from .encoding import ChunkRow
from .filters import Where
from .indexes import Searcher
from .ingest import Batch, ChunkerLike
from .ranking import Query
from .shards import ShardedDatabase, ShardedDense, ShardedLexical, ShardedReading, ShardedWriting, grouped, shard_of
from .snapshot import FileRecord, StoredChunk
from .space import SpaceCheck
from .store import Store


class ShardedStore(BaseStore):
    """Several stores in one folder, searched as one. Made by :func:`langbert.open_store` with ``shards=N``.

    What differs from :class:`langbert.Store`: what ``add`` and ``add_vectors`` are given together becomes one commit a
    shard, and files are recorded in one of their own, after their documents; a document with its chunks still changes
    in one step. There is no second space for pictures.

    Attributes:
        shards: the stores.
    """

    _database: ShardedDatabase
    path: Path

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Store],
        *,
        embedder: EmbedderLike | None = None,
        chunker: ChunkerLike | None = None,
        late_chunking: bool | None = None,
    ) -> None:
        self.path = folder
        self._place = folder.absolute()  # wherever the process goes
        self.shards = shards
        self._options: dict[str, Any] = {}
        database = ShardedDatabase(str(folder), shards)
        with database.reading() as state:
            if state.dimension is not None and len({part.meta("space") for part in state.parts}) > 1:
                raise StoreError(
                    f"the shards in {folder} have vectors of different embedding spaces: give all of them the same one "
                    f"with `langbert store migrate --embedder`, {shard_name(0)} and so on"
                )
            space = SpaceCheck(database.name, embedder, late_chunking, state)
        super().__init__(database, space, embedder=embedder, chunker=chunker)
        self._searcher = Searcher(database, ShardedDense(shards), ShardedLexical(shards))

    @classmethod
    def open(
        cls,
        path: str | Path,
        n_shards: int | None = None,
        *,
        embedder: EmbedderLike | None = None,
        chunker: ChunkerLike | None = None,
        late_chunking: bool | None = None,
        create: bool = True,
        read_only: bool = False,
        **options: Any,
    ) -> ShardedStore:
        """The store in the folder ``path``, made with ``n_shards`` where there is none.

        Args:
            options: of each shard, and all others: as for :meth:`langbert.Store.open`.

        Raises:
            StoreError: there is another store, or one in another number of shards; see :meth:`langbert.Store.open`.
            StoreMismatch: the store's vectors were made in another embedding space.
        """
        folder = Path(path)
        if options.pop("image_embedder", None) is not None:
            raise StoreError("a store in shards holds no pictures: open it without image_embedder")
        if (there := shards_in(folder)) is None:
            there = _make(folder, n_shards, create=create and not read_only)
        if n_shards not in (None, there):
            raise StoreError(
                f"{folder} has {there} shards, not {n_shards!r}: leave out the number, or move it into another folder "
                f"with `langbert store migrate --store {folder} --to FOLDER --shards {n_shards}`"
            )
        with ExitStack() as stack:
            shards = [
                stack.enter_context(Store.open(part, create=False, read_only=read_only, **options))
                for part in parts_of(folder)
            ]
            opened = cls(folder, shards, embedder=embedder, chunker=chunker, late_chunking=late_chunking)
            stack.pop_all()
        opened._options = {
            "embedder": embedder,
            "chunker": chunker,
            "late_chunking": late_chunking,
            "read_only": read_only,
            **options,
        }
        return opened

    def __reduce__(self) -> tuple[Callable[[Path], ShardedStore], tuple[Path]]:
        """Pickled and copied by its folder, which is opened again where it arrives."""
        return partial(type(self).open, create=False, **self._options), (self._place,)

    def __repr__(self) -> str:
        return f"ShardedStore({str(self.path)!r})"

    def close(self) -> None:
        """Brings the derived indexes up to date for whoever opens next, and lets go."""
        self._database.close()

    @contextmanager
    def snapshot(self) -> Iterator[ShardedReading]:
        with self._database.reading() as state:
            yield state

    @contextmanager
    def transaction(self) -> Iterator[ShardedWriting]:
        """Changes that become one commit of each shard, all of which are locked from the beginning."""
        with self._writing_to(range(len(self.shards))) as transaction:
            yield transaction

    @contextmanager
    def _writing_to(self, shards: Iterable[int]) -> Iterator[ShardedWriting]:
        with self._database.writing() as transaction:
            transaction.lock(shards)
            yield transaction

    @contextmanager
    def _adding_to(self, shard: int, chunks: Iterable[ChunkRow]) -> Iterator[ShardedWriting]:
        """Locks ``shard``, and those where ``chunks`` lay as another document's."""
        with self.snapshot() as state:
            elsewhere = state.split(state.rows_of(chunk.id for chunk in chunks).values())
        with self._writing_to({shard, *elsewhere}) as transaction:
            yield transaction

    def _commit(self, batch: Batch | None, records: Sequence[FileRecord]) -> None:
        if batch is not None:
            if self.embedder is not None:
                self._claim(self.embedder.dimension)
            for shard, part in self._parts(batch):
                with self._adding_to(shard, part.all_chunks()) as transaction:
                    ingest.write(transaction, part)
        if records:
            self.files.record(records)

    def _commit_vectors(self, chunks: Sequence[StoredChunk], dimension: int) -> None:
        self._claim(dimension)
        for shard, own in grouped(chunks, lambda pair: self._home(pair[0].document_id)).items():
            with self._adding_to(shard, (chunk for chunk, _ in own)) as transaction:
                ingest.put_alone(transaction, own)

    def _claim(self, dimension: int) -> None:
        """In a commit of its own where these are the first vectors: it is every shard's."""
        with self.snapshot() as state:
            self._space.check(state, dimension)
            claimed = state.dimension is not None and (state.space is not None or self._space.mine is None)
        if not claimed:
            with self.transaction() as transaction:
                self._space.claim(transaction, dimension)

    def _parts(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        """The part of each shard."""
        documents = grouped(batch.documents, lambda pair: self._home(pair[0].id))
        chunks = grouped(batch.chunks, lambda chunk: self._home(chunk.document_id))
        for shard in sorted({*documents, *chunks}):
            yield shard, Batch(documents.get(shard, []), chunks.get(shard, []), batch.vectors, batch.chunking)

    def _home(self, document_id: str) -> int:
        return shard_of(document_id, len(self.shards))

    def _added(self) -> None:
        for shard in self.shards:
            shard._added()

    def refresh(self) -> None:
        """Brings the derived indexes up to date, as the next search would."""
        for shard in self.shards:
            shard.refresh()

    def _found(self, query: Query, k: int, where: Where | None) -> list[Candidate]:
        return self._searcher.search(query, k, where, self._space.check)

    def info(self) -> dict[str, Any]:
        """What the store holds and where, as JSON values; of a shard's dense index the first one's."""
        each = [shard.info() for shard in self.shards]
        dense = [one["dense_index"] for one in each]
        with self.snapshot() as state:
            return {
                "path": str(self.path),
                "format": state.format,
                **described(state),
                "shards": len(each),
                "dense_index": {**dense[0], "vectors": sum(one["vectors"] for one in dense)},
                "bytes": sum(one["bytes"] for one in each),
            }

    def compact(self) -> dict[str, int]:
        """See :meth:`langbert.Store.compact`: of all shards, one after the other."""
        each = [shard.compact() for shard in self.shards]
        return {name: sum(one[name] for one in each) for name in each[0]}


def _make(folder: Path, n_shards: int | None, *, create: bool) -> int:
    """Makes an empty store, whole or not at all; how many shards it has, if another process was quicker."""
    if type(n_shards) is not int or not 1 <= n_shards <= MOST_SHARDS:
        raise StoreError(f"shards must be a number from 1 to {MOST_SHARDS}; got {n_shards!r}")
    if (folder / STORE_FILE).is_file():
        raise StoreError(
            f"{folder} is a store already, and not in shards: leave out shards={n_shards}, or move it into another "
            f"folder with `langbert store migrate --store {folder} --to FOLDER --shards {n_shards}`"
        )
    check_folder(folder, create=create)
    try:
        with replacing(folder, overwrite=False) as fresh:
            for shard in range(n_shards):
                Store.open(fresh / shard_name(shard)).close()
            (fresh / SHARDS_FILE).write_text(json.dumps({"format": 1, "shards": n_shards}), encoding="utf-8")
            fresh.chmod(folder.stat().st_mode & 0o777)
    except OSError as error:
        if (there := shards_in(folder)) is None:
            raise StoreError(f"cannot make a store in {folder}: {error.strerror or error}") from error
        return there
    return n_shards
