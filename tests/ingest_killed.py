"""``python ingest_killed.py FOLDER STORE LOG``: a sync made to be killed; LOG gets a line for each text embedded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from store_tools import HashEmbedder, LineChunker

from langbert import Store, sync
from langbert.documents import workers
from langbert.indexing import Limits, SyncReport, changes

FEW = 10  # files in a batch


class Noting(HashEmbedder):
    """Notes what it embeds before anything can be stored."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def embed(self, texts: Sequence[str], role="document", *, progress=None) -> NDArray[np.float32]:
        with self._log.open("a", encoding="utf-8") as log:
            log.writelines(f"{text}\n" for text in texts)
        return super().embed(texts, role, progress=progress)


def run(folder: Path, store: Path, log: Path) -> SyncReport:
    workers._READER = "hostile_reader"
    changes._BATCH_FILES = FEW
    with Store.open(store, embedder=Noting(log), chunker=LineChunker()) as opened:
        return sync(folder, opened, workers=1, limits=Limits(seconds=1.5))


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:]))
