"""Reading what is trained on, whatever cannot be used named by its line, and holding some of it out."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..documents import read_document, read_documents
from ..errors import DataError, DocumentError
from ..records import Document

__all__ = ["documents_in", "held_out", "numbered_lines", "read_lines", "read_numbered"]

_LARGEST = 1 << 40  # bytes of a document: a corpus may lie in a single file
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of bytes that cannot be decoded

Row = TypeVar("Row")


def numbered_lines(path: str | Path, expected: str, *, blank: bool = False) -> Iterator[tuple[int, str]]:
    """The lines of a file without their ends, each with its number, from 1.

    Args:
        expected: what the file should hold, for the error message.
        blank: whether blank lines are wanted, too.

    Raises:
        DataError: the file is missing, or a line is not UTF-8.
    """
    if not Path(path).is_file():
        raise DataError(f"no file at {path}: expected {expected}")
    with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            if wrong := _NOT_UTF8.search(line):
                raise DataError(f"{path}:{number}: expected UTF-8; byte 0x{ord(wrong[0]) - 0xDC00:x} is not")
            if blank or line.strip():
                yield number, line.rstrip("\n")


def read_numbered(path: str | Path, parse: Callable[[Any], Row], expected: str) -> Iterator[tuple[int, Row]]:
    """``parse`` of every JSON line, with the line's number; blank lines are passed over, and counted.

    Args:
        expected: what a line should look like, for the error message.

    Raises:
        DataError: the file is missing, or a line is no JSON, or ``parse`` cannot make anything of it.
    """
    for number, line in numbered_lines(path, f"JSON lines of {expected}"):
        try:
            row = parse(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: expected {expected}; got {line.strip()[:80]}") from error
        yield number, row


def read_lines(path: str | Path, parse: Callable[[Any], Row], expected: str) -> Iterator[Row]:
    """:func:`read_numbered` without the numbers."""
    return (row for _, row in read_numbered(path, parse, expected))


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


def held_out(names: Iterable[str], share: float, seed: int) -> set[str]:
    """The ``share`` of the different ``names`` that ``seed`` keeps for evaluation."""
    shuffled = sorted(set(names))
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    return set(shuffled[: round(share * len(shuffled))])
