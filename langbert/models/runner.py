"""Texts through an encoder: which of them go together, on which of the processor's cores, and what is read off them.

Every stage that runs a BERT does this: it tokenises, cuts what is long into windows, runs batches of them, and reads
something off the hidden states: a vector, a score, a span, labels. A stage says which windows there are and what is
read off (its head); the rest is done here.

On a CPU, a batch on each core beats one batch on all of them: no core waits for another at the end of every matrix
product, and the short steps between the products run side by side too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from .hardware import allowed_threads, release_now_and_then, using_threads

if TYPE_CHECKING:
    from ..records import Progress
    from .encoder import TokenStates

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

    planned = plan(lengths, device_type, allowed_threads(threads))
    if planned.streams == 1:
        for batch in planned.batches:
            with using_threads(planned.threads):
                result = inferred(batch)
            yield batch, result
        return
    before, each = torch.get_num_threads(), planned.threads
    with ThreadPoolExecutor(planned.streams, "langbert", torch.set_num_threads, (each,)) as pool:
        futures: dict[Future[T], list[int]] = {pool.submit(inferred, batch): batch for batch in planned.batches}
        try:
            for future in as_completed(futures):
                # what a stream sets is its own, but threads that are new to torch would start with it
                torch.set_num_threads(before)
                yield futures.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            release_now_and_then()


class Window(NamedTuple):
    """What the encoder reads at once.

    Attributes:
        ids: token ids with the special ones.
        rows: whose tokens' states count, by their place in ``ids``.
        segments: the segment id of each token; None for single texts.
    """

    ids: Sequence[int]
    rows: Sequence[int]
    segments: Sequence[int] | None = None

    @classmethod
    def whole(cls, ids: Sequence[int], segments: Sequence[int] | None = None) -> Window:
        """With the states of all its tokens."""
        return cls(ids, range(len(ids)), segments)

    @classmethod
    def first_token(cls, ids: Sequence[int], segments: Sequence[int] | None = None) -> Window:
        """With the state of its first token, ``[CLS]``."""
        return cls(ids, range(1), segments)


class Runner:
    """An encoder on its device.

    Args:
        states: the encoder.
        device: where it computes.
        threads: cores that may be used.
    """

    def __init__(self, states: TokenStates, device: torch.device, threads: int) -> None:
        self._states = states
        self.device, self.threads = device, threads

    def run(
        self,
        texts: Sequence[Sequence[Window]],
        head: Callable[[Tensor, Sequence[int]], Sequence[T]],
        *,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, T]]:
        """Read texts, and read off each of them what ``head`` does.

        Args:
            texts: the windows of each. Those of one text are in one batch, though not at once before the encoder,
                which reads a batch's worth of tokens at a time, however long a text is.
            head: takes the rows of some texts, ``(n, H)``, window after window of one text after another, and which
                texts they are; gives a result for each of them. Called in several threads at once, in torch's
                inference mode.
            progress: told how many more texts are done.

        Yields:
            a text's number and its result, as it gets ready; nothing of texts without windows.
        """
        read = [i for i, text in enumerate(texts) if text]
        if progress is not None and len(read) < len(texts):
            progress(len(texts) - len(read))

        def work(batch: list[int]) -> list[tuple[int, T]]:
            numbers = [read[k] for k in batch]
            found = head(self._rows([window for i in numbers for window in texts[i]]), numbers)
            return list(zip(numbers, found, strict=True))

        lengths = [sum(len(window.ids) for window in texts[i]) for i in read]
        for batch, found in computed(work, lengths, self.device.type, self.threads):
            yield from found
            if progress is not None:
                progress(len(batch))

    def _rows(self, read: Sequence[Window]) -> Tensor:
        """The rows of all windows, in their order."""
        rows: list[Tensor] = [torch.empty(0)] * len(read)
        for batch in plan([len(window.ids) for window in read], self.device.type, threads=1).batches:
            sequences = [read[i].ids for i in batch]
            segments = None if read[batch[0]].segments is None else [read[i].segments or () for i in batch]
            parts = torch.split(self._states(sequences, segments), [len(ids) for ids in sequences])
            for i, part in zip(batch, parts, strict=True):
                wanted = read[i].rows
                rows[i] = part[wanted.start : wanted.stop] if isinstance(wanted, range) else part[list(wanted)]
        return torch.cat(rows)


def checked_texts(texts: Sequence[str], what: str = "text") -> list[str]:
    """``texts`` as a list.

    Args:
        what: an error calls one of them so.

    Raises:
        TypeError: they are not a sequence of strings, or are one string.
    """
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"expected a list of {what}s, got one {type(texts).__name__}; put it in a list")
    listed = list(texts)
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"{what} {i} is {type(text).__name__}, expected str")
    return listed
