"""Runs → the generated parts of a page of the documentation."""

from __future__ import annotations

from pathlib import Path

from side_by_side.page import fill_page

from langbert.evaluation import read_run

from .tables import TABLES, Data

ARAGOG = "aragog"


def found_in(folder: Path) -> Data:
    """The runs in a folder: ``aragog.jsonl``, and every other one by its contender, in the order they are shown."""
    runs = {file.stem: read_run(file) for file in sorted(folder.glob("*.jsonl"), key=lambda file: file.stem)}
    aragog = runs.pop(ARAGOG, None)
    return {"answers": runs, "aragog": aragog}


def write_page(page: Path, data: Data) -> None:
    fill_page(page, data, TABLES)
