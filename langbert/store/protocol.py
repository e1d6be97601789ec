"""What answering, indexing, LangChain and the server need of a store, wherever it keeps things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..records import Calibration, Candidate, Chunk, Document, EmbedderLike, EmbeddingSpace, Progress, SearchMode
from .files import Files
from .filters import Where
from .fusion import Fusion
from .ingest import ChunkerLike
from .ledger import Ledger
from .snapshot import FileRecord, StoredDocument

if TYPE_CHECKING:
    from typing_extensions import Self


class StoreLike(Protocol):
    """A store: :class:`langbert.Store` in a folder, or one in an engine outside. What each method promises is said
    there, and :class:`langbert.testing.StoreSuite` holds every store to it."""

    @property
    def embedder(self) -> EmbedderLike | None: ...

    @property
    def chunker(self) -> ChunkerLike: ...

    @property
    def path(self) -> Path | None:
        """The folder of an embedded store."""
        ...

    @property
    def read_only(self) -> bool: ...

    @property
    def space(self) -> EmbeddingSpace | None: ...

    @property
    def calibration(self) -> Calibration | None: ...

    def keep_calibration(self, calibration: Calibration | None) -> None: ...

    @property
    def dimension(self) -> int | None: ...

    @property
    def n_documents(self) -> int: ...

    def __len__(self) -> int: ...

    def add(
        self,
        items: Iterable[Document | Chunk],
        *,
        progress: Progress | None = None,
        files: Iterable[FileRecord] = (),
    ) -> list[str]: ...

    def add_vectors(self, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> list[str]: ...

    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int: ...

    def get(self, ids: Iterable[str]) -> list[Document | Chunk]: ...

    def document(self, document_id: str) -> Document | None: ...

    def documents(self) -> Iterator[StoredDocument]: ...

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]: ...

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
    ) -> list[Candidate]: ...

    def search_vector(
        self, vector: NDArray[np.float32], k: int = 10, *, where: Where | None = None
    ) -> list[Candidate]: ...

    @property
    def files(self) -> Files: ...

    def ledger(self, namespace: str) -> Ledger: ...

    def info(self) -> dict[str, Any]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...
