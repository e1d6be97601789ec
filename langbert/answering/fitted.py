"""The numbers that scripts in ``benchmarks/`` fitted and wrote into ``fitted.json``, which says what they are of."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["FILE", "fitted"]

FILE = Path(__file__).with_name("fitted.json")


def fitted(model: str) -> Any:
    """The coefficients of ``"checking"``, ``"evidence"`` or ``"refusal"``."""
    return _read()[model]


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found
