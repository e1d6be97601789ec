"""A small real embedder and chunker: hashed words, no model, the same in every process."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..records import Chunk, Document, EmbeddingSpace, Progress, Role

DIMENSION = 16


class HashEmbedder:
    """Counts of hashed words; equal texts have equal vectors, texts that share words lie near each other.

    Attributes:
        embedded: every text that was embedded as a document's.
    """

    def __init__(self, dimension: int = DIMENSION, pooling: str = "mean") -> None:
        self.dimension = dimension
        self.space = EmbeddingSpace("hash", "crc32", "words", pooling, False, dimension)
        self.embedded: list[str] = []

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                place = zlib.crc32(word.encode())
                vectors[row, place % self.dimension] += 1 + place % 7
        if role == "document":
            self.embedded += texts
        return vectors

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    def room(self, role: Role = "document") -> int:
        return 64


class LineChunker:
    """Every line that is not blank is a chunk."""

    def __init__(self, fingerprint: str = "lines") -> None:
        self.fingerprint = fingerprint
        self.n_split = 0

    def split(self, document: Document) -> list[Chunk]:
        self.n_split += 1
        return [
            Chunk(
                id=f"{document.id}:{match.start()}",
                document_id=document.id,
                text=match.group(),
                start=match.start(),
                page=document.page_at(match.start()),
                source=document.source,
                metadata=document.metadata,
            )
            for match in re.finditer(r"[^\n]*\S[^\n]*", document.text)
        ]
