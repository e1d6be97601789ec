"""Question → Pieces that it names by their words: a cell of a table, a numbered place, a field; and those it rules out.

Models compare meanings; which row, which clause and which year was meant stands in the letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..records import Candidate, Document
from ..text.terms import terms
from .cells import asked_cell, named_rows, rows_of
from .conditions import is_of_another, lacks_amount
from .evidence import Evidence
from .pieces import LOOKED_AT, Piece, Placed
from .places import AskedPlace, asked_place
from .superlatives import extreme_cell

__all__ = ["as_told", "is_ruled_out"]

_NAMED = 3.0
"""Log-odds that a row, an item or a section answers which the question names."""

_ROW = 1.5
"""Of a row whose name the question says, whatever it asks of it."""

_OTHER = -6.0
"""Of what is said of another year or thing, of a table whose cell is empty, and of what does not say how much, where
that is asked."""

_MOST = 3  # tables, or documents, that each have what is named
_ABOVE = 200  # characters of what a list stands below
_MOSTLY = 0.9  # of a piece is rows of another name
_SUBJECT = 0.5  # of the words that say which list is meant


def as_told(
    question: str,
    pieces: Sequence[Piece],
    candidates: Sequence[Candidate],
    documents: Mapping[str, Document | None],
    placed: Sequence[Placed],
) -> list[Piece]:
    """``pieces`` and those that ``question`` names, each with what its words tell of it.

    Args:
        candidates: best first.
        documents: those of the candidates, as far as they are to be had.
        placed: the blocks of the candidates.
    """
    titles = " ".join(f"{candidate.chunk.title} {candidate.chunk.source}" for candidate in candidates[:LOOKED_AT])
    place = asked_place(question, frozenset(terms(titles)))
    named = list(_places(place, candidates, documents, placed)) if place else []
    cells = _Cells() if named else _cells(question, placed)
    named = [piece for piece in named or cells.named if not _is_of_another(question, piece)]
    told = [replace(piece, told=_OTHER) if _is_ruled_out(question, piece, cells) else piece for piece in pieces]
    return [*named, *cells.rows, *told]


def _is_ruled_out(question: str, piece: Piece, cells: _Cells) -> bool:
    """Whether a question's words tell against a piece that it does not name."""
    of_another_row = piece.kind == "table" and cells.rule_out(piece)
    return of_another_row or _is_of_another(question, piece) or lacks_amount(question, piece.text)


def is_ruled_out(evidence: Evidence, pieces: Sequence[Piece]) -> bool:
    """Whether the question's words rule out what a reader points at."""
    offset = evidence.candidate.chunk.start
    start, end = evidence.answer or (evidence.start, evidence.end)
    document = evidence.candidate.document_id
    ruled_out = (piece.place for piece in pieces if piece.told < 0)
    return any(
        document == other and first <= offset + start and offset + end <= last for other, first, last in ruled_out
    )


@dataclass
class _Cells:
    """What the question's words tell of tables.

    Attributes:
        named: the cells that are asked for, one of each table, or rows that are meant; as pieces that are these rows.
        rows: rows that it names while it asks of other things, too.
        others: the places of other rows of the same tables.
        is_empty: whether a cell that is asked for is: then no other row of any table has what is asked for.
    """

    named: list[Piece] = field(default_factory=list)
    rows: list[Piece] = field(default_factory=list)
    others: set[tuple[str, int, int]] = field(default_factory=set)
    is_empty: bool = False

    def rule_out(self, piece: Piece) -> bool:
        document, start, end = piece.place
        own = (place for place in self.others if place[0] == document and start <= place[1] and place[2] <= end)
        return self.is_empty or sum(last - first for _, first, last in own) > _MOSTLY * (end - start)


def _cells(question: str, placed: Sequence[Placed]) -> _Cells:
    found, seen, said = _Cells(), set[tuple[str, int, int]](), set[str]()
    for one in placed:
        source, block, heading, _, _ = one
        offset = source.chunk.start
        table = (source.document_id, offset + block.start, offset + block.end)
        if block.kind != "table" or table in seen:
            continue
        seen.add(table)
        around = " ".join((heading, source.chunk.title, *source.chunk.headings))
        rows = list(rows_of(source.text, block.units, block.lead))
        by_name = named_rows(question, rows, around)
        pieces = [Piece(source, "table", row.start, row.end, None, heading) for row in by_name.rows]
        cell = extreme_cell(question, rows, _introduced(one))
        if cell is None and len(pieces) < 2:
            cell = asked_cell(question, rows, around)
        if cell is not None and cell.said:
            row = Piece(source, "table", cell.row.start, cell.row.end, None, heading, told=_NAMED)
            pieces = [replace(row, said=cell.said, value=(cell.start, cell.end))]
        elif cell is not None:
            found.is_empty = True
            continue
        elif by_name.are_meant:
            pieces = [replace(piece, told=_ROW) for piece in pieces]
        else:
            found.rows += pieces
            found.others |= {(source.document_id, offset + row.start, offset + row.end) for row in by_name.others}
            continue
        if len(said) >= _MOST:
            break
        found.named += [piece for piece in pieces if (piece.said or piece.text) not in said]
        said |= {piece.said or piece.text for piece in pieces}
    return found


def _places(
    place: AskedPlace,
    candidates: Sequence[Candidate],
    documents: Mapping[str, Document | None],
    placed: Sequence[Placed],
) -> Iterator[Piece]:
    """What stands at a numbered place: in the best document that has it, the list that has most to do with it."""
    if place.heading is not None:
        for candidate in candidates[:LOOKED_AT]:
            document = documents.get(candidate.document_id)
            span = place.found_in(document) if document else None
            if document is not None and span is not None:
                start, end = span
                chunk = replace(
                    candidate.chunk,
                    text=document.text[start:end],
                    start=start,
                    end=end,
                    page=document.page_at(start),
                    headings=(),
                )
                yield Piece(replace(candidate, chunk=chunk), "text", 0, end - start, None, told=_NAMED)
                return
        return
    lists = [one for one in placed if one.block.kind == "list" and len(one.block.units) > max(place.item, 1)]
    fits = [len(place.subject.intersection(terms(_introduced(one)))) for one in lists]
    if fits and max(fits) >= _SUBJECT * len(place.subject):
        source, block, heading, _, _ = lists[fits.index(max(fits))]
        yield Piece(source, "list", *block.units[place.item], None, heading, told=_NAMED)


def _introduced(placed: Placed) -> str:
    """What a list or a table stands under."""
    source, block, heading, _, _ = placed
    above = source.text[max(block.start - _ABOVE, 0) : block.start]
    lead = source.text[slice(*block.lead)] if block.lead else ""
    return " ".join((*source.chunk.headings, heading, source.chunk.title, source.chunk.source, above, lead))


def _is_of_another(question: str, piece: Piece) -> bool:
    chunk = piece.source.chunk
    return is_of_another(question, piece.text, (piece.heading, *chunk.headings, chunk.title, chunk.source))
