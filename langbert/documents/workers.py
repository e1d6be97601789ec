"""Processes that read files: several at a time, and a file that crashes, hangs or swells costs itself only.

They are started as fresh interpreters, not by ``multiprocessing``, which would run the user's main module again, and
speak lines of JSON. A thread each waits for them, so they go on while the caller is busy with what they read.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from tempfile import TemporaryDirectory

from ..errors import DocumentError
from ..models.cores import usable_cores
from .jobs import Job, R
from .loading import stamp_of
from .reading import Reading, Task, read_one
from .worker import AT_WORK

_READER = "langbert.documents.reading"  # the module whose ``read_one`` the workers call
_START = "import sys, json; sys.path[:] = json.loads(sys.stdin.buffer.readline()); from {} import main; main()"
_STARTING = 60.0  # seconds
_WORTH = 8  # files: with fewer, starting processes takes as long as reading
_MOST = 4  # by default; embedding is slower than four readers
_AHEAD = 256  # files that are read, or being read, before the first of them is taken
_AHEAD_BYTES = 64 << 20  # the same in their sizes on disk


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost a worker.

    Attributes:
        seconds: from the moment a worker has it; of a scan, from page to page.
        memory: bytes that the process may have; kept by Linux only.
        unfolded: bytes that the file may unfold to, also where no worker reads it; see :func:`read_document`.
    """

    seconds: float = 120.0
    memory: int = 1 << 30
    unfolded: int | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory < 1 << 26:
            raise ValueError(
                f"a file may take {self.seconds:g} s and {self.memory:,} bytes: "
                "give it more than 0 seconds and at least 64 MiB"
            )


def workers_for(n_files: int) -> int:
    """How many are worth having: none for a few files, and the caller's core is left to it."""
    if n_files < _WORTH or not sys.executable or getattr(sys, "frozen", False):
        return 0
    return max(1, min(_MOST, usable_cores() - 1))


def read_in_order(tasks: Iterable[tuple[Task, int]], workers: Workers | None) -> Iterator[Reading]:
    """What became of each file (with its size in bytes), in their order; without workers they are read right here."""
    if workers is None:
        yield from (read_one(task) for task, _ in tasks)
        return
    waiting: deque[tuple[Future[Reading], int]] = deque()
    size = 0
    for task, more in tasks:
        waiting.append((workers.submit(task), more))
        size += more
        while len(waiting) > _AHEAD or (size > _AHEAD_BYTES and len(waiting) > workers.n):
            first, less = waiting.popleft()
            size -= less
            yield first.result()
    while waiting:
        yield waiting.popleft()[0].result()


class Workers:
    """``n`` processes, each started when it is first needed and replaced when it dies. Close it after use.

    Raises:
        DocumentError: from :meth:`start`: no process comes up.
    """

    def __init__(self, n: int, limits: Limits | None = None) -> None:
        if n < 1:
            raise ValueError(f"{n} workers came; at least 1 is needed")
        self.n = n
        self.limits = limits or Limits()
        self._threads = ThreadPoolExecutor(n, "langbert-reader")
        self._idle: LifoQueue[_Worker | None] = LifoQueue()  # None is one that has yet to be started
        for _ in range(n):
            self._idle.put(None)
        self._alive: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Starts one now, to see that it can be done."""
        self._idle.get()
        self._idle.put(self._started())

    def submit(self, job: Job[R]) -> Future[R]:
        """What comes of a job, done by one of the processes."""
        return self._threads.submit(self._read, job)

    def close(self) -> None:
        """Ends the processes, whatever they are at; what was not read yet is not read any more."""
        with self._lock:
            self._closed = True
            alive = list(self._alive)
        for worker in alive:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in alive:
            worker.end()

    def _read(self, job: Job[R]) -> R:
        stamp = stamp_of(Path(job.path))
        worker = self._idle.get()
        try:
            while True:
                asked = worker or self._started()
                worker, fresh = None, asked.n_read == 0
                try:
                    reply, swollen = asked.ask(job)
                except _Died as death:
                    self._forget(asked)
                    if fresh or death.certain or self._closed:  # else a file read before may be to blame
                        return job.reply.failed(death.reason, stamp)
                    continue
                if swollen:
                    self._forget(asked)
                else:
                    worker = asked
                return reply
        finally:
            self._idle.put(worker)

    def _started(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise DocumentError("reading was stopped")
            worker = _Worker(self.limits)
            self._alive.add(worker)
        worker.wait_until_ready()
        return worker

    def _forget(self, worker: _Worker) -> None:
        worker.kill()
        worker.end()
        with self._lock:
            self._alive.discard(worker)


class _Died(Exception):
    """A worker did, over a file: ``certain`` if that file is the cause."""

    def __init__(self, reason: str, *, certain: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain


class _Worker:
    """One process."""

    def __init__(self, limits: Limits) -> None:
        self.n_read = 0
        self._limits = limits
        self._late = False
        self._scratch = TemporaryDirectory(prefix="langbert-", ignore_cleanup_errors=True)
        own = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self._scratch.name)  # what a killed process left goes with it
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(f"{__package__}.worker")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **own},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        settings = {"seconds": limits.seconds, "memory": limits.memory, "reader": _READER}
        self._say(json.dumps([path for path in sys.path if isinstance(path, str)]))
        self._say(json.dumps(settings))

    def wait_until_ready(self) -> None:
        """
        Raises:
            DocumentError: it does not come up.
        """
        with self._deadline(_STARTING):
            ready = self._line()
        if not ready:
            said = self._process.stderr.read().decode("utf-8", "replace").strip() if self._process.stderr else ""
            raise DocumentError(
                f"{sys.executable} cannot be started to read files ({said[-500:] or 'it ended without a word'}); "
                "read files in this process: workers=0"
            )

    def ask(self, job: Job[R]) -> tuple[R, bool]:
        """What became of a file, and whether the process has grown so much that it should end.

        Raises:
            _Died: the process did.
        """
        self._say(json.dumps([type(job).__name__, job.to_json()]))
        line = AT_WORK
        while line == AT_WORK:
            with self._deadline(self._limits.seconds):
                line = self._line()
        self.n_read += 1
        if line.endswith(b"\n"):
            reply, swollen = json.loads(line)
            return job.reply.from_json(reply), swollen or self._late  # late, but said all before it was killed
        code = self._process.wait()
        if self._late:
            raise _Died(f"reading it took longer than {self._limits.seconds:g} s", certain=True)
        raise _Died(f"its reader crashed ({_exit(code)}); is it damaged?", certain=False)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """After :meth:`kill`."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._scratch.cleanup()

    def _say(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it died: reading the answer will say so
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()

    def _line(self) -> bytes:
        return self._process.stdout.readline() if self._process.stdout is not None else b""

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        def too_late() -> None:
            self._late = True
            self.kill()

        timer = threading.Timer(seconds, too_late)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # or it might still be about to kill


def _exit(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
