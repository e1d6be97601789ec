"""Document → Chunk: token-exact, character offsets kept, the text never altered.

A section that fits is one chunk. A longer one is cut into pieces of about equal length at the strongest break near
the ideal place: paragraph, sentence, line, clause, word, and at last between any two graphemes. Every chunk carries the
path of its headings, and path and text together stay within the token limit.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import category

from .records import Chunk, Document, EmbedderLike
from .text.sentences import sentences, stripped

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

_DEFAULT_TOKENS = 256  # passages longer than this blur what a vector stands for
_MIN_LIMIT = 16  # a single character can be several tokens
_TINY = 30  # tokens: a section below this, a bare heading for instance, joins what follows
_SMALL = 0.25  # of the limit: neighbouring sections below level 2 join while they are smaller than this
_PATH_SHARE = 0.25  # of the limit, for the heading path
_CHARACTERS_PER_TOKEN = 24  # a word of a megabyte is one [UNK] to WordPiece, but no passage

_STRETCH = 1 << 18  # characters that are tokenised at once

_PARAGRAPH = re.compile(r"\n[ \t\u3000]*\n\s*")
_LINE = re.compile(r"\n\s*")
_CLAUSE = re.compile(r"[,;:)\]]\s+|[，、；：）】》]\s*|\s[-–—]\s")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading's stretch of the document up to the next heading."""

    start: int
    end: int
    level: int
    path: tuple[str, ...]
    tokens: int


class Chunker:
    """Cuts documents into chunks for an encoder.

    Args:
        token_offsets: text → the character offsets of all its tokens, without special tokens and never truncated.
        max_tokens: limit for the heading path and the text of a chunk together.
        overlap: how many tokens of whole sentences a chunk repeats from the one before it in the same section. None
            by default: sections and sentences stay whole anyway. Over the 24 articles of a half of SQuAD 1.1 dev
            (minilm, dense, 500 questions, 254 tokens) an overlap of 32 took R@1 from 0.586 to 0.558 and R@5 from
            0.846 to 0.856, both within the noise of so few questions, with 5 % more chunks.

    Raises:
        ValueError: ``max_tokens`` below 16, or ``overlap`` not in [0, max_tokens / 2].
    """

    def __init__(self, token_offsets: TokenOffsets, max_tokens: int, *, overlap: int = 0) -> None:
        if max_tokens < _MIN_LIMIT:
            raise ValueError(f"max_tokens is {max_tokens}; at least {_MIN_LIMIT} are needed for any text to fit")
        if not 0 <= overlap <= max_tokens // 2:
            raise ValueError(f"overlap is {overlap}; it must be between 0 and half of max_tokens ({max_tokens // 2})")
        self.token_offsets = token_offsets
        self.max_tokens = max_tokens
        self.overlap = overlap

    @classmethod
    def for_embedder(cls, embedder: EmbedderLike, *, max_tokens: int | None = None, overlap: int = 0) -> Chunker:
        """A chunker whose chunks the embedder never truncates.

        Args:
            max_tokens: at most this many tokens, 256 by default, and never more than ``embedder.room("document")``.
        """
        room = embedder.room("document")
        wanted = _DEFAULT_TOKENS if max_tokens is None else max_tokens
        return cls(embedder.token_offsets, min(wanted, room), overlap=overlap)

    def split(self, document: Document) -> list[Chunk]:
        """The chunks in the order of the text.

        ``document.text[chunk.start:chunk.end] == chunk.text``; no chunk begins or ends with white space; every
        character that is not white space lies in at least one; the same document gives the same chunks and ids.
        """
        splitter = _Splitter(document, self)
        return [splitter.chunk(start, end, path) for start, end, path in splitter.pieces()]


class _Splitter:
    """The work on one document."""

    def __init__(self, document: Document, chunker: Chunker) -> None:
        self.document = document
        self.text = document.text
        self.limit = chunker.max_tokens
        self.overlap = chunker.overlap
        self.offsets_of = chunker.token_offsets
        self.token_starts = _token_starts(document.text, chunker.token_offsets)
        self.paths: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {}

    def chunk(self, start: int, end: int, path: tuple[str, ...]) -> Chunk:
        document = self.document
        return Chunk(
            id=f"{document.id}:{start}-{end}",
            document_id=document.id,
            text=self.text[start:end],
            start=start,
            end=end,
            page=document.page_at(start),
            headings=path,
            source=document.source,
            metadata=document.metadata,
        )

    def pieces(self) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """``(start, end, heading path)`` of every chunk."""
        for group in self._groups(self._sections()):
            yield from self._cut(group)

    # Sections

    def _sections(self) -> list[_Section]:
        text, headings = self.text, self.document.headings
        starts = [heading.start for heading in headings]
        sections: list[_Section] = []
        stack: list[tuple[int, str]] = []
        if not headings or text[: starts[0]].strip():
            sections.append(self._section(0, starts[0] if starts else len(text), 0, ()))
        for heading, (start, end) in zip(headings, pairwise([*starts, len(text)]), strict=True):
            while stack and stack[-1][0] >= heading.level:
                stack.pop()
            stack.append((heading.level, heading.text))
            sections.append(self._section(start, end, heading.level, tuple(words for _, words in stack)))
        return sections

    def _section(self, start: int, end: int, level: int, path: tuple[str, ...]) -> _Section:
        return _Section(start, end, level, path, self._count(start, end))

    def _groups(self, sections: list[_Section]) -> Iterator[list[_Section]]:
        """Neighbouring sections that share chunks: tiny ones with what follows, small ones deep down too."""
        group: list[_Section] = []
        size = 0
        for section in sections:
            if not self.text[section.start : section.end].strip():
                continue
            if group and not self._belongs(group, size, section):
                yield group
                group, size = [], 0
            group.append(section)
            size += section.tokens
        if group:
            yield group

    def _belongs(self, group: list[_Section], size: int, section: _Section) -> bool:
        if size < _TINY:
            return True
        if size + section.tokens > self._budget(_common(group[0].path, section.path)):
            return False
        if section.tokens < _TINY and section.level > group[-1].level:
            return True
        small = _SMALL * self.limit
        return section.level > 2 and group[-1].level >= 2 and section.tokens < small and group[-1].tokens < small

    # Heading paths

    def _fitted_path(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """The path within its share of the limit, and its tokens: the title and the innermost heading stay longest."""
        if path not in self.paths:
            allowed = int(_PATH_SHARE * self.limit)
            kept = list(path)
            while len(kept) > 2 and self._path_tokens(kept) > allowed:
                del kept[1]
            if len(kept) == 2 and self._path_tokens(kept) > allowed:
                kept = self._shortened(kept, allowed)
            if len(kept) == 1 and self._path_tokens(kept) > allowed:
                kept = [_first_tokens(kept[0], self.offsets_of, allowed - 2)]
            if kept and (not kept[0] or self._path_tokens(kept) > allowed):
                kept = []
            self.paths[path] = tuple(kept), self._path_tokens(kept)
        return self.paths[path]

    def _shortened(self, kept: list[str], allowed: int) -> list[str]:
        """Title and innermost heading cut to half of the room each; the heading alone where that does not do."""
        cut = [_first_tokens(words, self.offsets_of, allowed // 2 - 2) for words in kept]
        return cut if all(cut) and self._path_tokens(cut) <= allowed else kept[1:]

    def _path_tokens(self, path: Sequence[str]) -> int:
        return len(self.offsets_of(" > ".join(path) + "\n")) if path else 0

    def _budget(self, path: tuple[str, ...]) -> int:
        return self.limit - self._fitted_path(path)[1]

    # Cutting

    def _cut(self, group: list[_Section]) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """Chunks of the text that a group of sections covers."""
        start, end = self._stripped(group[0].start, group[-1].end)
        breaks: _Breaks | None = None
        done = start  # everything before is in a chunk
        while start < end:
            path = self._path(group, done, end)
            budget = self._budget(path)
            if self._count(start, end) <= budget and end - start <= self._max_characters():
                stop = end
            else:
                breaks = breaks or _Breaks(self.text, group[0].start, group[-1].end, [s.start for s in group[1:]])
                stop = self._best_break(breaks, start, done, end, budget)
            stop, path = self._verified(start, done, stop, self._path(group, done, stop), breaks)
            if stop <= done:  # the overlap took the room for anything new
                start = done
                continue
            piece = self._stripped(start, stop)
            if piece[0] < piece[1]:
                yield (*piece, self._fitted_path(path)[0])
            done = self._stripped(stop, end)[0]
            start = self._overlap_start(breaks, start, done) if self.overlap and done < end else done

    def _path(self, group: list[_Section], start: int, end: int) -> tuple[str, ...]:
        """What the headings of a stretch have in common, tiny sections not counted where others are not; nor those that
        the next one is a part of."""
        inside = [section for section in group if section.start < end and section.end > start]
        weighty = [section for section in inside if section.tokens >= _TINY] or [
            section
            for section, after in zip(inside, [*inside[1:], None], strict=True)
            if after is None or after.path[: len(section.path)] != section.path
        ]
        path = weighty[0].path
        for section in weighty[1:]:
            path = _common(path, section.path)
        return path

    def _best_break(self, breaks: _Breaks, start: int, done: int, end: int, budget: int) -> int:
        """Where to end the chunk: the strongest break in the window, nearest to pieces of equal length."""
        total = self._count(start, end)
        pieces = max(1, -(-total // budget))
        ideal = self._offset_after(start, min(budget, -(-total // pieces)))
        last = min(self._offset_after(start, budget), start + self._max_characters(), end)
        first = max(self._offset_after(start, budget // 3), done + 1)
        ideal = max(first, min(ideal, last))
        return breaks.nearest(ideal, first, last) or breaks.anywhere(done, last)

    def _verified(
        self, start: int, done: int, stop: int, path: tuple[str, ...], breaks: _Breaks | None
    ) -> tuple[int, tuple[str, ...]]:
        """Shrink until the tokens of the chunk itself, which may be others than those of the whole text, fit."""
        while True:
            fitted = self._fitted_path(path)[0]
            piece = self.text[slice(*self._stripped(start, stop))]
            context = " > ".join(fitted) + "\n" + piece if fitted else piece
            over = len(self.offsets_of(context)) - self.limit
            if over <= 0:
                return stop, path
            if stop - done <= 1:
                if start < done:
                    return done, path  # try again without the overlap
                if not path:
                    return stop, path  # one character: nothing smaller exists
                path = ()
                continue
            have = self._count(start, stop)
            target = min(self._offset_after(start, max(1, have - over)), stop - 1)
            if target <= done:
                target = (done + stop) // 2
            breaks = breaks or _Breaks(self.text, start, stop, [])
            found = breaks.nearest(target, (done + target) // 2 + 1, target) if target - done > 8 else None
            stop = found or breaks.anywhere(done, target)

    def _overlap_start(self, breaks: _Breaks | None, start: int, done: int) -> int:
        """The first sentence that lies within the overlap before ``done``."""
        if breaks is None:
            return done
        begins = breaks.by_rank[1]
        at_least = max(self._offset_before(done, self.overlap), start + 1)
        i = bisect_left(begins, at_least)
        return begins[i] if i < len(begins) and begins[i] < done else done

    # Tokens

    def _count(self, start: int, end: int) -> int:
        return bisect_left(self.token_starts, end) - bisect_left(self.token_starts, start)

    def _offset_after(self, start: int, n: int) -> int:
        """The offset behind ``n`` tokens from ``start``."""
        i = bisect_left(self.token_starts, start) + n
        return self.token_starts[i] if i < len(self.token_starts) else len(self.text)

    def _offset_before(self, end: int, n: int) -> int:
        i = bisect_left(self.token_starts, end) - n
        return self.token_starts[i] if i > 0 else 0

    def _max_characters(self) -> int:
        return _CHARACTERS_PER_TOKEN * self.limit

    def _stripped(self, start: int, end: int) -> tuple[int, int]:
        return stripped(self.text, start, end)


class _Breaks:
    """Where a stretch of text may be cut, strongest rank first; an offset is where the next chunk would begin."""

    def __init__(self, text: str, start: int, end: int, section_starts: list[int]) -> None:
        self.text = text
        part = text[start:end]

        def ends(pattern: re.Pattern[str]) -> list[int]:
            return [start + match.end() for match in pattern.finditer(part)]

        self.by_rank: tuple[list[int], ...] = (
            sorted({*section_starts, *ends(_PARAGRAPH)}),
            [start + begin for begin, _ in sentences(part)],
            ends(_LINE),
            ends(_CLAUSE),
            ends(_WORD),
        )

    def nearest(self, ideal: int, first: int, last: int) -> int | None:
        """The strongest break within [first, last]; of that rank the one nearest to ``ideal``."""
        for offsets in self.by_rank:
            i, j = bisect_left(offsets, first), bisect_right(offsets, last)
            if i < j:
                k = bisect_left(offsets, ideal, i, j)
                return min(offsets[max(i, k - 1) : min(j, k + 1)], key=lambda offset: abs(offset - ideal))
        return None

    def anywhere(self, first: int, last: int) -> int:
        """The last offset in (first, last] that does not halve a grapheme, else ``last``; always past ``first``."""
        last = max(last, first + 1)
        for offset in range(last, max(first, last - 64), -1):
            if not _is_inside_grapheme(self.text, offset):
                return offset
        return last


def _is_inside_grapheme(text: str, offset: int) -> bool:
    """The common cases of UAX 29: combining marks, joiners, variation selectors, skin tones, flags, Hangul jamo."""
    if not 0 < offset < len(text):
        return False
    before, after = text[offset - 1], text[offset]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if category(after) in ("Mn", "Me", "Mc") or after == "\u200d" or before == "\u200d":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\u1160" <= after <= "\u11ff":
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        run = offset
        while run > 0 and "\U0001f1e6" <= text[run - 1] <= "\U0001f1ff":
            run -= 1
        return (offset - run) % 2 == 1
    return False


def _token_starts(text: str, offsets_of: TokenOffsets) -> Sequence[int]:
    """Where every token begins, ascending; stretch by stretch: pairs of integers take 30 times the text."""
    starts = array("q")
    begin = 0
    while begin < len(text):
        end = begin + _STRETCH
        if end < len(text):
            end = max(text.rfind("\n", begin, end), text.rfind(" ", begin, end)) + 1 or end
        starts.extend(sorted(begin + start for start, _ in offsets_of(text[begin:end])))
        begin = end
    return starts


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    """The longest common beginning."""
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return a[:n]


def _first_tokens(text: str, offsets_of: TokenOffsets, n: int) -> str:
    """The first ``n`` tokens of a heading, with an ellipsis where that is not all."""
    offsets = offsets_of(text)
    if len(offsets) <= n:
        return text
    return text[: offsets[n][0]].rstrip() + "…" if n > 0 else ""
