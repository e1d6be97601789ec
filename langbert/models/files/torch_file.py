"""Tensors out of a ``.bin`` or ``.pt`` file, torch's own format, without unpickling it.

A file is a pickle that names storages, and the storages: in a zip of uncompressed members (since torch 1.6), or one
after the other behind the pickle. The pickle is read as data (:mod:`langbert.pickled`), and each tensor is a view of
the mapped file, checked against its storage. ``torch.load(weights_only=True)`` runs no code either, but inflates what
is compressed, makes byte arrays of any size that is asked for, and hashes keys that nest without end.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from ...errors import CheckpointError, UnsafePickle
from ...pickled import Instance, read_pickle

__all__ = ["read_torch_file"]

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_ALLOWED = {_TENSOR, _PARAMETER, "collections.OrderedDict", *(f"torch.{name}" for name in _DTYPES)}
_STORAGE = "a storage"
_MAGIC = 0x1950A86A20F9469CFC6C  # what an older file begins with, pickled
_MOST_SHARED = 4  # times the file's size that its tensors may have: word tables are often in it under several names


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """The tensors in ``path``, by name; what is read of them is read from the file, which stays mapped.

    Raises:
        CheckpointError: the file is damaged, holds more than tensors, or tensors that are not as torch writes them.
    """
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # never written; torch wants what could be
        tree, storages = (_zipped if mapped[:2] == b"PK" else _in_sequence)(path, mapped)
        if not isinstance(tree, dict):
            raise ValueError(f"a {type(tree).__name__}, expected a dictionary of tensors")
        return _tensors(tree, mapped, storages)
    except UnsafePickle as error:
        raise CheckpointError(
            f"{path}: holds more than tensors and is not read, because reading it could run code ({error}); "
            f"ask its author for safetensors"
        ) from error
    except (OSError, ValueError, TypeError, LookupError, NotImplementedError, struct.error, BadZipFile) as error:
        raise CheckpointError(f"{path}: cannot be read as weights ({error}); is the download complete?") from error


def _zipped(path: Path, mapped: mmap.mmap) -> tuple[Any, Mapping[str, tuple[int, int]]]:
    """What the pickle says, and where each storage lies: ``(start, n_bytes)``."""
    places: dict[str, tuple[int, int]] = {}
    with ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != ZIP_STORED or member.flag_bits & 1:
                raise ValueError(f"{member.filename} is compressed, as torch never writes it")
            names = mapped[member.header_offset + 26 : member.header_offset + 30]
            start = member.header_offset + 30 + sum(struct.unpack("<2H", names))
            if start + member.file_size > len(mapped):
                raise ValueError(f"{member.filename} ends behind the file")
            places[member.filename.partition("/")[2]] = start, member.file_size
    if sum(size for _, size in places.values()) > len(mapped):
        raise ValueError("its members lie over each other")
    if "byteorder" in places and _bytes(mapped, *places["byteorder"]) != b"little":
        raise ValueError("it was written on a big-endian machine")
    pickle = io.BytesIO(_bytes(mapped, *places["data.pkl"]))
    tree = read_pickle(pickle, _ALLOWED, name=path.name, persistent=_STORAGE)
    return tree, {name.removeprefix("data/"): place for name, place in places.items()}


def _in_sequence(path: Path, mapped: mmap.mmap) -> tuple[Any, Mapping[str, tuple[int, int]]]:
    """The same of an older file: five pickles, then of each storage how many items it has, and these."""
    magic, version, system, tree, keys = (
        read_pickle(cast("IO[bytes]", mapped), _ALLOWED, name=path.name, persistent=_STORAGE) for _ in range(5)
    )
    if magic != _MAGIC or version != 1001 or not isinstance(system, dict) or not system.get("little_endian"):
        raise ValueError("it is no file of torch's")
    sizes = {key: dtype.itemsize for key, dtype, _ in map(_storage, _storages_in(tree))}
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        (count,) = struct.unpack("<q", mapped.read(8))
        n_bytes = count * sizes[key]
        if not 0 <= n_bytes <= len(mapped) - mapped.tell():
            raise ValueError(f"storage {key} has {count} items, {len(mapped) - mapped.tell()} bytes are left")
        places[key] = mapped.tell(), n_bytes
        mapped.seek(n_bytes, io.SEEK_CUR)
    return tree, places


def _tensors(tree: Mapping[Any, Any], mapped: mmap.mmap, places: Mapping[str, tuple[int, int]]) -> dict[str, Tensor]:
    data = np.frombuffer(mapped, np.uint8)
    storages: dict[str, Tensor] = {}
    tensors: dict[str, Tensor] = {}
    total = 0
    for name, value in tree.items():
        place, offset, size, stride = _parts(name, value)
        key, dtype, n_items = _storage(place)
        if key not in storages:
            start, n_bytes = places[key]
            if n_items * dtype.itemsize > n_bytes:
                raise ValueError(f"storage {key} has {n_bytes} bytes, {n_items} items are announced")
            raw = data[start : start + n_items * dtype.itemsize]
            storages[key] = torch.from_numpy(raw if raw.ctypes.data % dtype.itemsize == 0 else raw.copy()).view(dtype)
        storage = storages[key]
        n_elements = int(np.prod([int(n) for n in size], dtype=object))
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if n_elements else offset
        if min(*size, *stride, offset, 0) < 0 or n_elements > len(storage) or last >= len(storage) + (n_elements == 0):
            raise ValueError(f"{name} has shape {size}, strides {stride} from {offset} in {len(storage)} items")
        total += n_elements * dtype.itemsize
        if total > _MOST_SHARED * len(mapped):
            raise ValueError(f"its tensors lie over each other until they are {_MOST_SHARED} times as large as it")
        tensors[name] = storage.as_strided(size, stride, offset)
    return tensors


def _parts(name: Any, value: Any) -> tuple[Any, int, tuple[int, ...], tuple[int, ...]]:
    """Of what torch would have made a tensor: a storage, an offset, shape and strides."""
    if isinstance(value, Instance) and value.name == _PARAMETER:
        value = value.args[0]
    if not isinstance(name, str) or not isinstance(value, Instance) or value.name != _TENSOR:
        raise ValueError(f"{name!r:.80} is no tensor, expected a dictionary of tensors")
    place, offset, size, stride, *_ = value.args
    whole = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8
    if not whole or not all(type(number) is int for number in (offset, *size, *stride)):
        raise ValueError(f"{name} has shape {size!r:.80} and strides {stride!r:.80}")
    return place, offset, size, stride


def _storage(place: Any) -> tuple[str, torch.dtype, int]:
    """A storage's name, the type of its items and how many they are."""
    if not isinstance(place, Instance) or place.name != _STORAGE:
        raise ValueError("a tensor without a storage")
    kind, made_by, key, _, n_items, *view = place.args
    if kind != "storage" or not isinstance(key, str) or type(n_items) is not int or n_items < 0 or any(view):
        raise ValueError(f"a storage {key!r:.80} of {n_items!r:.80} items")
    return key, _DTYPES[str(getattr(made_by, "full", made_by)).removeprefix("torch.")], n_items


def _storages_in(tree: Any) -> list[Any]:
    return [_parts(name, value)[0] for name, value in tree.items()] if isinstance(tree, dict) else []


def _bytes(mapped: mmap.mmap, start: int, n_bytes: int) -> bytes:
    return mapped[start : start + n_bytes]
