"""JSON as checkpoint folders have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import CheckpointError

__all__ = ["read_json", "write_json"]


def read_json(file: str | Path) -> dict[str, Any]:
    """A JSON object from a checkpoint folder.

    Raises:
        CheckpointError: the file is missing, is not JSON, or holds something other than an object.
    """
    try:
        value = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(value).__name__}")
    return value


def write_json(value: object, file: str | Path) -> None:
    """Indented UTF-8 JSON with a newline at its end, as checkpoint folders have it."""
    Path(file).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
