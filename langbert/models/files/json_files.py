"""Texts and JSON as checkpoint folders have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import CheckpointError

__all__ = ["read_json", "read_json_value", "read_text", "write_json"]

_LARGEST = 256 << 20  # bytes of a tokenizer or configuration; the largest there are have a tenth


def read_text(file: str | Path) -> str:
    """A text file of a checkpoint folder.

    Raises:
        CheckpointError: it is missing, no regular file, not UTF-8, or larger than any such file.
    """
    path = Path(file)
    try:
        if path.exists() and not path.is_file():
            raise OSError("no regular file")
        if (size := path.stat().st_size) > _LARGEST:
            raise OSError(f"{size:,} bytes, expected at most {_LARGEST:,}")
        return path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error


def read_json_value(file: str | Path) -> Any:
    """Any JSON from a checkpoint folder.

    Raises:
        CheckpointError: the file is missing, is not JSON, or nests without end.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error})") from error


def read_json(file: str | Path) -> dict[str, Any]:
    """A JSON object from a checkpoint folder.

    Raises:
        CheckpointError: the file is missing, is not JSON, or holds something other than an object.
    """
    value = read_json_value(file)
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected a JSON object, got {type(value).__name__}")
    return value


def write_json(value: object, file: str | Path) -> None:
    """Indented UTF-8 JSON with a newline at its end, as checkpoint folders have it."""
    Path(file).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
