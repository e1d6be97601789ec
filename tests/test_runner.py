"""Batches that fit the device and divide the work evenly, computed side by side; each text has its own states."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langbert.models.runner import Runner, Window, computed, plan


@given(
    lengths=st.lists(st.integers(0, 600), max_size=200),
    threads=st.integers(1, 9),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
)
def test_every_sequence_is_in_one_batch_of_bounded_size(lengths: list[int], threads: int, device: str) -> None:
    planned = plan(lengths, device, threads)
    assert sorted(i for batch in planned.batches for i in batch) == list(range(len(lengths)))
    assert all(planned.batches)
    most = {"cpu": 4096, "cuda": 65536, "mps": 8192}[device]
    for batch in planned.batches:
        inside = [lengths[i] for i in batch]
        assert inside == sorted(inside)
        assert sum(inside) <= most + max(lengths)
    assert 1 <= planned.streams * planned.threads <= threads
    assert planned.streams <= max(1, len(planned.batches))
    ends = [(lengths[batch[0]], lengths[batch[-1]]) for batch in planned.batches]
    assert all(later[1] <= earlier[0] for earlier, later in pairwise(ends)), "longest first"


def test_cores_are_woken_for_work_that_is_worth_it() -> None:
    assert plan([12], "cpu", 8).streams == 1, "one short question"
    one_long = plan([400], "cpu", 8)
    assert (one_long.streams, one_long.threads) == (1, 8), "nothing to divide: all cores on one text"
    many = plan([100] * 3000, "cpu", 8)
    assert (many.streams, many.threads) == (8, 1)
    assert len(many.batches) % 8 == 0, "no core is idle in the last round"
    assert plan([100] * 3000, "cuda", 8).streams == 1
    assert plan([], "cpu", 8).batches == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_with_their_batch(threads: int) -> None:
    lengths = [n % 50 + 1 for n in range(1000)]
    found: dict[int, int] = {}
    for batch, result in computed(lambda batch: [lengths[i] for i in batch], lengths, "cpu", threads):
        found |= dict(zip(batch, result, strict=True))
    assert [found[i] for i in range(1000)] == lengths


def test_streams_compute_in_inference_mode_with_their_share_of_threads() -> None:
    before = torch.get_num_threads()
    seen: set[tuple[bool, int]] = set()
    together = threading.Barrier(2, timeout=60)

    def work(batch: list[int]) -> None:
        seen.add((torch.is_inference_mode_enabled(), torch.get_num_threads()))
        together.wait()  # two batches are at work at once, or this times out

    assert len(list(computed(work, [2048, 2048], "cpu", 2))) == 2
    assert seen == {(True, 1)}
    assert torch.get_num_threads() == before
    inside: list[int] = []
    new = threading.Thread(target=lambda: inside.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert inside == [before], "threads that come later are as before"


def test_an_error_in_a_stream_reaches_the_caller_and_stops_the_rest() -> None:
    done: list[int] = []

    def work(batch: list[int]) -> None:
        if 0 in batch:
            raise ValueError("broken")
        done.append(len(batch))

    lengths = [2000, *[1000] * 400]
    with pytest.raises(ValueError, match="broken"):
        list(computed(work, lengths, "cpu", 2))
    assert sum(done) < 400


def states(sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> torch.Tensor:
    """A state tells the token, the segment, and the length of its sequence."""
    told = segments or [[0] * len(ids) for ids in sequences]
    rows = [
        (i, s, len(ids)) for ids, types in zip(sequences, told, strict=True) for i, s in zip(ids, types, strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float32).view(-1, 3)


def test_each_text_has_the_rows_of_its_own_windows_in_their_order() -> None:
    texts = [
        [Window.whole([1, 2, 3]), Window([4, 5, 6, 7, 8], [3, 1])],
        [],
        [Window.first_token([9, 10])],
        *([Window([n] * 700, range(2, 4))] for n in range(20, 40)),
    ]
    read: list[int] = []

    def head(rows: torch.Tensor, batch: Sequence[int]) -> list[torch.Tensor]:
        return list(torch.split(rows, [sum(len(window.rows) for window in texts[i]) for i in batch]))

    runner = Runner(states, torch.device("cpu"), threads=2)
    found = dict(runner.run(texts, head, progress=read.append))
    assert found.keys() == {i for i, text in enumerate(texts) if text}
    assert found[0].tolist() == [[1, 0, 3], [2, 0, 3], [3, 0, 3], [7, 0, 5], [5, 0, 5]]
    assert found[2].tolist() == [[9, 0, 2]]
    assert all(found[i].tolist() == [[17 + i, 0, 700]] * 2 for i in range(3, 23))
    assert read[0] == 1, "nothing to read is done at once"
    assert sum(read) == len(texts)


def test_segments_stay_with_their_tokens() -> None:
    texts = [[Window.whole([5, 6, 7], [0, 1, 1])], [Window.whole([8], [1])]]
    found = dict(Runner(states, torch.device("cpu"), 1).run(texts, lambda rows, batch: list(rows.split([1, 3]))))
    assert found[0].tolist() == [[5, 0, 3], [6, 1, 3], [7, 1, 3]]
    assert found[1].tolist() == [[8, 1, 1]]
