"""Which words of a document are the captions of the pictures in it: a line that begins "Figure 1" or "图 1" below or
above, what the file itself calls a caption, or else what it says to whoever does not see the picture."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ..boxes import Illustration

LONGEST_CAPTION = 600
"""Characters of one."""

_MOST = 1000  # pictures of a document
_CAPTION = re.compile(
    r"(?:figure|fig\.?|photo(?:graph)?|picture|image|chart|diagram|exhibit|plate|abb(?:ildung|\.)"
    r"|(?:附|示意|插)?[图圖]|照片)\s*[A-Z]?\d|[图圖]\s*[一二三四五六七八九十]{1,3}[\s:：、.．]",
    re.IGNORECASE,
)
_OF_TABLE = re.compile(r"tab(?:le|elle|\.)|表", re.IGNORECASE)
_TELLS_NOTHING = re.compile(
    r"[^/\\]{0,120}\.(?:png|jpe?g|gif|webp|bmp|tiff?|svg|emf|wmf|ico)|https?://\S*"
    r"|(?:image|img|picture|photo|figure|cover|banner|thumbnail|screenshot|graphic|图片|圖片|图像|圖像|照片|图|圖|封面)"
    r"[\s_-]{0,3}\d{0,6}"
    r"|(?:\S{1,30}\s){0,4}\S{0,12}?(?:logo|icon|avatar|badge|图标|圖標|徽标|徽標|头像|頭像)s?[\s_-]{0,3}\d{0,6}",
    re.IGNORECASE,
)
_OF_MACHINES = re.compile(
    r"\s?(?:Description automatically generated|AI-generated content may be incorrect|自动生成的说明).{0,80}$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Shown:
    """A picture as a reader comes upon it.

    Attributes:
        before: how many blocks of text are.
        said: numbers of the blocks that are its own words.
    """

    name: str
    before: int
    page: int | None
    said: list[int] = field(default_factory=list)


def telling(alt: str) -> str:
    """What is said of a picture, in one line; empty if that is the name of its file, or no more than that it is one, or
    whose logo or icon.

    >>> telling("IMG_0042.jpg"), telling("Red Hat Logo"), telling("公司图标"), telling("Honey gathered by month")
    ('', '', '', 'Honey gathered by month')
    """
    alt = _OF_MACHINES.sub("", " ".join(alt.split())[: 2 * LONGEST_CAPTION])
    return "" if len(alt) < 2 or _TELLS_NOTHING.fullmatch(alt) else alt[:LONGEST_CAPTION].rstrip()


def bound(
    shown: Sequence[Shown],
    text: str,
    blocks: Sequence[tuple[int, int]],
    captions: Collection[int],
    page_starts: Sequence[int],
) -> tuple[Illustration, ...]:
    """The pictures, each once, with their captions.

    Where captions could be below and above, as where each picture has one, those below the pictures are meant if at
    least as many are there.

    Args:
        blocks: from where to where each goes.
        captions: numbers of the blocks that the file calls so.
    """
    first: dict[str, Shown] = {}
    for one in shown:
        if one.name and len(first) < _MOST:
            first.setdefault(one.name, one)
    if not first:
        return ()
    places = sorted({one.before for one in first.values()})

    def caption(shown: Shown, numbers: Iterable[int]) -> int | None:
        """The first of these blocks but for its own words, if it is a caption."""
        number = next((number for number in numbers if number not in shown.said), None)
        if number is None:
            return None
        if shown.said and bisect_right(places, shown.before) < bisect_right(places, number):  # a nearer one's
            return None
        start, end = blocks[number]
        if shown.page is not None and bisect_right(page_starts, start) != shown.page:
            return None
        begins = text[start : min(end, start + 40)].lstrip("([（【 ")
        if number in captions:
            return None if _OF_TABLE.match(begins) else number
        return number if end - start <= LONGEST_CAPTION and _CAPTION.match(begins) else None

    below = [caption(one, range(one.before, len(blocks))) for one in first.values()]
    above = [caption(one, range(one.before - 1, -1, -1)) for one in first.values()]
    swapped = sum(number is not None for number in above) > sum(number is not None for number in below)
    wanted, others = (above, below) if swapped else (below, above)
    taken = {*wanted}
    found = []
    for one, want, other in zip(first.values(), wanted, others, strict=True):
        number = want if want is not None or other in taken else other
        own = [number] if number is not None else one.said
        if own:
            start, end = blocks[own[0]][0], blocks[own[-1]][1]
        else:
            start = end = _place(one, blocks, page_starts, len(text))
        found.append(Illustration(one.name, start, end, one.page))
    return tuple(found)


def _place(shown: Shown, blocks: Sequence[tuple[int, int]], page_starts: Sequence[int], length: int) -> int:
    """The last character before the picture, on its page."""
    page = page_starts[shown.page - 1] if shown.page else 0
    last = blocks[shown.before - 1][1] - 1 if shown.before else 0
    return min(max(page, last), max(length - 1, 0))
