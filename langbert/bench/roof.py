"""The roof: how fast this machine multiplies matrices, which is the most an encoder can reach.

Measured, not looked up, since clock, threads and neighbours decide it. One product is repeated, its operands warm, and
the best repetition counts; of several shapes and two ways to multiply the best counts again, so that a share of the
roof is never flattered. The shapes are the linear layers of a BERT over 2,048 tokens, and large squares; the ways are
``torch.nn.functional.linear``, and oneDNN with the weights laid out for it beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.hardware import planned_threads, resolve_device, using_threads
from ..models.layers.projection import can_block


class Shape(NamedTuple):
    """``(rows, inner)`` times ``(inner, columns)``."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inner * self.columns


SHAPES = (Shape(2048, 384, 1536), Shape(2048, 1536, 384), Shape(2048, 768, 3072), Shape(3072, 3072, 3072))
"""MiniLM's two widest layers and BERT-base's over 2,048 tokens, and a large square."""


@dataclass(frozen=True, slots=True)
class Roof:
    """The fastest matrix product found.

    Attributes:
        gflops: billions of floating-point operations a second.
        precision: ``"float32"`` or ``"bfloat16"``.
        shape: rows, inner, columns.
        way: ``"linear"`` or ``"prepacked"``.
        threads: that multiplied.
    """

    gflops: float
    precision: str
    shape: Shape
    way: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class MatrixProducts:
    """Products ready to be timed, again and again in the course of a comparison.

    Args:
        dtype: of the operands.
        device: ``"auto"``, or what torch calls it.
        threads: None takes every core this process may use.
        shapes: what to multiply.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        *,
        device: str | torch.device = "auto",
        threads: int | None = None,
        shapes: tuple[Shape, ...] = SHAPES,
    ) -> None:
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"the roof of {dtype} is not measured; expected torch.float32 or torch.bfloat16")
        self._precision = str(dtype).removeprefix("torch.")
        self._device = resolve_device(device)
        self._threads = planned_threads(threads)
        self._products: list[tuple[Shape, str, Callable[[], Tensor]]] = []
        for shape in shapes:
            generator = torch.Generator().manual_seed(0)
            rows, weight = (
                torch.randn(size, shape.inner, generator=generator).to(self._device, dtype)
                for size in (shape.rows, shape.columns)
            )
            bias = torch.zeros(shape.columns, dtype=dtype, device=self._device)
            self._products.append((shape, "linear", _linear(rows, weight, bias)))
            if can_block(weight):
                self._products.append((shape, "prepacked", _prepacked(rows, weight, bias)))

    @torch.inference_mode()
    def best(self, seconds: float = 0.8) -> Roof:
        """The fastest product, each being repeated for an equal part of about so many seconds, thrice at least."""
        found = []
        with using_threads(self._threads):
            for shape, way, multiply in self._products:
                taken = self._fastest(multiply, seconds / len(self._products))
                found.append(Roof(shape.flops / taken / 1e9, self._precision, shape, way, self._threads))
        return max(found, key=lambda roof: roof.gflops)

    def _fastest(self, multiply: Callable[[], Tensor], seconds: float) -> float:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while len(taken) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            multiply()
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            taken.append(time.perf_counter() - start)
        return min(taken)


def _linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], Tensor]:
    return lambda: F.linear(rows, weight, bias)


def _prepacked(rows: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(rows))

    def multiply() -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
        return product

    return multiply
