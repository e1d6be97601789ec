"""Batches that fit the device and divide the work evenly, computed side by side."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langbert.models.batching import computed, plan


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
