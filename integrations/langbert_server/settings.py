"""What a server allows: sizes, queues, addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langbert.documents import Limits


@dataclass(frozen=True)
class Settings:
    """Limits, each of them there so that no client can make the server grow without bound.

    Attributes:
        uploads: the folder that uploaded files are kept in; by default beside the store, ``STORE-uploads``.
        audit_log: a file that gets a line of JSON for each thing that was asked or read; None keeps no account.
        hosts: names the server may be called by, beside those of this machine; ``"*"`` is any. A page somewhere else
            that has its own name point here is refused.
        upload_bytes: the largest file.
        file_limits: what reading an uploaded file may cost: it is done by a process that may crash.
        body_bytes: the largest request that is no upload.
        texts: the most texts in one request.
        batch_tokens: tokens that are embedded at a time, of however many requests.
        queued_tokens: tokens that may wait for that; a request beyond them is told to come again (429).
        asking: answers, searches and rerankings computed at a time.
        waiting: requests that may wait for that; further ones are told to come again (429).
        requests_per_minute: of one key, or of one address where there are no keys; None is no limit.
        start_seconds: how long a request waits for the models to be loaded.
    """

    uploads: Path | None = None
    audit_log: Path | None = None
    hosts: Sequence[str] = ()
    upload_bytes: int = 200 * 1024 * 1024
    file_limits: Limits = field(default_factory=Limits)
    body_bytes: int = 16 * 1024 * 1024
    texts: int = 2048
    batch_tokens: int = 8192
    queued_tokens: int = 400_000
    asking: int = 2
    waiting: int = 64
    requests_per_minute: int | None = None
    start_seconds: float = 60.0
