"""Many sequences through a network: which go together, and on which of the processor's cores.

On a CPU, a batch on each core beats one batch on all of them: no core waits for another at the end of every matrix
product, and the short steps between the products run side by side too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import torch

from .hardware import using_threads

__all__ = ["Plan", "computed", "plan"]

T = TypeVar("T")

_MOST_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens in one forward pass, by kind of device; on a CPU more brings no speed and holds more memory."""

_OTHER_MOST = 8192

_WORTH_A_STREAM = 1024
"""Tokens of a batch that is better off alone on a core; smaller ones are quicker on all cores together, since streams
wait for each other between steps (Python runs one thread at a time)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compute.

    Attributes:
        batches: indices of sequences. Within a batch the shortest come first, so that neighbours have one length:
            attention takes those together, and a padded encoder pads little.
        streams: how many batches are computed at a time.
        threads: threads for each of them.
    """

    batches: list[list[int]]
    streams: int
    threads: int


def plan(lengths: Sequence[int], device_type: str, threads: int) -> Plan:
    """Batches of like size for ``threads`` cores, the longest sequences first.

    Args:
        lengths: tokens in each sequence; none is cut, so a batch may be over the device's size by half of one.
        device_type: ``"cpu"``, ``"cuda"``, …
        threads: cores that may be used.
    """
    total = sum(lengths)
    most = _MOST_TOKENS.get(device_type, _OTHER_MOST)
    streams = min(threads, len(lengths), total // _WORTH_A_STREAM) if device_type == "cpu" else 1
    streams = max(1, streams)
    rounds = -(-total // (most * streams))  # the last round is as full as the first
    batches: list[list[int]] = [[] for _ in range(max(1, rounds * streams))]
    share = max(1, total) / len(batches)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for i, end in zip(order, accumulate(lengths[i] for i in order), strict=True):
        batches[min(int((end - lengths[i] / 2) / share), len(batches) - 1)].append(i)
    batches = [batch for batch in reversed(batches) if batch]
    streams = min(streams, max(1, len(batches)))
    return Plan(batches, streams, threads // streams)


def computed(
    work: Callable[[list[int]], T], lengths: Sequence[int], device_type: str, threads: int
) -> Iterator[tuple[list[int], T]]:
    """``work`` done on all sequences, batch by batch: which ones, and what came out, as it gets ready.

    Args:
        work: takes the indices of one batch; called in several threads at once, in torch's inference mode.
        lengths, device_type, threads: as :func:`plan` takes them.
    """

    def inferred(batch: list[int]) -> T:
        with torch.inference_mode():
            return work(batch)

    planned = plan(lengths, device_type, threads)
    if planned.streams == 1:
        for batch in planned.batches:
            with using_threads(planned.threads):
                result = inferred(batch)
            yield batch, result
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(planned.streams, "langbert", torch.set_num_threads, (planned.threads,)) as pool:
        futures: dict[Future[T], list[int]] = {pool.submit(inferred, batch): batch for batch in planned.batches}
        try:
            for future in as_completed(futures):
                # what a stream sets is its own, but threads that are new to torch would start with it
                torch.set_num_threads(before)
                yield futures.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
