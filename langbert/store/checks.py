"""What callers hand in, looked at before anything is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..files import is_leftover

STORE_FILE = "store.sqlite"
DERIVED = "derived"  # the folder of the indexes


def check_folder(folder: Path, *, create: bool) -> None:
    """Raises StoreError unless there is a store, or one may be made in the folder, which is then there."""
    try:
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; a store is a folder: give another path")
        store = folder / STORE_FILE
        if store.is_file():
            return
        if folder.exists() and not all(map(is_leftover, folder.iterdir())):
            if store.is_file():  # another process has just made it
                return
            raise StoreError(f"{folder} is not a langbert store (no {STORE_FILE}) and not empty: give another folder")
        if not create:
            raise StoreError(f"there is no store in {folder}: check the path, or make one with `langbert index`")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot use {folder} as a store: {error.strerror or error}") from error


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
