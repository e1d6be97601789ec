"""Plain text: nothing but the encoding to find out."""

from __future__ import annotations

from .encoding import decode
from .extract import Extract


def read(data: bytes) -> Extract:
    return Extract(decode(data))
