"""What this machine can do: where to run, in which number format, on how many threads."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch

from ..errors import require_choice

__all__ = [
    "EncoderPrecision",
    "Precision",
    "allowed_threads",
    "multiplies_bfloat16",
    "planned_threads",
    "resolve_device",
    "resolve_precision",
    "usable_cores",
    "using_threads",
]

_LOG = logging.getLogger("langbert")

Precision = Literal["auto", "float32", "bfloat16"]
"""How numbers are held during inference: ``auto`` is bfloat16 where the hardware multiplies it, else float32."""

EncoderPrecision = Literal["auto", "float32", "bfloat16", "int8"]
"""The same for embeddings, which stay close enough to what they were when a BERT's linear layers multiply 8-bit
integers, on a CPU."""


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


@lru_cache(maxsize=1)
def usable_cores() -> int:
    """The cores this process may use: its CPU affinity, cut to its cgroup's quota (a container's ``--cpus``)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, _cgroup_quota())))


def _cgroup_quota() -> float:
    """CPUs' worth of time the cgroup (v2, then v1) grants; infinite where it sets no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def planned_threads(threads: int | None) -> int:
    """Threads for one forward pass: what the caller says, else ``OMP_NUM_THREADS``, else every usable core.

    Torch's own default counts the machine's cores, which is slow in a container that may use four of its ninety.
    """
    _Process.has_models = True
    if threads is None:
        return torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else usable_cores()
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
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def allowed_threads(threads: int) -> int:
    """``threads``, or 1 in a process that was forked (gunicorn's ``--preload``, Celery) off one with models: OpenMP's
    other threads stayed behind, and it would wait for them for ever."""
    if threads > 1 and _Process.lost_threads:
        if not _Process.warned:
            _LOG.warning(
                "this process was forked after a model was loaded and computes on one thread; "
                "to use more, load models after the fork, or start processes by spawning them"
            )
            _Process.warned = True
        return 1
    return threads


class _Process:
    """What this process has to know about itself."""

    has_models = False
    lost_threads = False
    warned = False


def _after_fork() -> None:
    if _Process.has_models:
        _Process.lost_threads = True
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
