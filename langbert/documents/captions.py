"""The figures of a document, each bound to the caption that its text has of it.

Most figures of papers are drawings and no pictures that could be taken out of the file. So a figure of a PDF is what is
drawn over a caption, or else below it, up to a gap; and its picture is that part of the page, as people see it. Other
formats hold pictures, whose captions their readers have found (:mod:`.illustrations`).
"""

from __future__ import annotations

import base64
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..boxes import Box, Illustration
from ..errors import DocumentError
from ..records import Document
from .illustrations import LONGEST_CAPTION
from .image import frames, is_icon
from .jobs import on_bytes
from .limits import at_work, unfolding
from .loading import Stamp
from .parts import ARCHIVES, parts_of
from .pdfium import box_on, opened_page
from .picture import Picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_DRAWN = ("pdf", "image")
ILLUSTRATED = (*_DRAWN, *ARCHIVES, "html", "notebook")
"""The formats that figures are taken from."""

_CAPTION = re.compile(
    r"^(?:(?:figure|fig\.?)\s*[A-Z]?\d[\d.\-]*?\s*[:.|]|[图圖]\s*\d[\d.\-]*)\s*\S.*", re.MULTILINE | re.IGNORECASE
)
_WIDTH = 1200  # pixels of a page, or of a picture's longer side
_MOST_PICTURES = 200  # of a document
_MOST_BYTES = 64 << 20  # of its pictures
_GAP = 0.06  # of the page's height: white between the parts of a figure, and between it and its caption
_LEAST = 0.04  # of the page: less is a logo
_MOST = 0.9
_RULE = (0.3, 0.004)  # wider than this and lower: what sets a running head apart
_MARGIN = (0.02, 0.006)  # of the page's width and height: the numbers beside an axis are text


@dataclass(frozen=True, slots=True)
class Cut:
    """The figures of a file, and the reason why there are none of it, or not all."""

    pictures: tuple[Picture, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        pictures = [{**asdict(one), "png": base64.b64encode(one.png).decode()} for one in self.pictures]
        return {"pictures": pictures, "reason": self.reason}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Cut:
        pictures = (Picture(**{**row, "png": base64.b64decode(row["png"])}) for row in record["pictures"])
        return cls(tuple(pictures), record["reason"])

    @classmethod
    def failed(cls, reason: str, _: Stamp | None = None) -> Cut:
        return cls(reason=reason)


@dataclass(frozen=True, slots=True)
class Cutting:
    """A job: the figures of a document are to be cut out of its file.

    Attributes:
        path: absolute.
        digest: SHA-256 of the bytes that the document was read from, as hex.
        document: id, text, format, page starts, line boxes and illustrations.
        max_unfolded: as for :func:`read_document`.
    """

    path: str
    digest: str
    document: tuple[str, str, str, tuple[int, ...], str, tuple[tuple[Any, ...], ...]]
    max_unfolded: int | None = None

    reply: ClassVar[type[Cut]] = Cut

    @classmethod
    def of(cls, document: Document, max_unfolded: int | None = None) -> Cutting | None:
        """Of a document as it was read from a file, with ``sha256`` in its metadata; None if it can have no figures."""
        said = document.metadata
        if said["format"] not in (ILLUSTRATED if document.illustrations else _DRAWN):
            return None
        shown = tuple(map(astuple, document.illustrations))
        parts = (document.id, document.text, said["format"], document.page_starts, document.line_boxes, shown)
        return cls(said["path"], said["sha256"], parts, max_unfolded)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def done(self) -> Cut:
        id, text, kind, starts, boxes, shown = self.document
        metadata = {"format": kind, "path": self.path}
        document = Document(
            id,
            text,
            metadata=metadata,
            page_starts=tuple(starts),
            line_boxes=boxes,
            illustrations=tuple(Illustration(*one) for one in shown),
        )

        def cut(data: bytes) -> Cut:
            size = 0
            kept: list[Picture] = []
            with unfolding(len(data), self.max_unfolded):
                for picture in _figures(data, document):
                    size += len(picture.png)
                    if len(kept) == _MOST_PICTURES or size > _MOST_BYTES:
                        return Cut(tuple(kept), f"only the first {len(kept)} are kept")
                    kept.append(picture)
                    at_work()
            return Cut(tuple(kept))

        return on_bytes(
            self,
            self.digest,
            cut,
            changed="the file has changed since it was read",
            doing="cutting out its figures",
        )


def figures(data: bytes, document: Document) -> list[Picture]:
    """Those of a PDF that have a caption, in the order of the text; of a picture each page, with the words on it; the
    pictures of a Word, OpenDocument or PowerPoint file, a book, a notebook or a web page, but for icons.

    Args:
        data: what the document was read from; ``document.metadata["path"]`` says where, so that a web page's pictures
            are found beside it.

    Raises:
        DocumentError: it is broken. A picture that is broken is left out.
        ImportError: Pillow is not installed.
    """
    return list(_figures(data, document))


def _figures(data: bytes, document: Document) -> Iterator[Picture]:
    kind = document.metadata.get("format")
    if kind == "pdf":
        yield from _of_pdf(data, document)
    elif kind == "image":
        yield from _pages(data, document)
    elif kind in ILLUSTRATED and document.illustrations:
        yield from _illustrations(data, document)


def _illustrations(data: bytes, document: Document) -> Iterator[Picture]:
    path = document.metadata.get("path")
    part = parts_of(document.metadata["format"], data, None if path is None else Path(path))
    for one in document.illustrations:
        try:
            frame = next(frames(part(one.name)))
        except DocumentError:  # a drawing of Windows, a film, gone or broken
            continue
        if is_icon(frame):
            continue
        words = document.text[one.start : one.end]
        id = f"{document.id}:{one.name}"
        yield Picture(id, document.id, _png(frame), words, one.start, one.end, one.page)


def _png(frame: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((_WIDTH, _WIDTH))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _of_pdf(data: bytes, document: Document) -> Iterator[Picture]:
    captions: dict[int, list[tuple[int, int, Box]]] = defaultdict(list)
    for start, end in _captions(document.text):
        if boxes := document.boxes(start, end):
            page = min(boxes)  # it begins there
            captions[page].append((start, end, _around(boxes[page])))
    for page in sorted(captions):
        yield from _on(data, document, page, captions[page])


def _pages(data: bytes, document: Document) -> Iterator[Picture]:
    starts = [*document.page_starts, len(document.text)]
    for number, (frame, start, end) in enumerate(zip(frames(data), starts, starts[1:], strict=False), 1):
        words = document.text[start:end]
        yield Picture(f"{document.id}:page {number}", document.id, _png(frame), words, start, end, number)


def _captions(text: str) -> Iterator[tuple[int, int]]:
    """From where to where each goes: to a blank line, or to the next caption."""
    starts = [match.start() for match in _CAPTION.finditer(text)]
    for start, following in pairwise([*starts, len(text)]):
        blank = text.find("\n\n", start, following)
        caption = text[start : min(start + LONGEST_CAPTION, following if blank < 0 else blank)]
        yield start, start + len(caption.rstrip())


def _on(data: bytes, document: Document, page: int, captions: Sequence[tuple[int, int, Box]]) -> list[Picture]:
    with opened_page(data, page) as sheet:
        drawn = _drawn(sheet)
        placed = [(start, end, _place(caption, drawn)) for start, end, caption in captions]
        found = [(start, end, place) for start, end, place in placed if place]
        if not found:
            return []
        bitmap = sheet.render(scale=_WIDTH / sheet.get_width())
        try:
            shown = bitmap.to_pil().copy()
        finally:
            bitmap.close()
    text = document.text
    return [
        Picture(f"{document.id}:{start}", document.id, _cut(shown, place), text[start:end], start, end, page)
        for start, end, place in found
    ]


def _drawn(sheet: Any) -> list[Box]:
    """Where anything but text and rules is on the page."""
    import pypdfium2.raw as pdfium

    kinds = [pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING, pdfium.FPDF_PAGEOBJ_FORM]
    found = []
    for thing in sheet.get_objects(kinds, max_depth=1):
        box = box_on(sheet, *thing.get_bounds())
        is_ground = box.width * box.height > _MOST and thing.type != pdfium.FPDF_PAGEOBJ_FORM
        if not is_ground and not (box.width > _RULE[0] and box.height < _RULE[1]):
            found.append(box)
    return found


def _place(caption: Box, drawn: Iterable[Box]) -> Box | None:
    """The figure of a caption: what is drawn over it, else below it.

    A drawing is said to be as large as if nothing of it were cut off. What reaches over the caption ends there, and is
    no wider than it.
    """
    left, right, bottom = caption.left, caption.left + caption.width, caption.top + caption.height
    over, below = [], []
    for box in drawn:
        x0, x1, y0, y1 = box.left, box.left + box.width, max(0.0, box.top), min(1.0, box.top + box.height)
        if x1 <= left or x0 >= right:
            continue
        if (y0 < caption.top and y1 > bottom) or x1 > 1 or x0 < 0:
            x0, x1 = max(x0, left), min(x1, right)
        if (high := min(y1, caption.top)) > y0:
            over.append((caption.top - high, caption.top - y0, Box(x0, y0, x1 - x0, high - y0)))
        elif y1 > bottom:
            below.append(
                (max(y0, bottom) - bottom, y1 - bottom, Box(x0, max(y0, bottom), x1 - x0, y1 - max(y0, bottom)))
            )
    return _grown(over) or _grown(below)


def _grown(parts: Iterable[tuple[float, float, Box]]) -> Box | None:
    """What follows on the caption without a gap; each part with where it begins and ends, as seen from there."""
    reach = 0.0
    kept: list[Box] = []
    for near, far, box in sorted(parts, key=lambda part: part[0]):
        if near > reach + _GAP:
            break
        reach, kept = max(reach, far), [*kept, box]
    if not kept:
        return None
    place = _around(kept)
    return place if min(place.width, place.height) >= _LEAST else None


def _around(boxes: Sequence[Box]) -> Box:
    left, top = min(box.left for box in boxes), min(box.top for box in boxes)
    right, bottom = max(box.left + box.width for box in boxes), max(box.top + box.height for box in boxes)
    return Box(left, top, right - left, bottom - top)


def _cut(page: Image, place: Box) -> bytes:
    across, down = _MARGIN
    left, top = max(0.0, place.left - across), max(0.0, place.top - down)
    right, bottom = min(1.0, place.left + place.width + across), min(1.0, place.top + place.height + down)
    out = io.BytesIO()
    x, y = page.width, page.height
    page.crop((round(left * x), round(top * y), round(right * x), round(bottom * y))).convert("RGB").save(out, "PNG")
    return out.getvalue()
