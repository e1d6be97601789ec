"""Where the lines of a text stand on their pages, packed to a few bytes a line; and where pictures are shown in it."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

_STEPS = 1 << 11  # across a page: a tenth of a millimetre of A4
_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a page, in parts of its width and height, from the upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Illustration:
    """A picture of a document's file: what the file calls it, its caption ``text[start:end]``, or where it is shown if
    it has none, and its page, from 1."""

    name: str
    start: int
    end: int
    page: int | None = None


Placed = tuple[int, int, Box]
"""Characters of a text, from and to (exclusive), that stand in one box."""


def pack(lines: Sequence[Placed]) -> str:
    """The lines in the order of the text, as :func:`boxes_between` reads them; empty where there are none.

    A line is told by how far it is from the one before it, and the bytes of like weight lie together: nearly all of
    them are alike, and zlib leaves little of those.
    """
    import numpy as np

    if not lines:
        return ""
    places = [(box.left, box.top, box.width, box.height) for *_, box in lines]
    grid = np.rint(np.clip(np.array(places), 0, 1) * _STEPS).astype(np.int32)
    ends = np.array([(start, end) for start, end, _ in lines], np.int32)
    rows = np.empty((len(lines), _COLUMNS), np.int32)
    rows[:, 0] = ends[:, 0] - np.concatenate([[0], ends[:-1, 1]])
    rows[:, 1] = ends[:, 1] - ends[:, 0]
    rows[:, 2:] = np.diff(grid, axis=0, prepend=np.zeros((1, 4), np.int32))
    folded = (rows << 1) ^ (rows >> 31)  # the sign goes last: small numbers have empty high bytes
    planes = np.ascontiguousarray(folded.astype("<i4")).view(np.uint8).T
    return base64.b85encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def boxes_between(packed: str, text: str, start: int, end: int) -> Iterator[tuple[int, Box]]:
    """The boxes of the characters ``start`` to ``end`` of ``text``, each with the offset at which it begins.

    A line that is only partly meant gives its part by the widths of its characters, as if those of one kind were all
    alike.

    Raises:
        ValueError: ``packed`` is not what :func:`pack` made of the lines of such a text.
    """
    for first, last, box in _unpacked(packed, len(text)):
        begin, stop = max(first, start), min(last, end)
        if begin < stop:
            before, inside, whole = _width(text[first:begin]), _width(text[begin:stop]), _width(text[first:last])
            left = box.left + box.width * before / whole
            yield begin, Box(round(left, 5), round(box.top, 5), round(box.width * inside / whole, 5), box.height)


def _unpacked(packed: str, length: int) -> Iterator[Placed]:
    import numpy as np

    if not packed:
        return
    most = 4 * _COLUMNS * (length + 1)  # no line is empty
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b85decode(packed), most)
        if not unpacker.eof:
            raise ValueError("they are not whole")
        planes = np.frombuffer(data, np.uint8).reshape(4 * _COLUMNS, -1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"the boxes of the lines are damaged ({error}); index the file again") from error
    folded = np.ascontiguousarray(planes.T).view("<i4").astype(np.int64)
    rows = (folded >> 1) ^ -(folded & 1)
    ends = np.cumsum(rows[:, :2].ravel()).reshape(-1, 2)
    grid = np.cumsum(rows[:, 2:], axis=0) / _STEPS
    for (start, end), place in zip(ends.tolist(), grid.tolist(), strict=True):
        yield start, end, Box(*place)


def _width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
