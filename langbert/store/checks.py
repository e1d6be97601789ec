"""What callers hand in, looked at before anything is touched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..files import is_leftover

STORE_FILE = "store.sqlite"
DERIVED = "derived"  # the folder of the indexes
MOST_SHARDS = 1000
APPLICATION_ID = 0x4C424552  # "LBER"
_AT_APPLICATION_ID = 68  # of the bytes that an SQLite database begins with
SHARDS_FILE = "shards.json"  # says of a folder that it is a store in shards


def check_folder(folder: Path, *, create: bool) -> None:
    """Raises StoreError unless there is a store, or one may be made in the folder, which is then there."""
    try:
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; a store is a folder: give another path")
        store = folder / STORE_FILE
        if store.is_file():
            return
        if (folder / SHARDS_FILE).is_file():
            raise StoreError(
                f"{folder} is a store in shards, which langbert.open_store opens; this takes them one by one: "
                f"{folder / shard_name(0)} and so on"
            )
        if folder.exists() and not all(map(is_leftover, folder.iterdir())):
            if store.is_file():  # another process has just made it
                return
            raise StoreError(f"{folder} is not a langbert store (no {STORE_FILE}) and not empty: give another folder")
        if not create:
            raise StoreError(f"there is no store in {folder}: check the path, or make one with `langbert index`")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot use {folder} as a store: {error.strerror or error}") from error


def is_store(folder: Path) -> bool:
    """Whether there is a store in ``folder``, in shards or not, of whatever format; nothing of it is opened."""
    try:
        with (folder / STORE_FILE).open("rb") as file:
            file.seek(_AT_APPLICATION_ID)
            return file.read(4) == APPLICATION_ID.to_bytes(4, "big")
    except OSError:
        pass
    try:
        return shards_in(folder) is not None
    except StoreError:
        return False


def shards_in(folder: Path) -> int | None:
    """In how many shards the store in ``folder`` is; None where it is not.

    Raises:
        StoreError: what says so cannot be understood.
    """
    file = folder / SHARDS_FILE
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        n = said["shards"] if said["format"] == 1 else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{file} cannot be read ({error!r}): it should say how many shards there are") from error
    if type(n) is not int or not 1 <= n <= MOST_SHARDS:
        raise StoreError(f"{file} says {said!r:.80}; expected format 1 and from 1 to {MOST_SHARDS} shards")
    return n


def parts_of(folder: Path) -> list[Path]:
    """The folders of the shards; of a store that is not in shards, its own."""
    n = shards_in(folder)
    return [folder] if n is None else [folder / shard_name(shard) for shard in range(n)]


def shard_name(shard: int) -> str:
    return f"shard-{shard:04}"


def checked_vectors(vectors: object, count: int) -> NDArray[np.float32]:
    """``(count, dim)`` float32.

    Raises:
        StoreError: another shape or type, or a value that is not finite.
    """
    try:
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise StoreError(f"vectors must be numbers of shape (n, dim): {error}") from error
    if matrix.ndim != 2 or len(matrix) != count or (count > 0 and matrix.shape[1] == 0):
        raise StoreError(f"expected vectors of shape ({count}, dim); got {matrix.shape}")
    if not np.isfinite(matrix).all():
        bad = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise StoreError(f"vector {bad} holds NaN or infinity: the embedder that made it is at fault")
    return matrix
