"""What every request passes: whose it is, where it comes from, how large, how many; and what every response bears."""

from __future__ import annotations

import ipaddress
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .keys import EVERYBODY, NOBODY, Keys
from .settings import Settings

OPEN_PATHS = ("/health", "/ready", "/openapi.json", "/", "/page/")
"""What needs no key: it tells nothing of the documents."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs its own scripts and no others, and talks to its own server and to no other."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_FORM = 65536  # bytes of an upload that are not the file
_REMEMBERED = 10_000  # addresses and keys whose requests are counted


Refusal = tuple[int, str, dict[str, str]]
"""The status, the reason and further headers."""


class Metrics:
    """What Prometheus is told: requests, how long they took, and nothing of what was asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "langbert_requests", "Requests that were answered.", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "langbert_request_seconds", "Seconds to the first byte of a response.", ("path",), registry=self.registry
        )


class Guard:
    """ASGI middleware; leaves the key of a request in ``request.state.key``.

    Args:
        keys: None lets everybody in.
        upload_path: where large bodies are allowed.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Keys | None, settings: Settings, metrics: Metrics, upload_path: str
    ) -> None:
        self._app = app
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._upload_path = upload_path
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = time.perf_counter(), Headers(scope=scope)
        limit = self._settings.upload_bytes + _FORM if self._uploads(scope) else self._settings.body_bytes
        body = _Body(receive, limit)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**_HEADERS, "Cache-Control": _cache_control(scope["path"])})
                path = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(path, str(message["status"])).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - began)
            await send(message)

        async def answering(message: Message) -> None:
            if not body.too_large:  # else the application answers half a request
                await sending(message)

        refusal = self._refusal(scope, headers, limit)
        if refusal is None:
            await self._app(scope, body.receive, answering)
            if body.too_large:
                refusal = _too_large(limit)
        if refusal is not None:
            await _refuse(sending, *refusal)

    def _uploads(self, scope: Scope) -> bool:
        return bool(scope["path"].rstrip("/") == self._upload_path and scope["method"] == "POST")

    def _refusal(self, scope: Scope, headers: Headers, limit: int) -> Refusal | None:
        """The status, the reason and further headers; None where the request may pass."""
        host = _hostname(headers.get("host", ""))
        if self._keys is None and not self._is_mine(host):
            # a page of another site that has its own name lead to this machine would read what it likes
            return 421, f"this server is not called {host!r}; allow the name with --host-name", {}
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            return 403, "requests from pages of other sites are not answered", {}
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return 400, "the Content-Length is no number", {}
        if int(length) > limit:
            return _too_large(limit)
        key = EVERYBODY
        if self._keys is not None:
            secret = headers.get("x-api-key") or _bearer(headers.get("authorization", ""))
            found = self._keys.of(secret) if secret else None
            if found is None and not _is_open(scope["path"], scope["method"]):
                return 401, "this server needs a key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"}
            key = found or NOBODY
        scope.setdefault("state", {})["key"] = key
        if scope["path"] in ("/health", "/ready"):  # asked often, by those who look after the server
            return None
        client = scope.get("client") or ("?", 0)
        wait = self._wait(key.name if self._keys is not None else str(client[0]))
        if wait:
            return 429, f"too many requests; try again in {wait} s", {"Retry-After": str(wait)}
        return None

    def _is_mine(self, host: str) -> bool:
        names = {name.lower() for name in self._settings.hosts}
        if "*" in names or host in names or host in _LOCAL:
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def _wait(self, who: str) -> int:
        """Seconds until this one may ask again, 0 being now: a bucket that fills steadily (token bucket)."""
        most = self._settings.requests_per_minute
        if most is None:
            return 0
        now = time.monotonic()
        left, then = self._rates.pop(who, (float(most), now))
        left = min(float(most), left + (now - then) * most / 60)
        allowed = left >= 1
        self._rates[who] = (left - 1 if allowed else left), now
        if len(self._rates) > _REMEMBERED:
            self._rates.popitem(last=False)
        return 0 if allowed else max(1, round((1 - left) * 60 / most))


class _Body:
    """The body of a request, up to a limit."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most
        self.too_large = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:  # there is no more, as if the client had gone
            self.too_large = True
            return {"type": "http.disconnect"}
        return message


def _too_large(limit: int) -> Refusal:
    return 413, f"the request has more than {limit:,} bytes, which is the limit here", {"Connection": "close"}


async def _refuse(send: Callable[[Message], Any], status: int, reason: str, headers: dict[str, str]) -> None:
    body = json.dumps({"error": {"type": "Refused", "message": reason, "code": None}}).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _is_open(path: str, method: str) -> bool:
    if method not in ("GET", "HEAD"):
        return False
    return path in OPEN_PATHS or path.startswith("/page/")


def _bearer(authorization: str) -> str:
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _hostname(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "") if host.isprintable() and "/" not in host else ""


def _cache_control(path: str) -> str:
    return "no-cache" if path == "/" or path.startswith("/page/") else "no-store"
