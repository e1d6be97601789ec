"""A figure as stores hold it, for whoever has no document to read."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Picture"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of a document: ``document.text[start:end] == caption``. A notebook shows it.

    Attributes:
        png: the bytes of a PNG.
        page: from 1; None where the format has no pages.
    """

    id: str
    document_id: str
    png: bytes = field(repr=False)
    caption: str = ""
    start: int = 0
    end: int = 0
    page: int | None = None

    def _repr_png_(self) -> bytes:
        return self.png
