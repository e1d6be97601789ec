"""Sequences for a decoder: which examples share one, what they become as tensors, and the loss.

Examples in one sequence do not see one another, and each begins at position 0 (Krell et al. 2021, "Efficient Sequence
Packing without Cross-contamination"): an example's loss is the same alone and packed, there is only less padding.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .task import Batch

__all__ = ["IGNORED", "Scored", "collated", "pack", "scored_logits"]

IGNORED = -100
"""The label of a token after which nothing is to be learnt; the number is transformers' and torch's."""


class Scored(NamedTuple):
    """Tokens, and after each the token that should come next (or :data:`IGNORED`)."""

    ids: Sequence[int]
    labels: Sequence[int]


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Examples that share a sequence of ``capacity`` tokens: longest first, each where the least room is left over.

    Args:
        lengths: of the examples; none is above ``capacity``.
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room, row), least room first
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect_left(rooms, (lengths[i], -1))
        room, row = rooms.pop(place) if place < len(rooms) else (capacity, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
        insort(rooms, (room - lengths[i], row))
    return rows


def collated(rows: Sequence[Sequence[Scored]]) -> Batch:
    """One sequence for each of ``rows``, padded on the right: ``token_ids`` and ``labels``, ``(B, T)`` int64.

    ``examples`` numbers the examples within each row from 1, 0 at padding. It is there only if some row has more than
    one: padding after the end cannot be seen from before it, and without a mask attention is quicker.
    """
    length = max(sum(len(example.ids) for example in row) for row in rows)
    token_ids = torch.zeros(len(rows), length, dtype=torch.int64)
    labels, numbers = torch.full_like(token_ids, IGNORED), torch.zeros_like(token_ids)
    for i, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row, start=1):
            end = start + len(example.ids)
            token_ids[i, start:end], labels[i, start:end] = torch.tensor(example.ids), torch.tensor(example.labels)
            numbers[i, start:end] = number
            start = end
    batch = {"token_ids": token_ids, "labels": labels}
    return {**batch, "examples": numbers} if any(len(row) > 1 for row in rows) else batch


def scored_logits(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits ``(n, vocab_size)`` float32 and labels ``(n,)`` of the tokens that have one, row by row.

    Their cross-entropy is the loss: next-token prediction (Radford et al. 2018, §3.1, equation 1).
    """
    scored = batch["labels"] != IGNORED
    apart = {"attention_mask": batch["examples"]} if "examples" in batch else {}
    logits: Tensor = network(batch["token_ids"], at=scored, **apart)
    return logits.float(), batch["labels"][scored]
