"""The process that reads files for another: a task comes as a line of JSON on standard input, what became of it goes
back as one. It may crash, hang or swell; whoever started it (:mod:`.workers`) names the file and starts the next.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO

from .captions import Cutting
from .limits import timed_by
from .pdf_page import Look
from .reader import TOO_LARGE
from .reading import Reading, Task

_JOBS = {kind.__name__: kind for kind in (Task, Look, Cutting)}
_GRACE = 10  # seconds after which a reader that hangs ends itself: whoever should have done it is gone
_READY = b"ready\n"
AT_WORK = b"at work\n"
"""What comes before the answer, for each long piece of work in a file that is done."""


def main() -> None:
    """Serve until standard input ends. The first line says what limits there are and who reads."""
    settings = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    read_one = import_module(settings["reader"]).read_one
    replies = _apart()
    _limit(settings["memory"])
    _write(replies, _READY)
    with open(os.devnull, "w") as nowhere:

        def give_time() -> None:
            faulthandler.dump_traceback_later(settings["seconds"] + _GRACE, exit=True, file=nowhere)

        def tell() -> None:
            _write(replies, AT_WORK)
            give_time()

        for line in sys.stdin.buffer:
            give_time()
            with timed_by(tell):
                kind, asked = json.loads(line)
                reply = _answered(read_one, _JOBS[kind](**asked), settings["memory"])
            faulthandler.cancel_dump_traceback_later()
            _write(replies, reply)


def _answered(read_one: Callable[[Any], Any], job: Task | Look | Cutting, memory: int) -> bytes:
    reading = read_one(job)
    try:
        return json.dumps([reading.to_json(), _is_swollen(memory)]).encode() + b"\n"
    except MemoryError:
        if isinstance(reading, Reading):
            reading = Reading(None, TOO_LARGE, reading.digest, reading.stamp)
        else:
            reading = type(reading).failed(TOO_LARGE)
        return json.dumps([reading.to_json(), True]).encode() + b"\n"


def _write(replies: BinaryIO, data: bytes) -> None:
    while data:
        data = data[replies.write(data) :]


def _apart() -> BinaryIO:
    """Standard output for replies alone: what a parser prints goes nowhere."""
    sys.stdout.flush()
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return replies


def _limit(memory: int) -> None:
    """At most so many bytes of memory, where the platform can be told; and no core dumps."""
    if sys.platform == "win32":
        return
    import resource

    for name, value in (("RLIMIT_CORE", 0), ("RLIMIT_DATA", memory)):
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _is_swollen(memory: int) -> bool:
    """Whether the process has ever held three quarters of what it may: memory that was once had is seldom given back.
    OCR's models, which are worth keeping, take up to two thirds."""
    if sys.platform == "win32":
        return False
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return most > 0.75 * memory
