"""Another embedder for a store that is there: every text is embedded again, beside the store, which stays in use.

The new vectors are collected in a store of their own, ``my-index.migrating``. It commits batch by batch and knows what
it holds, so it is the checkpoint too: a migration that was killed goes on where it stopped. At the end everything moves
over in one commit of the store itself: a crash leaves the old store or the new one, and whoever reads meanwhile sees
one or the other and need not open it again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import StoreError, StoreLocked, StoreMismatch
from ...records import Chunk, Document, EmbedderLike
from ..encoding import CHUNK_COLUMNS, DOCUMENT_COLUMNS, chunk_from, document_from, encode_document
from ..ingest import ChunkerLike
from ..snapshot import Mark, Snapshot
from ..store import Store
from ..transaction import Transaction
from .copying import Watch, blocks_of, unwatched

_PAGE = 64  # documents or chunks read, embedded and committed at a time
_PASSES = 3  # over a store that others are writing to


@dataclass(slots=True)
class Migration:
    """What was done.

    Attributes:
        changed: False if the store had vectors of this embedder already.
        resumed: chunks that an interrupted migration had embedded before.
    """

    documents: int = 0
    chunks: int = 0
    resumed: int = 0
    changed: bool = True
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that ``langbert store migrate --json`` prints."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def migrate(
    folder: str | Path,
    embedder: EmbedderLike,
    *,
    chunker: ChunkerLike | None = None,
    keep_chunks: bool = False,
    late_chunking: bool | None = None,
    lock_timeout: float = 30.0,
    watch: Watch | None = None,
) -> Migration:
    """Gives the store in ``folder`` the vectors of ``embedder``.

    Documents are cut anew, because another embedder reads another number of tokens; chunks that came without a
    document, or were changed one by one, stay as they are.

    Args:
        chunker: cuts the documents; by default ``Chunker.for_embedder(embedder)``.
        keep_chunks: True leaves all chunks as they are cut.
        late_chunking: by default as the store has it, where the embedder can.

    Raises:
        StoreError: a folder cannot be written or is full; the store is as it was, and the same call goes on.
        StoreMismatch: an unfinished migration to another embedder lies beside the store.
        StoreLocked: another process writes all the time.
    """
    started = time.perf_counter()
    folder = Path(folder)
    work = folder.absolute().with_name(folder.absolute().name + ".migrating")
    with Store.open(folder, create=False, lock_timeout=lock_timeout) as source:
        space = source.space
        if late_chunking is None:
            late_chunking = space is not None and space.late_chunking > 0 and hasattr(embedder, "embed_spans")
        try:
            target = Store.open(work, embedder=embedder, chunker=chunker, late_chunking=late_chunking)
        except StoreMismatch as error:
            raise StoreMismatch(
                f"{work} holds an unfinished migration to another embedder: finish that one, or delete the folder. "
                f"({error})"
            ) from error
        with target:
            wanted = target.embedder_space
            result = Migration(resumed=len(target))
            if space is not None and wanted is not None and not space.differences(wanted):
                result.changed = False
            else:
                try:
                    _Mover(source, target, keep_chunks, watch or unwatched).run()
                except StoreLocked:
                    raise
                except StoreError as error:
                    raise StoreError(
                        f"{error}. {folder} is as it was, with its old vectors. What has been embedded is kept in "
                        f"{work}: the same command goes on from there"
                    ) from error
            result.documents, result.chunks = source.n_documents, len(source)
        shutil.rmtree(work, ignore_errors=True)
        if watch is not None:
            watch("building the indexes", 0, 1)
    result.seconds = time.perf_counter() - started
    return result


class _Mover:
    def __init__(self, source: Store, target: Store, keep_chunks: bool, tell: Watch) -> None:
        self._source = source
        self._target = target
        self._cut_anew = "0" if keep_chunks else "chunking <> ''"  # SQL: which documents are
        self._is_loose = f"document_id NOT IN (SELECT id FROM documents WHERE {self._cut_anew})"  # noqa: S608
        self._tell = tell
        self._done = self._total = 0

    def run(self) -> None:
        for _ in range(_PASSES):
            mark = self._embed()
            with self._source.transaction() as transaction:
                if transaction.mark == mark:
                    self._swap(transaction)
                    return
        raise StoreLocked(
            f"{self._source.path} was changed by others {_PASSES} times while it was migrated: stop them, and repeat "
            "the command, which goes on where it stopped"
        )

    # --- beside the store --------------------------------------------------------------------------------------------

    def _embed(self) -> Mark:
        """Brings the new store up to what the old one holds; the moment from which that is true, if nobody wrote."""
        with self._source.snapshot() as snapshot:
            mark = snapshot.mark
            counted = (("documents", self._cut_anew), ("chunks", self._is_loose))
            counts = [f"SELECT count(*) FROM {table} WHERE {condition}" for table, condition in counted]  # noqa: S608
            self._done, self._total = 0, sum(snapshot.sql.execute(query).fetchone()[0] for query in counts)
        documents: set[str] = set()
        for page in self._pages("documents", "id", DOCUMENT_COLUMNS, self._cut_anew, ""):
            documents.update(self._add([document_from(columns) for _, *columns in page]))
        for page in self._pages("documents", "id", DOCUMENT_COLUMNS, f"NOT ({self._cut_anew})", ""):
            documents.update(self._keep([document_from(columns) for _, *columns in page]))
        loose: set[str] = set()
        for page in self._pages("chunks", "row_id", CHUNK_COLUMNS, self._is_loose, 0):
            loose.update(self._add([chunk_from(columns) for _, *columns in page]))
        self._forget_what_is_gone(documents, loose)
        return mark

    def _pages(self, table: str, key: str, columns: str, condition: str, last: Any) -> Iterator[list[tuple[Any, ...]]]:
        query = f"SELECT {key}, {columns} FROM {table} WHERE {condition} AND {key} > ? ORDER BY {key} LIMIT ?"  # noqa: S608
        while True:
            with self._source.snapshot() as snapshot:  # briefly: a long read would make the log grow
                page = snapshot.sql.execute(query, (last, _PAGE)).fetchall()
            if not page:
                return
            yield page
            last = page[-1][0]

    def _add(self, items: Sequence[Document | Chunk]) -> list[str]:
        """What is to be embedded."""
        ids = self._target.add(items)
        self._done += len(items)
        self._tell("embedding", self._done, max(self._total, self._done))
        return ids

    def _keep(self, documents: Sequence[Document]) -> list[str]:
        """Documents whose chunks stay as they are cut, and are added by themselves."""
        rows = [encode_document(document) for document in documents]
        with self._target.transaction() as transaction:
            known = transaction.document_states(row.id for row in rows)
            for row in rows:
                if known.get(row.id) != (row.content_hash, ""):
                    transaction.put_document(row, "")
        return [row.id for row in rows]

    def _forget_what_is_gone(self, documents: set[str], loose: set[str]) -> None:
        """What a migration that was interrupted had taken over, and has been deleted since."""
        with self._target.snapshot() as snapshot:
            gone = set(snapshot.document_ids()) - documents
            query = f"SELECT id FROM chunks WHERE {self._is_loose}"  # noqa: S608
            gone.update(id for (id,) in snapshot.sql.execute(query) if id not in loose)
        if gone:
            self._target.delete(sorted(gone))

    # --- in one commit -----------------------------------------------------------------------------------------------

    def _swap(self, transaction: Transaction) -> None:
        with self._target.snapshot() as new:
            total, moved = new.n_chunks, 0
            self._tell("swapping", 0, total)
            before = _ids(transaction) if transaction.has_ledger else set()
            transaction.delete_chunks([row for (row,) in transaction.sql.execute("SELECT row_id FROM chunks")])
            transaction.delete_documents(transaction.document_ids())
            for block in blocks_of(new.stored_chunks()):
                transaction.insert_chunks(block)
                moved += len(block)
                self._tell("swapping", moved, total)
            for row, chunking in new.stored_documents():
                transaction.put_document(row, chunking)
            transaction.set_space(new.dimension, new.space)
            if lost := before - _ids(new):
                transaction.sql.executemany("DELETE FROM ledger WHERE key = ?", [(id,) for id in lost])


def _ids(snapshot: Snapshot) -> set[str]:
    return {id for (id,) in snapshot.sql.execute("SELECT id FROM chunks")}
