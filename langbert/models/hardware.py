"""What this machine can do: where to run, in which number format, on how many threads."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch

from ..errors import require_choice
from .cores import bound_cores, usable_cores

_LOG = logging.getLogger("langbert")

_LOOK_AGAIN = 0.25
"""Seconds between two looks at what others compute; the system counts in hundredths."""

_RELEASE_AGAIN = 60.0
"""Seconds between giving back what the heap holds for nothing."""

Precision = Literal["auto", "float32", "bfloat16"]
"""How numbers are held during inference: ``auto`` is bfloat16 where the hardware multiplies it, else float32."""

EncoderPrecision = Literal["auto", "float32", "bfloat16", "int8"]
"""The same for encoders: on a CPU a BERT's linear layers may multiply 8-bit integers, and ``auto`` lets them where its
states stay as close to what they were as :mod:`langbert.models.bert.calibration` asks: those of single texts
everywhere, those of pairs, which become scores, where there is no bfloat16."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU; anything else is torch's own name for it."""
    if device != "auto":
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ValueError(f"device {device!r} is not one torch knows; expected 'auto', 'cpu', 'cuda', …") from error
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(
    precision: str, device: torch.device, choices: Sequence[str] = get_args(Precision)
) -> torch.dtype:
    """The dtype that ``precision``, one of ``choices``, means on ``device``."""
    require_choice("precision", precision, choices)
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    if precision == "int8" and device.type != "cpu":
        raise ValueError(f"precision 'int8' is for CPUs, and the device is {str(device)!r}; choose 'auto'")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}[precision]


def encoder_dtype(precision: EncoderPrecision, device: torch.device) -> torch.dtype | None:
    """The dtype that ``precision`` means for an encoder; None, of ``auto``, leaves it to whoever loads the network."""
    dtype = resolve_precision(precision, device, get_args(EncoderPrecision))
    return None if precision == "auto" else dtype


def multiplies_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware; whoever would compute in it asks here first.

    Of a CPU, oneDNN has to say so too: it may have been told to keep to older instructions (``ONEDNN_MAX_CPU_ISA``),
    and then it refuses such products.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if device.type != "cpu" or supported is None or not supported():
        return False
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    """The CPU's feature flags as Linux lists them; empty elsewhere, where float32 is the safe answer."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def release_memory() -> None:
    """Give back to the system what loading a network took and nobody needs any more; glibc would keep it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def release_now_and_then() -> None:
    """:func:`release_memory`, a minute after the last time: batches of ever other sizes leave holes in the heap, a
    seventh of what a server holds after half an hour."""
    now = time.monotonic()
    if now - _Process.released >= _RELEASE_AGAIN:
        _Process.released = now
        release_memory()


class _EveryCore(int):
    """As many threads as there are cores, of which :func:`allowed_threads` takes those that nobody else computes on."""


def planned_threads(threads: int | None) -> int:
    """Threads for one forward pass: what the caller says, else ``OMP_NUM_THREADS``, else every usable core.

    Torch's own default counts the machine's cores, which is slow in a container that may use four of its ninety.
    """
    _Process.has_models = True
    if threads is None:
        if "OMP_NUM_THREADS" in os.environ:
            return torch.get_num_threads()
        _Process.load.others()
        return _EveryCore(usable_cores())
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a whole number from 1, got {threads!r}")
    return threads


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """Torch computes on ``threads`` threads inside the block, and on as many as before after it.

    On one in a process that was forked off one with models: see :func:`allowed_threads`.
    """
    threads = allowed_threads(threads)
    before = torch.get_num_threads()
    try:
        if before != threads:
            torch.set_num_threads(threads)
        yield
    finally:
        if before != threads:
            torch.set_num_threads(before)
        release_now_and_then()


def allowed_threads(threads: int) -> int:
    """``threads``; where that is every core because nobody said anything, fewer while other processes are at work.

    Threads wait for each other after every matrix product: one whose core is taken holds up all of them, and on a busy
    machine a question takes longer on two cores than on one.

    It is 1 in a process that was forked (gunicorn's ``--preload``, Celery) off one with models: OpenMP's other threads
    stayed behind, and it would wait for them for ever.
    """
    if isinstance(threads, _EveryCore):
        threads = max(1, min(int(threads), round(bound_cores() - _Process.load.others())))
    if threads > 1 and _Process.lost_threads:
        if not _Process.warned:
            _LOG.warning(
                "this process was forked after a model was loaded and computes on one thread; "
                "to use more, load models after the fork, or start processes by spawning them"
            )
            _Process.warned = True
        return 1
    return threads


class _Load:
    """What other processes take of the cores that this one may use; nothing, as far as systems but Linux tell."""

    def __init__(self) -> None:
        self._seen: tuple[float, float, float] | None = None
        self._others = 0.0

    def others(self) -> float:
        """Cores' worth of time, on average since somebody last asked, a quarter of a second ago or longer."""
        now = time.monotonic()
        if self._seen is None or now - self._seen[0] >= _LOOK_AGAIN:
            seen = now, _busy_seconds(), time.process_time()
            if self._seen is not None:
                elapsed, busy, own = (new - old for new, old in zip(seen, self._seen, strict=True))
                self._others = max(0.0, busy - own) / elapsed
            self._seen = seen
        return self._others


def _busy_seconds() -> float:
    """Processor time spent so far on the cores this process may use, by whomever."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        counted = [list(map(int, line.split()[1:9])) for line in lines if line.split(" ", 1)[0] in mine]
        return sum(sum(ticks) - ticks[3] - ticks[4] for ticks in counted) / os.sysconf("SC_CLK_TCK")  # not idle
    except (AttributeError, OSError, ValueError, IndexError):
        return 0.0


class _Process:
    """What this process has to know about itself."""

    load = _Load()
    released = time.monotonic()

    has_models = False
    lost_threads = False
    warned = False


def _after_fork() -> None:
    if _Process.has_models:
        _Process.lost_threads = True
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
