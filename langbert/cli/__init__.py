"""The command ``langbert``: every stage for people (tables, progress, colour) and for programs (``--json``).

Exit codes: 0 done, 1 failed (the reason stands on stderr, or in the JSON document), 2 the command was typed wrongly,
130 interrupted.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main", "run"]

_LIBRARIES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # ours are drawn instead
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # it would look through every installed package; no command takes a device
    "TRANSFORMERS_VERBOSITY": "error",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    gc.freeze()  # what is left would be looked through once more: half a second of torch's objects
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    for name, value in _LIBRARIES.items():
        os.environ.setdefault(name, value)
    for stream in (sys.stdout, sys.stderr):  # a file name or a page must never break the output of the rest
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from .app import invoke

    return invoke(list(arguments))
