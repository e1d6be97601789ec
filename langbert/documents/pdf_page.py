"""A page of a PDF as people see it: drawn, and where on it the characters of a quote stand."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from .pdf import PDFIUM
from .pdf_layout import characters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["Box", "draw_page", "quote_boxes"]

_GRID = 1 << 16  # steps across a page: what pdfium places points on
_LARGEST = 4096  # pixels of the longer side: a page may claim to be a kilometre wide
_LEFT_OUT = re.compile(r"[\s\-\u00ad\ufffe\uffff\ue000\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a drawn page, in parts of its width and height, from the upper left corner."""

    left: float
    top: float
    width: float
    height: float


def draw_page(data: bytes, page: int, *, width: int = 1200) -> bytes:
    """A page as PNG.

    Args:
        data: the PDF.
        page: from 1.
        width: in pixels; less where the page would be more than 4096 high.

    Raises:
        DocumentError: it is no PDF, or has no such page.
        ImportError: Pillow is not installed.
    """
    import PIL.Image  # noqa: F401 - before pdfium is locked: it says what is missing

    with _opened(data, page) as sheet:
        scale = min(width / sheet.get_width(), _LARGEST / max(sheet.get_width(), sheet.get_height()))
        bitmap = sheet.render(scale=scale)
        try:
            picture = bitmap.to_pil().copy()
        finally:
            bitmap.close()
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def quote_boxes(data: bytes, page: int, text: str, start: int, end: int) -> list[Box]:
    """Where the characters of a quote stand on a page, a box for each stretch of a line.

    The quote is looked for among the page's characters without blanks and hyphens, which reading the file puts in and
    takes out; of several places with the same words, it is the one with as many of them before it.

    Args:
        data: the PDF.
        page: from 1.
        text: what the document has of this page.
        start, end: the quote in ``text``, characters, end exclusive.

    Returns:
        The boxes in reading order; none where the page's characters do not hold the quote.

    Raises:
        DocumentError: it is no PDF, or has no such page.
    """
    quote = _bare(text[start:end])
    if not quote:
        return []
    before = _count(_bare(text[:start]) + quote[:-1], quote)
    with _opened(data, page) as sheet:
        words = sheet.get_textpage()
        try:
            found = _places(characters(words), quote)
            if not found:
                return []
            first, last = found[min(before, len(found) - 1)]
            return [_box(sheet, words.get_rect(i)) for i in range(words.count_rects(first, last - first + 1))]
        finally:
            words.close()


def _opened(data: bytes, page: int) -> AbstractContextManager[Any]:
    from contextlib import contextmanager

    @contextmanager
    def opened() -> Iterator[Any]:
        import pypdfium2

        with PDFIUM:
            try:
                pdf: Any = pypdfium2.PdfDocument(data)
            except pypdfium2.PdfiumError as error:
                raise DocumentError(f"it is broken, encrypted or no PDF at all ({error})") from error
            try:
                if not 1 <= page <= len(pdf):
                    raise DocumentError(f"there is no page {page}; it has {len(pdf)}")
                try:
                    sheet = pdf[page - 1]
                except pypdfium2.PdfiumError as error:
                    raise DocumentError(f"page {page} is damaged ({error})") from error
                try:
                    yield sheet
                finally:
                    sheet.close()
            finally:
                pdf.close()

    return opened()


def _bare(text: str) -> str:
    return _LEFT_OUT.sub("", text)


def _count(text: str, part: str) -> int:
    """How often ``part`` stands in ``text``, overlaps counted."""
    return sum(text.startswith(part, i) for i in range(len(text) - len(part) + 1)) if part in text else 0


def _places(text: str, quote: str) -> list[tuple[int, int]]:
    """The first and last of pdfium's characters, at each place where the quote stands."""
    kept = [i for i, character in enumerate(text) if not _LEFT_OUT.match(character)]
    bare = "".join(text[i] for i in kept)
    places, at = [], bare.find(quote)
    while at >= 0:
        places.append((kept[at], kept[at + len(quote) - 1]))
        at = bare.find(quote, at + 1)
    return places


def _box(sheet: Any, rect: tuple[float, float, float, float]) -> Box:
    left, bottom, right, top = rect
    corners = [_point(sheet, x, y) for x, y in ((left, bottom), (right, top))]
    (x0, x1), (y0, y1) = (sorted(axis) for axis in zip(*corners, strict=True))
    return Box(round(x0, 5), round(y0, 5), round(x1 - x0, 5), round(y1 - y0, 5))


def _point(sheet: Any, x: float, y: float) -> tuple[float, float]:
    """Of page coordinates, turned and cut as the page is shown."""
    import ctypes

    import pypdfium2.raw as pdfium

    across, down = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDF_PageToDevice(sheet, 0, 0, _GRID, _GRID, 0, x, y, across, down)
    return across.value / _GRID, down.value / _GRID
