"""The container that ``multilingual-e5-small`` comes in where hubs are blocked: one file, read without trusting it.

Little-endian: magic ``E5S1``, u32 version, 7 × i32 sizes, f32 layer-norm epsilon, i32 block size; a copy of the
tokenizer (5 × i32 with the number of entries first, u64 blob bytes, u32 offsets, f32 scores, the blob, i32, u32 n, n
bytes), which is passed over; i32 tensor count, then of each: u16 name length, name, u8 type, u32 count, u64 offset, u64
bytes. Type 0 is float32, type 1 GGML's Q4_0. Each count and offset is checked against the file before anything of that
size is made.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import CheckpointError
from ..layers.low_bit_table import BLOCK, BLOCK_BYTES, decode_q4_0

__all__ = ["E5File", "E5Sizes"]

_FLOAT32, _Q4_0 = 0, 1


class E5Sizes(NamedTuple):
    """What the header says of the network."""

    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    n_segments: int


class _Tensor(NamedTuple):
    kind: int
    size: int
    start: int
    n_bytes: int


class E5File:
    """A file opened for reading.

    Attributes:
        sizes: of the network.

    Raises:
        CheckpointError: it is not such a file, is cut off, or contradicts itself.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._bytes = np.memmap(self.path, np.uint8, "c")  # never written, but torch wants what could be
            self._offset = 0
            self.sizes, self._tensors = self._read_header()
        except (OSError, ValueError, struct.error, CheckpointError) as error:  # ValueError: empty, or a name not UTF-8
            raise CheckpointError(f"{self.path}: not a whole e5 file ({error}); fetch it again") from error

    @property
    def names(self) -> set[str]:
        return set(self._tensors)

    def tensor(self, name: str, *, low_bit: bool = True) -> Tensor:
        """The tensor ``name``, decoded: float32, flat, as the file says nothing of shapes.

        Args:
            low_bit: False leaves one of few bits on the meta device.
        """
        found = self._found(name)
        if found.kind == _Q4_0 and not low_bit:
            return torch.empty(found.size, device="meta")
        if found.kind == _Q4_0:
            return decode_q4_0(self._raw(found).view(-1, BLOCK_BYTES)).flatten()
        return self._raw(found).view(torch.float32)

    def blocks(self, name: str) -> Tensor:
        """The Q4_0 blocks of the tensor ``name`` as they lie, in the mapped file: ``(n, 18)`` uint8."""
        found = self._found(name)
        if found.kind != _Q4_0:
            raise CheckpointError(f"{self.path}: {name} is float32, expected blocks of 4 bits")
        return torch.from_numpy(self._bytes[found.start : found.start + found.n_bytes]).view(-1, BLOCK_BYTES)

    def _found(self, name: str) -> _Tensor:
        if name not in self._tensors:
            raise CheckpointError(f"{self.path}: missing {name}")
        return self._tensors[name]

    def _raw(self, tensor: _Tensor) -> Tensor:
        return torch.from_numpy(np.array(self._bytes[tensor.start : tensor.start + tensor.n_bytes]))

    def _read_header(self) -> tuple[E5Sizes, dict[str, _Tensor]]:
        magic, version, *numbers = self._read("4sI7ifi")
        if (magic, version) != (b"E5S1", 1):
            raise CheckpointError(f"it begins with {magic!r}, version {version}; expected b'E5S1', version 1")
        sizes, block = E5Sizes(*numbers[:7]), numbers[-1]
        if min(sizes) < 1 or block != BLOCK:
            raise CheckpointError(
                f"sizes {tuple(sizes)} in blocks of {block}; expected positive ones in blocks of {BLOCK}"
            )
        n_tokens, *_ = self._read("5i")
        (blob,) = self._read("Q")
        if n_tokens < 0:
            raise CheckpointError(f"{n_tokens} tokens")
        self._skip(4 * (n_tokens + 1) + 4 * n_tokens + blob)
        self._skip(self._read("iI")[1])
        tensors: dict[str, _Tensor] = {}
        for _ in range(self._read("i")[0]):
            name = self._take(self._read("H")[0]).decode()
            tensor = _Tensor(*self._read("BIQQ"))
            if name in tensors:
                raise CheckpointError(f"the tensor {name!r} occurs twice")
            self._check(name, tensor)
            tensors[name] = tensor
        if sum(tensor.n_bytes for tensor in tensors.values()) > len(self._bytes):
            raise CheckpointError("its tensors lie over each other")
        return sizes, tensors

    def _check(self, name: str, tensor: _Tensor) -> None:
        if tensor.kind not in (_FLOAT32, _Q4_0):
            raise CheckpointError(f"{name} has type {tensor.kind}, expected {_FLOAT32} or {_Q4_0}")
        n_bytes = 4 * tensor.size if tensor.kind == _FLOAT32 else tensor.size // BLOCK * BLOCK_BYTES
        if tensor.n_bytes != n_bytes or (tensor.kind == _Q4_0 and tensor.size % BLOCK):
            raise CheckpointError(f"{name} has {tensor.size} numbers in {tensor.n_bytes} bytes")
        if tensor.start + tensor.n_bytes > len(self._bytes):
            raise CheckpointError(
                f"{name} ends at byte {tensor.start + tensor.n_bytes}, the file has {len(self._bytes)}: it is cut off"
            )

    def _read(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self._take(struct.calcsize("<" + layout)))

    def _take(self, n_bytes: int) -> bytes:
        self._skip(n_bytes)
        return self._bytes[self._offset - n_bytes : self._offset].tobytes()

    def _skip(self, n_bytes: int) -> None:
        if self._offset + n_bytes > len(self._bytes):
            raise CheckpointError(f"the header goes on to byte {self._offset + n_bytes} of {len(self._bytes)}")
        self._offset += n_bytes
