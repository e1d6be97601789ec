"""Where the lines of a text stand on their pages: kept with the document, small, and still there after storing it."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_tools import HashEmbedder, LineChunker
from test_pdf_page import PEP, page_of

from langbert import Document, Store
from langbert.boxes import Box, boxes_between, pack
from langbert.documents import quote_boxes, read_document
from langbert.documents.reading import Reading
from langbert.store.maintenance.portable import export_store, import_store

PART = st.integers(0, 2048).map(lambda steps: steps / 2048)


@pytest.fixture(scope="module")
def pep() -> Document:
    return read_document(PEP)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 300), PART, PART, PART, PART)))
def test_what_is_packed_comes_back(lines: list[tuple[int, int, float, float, float, float]]) -> None:
    placed, at = [], 0
    for gap, length, *box in lines:
        placed.append((at + gap, at + gap + length, Box(*box)))
        at += gap + length
    text = "x" * at
    found = list(boxes_between(pack(placed), text, 0, at))
    assert [offset for offset, _ in found] == [start for start, *_ in placed]
    for (_, box), (*_, put) in zip(found, placed, strict=True):
        assert np.allclose(astuple(box), astuple(put), atol=1e-4)


def test_a_part_of_a_line_has_its_part_of_the_box() -> None:
    document = Document("d", "abcd中文\nnext", page_starts=(0,), line_boxes=pack([(0, 6, Box(0.25, 0.5, 0.5, 0.125))]))
    assert document.boxes(4, 5) == {1: [Box(0.5, 0.5, 0.125, 0.125)]}
    assert document.boxes(6, 9) == {}
    assert Document("d", "text").boxes(0, 4) == {}


def test_the_lines_of_a_pdf_stand_where_the_page_has_them(pep: Document) -> None:
    data, compared = PEP.read_bytes(), 0
    starts = [*pep.page_starts, len(pep.text)]
    for at in range(0, len(pep.text) - 200, 499):
        start = pep.text.index("\n", at) + 1
        end = pep.text.index("\n", start)
        page = pep.page_at(start) or 1
        begin, text = page_of(pep, page)
        if end - start < 30 or end > starts[page]:
            continue
        exact = quote_boxes(data, page, text, start - begin, end - begin)
        kept = pep.boxes(start, end)[page]
        area = [min(b.left for b in exact), min(b.top for b in exact), max(b.left + b.width for b in exact)]
        assert np.allclose([min(b.left for b in kept), min(b.top for b in kept), max(b.left + b.width for b in kept)],
                           area, atol=0.002)  # fmt: skip
        compared += 1
    assert compared > 20


def test_places_take_little_room_and_are_kept(pep: Document, tmp_path: Path) -> None:
    assert 0 < len(pep.line_boxes) < 0.15 * len(pep.text.encode())
    assert Reading.from_json(Reading(pep).to_json()).document == pep
    with Store.open(tmp_path / "store", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        store.add([pep])
        assert store.document(pep.id) == pep
        export_store(store, tmp_path / "out.jsonl")
    import_store(tmp_path / "out.jsonl", tmp_path / "again")
    with Store.open(tmp_path / "again", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        assert store.document(pep.id) == pep


def test_damaged_places_say_so(pep: Document) -> None:
    with pytest.raises(ValueError, match="boxes of the lines are damaged"):
        Document("d", "text", line_boxes=pep.line_boxes[:50]).boxes(0, 4)
