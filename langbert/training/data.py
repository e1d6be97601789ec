"""Documents to train on, what of any data is held out, and which tokens are an answer."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..documents import read_document, read_documents
from ..errors import DataError, DocumentError
from ..records import Document

_LARGEST = 1 << 40  # bytes of a document: a corpus may lie in a single file


def documents_in(path: str | Path) -> Iterator[Document]:
    """The documents of a folder, but for those that cannot be read (a warning is logged), or the one in a file.

    Raises:
        DataError: there is no such folder or file, or the file cannot be read.
    """
    try:
        if Path(path).is_file():
            yield read_document(path, max_bytes=_LARGEST)
        else:
            yield from read_documents(path, max_bytes=_LARGEST)
    except DocumentError as error:
        raise DataError(f"{error}; expected a folder of documents, or a file of text") from error


def texts_in(path: str | Path) -> list[str]:
    """The documents' texts in a fixed order, each once.

    Raises:
        DataError: there is nothing to read.
    """
    texts = [text for text in dict.fromkeys(document.text for document in documents_in(path)) if text.strip()]
    if not texts:
        raise DataError(f"{path} holds no text: expected a text file or a folder of documents")
    return texts


def held_out(names: Iterable[str], share: float, seed: int) -> set[str]:
    """The ``share`` of the different ``names`` that ``seed`` keeps for evaluation."""
    shuffled = sorted(set(names))
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    return set(shuffled[: round(share * len(shuffled))])


def tokens_of(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The first and last token that characters ``[start, end)`` touch; -1, -1 if there are none."""
    begins = [offset[0] for offset in offsets]
    first, last = bisect_right(begins, start) - 1, bisect_right(begins, end - 1) - 1
    return (first, last) if 0 <= first <= last else (-1, -1)
