"""A look-up table of few bits: rows stay packed in memory, and those that a text needs are decoded."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

BLOCK = 32
"""Numbers that share a scale."""

BLOCK_BYTES = 2 + BLOCK // 2
"""A float16 scale, then two numbers a byte."""

_ROWS_AT_ONCE = 2048


class LowBitTable(nn.Module):
    """An embedding in GGML's Q4_0: a seventh of float32's size. Its rows are data, not parameters: nothing trains them.

    Args:
        blocks: ``(n_rows, width // 32 · 18)`` uint8: each row's blocks, one after the other.
    """

    def __init__(self, blocks: Tensor) -> None:
        super().__init__()
        self.blocks: Tensor
        self.register_buffer("blocks", blocks)
        self.shape = torch.Size((len(blocks), blocks.shape[1] // BLOCK_BYTES * BLOCK))  # of what it stands for

    def forward(self, token_ids: Tensor) -> Tensor:
        """``(…)`` integer ids → ``(…, width)`` float32."""
        return decode_q4_0(self.blocks[token_ids])

    @property
    def weight(self) -> Tensor:
        """The whole table, decoded: ``(n_rows, width)`` float32."""
        return torch.cat(list(self.decoded()))

    def decoded(self) -> Iterator[Tensor]:
        """The whole table, some rows at a time."""
        return (decode_q4_0(rows) for rows in torch.split(self.blocks, _ROWS_AT_ONCE))


def decode_q4_0(blocks: Tensor) -> Tensor:
    """``(…, n · 18)`` uint8 → ``(…, n · 32)`` float32.

    Of a block's bytes the first two are its scale; the low halves of the others are its first 16 numbers and the high
    halves the rest, each less 8.
    """
    parts = blocks.view(*blocks.shape[:-1], -1, BLOCK_BYTES)
    scales = parts[..., :2].contiguous().view(torch.float16).float()  # (…, n, 1)
    pairs = parts[..., 2:].contiguous()
    numbers = torch.empty(*pairs.shape[:-1], BLOCK, dtype=torch.uint8, device=blocks.device)
    torch.bitwise_and(pairs, 15, out=numbers[..., : BLOCK // 2])
    torch.bitwise_right_shift(pairs, 4, out=numbers[..., BLOCK // 2 :])
    return numbers.sub_(8).view(torch.int8).float().mul_(scales).flatten(-2)
