"""What the benches share: what they measure with, and on which machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import Output

if TYPE_CHECKING:
    from ..records import Document

__all__ = ["machine", "texts_of"]


def texts_of(
    paths: Sequence[Path], split: Callable[[Document], Iterable[str]], output: Output, *, built_in: int = 1000
) -> list[str]:
    """The distinct pieces of all documents in the files; without files, so many built-in texts."""
    if not paths:
        from ..bench import sample_texts

        return sample_texts(built_in)
    from ..documents import read_documents

    with output.waiting("reading"):
        documents = read_documents(paths, on_skip=lambda path, error: output.note(f"skipped {path}: {error}", "dim"))
        found = list(dict.fromkeys(piece for document in documents for piece in split(document) if piece.strip()))
    if not found:
        raise typer.BadParameter("there is no text in these files; name others, or none for built-in texts")
    return found


def machine() -> dict[str, Any]:
    """The machine, for a JSON document."""
    import platform

    import torch

    from ..models.hardware import usable_cores

    return {"system": platform.platform(), "cores": usable_cores(), "torch": torch.__version__}
