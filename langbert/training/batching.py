"""Which examples make up which batch: a pure function of the seed, so that a run can be resumed anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch

from ..models.files.tokenizer import TokenPair
from .task import Batch

__all__ = ["batches_from", "epoch_batches", "padded"]

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


def padded(pairs: Sequence[TokenPair]) -> Batch:
    """Pairs of texts, padded on the right: token ids, segment ids and attention mask, each ``(B, T)`` int64."""
    length = max(len(pair.ids) for pair in pairs)
    token_ids = torch.zeros(len(pairs), length, dtype=torch.int64)
    segments, mask = torch.zeros_like(token_ids), torch.zeros_like(token_ids)
    for i, pair in enumerate(pairs):
        n = len(pair.ids)
        token_ids[i, :n], segments[i, :n], mask[i, :n] = torch.tensor(pair.ids), torch.tensor(pair.segments), 1
    return {"token_ids": token_ids, "attention_mask": mask, "segment_ids": segments}
