"""``python -m langbert.testing.killed PLACE N``: adds N documents of three lines each, to be killed while it does."""

from __future__ import annotations

import sys

from ..records import Document
from ..store import open_store
from .small import HashEmbedder, LineChunker


def documents(n: int) -> list[Document]:
    """Told apart by their first words."""
    return [Document(f"d{i}", f"first {i}\nsecond {i}\nthird {i}\n", source=f"{i}.txt") for i in range(n)]


if __name__ == "__main__":
    with open_store(sys.argv[1], embedder=HashEmbedder(), chunker=LineChunker()) as store:
        for document in documents(int(sys.argv[2])):
            store.add([document])
            sys.stdout.write(f"{document.id}\n")
            sys.stdout.flush()
