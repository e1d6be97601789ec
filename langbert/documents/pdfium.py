"""pdfium: one at a time, a page of a PDF, and where on it things stand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..boxes import Box
from ..errors import DocumentError

PDFIUM = threading.Lock()  # the library is not thread-safe, not even for two different files

_GRID = 1 << 16  # steps across a page: what pdfium places points on


@contextmanager
def opened_page(data: bytes, page: int) -> Iterator[Any]:
    """A page, from 1, while nobody else uses pdfium.

    Raises:
        DocumentError: it is no PDF, or has no such page.
    """
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


def box_on(sheet: Any, left: float, bottom: float, right: float, top: float) -> Box:
    """Of page coordinates, turned and cut as the page is shown."""
    (x0, x1), (y0, y1) = map(sorted, zip(_point(sheet, left, bottom), _point(sheet, right, top), strict=True))
    return Box(round(x0, 5), round(y0, 5), round(x1 - x0, 5), round(y1 - y0, 5))


def _point(sheet: Any, x: float, y: float) -> tuple[float, float]:
    import ctypes

    import pypdfium2.raw as pdfium

    across, down = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDF_PageToDevice(sheet, 0, 0, _GRID, _GRID, 0, x, y, across, down)
    return across.value / _GRID, down.value / _GRID
