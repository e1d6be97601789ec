"""The vectors of an index file that FAISS wrote.

Flat indexes, which nearly all are, are read here, byte by byte checked. Any other index goes through FAISS's own
reader, C++ that was not written for hostile bytes, in a process of its own: what breaks there, breaks there.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langbert.errors import StoreCorrupt, StoreError

_FLAT = {b"IxFI", b"IxF2", b"IxFl"}  # inner product, L2, and the older form for both
_HEADER = struct.Struct("<4sIqqqBi")  # kind, dimension, n, two unused, trained, metric (0 inner product, 1 L2)
_COUNT = struct.Struct("<Q")
_MOST_DIMENSIONS = 1 << 16
_PATIENCE = 600  # seconds

_READER = """
import sys
import faiss, numpy as np
data = np.fromfile(sys.argv[1], dtype=np.uint8)
try:
    import resource
    most = 8 * data.nbytes + (8 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
except (ImportError, ValueError, OSError):
    pass
index = faiss.deserialize_index(data)
if hasattr(index, "make_direct_map"):
    index.make_direct_map()
if not 0 < index.d <= 65536 or index.ntotal * index.d > 8 * data.nbytes:
    sys.exit("its header promises more than the file holds")
sys.stdout.buffer.write(np.array([index.ntotal, index.d], dtype="<i8").tobytes())
for start in range(0, index.ntotal, 8192):
    block = index.reconstruct_n(start, min(8192, index.ntotal - start))
    sys.stdout.buffer.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
"""


def read_faiss_vectors(path: Path) -> NDArray[np.float32]:
    """All vectors of an index in the order of their positions, ``(n, dim)`` float32, as they were added (flat indexes)
    or as the index remembers them (others, where it can reconstruct them).

    Raises:
        StoreCorrupt: the file contradicts itself, or FAISS cannot read it.
        StoreError: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            size, start = path.stat().st_size, file.read(_HEADER.size + _COUNT.size)
            if start[:4] not in _FLAT:
                return _read_apart(path)
            if len(start) < _HEADER.size + _COUNT.size:
                raise StoreCorrupt(f"{path} is cut short")
            _, dimension, n, _, _, _, metric = _HEADER.unpack_from(start)
            (count,) = _COUNT.unpack_from(start, _HEADER.size)
            if not 0 < dimension <= _MOST_DIMENSIONS or n < 0 or count != n * dimension or metric not in (0, 1):
                raise StoreCorrupt(f"{path} has a header that makes no sense: {n} vectors of {dimension} dimensions")
            if size != len(start) + 4 * count:
                raise StoreCorrupt(f"{path} should hold {n} vectors of {dimension} dimensions and has {size} bytes")
            return np.fromfile(file, dtype="<f4", count=count).astype(np.float32, copy=False).reshape(n, dimension)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def _read_apart(path: Path) -> NDArray[np.float32]:
    """With FAISS, in another process."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _READER, str(path)], capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StoreCorrupt(f"FAISS has been reading {path} for {_PATIENCE} s") from error
    if done.returncode != 0 or len(done.stdout) < 16:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise StoreCorrupt(f"FAISS cannot read {path}, or not give its vectors back: {said[-1][:200]}")
    n, dimension = (int(number) for number in np.frombuffer(done.stdout, dtype="<i8", count=2))
    vectors = np.frombuffer(done.stdout, dtype="<f4", offset=16)
    if vectors.size != n * dimension:
        raise StoreCorrupt(f"FAISS gave {vectors.size} numbers back for {n} vectors of {dimension} dimensions")
    return vectors.astype(np.float32).reshape(n, dimension)
