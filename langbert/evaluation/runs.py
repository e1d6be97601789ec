"""What a run of questions leaves: a file of JSON lines, one a question, that a killed run goes on from.

The first line says what was run; every other one holds at least ``id``, ``question`` and ``scores``, measure → value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from .lines import whole_lines

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished or broken-off run.

    Attributes:
        settings: what was run: ``kind`` (``"answers"`` or ``"retrieval"``), ``data``, ``mode`` …
        rows: by id, in the order they were made.
    """

    settings: Mapping[str, Any]
    rows: Mapping[str, Row]


class RunFile:
    """Writes a run row by row; each is on disk before the next one is made.

    Args:
        resume: go on from what the file already holds.

    Attributes:
        rows: what was there, by id.

    Raises:
        DataError: the file is there and ``resume`` is not asked for; or it holds a run of something else.
    """

    def __init__(self, file: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.rows: dict[str, Row] = {}
        if file.is_file() and file.stat().st_size:
            if not resume:
                raise DataError(f"{file} holds a run already: resume it (--resume), remove it or name another file")
            whole_lines(file, cut=True)  # a row cut off by a kill is made again
            earlier = read_run(file)
            wanted = json.loads(json.dumps(settings))
            changed = [key for key in wanted if earlier.settings.get(key) != wanted[key]]
            if changed:
                told = ", ".join(f"{key} {earlier.settings.get(key)!r}, now {wanted[key]!r}" for key in changed)
                raise DataError(f"{file} was made with {told}: name another file, or remove it")
            self.rows.update(earlier.rows)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_line(settings), encoding="utf-8")
        self._lines = file.open("a", encoding="utf-8")

    def append(self, row: Row) -> None:
        self._lines.write(_line(row))
        self._lines.flush()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()


def read_run(file: str | Path) -> Run:
    """A run from its file; a last line cut off by a kill is left out.

    Raises:
        DataError: it is not there, or not such a file.
    """
    file = Path(file)
    if not file.is_file():
        raise DataError(f"no run at {file}: make one with `langbert eval retrieval --save` or `eval answers --results`")
    try:
        settings, *rows = [json.loads(line) for line in whole_lines(file)]
        if "kind" not in settings:
            raise KeyError("kind")
        found = {row["id"]: row for row in rows if row["question"] is not None and row["scores"] is not None}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} does not hold a run: expected JSON lines, first the settings with a kind, then rows with id, "
            f"question and scores; at fault: {error!r}"
        ) from error
    return Run(settings, found)


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"
