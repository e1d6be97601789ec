"""A real server on a loopback port, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

SECONDS = 120  # the machine may be busy
PATIENT: Any = {"timeout": SECONDS, "verify": False}  # reading certificates would be most of what a request costs


@contextmanager
def running(app: Any, *, wait: bool = True) -> Iterator[str]:
    """The address of ``app`` while the block runs, once its models are loaded, unless that is not waited for."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", server_header=False))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            if wait:
                until(lambda: answers(url) and httpx.get(f"{url}/health", **PATIENT).json()["ready"])
            yield url
        finally:
            server.should_exit = True
            thread.join()


def answers(url: str) -> bool:
    """Whether a server listens there."""
    try:
        return httpx.get(f"{url}/health", **PATIENT).status_code == 200
    except httpx.ConnectError:
        return False


def until(happened: Any, seconds: float = SECONDS) -> None:
    """Wait for something; AssertionError where it does not come."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
