"""Candidates → Pieces: what may be shown as one thing, as a person would underline it.

Some sentences of a paragraph, the items of a list with the line before them, a row of a table, code with the sentence
that announces it (:mod:`langbert.text.blocks`), what a document says of itself at its top.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..records import Candidate, Document, Heading
from ..text.blocks import Block, BlockKind, announces_more, blocks, is_label, is_only_links, is_question
from ..text.layout import FIELD_NAMES, FRONT_MATTER, ITEM
from ..text.scripts import reading_length
from .fields import AskedFields, head_fields

__all__ = ["LOOKED_AT", "PIECE", "Piece", "Placed", "blocks_of", "cut_pieces"]

LOOKED_AT = 12
"""Candidates that are cut into pieces."""

PIECE = 45.0
"""Words of a piece, as far as its block has units of that length: what a cross-encoder judges well, and two or three
of which are enough to read."""

_MARGIN = 4000  # characters around a passage in which its first and last block begin and end
_DOCUMENTS = 4  # whose fields are looked at
_READ = 700  # characters of a piece that models read: a row or an item may be as long as a page
_ROWS = 1 / 3  # a row says enough by itself
_MOSTLY = 0.7  # of the lines of a table of contents are links
_LONGEST_CODE = 100.0  # words of code that are one piece
_FILED = re.compile(
    rf"(?:{'|'.join(FIELD_NAMES['title'])})\s*[:：].*|[^:：]*[:：]\s*(?:[\[{{].*)?", re.IGNORECASE | re.DOTALL
)
"""A field of front matter that says nothing: the title, which stands above every passage, and lists for programs."""
_BULLET = re.compile(rf"^[ \t]*(?!\W?\w+[.)）、]){ITEM}")  # but no number


@dataclass(frozen=True, slots=True)
class Piece:
    """Units of one block, in the offsets of ``source.text``.

    Attributes:
        source: the candidate it is of, widened to its document where a block goes on beyond it.
        start, end: of its units.
        lead: what introduces its block, if anything does.
        heading: what it stands under, with what is above that where several have the same name.
        is_asked_field: whether it is a field at the top of a document, of the kind that the question asks for.
        told: what the question's words alone tell of it, in log-odds: that they name it (:mod:`.named`), or that it is
            of another year or thing.
        said: how an answer says it, where that is less than it: the value of a cell.
        value: the offsets of that.
    """

    source: Candidate
    kind: BlockKind
    start: int
    end: int
    lead: tuple[int, int] | None
    heading: str = ""
    is_asked_field: bool = False
    told: float = 0.0
    said: str = ""
    value: tuple[int, int] | None = None

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    @property
    def read(self) -> str:
        """As models read it, who know prose: under its headings, behind its lead, a list as one sentence."""
        above = [*self.source.chunk.headings] or [self.heading]
        lead = self.source.text[slice(*self.lead)] if self.lead else ""
        text = self.text[:_READ]
        if self.kind == "list":
            title = lead or (above.pop() if above else "")
            items = "; ".join(_BULLET.sub("", line).strip(" ;.") for line in text.splitlines() if line.strip())
            lead, text = "", f"{title.rstrip(':： ')}: {items}." if title else f"{items}."
        return "\n".join(part for part in (" > ".join(above), lead, text) if part)

    @property
    def place(self) -> tuple[str, int, int]:
        offset = self.source.chunk.start
        return self.source.document_id, offset + self.start, offset + self.end


def cut_pieces(
    candidates: Sequence[Candidate],
    documents: Mapping[str, Document | None],
    words: float = PIECE,
    asked: AskedFields | None = None,
    placed: Iterable[Placed] | None = None,
) -> list[Piece]:
    """The pieces of the first candidates, each once.

    Args:
        candidates: best first.
        documents: those of the candidates, as far as they are to be had: a list is then whole though it was cut.
        words: how much is put together; 0 makes a piece of every unit.
        asked: fields that may answer: those at the top of the first documents are pieces, too.
        placed: their blocks, where they are known already: by :func:`blocks_of`.
    """
    pieces = {piece.place: piece for piece in (_fields(candidates, documents, asked) if asked else ())}
    for source, block, heading, start, end in blocks_of(candidates, documents) if placed is None else placed:
        of_itself = _is_front_matter(source, block)
        for first, last in _stretches(block, source.text, 0.0 if of_itself else words):
            if of_itself and _FILED.fullmatch(source.text, first, last):
                continue
            if first < end and start < last and _says_something(block, source.text, first, last):
                piece = Piece(source, block.kind, first, last, block.lead, heading)
                pieces.setdefault(piece.place, piece)
    return list(pieces.values())


def _is_front_matter(source: Candidate, block: Block) -> bool:
    """Whether it is what a file says of itself at its top: line by line, and for programs."""
    front = FRONT_MATTER.match(source.text) if block.kind == "fields" and not source.chunk.start else None
    return front is not None and block.start < front.end()


class Placed(NamedTuple):
    """A block of ``source``, what it stands under, and which stretch of the text was found."""

    source: Candidate
    block: Block
    heading: str
    start: int
    end: int


def blocks_of(candidates: Sequence[Candidate], documents: Mapping[str, Document | None]) -> Iterator[Placed]:
    """The blocks that the first candidates touch, whole as far as their documents are to be had."""
    for candidate in candidates[:LOOKED_AT]:
        source, headings = _widened(candidate, documents.get(candidate.document_id))
        start = candidate.chunk.start - source.chunk.start
        end = start + len(candidate.text)
        paths = _paths(documents.get(candidate.document_id)) if headings else {}
        for block in blocks(source.text, headings):
            if block.start < end and start < block.end:
                above = headings[block.section - 1].start + source.chunk.start if block.section and headings else -1
                path, heading = paths.get(above, (source.chunk.headings, "".join(source.chunk.headings[-1:])))
                yield Placed(_under(path, source), block, heading, start, end)


def _paths(document: Document | None) -> dict[int, tuple[tuple[str, ...], str]]:
    """Where each heading of a document starts → the headings from the outermost to it, and what it is called: with
    the one above it where it is not the only one of its name."""
    headings = document.headings if document is not None else ()
    names = Counter(heading.text for heading in headings)
    found: dict[int, tuple[tuple[str, ...], str]] = {}
    stack: list[Heading] = []
    for heading in headings:
        while stack and stack[-1].level >= heading.level:
            stack.pop()
        stack.append(heading)
        path = tuple(one.text for one in stack)
        found[heading.start] = path, " > ".join(path[-2:] if names[heading.text] > 1 else path[-1:])
    return found


def _under(path: tuple[str, ...], source: Candidate) -> Candidate:
    """A chunk of several small sections bears what they have in common; a piece of it, all that it stands under."""
    return source if path == source.chunk.headings else replace(source, chunk=replace(source.chunk, headings=path))


def _fields(
    candidates: Sequence[Candidate], documents: Mapping[str, Document | None], asked: AskedFields
) -> Iterator[Piece]:
    """The fields that are asked for, of the documents that the first candidates are of."""
    for name in list(dict.fromkeys(candidate.document_id for candidate in candidates[:LOOKED_AT]))[:_DOCUMENTS]:
        document = documents.get(name)
        block = head_fields(document) if document is not None else None
        if document is None or block is None:
            continue
        candidate = next(candidate for candidate in candidates if candidate.document_id == name)
        text = document.text[: block.end]
        chunk = replace(candidate.chunk, text=text, start=0, end=len(text), page=document.page_at(0), headings=())
        source = replace(candidate, chunk=chunk)
        title = str(document.metadata.get("title") or document.source)
        for start, end in block.units:
            if asked.holds(text[start:end]):
                yield Piece(source, "fields", start, end, None, title, is_asked_field=True)


def _says_something(block: Block, text: str, start: int, end: int) -> bool:
    """Whether units say something by themselves: they do more than announce or ask, and are no title or contents."""
    own = [text[first:last] for first, last in block.units if start <= first and last <= end]
    if block.kind in ("text", "list") and own and sum(map(is_only_links, own)) >= _MOSTLY * len(own):
        return False
    alone = block.kind == "text" and len(own) == 1
    is_title = alone and len(block.units) == 1 and is_label(own[0])
    return not (is_title or (alone and (announces_more(own[0]) or is_question(own[0]))))


def _widened(candidate: Candidate, document: Document | None) -> tuple[Candidate, list[Heading]]:
    """A candidate as part of a longer stretch of its document, and the headings in there."""
    chunk = candidate.chunk
    if document is None or document.text[chunk.start : chunk.end] != chunk.text:
        return candidate, []
    text = document.text
    start = max(text.rfind("\n\n", 0, max(chunk.start - _MARGIN, 0)) + 1, 0)
    end = text.find("\n\n", min(chunk.end + _MARGIN, len(text)))
    end = len(text) if end < 0 else end
    headings = [
        replace(heading, start=heading.start - start) for heading in document.headings if start <= heading.start < end
    ]
    return replace(candidate, chunk=replace(chunk, text=text[start:end], start=start, end=end)), headings


def _stretches(block: Block, text: str, words: float) -> Iterator[tuple[int, int]]:
    """Units of a block together, as many as make a piece; a question goes with what is said to it."""
    if block.kind == "code":
        yield block.start, _cut_at_line(text, block.start, block.end)
        return
    if block.kind == "table":
        words *= _ROWS
    first, length = 0, 0.0
    for i, (start, end) in enumerate(block.units):
        own = reading_length(text[start:end])
        asks = i > first and is_question(text[slice(*block.units[i - 1])])
        if i > first and length + own > words and not asks:
            yield block.units[first][0], block.units[i - 1][1]
            first, length = i, 0.0
        length += own
    yield block.units[first][0], block.units[-1][1]


def _cut_at_line(text: str, start: int, end: int) -> int:
    """Where the code ends, or has got long enough."""
    stop, length = start, 0.0
    for line in text[start:end].splitlines(keepends=True):
        length += reading_length(line)
        if stop > start and length > _LONGEST_CODE:
            break
        stop += len(line)
    return stop
