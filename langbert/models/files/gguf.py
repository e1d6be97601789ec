"""GGUF, llama.cpp's one-file format: read without trusting it, dequantised by the ``gguf`` package.

The header is read here and not by ``gguf.GGUFReader``, which takes seconds for a vocabulary (one numpy array per
token) and believes every count in the file. Here each count and offset is checked against the size of the file before
anything of that size is made. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import CheckpointError

__all__ = ["GGUFFile", "TensorInfo"]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies: ``shape`` in torch's order (slowest first), ``start`` in bytes from the top of the file."""

    shape: tuple[int, ...]
    quantization: int
    start: int
    n_bytes: int


class GGUFFile:
    """A GGUF file opened for reading; its tensors are mapped, not loaded.

    Attributes:
        metadata: the key-value section: numbers, bools, strings, and lists of them.
        tensors: name → :class:`TensorInfo`.

    Raises:
        CheckpointError: the file is not GGUF, is cut off, contradicts itself, or has a version we do not know.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise CheckpointError(f"{self.path}: cannot be read ({error})") from error
        self._offset = 0
        try:
            self.metadata, self.tensors = self._read_header()
        except (struct.error, UnicodeDecodeError, OverflowError, CheckpointError) as error:
            raise CheckpointError(
                f"{self.path}: not a whole GGUF file ({error}); fetch it again, or take the model's safetensors folder"
            ) from error

    def tensor(self, name: str) -> Tensor:
        """The tensor ``name``, dequantised: float32 of its shape.

        Raises:
            CheckpointError: there is no such tensor, or the ``gguf`` package cannot dequantise its type.
        """
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: has no tensor {name!r}")
        info = self.tensors[name]
        raw = np.frombuffer(self._bytes, np.uint8, info.n_bytes, info.start)
        quantization = GGMLQuantizationType(info.quantization)
        try:
            with np.errstate(all="ignore"):  # garbled scales are the file's affair, not a warning to the user
                values = dequantize(raw.reshape(*info.shape[:-1], -1), quantization)
        except (NotImplementedError, ValueError) as error:
            raise CheckpointError(
                f"{self.path}: {name} is quantised as {quantization.name}, which cannot be read; "
                f"take the same model as Q4_K_M, Q8_0 or F16"
            ) from error
        return torch.from_numpy(np.array(values, dtype=np.float32, copy=True)).view(info.shape)

    def _read_header(self) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
        if self._bytes[:4] != b"GGUF":
            raise CheckpointError(f"it begins with {bytes(self._bytes[:4])!r}, expected b'GGUF'")
        self._offset = 4
        version = self._scalar("I")
        if version not in (2, 3):
            raise CheckpointError(f"version {version}, expected 2 or 3 (little-endian)")
        n_tensors, n_entries = self._count(24), self._count(12)
        metadata: dict[str, Any] = {}
        for _ in range(n_entries):
            key = self._string()
            if key in metadata:
                raise CheckpointError(f"the key {key!r} occurs twice")
            metadata[key] = self._value(self._scalar("I"))
        described = [self._tensor_entry() for _ in range(n_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise CheckpointError(f"general.alignment is {alignment!r}, expected a power of two")
        base = -(-self._offset // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for name, shape, quantization, offset in described:
            if name in tensors:
                raise CheckpointError(f"the tensor {name!r} occurs twice")
            n_bytes = _byte_size(name, shape, quantization)
            if base + offset + n_bytes > len(self._bytes):
                raise CheckpointError(
                    f"{name} ends at byte {base + offset + n_bytes}, the file has {len(self._bytes)}: it is cut off"
                )
            tensors[name] = TensorInfo(shape, quantization, base + offset, n_bytes)
        if sum(tensor.n_bytes for tensor in tensors.values()) > len(self._bytes):
            raise CheckpointError("its tensors lie over each other")
        return metadata, tensors

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        n_dimensions = self._scalar("I")
        if not 1 <= n_dimensions <= _MAX_DIMENSIONS:
            raise CheckpointError(f"{name} has {n_dimensions} dimensions, expected 1 to {_MAX_DIMENSIONS}")
        shape = tuple(self._scalar("Q") for _ in range(n_dimensions))[::-1]
        return name, shape, self._scalar("I"), self._scalar("Q")

    def _scalar(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self._bytes, self._offset)
        self._offset += struct.calcsize(f"<{kind}")
        return value

    def _count(self, item_size: int) -> int:
        """A number of items that take at least ``item_size`` bytes each: so many must fit what is left of the file."""
        count = int(self._scalar("Q"))
        left = len(self._bytes) - self._offset
        if count * item_size > left:
            raise CheckpointError(f"{count} items announced at byte {self._offset}, {left} bytes are left")
        return count

    def _string(self) -> str:
        length = self._count(1)
        start, self._offset = self._offset, self._offset + length
        return self._bytes[start : self._offset].decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._scalar("I"))
        raise CheckpointError(f"value type {kind} at byte {self._offset} is unknown")

    def _array(self, kind: int) -> list[Any]:
        if kind == _STRING:
            return [self._string() for _ in range(self._count(8))]
        if kind not in _SCALARS:  # nested arrays exist in the format and in no model
            raise CheckpointError(f"an array of value type {kind} at byte {self._offset} is not supported")
        count = self._count(struct.calcsize(_SCALARS[kind]))
        layout = f"<{count}{_SCALARS[kind]}"
        start, self._offset = self._offset, self._offset + struct.calcsize(layout)
        return list(struct.unpack_from(layout, self._bytes, start))


def _byte_size(name: str, shape: tuple[int, ...], quantization: int) -> int:
    """How many bytes a tensor takes: its rows are divided into blocks of fixed size."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(quantization)]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{name} has the unknown type {quantization}") from error
    if not all(shape) or shape[-1] % block:
        raise CheckpointError(f"{name} has shape {shape}, its rows should be multiples of {block}")
    return math.prod(shape) // block * block_bytes
