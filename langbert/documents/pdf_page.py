"""A page of a PDF as people see it: drawn, and where on it the characters of a quote stand."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..boxes import Box
from .jobs import on_bytes
from .loading import Stamp
from .pdf_layout import characters
from .pdfium import box_on, opened_page

CHANGED = "the file has changed since it was indexed: index it again"
"""The reason where a file has other bytes than those that are meant."""

_LARGEST = 4096  # pixels of the longer side: a page may claim to be a kilometre wide
_LEFT_OUT = re.compile(r"[\s\-\u00ad\ufffe\uffff\ue000\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was to be seen on a page.

    Attributes:
        picture: PNG; empty where boxes were asked for.
        boxes: as of :func:`quote_boxes`.
        reason: why there is neither; else empty.
    """

    picture: bytes = b""
    boxes: tuple[Box, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        boxes = [(box.left, box.top, box.width, box.height) for box in self.boxes]
        return {"picture": base64.b64encode(self.picture).decode(), "boxes": boxes, "reason": self.reason}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Seen:
        return cls(base64.b64decode(record["picture"]), tuple(Box(*box) for box in record["boxes"]), record["reason"])

    @classmethod
    def failed(cls, reason: str, _: Stamp | None = None) -> Seen:
        return cls(reason=reason)


@dataclass(frozen=True, slots=True)
class Look:
    """A job: a page of a PDF is to be looked at. A stranger's file is not to be opened where there is more to lose.

    Attributes:
        path: absolute.
        digest: SHA-256 of the bytes that are meant, as hex.
        page: from 1.
        width: of the picture that is wanted, as for :func:`draw_page`; 0 where a quote's boxes are.
        text, start, end: the quote, as for :func:`quote_boxes`.
    """

    path: str
    digest: str
    page: int
    width: int = 0
    text: str = ""
    start: int = 0
    end: int = 0

    reply: ClassVar[type[Seen]] = Seen

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def done(self) -> Seen:
        return on_bytes(self, self.digest, self._looked, changed=CHANGED, doing="looking at it")

    def _looked(self, data: bytes) -> Seen:
        if self.width:
            return Seen(draw_page(data, self.page, width=self.width))
        return Seen(boxes=tuple(quote_boxes(data, self.page, self.text, self.start, self.end)))


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
