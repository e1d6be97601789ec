"""What adding means: what is unchanged, what is cut anew, which vectors are still good, and what is written.

Planning reads a snapshot and computes vectors without holding any lock; writing then happens in one short transaction
that looks at the rows again, so it is right whatever others have committed in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..records import Chunk, Document, EmbedderLike, SpanEmbedderLike
from .checks import checked_vectors
from .encoding import ChunkRow, DocumentRow, Vector, encode_chunk, encode_document, in_context, vector_to
from .engine import DatabaseLike, Reading, Writing

_MOST_ITEMS = 64
_MOST_CHARACTERS = 1_000_000  # of text in one batch: what bounds memory and the length of a commit


class ChunkerLike(Protocol):
    """What cuts documents; :class:`langbert.Chunker` is one.

    A ``fingerprint`` (str) that says how it cuts lets unchanged documents be skipped; without one, ``max_tokens`` and
    ``overlap`` are taken for it.
    """

    def split(self, document: Document) -> Sequence[Chunk]: ...


@dataclass(slots=True)
class Batch:
    """What one transaction will write.

    Attributes:
        documents: the changed documents with all their chunks.
        chunks: changed chunks that came by themselves.
        vectors: hash of what was embedded → its vector, of every chunk above; empty in a store of words only.
        chunking: how the documents were cut.
    """

    documents: list[tuple[DocumentRow, list[ChunkRow]]] = field(default_factory=list)
    chunks: list[ChunkRow] = field(default_factory=list)
    vectors: dict[bytes, Vector] = field(default_factory=dict)
    chunking: str = ""

    def all_chunks(self) -> Iterator[ChunkRow]:
        for _, chunks in self.documents:
            yield from chunks
        yield from self.chunks

    def vectors_missing(self, chunks: Iterable[ChunkRow]) -> dict[bytes, ChunkRow]:
        """Those of ``chunks`` that have none, by the hash of what is embedded: equal ones once."""
        return {chunk.embedded_hash: chunk for chunk in chunks if chunk.embedded_hash not in self.vectors}


def batches(items: Iterable[Document | Chunk]) -> Iterator[list[Document | Chunk]]:
    """Items in order, so many at a time that memory stays bounded.

    Raises:
        StoreError: an item is neither a Document nor a Chunk.
    """
    batch: list[Document | Chunk] = []
    characters = 0
    for item in items:
        if not isinstance(item, Document | Chunk):
            raise StoreError(f"a store holds Documents and Chunks; got {type(item).__name__} {item!r:.60}")
        batch.append(item)
        characters += len(item.text) if isinstance(item.text, str) else 0
        n_most = _MOST_ITEMS if isinstance(item, Document) else 8 * _MOST_ITEMS
        if len(batch) >= n_most or characters >= _MOST_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def prepare(
    items: Sequence[Document | Chunk],
    database: DatabaseLike,
    *,
    chunker: ChunkerLike | None,
    embedder: EmbedderLike | None,
    spans: SpanEmbedderLike | None,
) -> Batch | None:
    """What of ``items`` has to be written, cut and embedded; None if everything is stored as it is. The last of several
    items with the same id counts.

    Args:
        chunker: cuts documents; without one they have no chunks.
        embedder: makes the vectors that are missing; without one there are none.
        spans: makes those of a document's chunks from one reading of all of it.

    Raises:
        StoreError: an item, or something the chunker made, is not in order.
    """
    batch = Batch(chunking=chunking_key(chunker) if chunker else "")
    with database.reading() as snapshot:
        documents = _changed(items, snapshot, batch)
    for document, row in documents:
        rows = _cut(document, chunker) if chunker else []
        batch.documents.append((row, in_context(rows, document) if spans else rows))
    if not batch.documents and not batch.chunks:
        return None
    with database.reading() as snapshot:
        _reuse_vectors(batch, snapshot)
    if spans is not None:
        _embed_in_context(batch, spans)
    elif embedder is not None:
        _embed_alone(batch, embedder, batch.all_chunks())
    return batch


def chunking_key(chunker: ChunkerLike) -> str:
    """Says how a chunker cuts; a document cut under another key is cut again."""
    said = getattr(chunker, "fingerprint", None)
    if isinstance(said, str):
        return said
    settings = {name: getattr(chunker, name, None) for name in ("max_tokens", "overlap")}
    return f"{type(chunker).__qualname__}:{json.dumps(settings, default=repr)}"


def _changed(items: Sequence[Document | Chunk], snapshot: Reading, batch: Batch) -> list[tuple[Document, DocumentRow]]:
    """The documents that are not stored as they are; such chunks are put into ``batch``."""
    documents = {item.id: (item, encode_document(item)) for item in items if isinstance(item, Document)}
    chunks = {item.id: encode_chunk(item) for item in items if isinstance(item, Chunk)}
    stored, states = snapshot.document_states(documents), snapshot.states(chunks)
    batch.chunks = [row for id, row in chunks.items() if id not in states or states[id].record_hash != row.record_hash]
    return [pair for id, pair in documents.items() if stored.get(id) != (pair[1].content_hash, batch.chunking)]


def _cut(document: Document, chunker: ChunkerLike) -> list[ChunkRow]:
    chunks = {chunk.id: encode_chunk(chunk) for chunk in chunker.split(document)}
    stray = next((chunk for chunk in chunks.values() if chunk.document_id != document.id), None)
    if stray is not None:
        raise StoreError(f"the chunker gave document {document.id!r} a chunk of document {stray.document_id!r}")
    return list(chunks.values())


def _reuse_vectors(batch: Batch, snapshot: Reading) -> None:
    """Takes over stored vectors of texts that have not changed, wherever in the document they stand now."""
    if snapshot.dimension is None:
        return
    stored = {state.embedded_hash: state.row_id for state in snapshot.states(row.id for row in batch.chunks).values()}
    for row, _ in batch.documents:
        states = snapshot.states_of_document(row.id).values()
        stored.update((state.embedded_hash, state.row_id) for state in states)
    wanted = {chunk.embedded_hash for chunk in batch.all_chunks()}
    again = {hash: row_id for hash, row_id in stored.items() if hash in wanted}
    if again:
        vectors = snapshot.vectors(list(again.values()))
        batch.vectors.update((hash, vector_to(vector)) for hash, vector in zip(again, vectors, strict=True))


def _embed_in_context(batch: Batch, embedder: SpanEmbedderLike) -> None:
    """Makes the vectors that are missing: late chunking for documents; chunks that came by themselves are alone."""
    missing = [(row.columns[2], batch.vectors_missing(chunks)) for row, chunks in batch.documents]
    missing = [(text, chunks) for text, chunks in missing if chunks]
    if missing:
        spans = [[chunk.span for chunk in chunks.values()] for _, chunks in missing]
        made = embedder.embed_spans([text for text, _ in missing], spans)
        for (_, chunks), vectors in zip(missing, made, strict=True):
            _keep(batch, chunks, vectors)
    _embed_alone(batch, embedder, batch.chunks)


def _embed_alone(batch: Batch, embedder: EmbedderLike, chunks: Iterable[ChunkRow]) -> None:
    """Makes the vectors that are missing, each of a chunk's text alone."""
    missing = batch.vectors_missing(chunks)
    if missing:
        texts = [chunk.embedded_text for chunk in missing.values()]
        _keep(batch, missing, embedder.embed(texts, "document"))


def _keep(batch: Batch, chunks: Mapping[bytes, ChunkRow], vectors: NDArray[np.float32]) -> None:
    batch.vectors.update(zip(chunks, map(vector_to, checked_vectors(vectors, len(chunks))), strict=True))


def write(transaction: Writing, batch: Batch) -> None:
    """Puts ``batch`` in the place of whatever is stored under its ids."""
    for row, chunks in batch.documents:
        kept = {chunk.id for chunk in chunks}
        before = transaction.states_of_document(row.id)
        transaction.delete_chunks([state.row_id for id, state in before.items() if id not in kept])
        put_chunks(transaction, [(chunk, batch.vectors.get(chunk.embedded_hash)) for chunk in chunks])
        transaction.put_document(row, batch.chunking)
    put_alone(transaction, [(chunk, batch.vectors.get(chunk.embedded_hash)) for chunk in batch.chunks])


def put_alone(transaction: Writing, chunks: Sequence[tuple[ChunkRow, Vector | None]]) -> None:
    """Puts chunks that came without their documents, which then are not as they were cut any more."""
    put_chunks(transaction, chunks)
    transaction.forget_chunking({chunk.document_id for chunk, _ in chunks})


def put_chunks(transaction: Writing, chunks: Sequence[tuple[ChunkRow, Vector | None]]) -> None:
    """Inserts chunks, or updates those of the same id; a row whose text and vector stay is left in the indexes."""
    if transaction.dimension is not None and any(vector is None for _, vector in chunks):
        raise StoreError("another process has put vectors into this store of words only: add these with its embedder")
    states = transaction.states(chunk.id for chunk, _ in chunks)
    same_text = [
        states[chunk.id].row_id
        for chunk, _ in chunks
        if chunk.id in states and states[chunk.id].index_hash == chunk.index_hash
    ]
    stored: dict[int, Vector | None] = dict.fromkeys(same_text)
    if same_text and transaction.dimension is not None:
        stored.update(zip(same_text, map(vector_to, transaction.vectors(same_text)), strict=True))
    fresh: list[tuple[ChunkRow, Vector | None]] = []
    outdated: list[int] = []
    for chunk, vector in chunks:
        state = states.get(chunk.id)
        if state is not None and state.document_id != chunk.document_id:
            transaction.forget_chunking([state.document_id])
        if state is not None and state.row_id in stored and stored[state.row_id] == vector:
            if state.record_hash != chunk.record_hash:
                transaction.update_chunk(state.row_id, chunk)
            continue
        if state is not None:
            outdated.append(state.row_id)
        fresh.append((chunk, vector))
    transaction.delete_chunks(outdated)
    transaction.insert_chunks(fresh)
