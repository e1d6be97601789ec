"""What a reader hands back, and the builder that readers of structured formats write it with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..boxes import Illustration, Placed, pack
from ..records import Heading
from .grid import Grid
from .illustrations import Shown, bound, telling
from .limits import spend

MAX_INDENT = 20
"""Lists within lists that are set further to the right, one than the other."""

_MAX_HEADING = 200
_BESIDE = 2000  # characters beside a picture that may say what is said of it
_OF_PAGE_NUMBERS = re.compile(r"page|seite|of|von|[第页頁共]|[\W\d]", re.I)
_FILE_NAME = re.compile(r"\S+\.\w{2,5}")  # what exporters put where a title should be


@dataclass(frozen=True, slots=True)
class Extract:
    """The text of one file with what its format knows about it; offsets are into ``text``.

    ``line_boxes`` and ``illustrations`` are those of :class:`~langbert.records.Document`.
    """

    text: str
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line_boxes: str = ""
    illustrations: tuple[Illustration, ...] = ()


def whole_number(text: str | None, default: int, most: int = 1_000_000) -> int:
    """A count as files write it, at most ``most``; ``default`` where it is none.

    >>> whole_number("12", 1), whole_number("-3", 1), whole_number("²", 1), whole_number("9" * 5000, 1, most=1000)
    (12, 1, 1, 1000)
    """
    if not text or not text.isdecimal():
        return default
    return min(int(text), most) if len(text) < 20 else most


def one_line(text: str) -> str:
    """Heading words: whitespace collapsed, cut at 200 characters."""
    text = " ".join(text.split())
    return text if len(text) <= _MAX_HEADING else text[: _MAX_HEADING - 1].rstrip() + "…"


def with_title(headings: Iterable[Heading], title: str) -> tuple[Heading, ...]:
    """Headings under a document title at level 1.

    A single level-1 heading *is* the title and stays. Otherwise ``title``, which some formats keep outside the text,
    becomes level 1 at offset 0, and headings that would stand beside it move one level down.
    """
    found = [heading for heading in headings if heading.text]
    title = "" if _FILE_NAME.fullmatch(title := one_line(title)) else title
    tops = [heading for heading in found if heading.level <= 1]
    if not title or len(tops) == 1:
        return tuple(found)
    shift = 1 if tops else 0
    if found and found[0].text.casefold() == title.casefold():
        # The title stands in the text as well: it stays where it is, its fellows become sections of it.
        return (
            replace(found[0], level=1),
            *(replace(heading, level=heading.level + shift) for heading in found[1:]),
        )
    return (Heading(0, 1, title), *(replace(heading, level=heading.level + shift) for heading in found))


class TextBuilder:
    """Collects blocks of text into one string, a blank line between them, and notes where headings and pages begin."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.headings: list[Heading] = []
        self.page_starts: list[int] = []
        self.placed: list[Placed] = []
        self._margins: set[str] = set()
        self._blocks: list[tuple[int, int]] = []
        self._captions: set[int] = set()  # numbers of blocks
        self._shown: list[Shown] = []
        self._told: set[tuple[str, str]] = set()  # what is said of pictures, each once
        self._unsaid: list[tuple[Shown, str]] = []

    def __len__(self) -> int:
        """Characters so far."""
        self._say()
        return self._length

    def block(self, text: str, *, tight: bool = False, caption: bool = False) -> int:
        """Append a block and return its offset.

        Args:
            tight: on the next line, without a blank one.
            caption: the file calls it the caption of what stands beside it.
        """
        if not text or text.isspace():
            return self._length
        self._say(text)
        if caption:
            self._captions.add(len(self._blocks))
        return self._block(text, tight)

    def _block(self, text: str, tight: bool = False) -> int:
        if self._parts:
            self._append("\n" if tight else "\n\n")
        start = self._length
        self._append(text)
        self._blocks.append((start, self._length))
        return start

    def picture(self, name: str, alt: str = "", words: str = "") -> None:
        """A picture is shown here.

        Args:
            name: what the file calls it; empty if it is not in the file.
            alt: what is said of it to whoever does not see it: a block, unless what stands beside it says the same.
            words: what is written in it: a block.
        """
        self._say(words)
        shown = Shown(name, len(self._blocks), len(self.page_starts) or None)
        self._shown.append(shown)
        if (alt := telling(alt)) and (name, alt) not in self._told:
            self._told.add((name, alt))
            self._unsaid.append((shown, alt))
        if words and not words.isspace():
            self._say(words)
            shown.said.append(len(self._blocks))
            self._block(words)

    def _say(self, following: str = "") -> None:
        """Append what is said of pictures before ``following``."""
        unsaid, self._unsaid = self._unsaid, []
        if not unsaid:
            return
        beside = (following[:_BESIDE], self._parts[-1][-_BESIDE:] if self._parts else "")
        heard = "\n".join(" ".join(text.casefold().split()) for text in beside)
        for shown, alt in unsaid:
            if alt.casefold() not in heard:
                shown.said.append(len(self._blocks))
                self._block(alt)

    def margin(self, text: str) -> None:
        """Append what stands above or below every page: each text once, bare page numbers not at all."""
        if text not in self._margins and (len(text) >= 30 or _OF_PAGE_NUMBERS.sub("", text)):
            self._margins.add(text)
            self.block(text)

    def heading(self, text: str, level: int) -> None:
        """Append a heading on a line of its own."""
        text = " ".join(text.split())
        if text:
            self.headings.append(Heading(self.block(text), level, one_line(text)))

    def table(self, grid: Grid, headers: int | None = None) -> None:
        """Append a table, a row per line; ``headers`` as for :meth:`Grid.lines`."""
        for number, line in enumerate(grid.lines(headers)):
            self.block(line, tight=number > 0)

    def page(self) -> None:
        """The next block begins a page."""
        self._say()
        self.page_starts.append(self._length + 2 if self._parts else 0)

    def build(self, title: str = "", metadata: Mapping[str, Any] | None = None) -> Extract:
        self._say()
        # An empty page at the end would begin beyond the text.
        pages = tuple(min(start, self._length) for start in self.page_starts)
        text = "".join(self._parts)
        return Extract(
            text,
            with_title(self.headings, title),
            pages,
            "" if _FILE_NAME.fullmatch(one_line(title)) else one_line(title),
            metadata or {},
            pack(self.placed),
            bound(self._shown, text, self._blocks, self._captions, pages),
        )

    def _append(self, text: str) -> None:
        spend(len(text))
        self._parts.append(text)
        self._length += len(text)
