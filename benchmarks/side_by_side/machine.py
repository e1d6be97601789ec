"""What it is measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from pathlib import Path


def processor() -> str:
    """Its name, as far as the system tells."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.processor() or platform.machine()


def versions(*libraries: str) -> dict[str, str]:
    """Processor, system, Python and those of the libraries that are installed."""
    found = {"processor": processor(), "system": platform.system(), "python": platform.python_version()}
    found["cores"] = str(os.cpu_count())
    return found | {name: each.version for name in libraries for each in distributions(name=name)}
