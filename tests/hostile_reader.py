"""A reader for workers that does to its process what a file tells it to, and reads all others as the real one does."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from langbert.documents import reading
from langbert.documents.limits import at_work
from langbert.documents.reading import Reading, Task

n_read = 0


def read_one(task: Task) -> Reading:
    global n_read
    n_read += 1
    told = Path(task.path).read_bytes()[:16]
    if told.startswith(b"CRASH"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if told.startswith(b"FRAGILE") and n_read > 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if told.startswith(b"EXIT"):
        os._exit(3)
    while told.startswith(b"HANG"):
        pass
    if told.startswith(b"LITTER"):
        Path(tempfile.mkdtemp(), "half").write_bytes(b"half of a file")
        os.kill(os.getpid(), signal.SIGKILL)
    if told.startswith(b"STEPS"):  # work that takes long, and says that it goes on
        for _ in range(8):
            time.sleep(0.4)
            at_work()
    if told.startswith(b"PRINT"):
        sys.stdout.write("chatter\n")
        sys.stdout.flush()
        os.write(1, b'[{"reason": "not me"}, false]\n')
        sys.stderr.write("chatter\n" * 100_000)
    return reading.read_one(task)
