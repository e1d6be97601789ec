"""What a store holds, looked up in its database without an index."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Calibration, Chunk, Document, EmbeddingSpace
from .confidence import read_calibration
from .engine import DatabaseLike, Reading
from .snapshot import StoredDocument

_PAGE = 500


class Contents:
    """What can be read of a database; each call sees everything that was committed before it."""

    def __init__(self, database: DatabaseLike) -> None:
        self._database = database

    @contextmanager
    def snapshot(self) -> Iterator[Reading]:
        """One commit's view, unchanged until the block ends."""
        with self._database.reading() as snapshot:
            yield snapshot

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
