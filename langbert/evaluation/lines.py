"""Files of lines, read with whatever cannot be used named by its number, and gone on with after a kill."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError

_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of bytes that cannot be decoded

Row = TypeVar("Row")


def numbered_lines(path: str | Path, expected: str, *, blank: bool = False) -> Iterator[tuple[int, str]]:
    """The lines of a file without their ends, each with its number, from 1.

    Args:
        expected: what the file should hold, for the error message.
        blank: whether blank lines are wanted, too.

    Raises:
        DataError: the file is missing, or a line is not UTF-8.
    """
    if not Path(path).is_file():
        raise DataError(f"no file at {path}: expected {expected}")
    with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            if wrong := _NOT_UTF8.search(line):
                raise DataError(f"{path}:{number}: expected UTF-8; byte 0x{ord(wrong[0]) - 0xDC00:x} is not")
            if blank or line.strip():
                yield number, line.rstrip("\n")


def read_numbered(path: str | Path, parse: Callable[[Any], Row], expected: str) -> Iterator[tuple[int, Row]]:
    """``parse`` of every JSON line, with the line's number; blank lines are passed over, and counted.

    Args:
        expected: what a line should look like, for the error message.

    Raises:
        DataError: the file is missing, or a line is no JSON, or ``parse`` cannot make anything of it.
    """
    for number, line in numbered_lines(path, f"JSON lines of {expected}"):
        try:
            row = parse(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: expected {expected}; got {line.strip()[:80]}") from error
        yield number, row


def read_lines(path: str | Path, parse: Callable[[Any], Row], expected: str) -> Iterator[Row]:
    """:func:`read_numbered` without the numbers."""
    return (row for _, row in read_numbered(path, parse, expected))


def whole_lines(file: str | Path, *, cut: bool = False) -> list[str]:
    """The lines of a file without their ends; a last line that has none, as a kill leaves it, is left out.

    Args:
        cut: also take that line off the file, so that more can be appended. A file that is not there has no lines.
    """
    if cut and not Path(file).is_file():
        return []
    content = Path(file).read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if cut and len(whole) < len(content):
        os.truncate(file, len(whole))
    return whole.decode("utf-8").split("\n")[:-1]
