"""Text out of pictures of pages, by RapidOCR: PP-OCR's detector and recogniser (arXiv:2109.03144), which come with it.

They read Chinese, English and Japanese; nothing is downloaded. The models are loaded once in a process.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError, MissingExtra
from ..text.languages import languages_of
from ..text.scripts import is_chinese
from .limits import at_work
from .ocr_layout import Piece, page_lines
from .pdf_layout import Line, body_size
from .remarks import remark, wants_ocr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = 1600
"""Pixels of the longer side of a page that is looked at: 137 to the inch of A4. With more, the detector takes more than
a worker may have, and reads no better."""

MOST_PAGES = 1000
"""Of one file: an hour."""

_SURE = 0.5  # lines below are mostly drawings
_UNSURE_PAGE = 0.85
_ONE_AT_A_TIME = Lock()  # RapidOCR keeps what it was asked for
_ALIKE = 0.2  # sizes differ so much without meaning anything
_SAMPLE = 20_000  # characters that tell the language
_LEAST_CONTRAST = 48  # of 255, between paper and ink


@cache
def is_installed() -> bool:
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


def require_ocr(wanted: bool | None) -> bool:
    """Whether to recognise: as wanted, and by default if there is something to do it with.

    Raises:
        MissingExtra: it is wanted, and ``langbert[ocr]`` is not installed.
    """
    if wanted and not is_installed():
        raise MissingExtra("rapidocr", "ocr", "reading scanned pages and pictures")
    return is_installed() if wanted is None else wanted


def unread() -> str:
    """Why pictures are not read, and what to do; empty if they are."""
    if wants_ocr():
        return ""
    return "OCR is off" if is_installed() else 'OCR needs: pip install "langbert[ocr]"'


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Whether nothing is on a page: hardly any of its pixels are darker, or lighter, than the paper."""
    import numpy as np

    grey = image if image.ndim == 2 else image.mean(axis=2)
    low, middle, high = np.percentile(grey, (0.05, 50, 99.95))
    return bool(middle - low < _LEAST_CONTRAST and high - middle < _LEAST_CONTRAST)


class Recognised:
    """Pages that are recognised one by one, and what to say of them in the end.

    Args:
        thing: what they are called, if they are no pages.
    """

    def __init__(self, thing: str = "page") -> None:
        self._thing = thing
        self.pages: list[int] = []
        self._looked_at = 0
        self._sure: list[tuple[float, int]] = []  # of each, and how much stands on it

    def page(self, number: int, image: NDArray[np.uint8], height: float = 842.0) -> list[Line]:
        """The lines of a page, in reading order.

        Args:
            number: from 1.
            image: ``(h, w)`` or ``(h, w, 3)``, RGB.
            height: of the page, in the unit that lines are to have.

        Raises:
            DocumentError: it is one page too many.
        """
        if self._looked_at >= MOST_PAGES:
            raise DocumentError(f"it has over {MOST_PAGES:,} {self._thing}s to recognise; split it")
        self._looked_at += 1
        pieces = [] if is_blank(image) else _pieces(image)
        if pieces and _sureness(pieces) < _UNSURE_PAGE:  # perhaps it is upside down
            pieces = max(pieces, _pieces(image[::-1, ::-1], flipped=True), key=_sureness)
        at_work()
        if not pieces:
            return []
        sure = _sureness(pieces)
        self.pages.append(number)
        self._sure.append((sure, sum(len(piece.text) for piece in pieces)))
        if sure < _UNSURE_PAGE:
            remark(f"{self._thing} {number}: OCR is unsure of it ({sure:.2f})")
        return page_lines([piece for piece in pieces if piece.sure >= _SURE], height / image.shape[0])

    def settle_sizes(self, pages: list[list[Line]]) -> None:
        """The usual size of each recognised page becomes that of the text: one size is measured a little otherwise on
        every page, and a line's height is not its font's."""
        seen = [pages[number - 1] for number in self.pages]
        told = [lines for number, lines in enumerate(pages, 1) if number not in self.pages]
        if not (body := body_size(told) or body_size(seen)):
            return
        for lines in seen:
            usual = body_size([lines]) or body
            for line in lines:
                ratio = line.size / usual
                line.size = body if abs(ratio - 1) < _ALIKE else round(2 * body * ratio) / 2

    def metadata(self, pages: list[list[Line]], said: dict[str, Any]) -> dict[str, Any]:
        """``said`` of the file, and ``ocr_pages`` (how many), ``ocr_confidence`` (0 to 1) and, where the file names
        none, the ``language`` of the text."""
        if not self.pages:
            return said
        total = sum(size for _, size in self._sure)
        confidence = sum(sure * size for sure, size in self._sure) / total
        text = " ".join(line.text for lines in pages for line in lines)[:_SAMPLE]
        languages = ["zh"] if is_chinese(text) else languages_of(text)
        guessed = {"language": languages[0]} if len(languages) == 1 else {}
        return {**guessed, **said, f"ocr_{self._thing}s": len(self.pages), "ocr_confidence": round(confidence, 3)}


def pages_named(numbers: list[int]) -> str:
    """
    >>> pages_named([1, 2, 3, 7]), pages_named([4])
    ('pages 1–3, 7', 'page 4')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs[:20])
    return f"page{'s' * (len(numbers) > 1)} {shown}{', …' * (len(runs) > 20)}"


def _pieces(image: NDArray[np.uint8], *, flipped: bool = False) -> list[Piece]:
    import numpy as np

    colours = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    with _ONE_AT_A_TIME:
        found = _engine()(np.ascontiguousarray(colours[:, :, ::-1]))
    if not found.txts:
        return []
    return [
        Piece.of(text.strip(), float(sure), quad, image.shape[:2], flipped=flipped)
        for text, sure, quad in zip(found.txts, found.scores, found.boxes, strict=True)
        if text.strip()
    ]


def _sureness(pieces: list[Piece]) -> float:
    """Of a page, its characters weighing the same."""
    return sum(piece.sure * len(piece.text) for piece in pieces) / (sum(len(piece.text) for piece in pieces) or 1)


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    options = {
        "Global.log_level": "critical",
        "Global.use_cls": False,  # it takes long lines for upside down
        "Global.max_side_len": LONGEST,
        "Global.text_score": 0.0,  # what is unsure is left out here, after it was counted
        "Det.limit_type": "max",  # small pictures are not made larger
        "Det.limit_side_len": LONGEST,
        "Rec.rec_batch_num": 1,  # lines differ in length: batches of them are mostly padding
        "EngineConfig.onnxruntime.intra_op_num_threads": int(os.environ.get("OMP_NUM_THREADS") or -1),
    }
    return RapidOCR(params=options)
