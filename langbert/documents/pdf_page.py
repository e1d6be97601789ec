"""A page of a PDF as people see it: drawn, and where on it the characters of a quote stand."""

from __future__ import annotations

import io
import re

from ..boxes import Box
from .pdf_layout import characters
from .pdfium import box_on, opened_page

_LARGEST = 4096  # pixels of the longer side: a page may claim to be a kilometre wide
_LEFT_OUT = re.compile(r"[\s\-\u00ad\ufffe\uffff\ue000\x00-\x1f]+")


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

    with opened_page(data, page) as sheet:
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
    with opened_page(data, page) as sheet:
        words = sheet.get_textpage()
        try:
            found = _places(characters(words), quote)
            if not found:
                return []
            first, last = found[min(before, len(found) - 1)]
            return [box_on(sheet, *words.get_rect(i)) for i in range(words.count_rects(first, last - first + 1))]
        finally:
            words.close()


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
