"""How many cores this process may use; without torch, which those who only start processes need not wait for."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def usable_cores() -> int:
    """The cores this process may use: its CPU affinity, cut to its cgroup's quota (a container's ``--cpus``)."""
    return max(1, math.ceil(min(bound_cores(), _cgroup_quota())))


def bound_cores() -> int:
    """The cores that the system may run this process on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs' worth of time the cgroup (v2, then v1) grants; infinite where it sets no limit."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
