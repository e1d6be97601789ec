"""Making whole stores: what export, import, migration and rescue have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ...errors import StoreError
from ...files import replacing
from ..store import Store

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

T = TypeVar("T")


def unwatched(doing: str, done: int, total: int) -> None:
    """Where nobody wants to be told."""


def blocks_of(items: Iterable[T], size: int = 1024) -> Iterator[list[T]]:
    """So many at a time: what bounds memory and the length of a commit."""
    rest = iter(items)
    while block := list(islice(rest, size)):
        yield block


@contextmanager
def new_store(folder: Path) -> Iterator[Store]:
    """A store to fill, which appears at ``folder``, whole and with its indexes, when the block ends; nothing appears if
    it raises.

    Raises:
        StoreError: there is something at ``folder`` already, or it cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreError(f"{folder} is not empty, and nothing is ever written over: give another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # nobody can see it before it is whole and on the disk, so no commit need wait for the disk
        with replacing(folder, overwrite=False) as fresh, Store.open(fresh, durability="normal") as store:
            yield store
    except OSError as error:
        raise StoreError(f"cannot make a store at {folder}: {error.strerror or error}") from error
