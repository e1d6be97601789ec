"""A store, whole, into another place: embedded → an engine outside, and back.

Chunk by chunk as they are stored, vectors and hashes too: nothing is cut or embedded. What is there already is passed
over, so a move that was broken off is simply made again; in the end both sides are read and compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ...errors import StoreError
from ..base import BaseStore
from ..confidence import put_calibration, read_calibration
from ..engine import Reading, Writing
from ..pictures import BLOCK, count, put, set_space, space_of, stored
from ..snapshot import Snapshot, StoredChunk, StoredText
from ..store import Store
from .copying import Watch, blocks_of, unwatched

_PAGE = 500
_MARK = "moving_from"


@dataclass(frozen=True, slots=True)
class Moved:
    """What a place holds after a move.

    Attributes:
        resumed: chunks that were there before.
        checksum: of all chunks, vectors, documents and pictures, the same on both sides, as hex.
        pictures: those of the documents.
        left: pictures that stay behind, since engines outside and stores in shards hold none.
    """

    documents: int
    chunks: int
    resumed: int
    checksum: str
    pictures: int = 0
    left: int = 0


def move(source: BaseStore, target: BaseStore, *, watch: Watch = unwatched) -> Moved:
    """Puts all of ``source`` into ``target``, which is new or holds the beginning of this same move.

    Raises:
        StoreError: ``target`` holds something else, or in the end not the same.
    """
    resumed = 0
    with source.snapshot() as old:
        _begin(old, target, str(source))
        done = 0
        for page in blocks_of(old.stored_chunks(), _PAGE):
            with target.transaction() as new:
                resumed += _put_chunks(new, page)
            watch("moving chunks", done := done + len(page), old.n_chunks)
        done = 0
        for texts in blocks_of(old.stored_documents(), _PAGE):
            with target.transaction() as new:
                _put_documents(new, texts)
            watch("moving documents", done := done + len(texts), old.n_documents)
        for entries in blocks_of(old.ledger_entries(), _PAGE):
            with target.transaction() as new:
                new.put_ledger(entries)
        pictures = count(old) if isinstance(old, Snapshot) else 0
        kept = pictures if isinstance(target, Store) else 0
        if isinstance(old, Snapshot) and isinstance(target, Store) and pictures:
            _put_pictures(old, target, watch, pictures)
        given = _checksum(old, watch, "reading the old", kept)
    for records in blocks_of(source.files, _PAGE):
        target.files.record(records)
    with target.snapshot() as moved:
        counts = moved.n_documents, moved.n_chunks
        found = _checksum(moved, watch, "reading the new", kept)
    if found != given:
        raise StoreError(f"what {target} holds is not what {source} does: move it again, into an empty place")
    with target.transaction() as new:
        new.set_meta(_MARK, "")
    return Moved(*counts, resumed, given, kept, pictures - kept)


def _begin(old: Reading, target: BaseStore, source: str) -> None:
    with target.transaction() as new:
        if new.n_chunks + new.n_documents > 0 and new.meta(_MARK) != source:
            raise StoreError(f"{target} holds {new.n_chunks:,} chunks already: give an empty place to move to")
        new.set_meta(_MARK, source)
        if new.dimension is None and old.dimension is not None:
            new.set_space(old.dimension, old.space)
            put_calibration(new, read_calibration(old))


def _put_chunks(new: Writing, page: list[StoredChunk]) -> int:
    """How many were there as they are."""
    states = new.states(row.id for row, _ in page)
    there = {
        row.id
        for row, _ in page
        if row.id in states
        and (states[row.id].record_hash, states[row.id].embedded_hash) == (row.record_hash, row.embedded_hash)
    }
    new.delete_chunks([state.row_id for id, state in states.items() if id not in there])
    new.insert_chunks([(row, vector) for row, vector in page if row.id not in there])
    return len(there)


def _put_documents(new: Writing, page: list[StoredText]) -> None:
    states = new.document_states(row.id for row, _ in page)
    for row, chunking in page:
        if states.get(row.id) != (row.content_hash, chunking):
            new.put_document(row, chunking)


def _put_pictures(old: Snapshot, target: Store, watch: Watch, total: int) -> None:
    done = 0
    for page in blocks_of(stored(old), BLOCK):
        with target.transaction() as new:
            if (space := space_of(old)) is not None:
                set_space(new, space)
            put(new, page)
        watch("moving pictures", done := done + len(page), total)


def _checksum(state: Reading, watch: Watch, doing: str, pictures: int) -> str:
    """The sum of the digests of everything, in whatever order it comes; of pictures if there are to be any."""
    total = 0
    for n, (row, vector) in enumerate(state.stored_chunks(), start=1):
        total += _digest(row.record_hash, row.embedded_hash, vector[0] if vector is not None else b"")
        if n % _PAGE == 0:
            watch(doing, n, state.n_chunks)
    for document, chunking in state.stored_documents():
        total += _digest(document.id.encode(), document.content_hash, chunking.encode())
    for picture, vector in stored(state) if pictures and isinstance(state, Snapshot) else ():
        place = f"{picture.start} {picture.end} {picture.page}"
        total += _digest(picture.id.encode(), picture.document_id.encode(), picture.png, place.encode(), vector[0])
    return f"{total % 2**128:032x}"


def _digest(*parts: bytes) -> int:
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return int.from_bytes(hashlib.blake2b(framed, digest_size=16).digest(), "big")
