"""Pictures of pages: what OCR reads of them, a page for each of a TIFF's."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import DocumentError
from .extract import Extract
from .ocr import LONGEST, Recognised, unread
from .pdf import written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 80_000_000  # A3 at 600 to the inch
_ICON = 24, 10_000  # pixels: a shorter side, or an area, of less
_PAPER = (255, 255, 255, 255)


def read(data: bytes) -> Extract:
    if reason := unread():
        raise DocumentError(f"it is a picture, which was not read: {reason}")
    recognised = Recognised()
    pages = [recognised.page(number, image) for number, image in enumerate(frames(data), 1)]
    if not any(pages):
        raise DocumentError("there is no text to be seen in it")
    return written(pages, recognised=recognised)


def frames(data: bytes) -> Iterator[NDArray[np.uint8]]:
    """Each picture, ``(h, w, 3)`` uint8, upright as its camera says, no larger than OCR looks at.

    Raises:
        DocumentError: it is no picture, or has too many pixels.
    """
    import numpy as np
    from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as file:
            for frame in ImageSequence.Iterator(file):
                if frame.width * frame.height > _MOST_PIXELS:
                    raise DocumentError(f"it has {frame.width:,} × {frame.height:,} pixels; make it smaller")
                frame.draft("RGB", (LONGEST, LONGEST))  # a JPEG takes less to unpack
                page = ImageOps.exif_transpose(_plain(frame))
                page.thumbnail((LONGEST, LONGEST))
                if page.mode == "RGBA":
                    page = Image.alpha_composite(Image.new("RGBA", page.size, _PAPER), page)
                yield np.asarray(page.convert("RGB"))
    except UnidentifiedImageError as error:  # whose own words name an object in memory
        raise DocumentError("it is broken or no picture at all; save it again") from error
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # of Pillow and its parsers: whatever the damaged bytes lead to
        raise DocumentError(f"it is broken or no picture at all ({error}); save it again") from error


def is_icon(frame: NDArray[np.uint8]) -> bool:
    """Whether a picture ``(h, w, 3)`` is too small to show anything."""
    height, width = map(int, frame.shape[:2])
    return min(height, width) < _ICON[0] or height * width < _ICON[1]


def _plain(frame: Image) -> Image:
    """In grey, colours, or colours some of which are transparent: what can be made smaller."""
    import numpy as np
    from PIL import Image

    if frame.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(frame) >> 8).astype(np.uint8))
    if frame.mode in ("1", "L"):
        return frame.convert("L")
    return frame.convert("RGBA" if frame.has_transparency_data else "RGB")
