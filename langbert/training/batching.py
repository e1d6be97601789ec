"""Which examples make up which batch, and what they become as tensors: padded, or packed into one sequence.

Batches are a pure function of the seed, so that a run can be resumed anywhere. Examples packed into one sequence do not
see one another, and each begins at position 0 (Krell et al. 2021, "Efficient Sequence Packing without
Cross-contamination"): an example's loss is the same alone and packed, there is only less padding.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.files.tokenizer import TokenPair
from .task import Batch

IGNORED = -100
"""The label of a token after which nothing is to be learnt; the number is transformers' and torch's."""

_POOL = 50  # batches sorted by length together: little padding, still a random order


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """All examples once, in batches of like length, in random order; the last incomplete batch is left out.

    If there are fewer examples than ``batch_size``, they are one batch.
    """
    rng = random.Random(f"{seed}-{epoch}")  # noqa: S311
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * _POOL):
        pool = sorted(order[start : start + batch_size * _POOL], key=lengths.__getitem__)
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    whole = [batch for batch in batches if len(batch) == batch_size] or batches
    rng.shuffle(whole)
    return whole


def batches_from(lengths: Sequence[int], batch_size: int, seed: int, start: int) -> Iterator[tuple[int, list[int]]]:
    """``(number, batch)`` for ever, epoch after epoch, beginning with batch number ``start``."""
    per_epoch = len(epoch_batches(lengths, batch_size, seed, 0))
    number = start
    while True:
        epoch = number // per_epoch
        for batch in epoch_batches(lengths, batch_size, seed, epoch)[number % per_epoch :]:
            yield number, batch
            number += 1


def padded_rows(rows: Sequence[Sequence[int]], filler: int = 0) -> Tensor:
    """Rows of any lengths as ``(B, T)`` int64, filled up on the right."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filler)


def padded(sequences: Sequence[Sequence[int]]) -> Batch:
    """Token ids and attention mask, ``(B, T)`` int64, padded on the right."""
    mask = padded_rows([[1] * len(ids) for ids in sequences])
    return {"token_ids": padded_rows(sequences), "attention_mask": mask}


def padded_pairs(pairs: Sequence[TokenPair]) -> Batch:
    """The same of pairs of texts, with their segment ids."""
    return {**padded([pair.ids for pair in pairs]), "segment_ids": padded_rows([pair.segments for pair in pairs])}


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
    batch = {
        "token_ids": padded_rows([[token for example in row for token in example.ids] for row in rows]),
        "labels": padded_rows([[label for example in row for label in example.labels] for row in rows], IGNORED),
    }
    if all(len(row) == 1 for row in rows):
        return batch
    numbers = [[number for number, example in enumerate(row, start=1) for _ in example.ids] for row in rows]
    return {**batch, "examples": padded_rows(numbers)}


def scored_logits(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits ``(n, vocab_size)`` float32 and labels ``(n,)`` of the tokens that have one, row by row.

    Their cross-entropy is the loss: next-token prediction (Radford et al. 2018, §3.1, equation 1).
    """
    scored = batch["labels"] != IGNORED
    apart = {"attention_mask": batch["examples"]} if "examples" in batch else {}
    logits: Tensor = network(batch["token_ids"], at=scored, **apart)
    return logits.float(), batch["labels"][scored]
