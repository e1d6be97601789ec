"""Clients over asyncio's own streams: one connection each, a request after the other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Client", "Request", "Result", "as_json", "load"]

Request = tuple[str, str, bytes, str]
"""Method, path, body and its content type."""


@dataclass
class Result:
    """What the clients saw.

    Attributes:
        seconds: of each request that was answered 200 or 202, by kind.
        statuses: how often each other status came, by kind and status.
    """

    elapsed: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return sum(map(len, self.seconds.values())) / self.elapsed

    def percentile(self, part: float, kind: str | None = None) -> float:
        """Milliseconds."""
        chosen = [self.seconds[kind]] if kind else self.seconds.values()
        times = sorted(second for seconds in chosen for second in seconds)
        return 1000 * times[min(len(times) - 1, int(part * len(times)))] if times else float("nan")


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        """Status and body."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 26)
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: {kind}\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self._writer.drain()
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
        answer = await self._reader.readexactly(length)
        if "connection: close" in lines:
            await self.close()
        return int(lines[0].split(" ")[1]), answer

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None


async def load(port: int, n_clients: int, seconds: float, request: Callable[[int], tuple[str, Request]]) -> Result:
    """So many clients for so long.

    Args:
        request: of a number that grows, the kind and the request.
    """
    result, numbers, end = Result(), iter(range(1 << 62)), time.perf_counter() + seconds

    async def one() -> None:
        client = Client(port)
        while time.perf_counter() < end:
            kind, what = request(next(numbers))
            began = time.perf_counter()
            status, answer = await client.ask(*what)
            if status in (200, 202):
                result.seconds.setdefault(kind, []).append(time.perf_counter() - began)
            else:
                result.statuses[f"{kind} {status}"] = result.statuses.get(f"{kind} {status}", 0) + 1
                if status == 429:
                    await asyncio.sleep(0.5)
                elif result.statuses[f"{kind} {status}"] < 4:
                    result.statuses[answer[:200].decode("utf-8", "replace")] = 1
        await client.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(n_clients)))
    result.elapsed = time.perf_counter() - began
    return result


def as_json(body: Any) -> bytes:
    return json.dumps(body).encode()
