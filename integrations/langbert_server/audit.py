"""The audit log: who asked what, and which documents answered; a line of JSON each, never a key."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class AuditLog:
    """Appends to a file that only its owner may read; without a path it keeps no account."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, who: str, did: str, **fields: Any) -> None:
        """One line: the time in UTC, who did what, and what belongs to it."""
        if self._file is None:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": now, "who": who, "did": did, **fields}, ensure_ascii=True, default=str)
        with self._lock:
            os.write(self._file, line.encode() + b"\n")
