"""Pictures within a document: what OCR reads of them, where they stand; each once, however often it is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import DocumentError
from .ocr import Recognised
from .remarks import remark, wants_ocr

_MOST = 200  # of a document: ten minutes


class InnerPictures:
    """Those of one document; nothing of them where OCR is not wanted."""

    def __init__(self) -> None:
        self._recognised = Recognised("picture")
        self._seen: set[str] = set()

    def text(self, name: str, data: Callable[[], bytes]) -> str:
        """What is written in a picture; empty if that is nothing, or it was read before.

        Args:
            name: of the part of the document.
            data: its bytes, which are unpacked only if they are wanted.
        """
        from .image import frames, is_icon
        from .pdf import written

        if not wants_ocr() or name in self._seen:
            return ""
        self._seen.add(name)
        number = len(self._seen)
        if number > _MOST:
            remark(f"only the first {_MOST} pictures in it read")
            return ""
        try:
            frame = next(frames(data()))
        except DocumentError:  # of another format, such as a drawing of Windows, or broken
            return ""
        if is_icon(frame):
            return ""
        lines = self._recognised.page(number, frame)
        return written([lines]).text if lines else ""

    def metadata(self, said: dict[str, Any]) -> dict[str, Any]:
        """``said`` of the document, and ``ocr_pictures`` (how many had words) and ``ocr_confidence``."""
        return self._recognised.metadata([], said)
