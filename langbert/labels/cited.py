"""What an Extractor finds in whole documents, each with the sentences it stands in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..records import Chunk, Citation, Document, Progress
from ..store.base import BaseStore
from ..text.sentences import sentences
from .extractor import Extraction, Extractor, Triple
from .tagger import Entity

_TOGETHER = 1 << 16  # characters that are read at a time
_PAGE = 256


@dataclass(frozen=True, slots=True)
class Cited:
    """A triple or an entity of a document and where it stands.

    Attributes:
        found: with offsets in the document's text.
        citation: the sentence that holds it, or all from the first to the last that do.
    """

    found: Triple | Entity
    citation: Citation

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**self.found.to_dict(), "citation": self.citation.to_dict()}


def stored_texts(store: BaseStore) -> Iterator[Document | Chunk]:
    """All that a store holds: its documents, then the chunks that came without one."""
    known = set()
    for stored in store.documents():
        known.add(stored.id)
        document = store.document(stored.id)
        if document is not None:
            yield document
    with store.snapshot() as snapshot:
        alone = [row.id for row, _ in snapshot.stored_chunks() if row.document_id not in known]
    for start in range(0, len(alone), _PAGE):
        yield from store.get(alone[start : start + _PAGE])


def extract_cited(
    extractor: Extractor,
    texts: Iterable[Document | Chunk],
    *,
    entities: bool = False,
    progress: Progress | None = None,
) -> Iterator[Cited]:
    """The triples of documents, in their order; a few documents are read at a time.

    Args:
        texts: documents, or chunks, whose offsets are then those of their documents.
        entities: the entities instead.
        progress: told how many more documents are done.
    """
    for some in _batches(texts):
        found = extractor.extract_all([item.text for item in some], progress=progress)
        for item, extraction in zip(some, found, strict=True):
            yield from _cited(item, extraction, entities)


def _batches(texts: Iterable[Document | Chunk]) -> Iterator[list[Document | Chunk]]:
    batch: list[Document | Chunk] = []
    size = 0
    for item in texts:
        batch.append(item)
        size += len(item.text)
        if size >= _TOGETHER:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _cited(item: Document | Chunk, extraction: Extraction, entities: bool) -> Iterator[Cited]:
    spans = sentences(item.text)
    for one in extraction.entities if entities else extraction.triples:
        ends = [one] if isinstance(one, Entity) else [one.subject, one.object]
        start, end = _around(spans, min(each.start for each in ends), max(each.end for each in ends))
        offset = item.start if isinstance(item, Chunk) else 0
        citation = Citation(
            source=item.source,
            document_id=item.document_id if isinstance(item, Chunk) else item.id,
            page=item.page if isinstance(item, Chunk) else item.page_at(start),
            start=offset + start,
            end=offset + end,
            quote=item.text[start:end],
            score=one.score,
        )
        yield Cited(_moved(one, offset), citation)


def _around(spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """From where the sentence that holds ``start`` begins to where the one that holds ``end`` ends."""
    first = bisect_right(spans, start, key=lambda span: span[0]) - 1
    last = bisect_left(spans, end, key=lambda span: span[1])
    return spans[first][0], spans[last][1]


def _moved(one: Triple | Entity, offset: int) -> Triple | Entity:
    if isinstance(one, Entity):
        return replace(one, start=one.start + offset, end=one.end + offset)
    ends = (replace(each, start=each.start + offset, end=each.end + offset) for each in (one.subject, one.object))
    return Triple(next(ends), one.relation, next(ends), one.score)
