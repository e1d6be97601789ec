"""Reading training files: whatever cannot be used is named by its line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError

__all__ = ["read_lines"]

Row = TypeVar("Row")


def read_lines(path: str | Path, parse: Callable[[Any], Row], expected: str) -> Iterator[Row]:
    """``parse`` of every JSON line; blank ones are passed over.

    Args:
        expected: what a line should look like, for the error message.

    Raises:
        DataError: the file is missing, or a line is no JSON, or ``parse`` cannot make anything of it.
    """
    if not Path(path).is_file():
        raise DataError(f"no file at {path}: expected JSON lines of {expected}")
    number = 0
    try:
        with Path(path).open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parsed(line, parse, f"{path}:{number}: expected {expected}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number + 1}: expected UTF-8; byte {error.start} is not ({error.reason})") from error


def _parsed(line: str, parse: Callable[[Any], Row], complaint: str) -> Row:
    try:
        return parse(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{complaint}; got {line.strip()[:80]}") from error
