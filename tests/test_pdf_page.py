"""Pages of a PDF, drawn, and where on them words stand."""

from __future__ import annotations

import io
import re
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from langbert import Document, read_documents
from langbert.documents import Box, draw_page, quote_boxes
from langbert.errors import DocumentError

PEP = Path(__file__).parent.parent / "examples" / "documents" / "pep-0572.pdf"


_LEFT_OUT = re.compile(r"[\s\-\ufffe\x02]")


@pytest.fixture(scope="module")
def pep() -> Document:
    return next(read_documents(PEP))


def page_of(document: Document, page: int) -> tuple[int, str]:
    """Where a page begins, and its text."""
    starts = [*document.page_starts, len(document.text)]
    return starts[page - 1], document.text[starts[page - 1] : starts[page]]


def under(data: bytes, page: int, boxes: list[Box]) -> list[str]:
    """What pdfium itself finds in each box: an independent look at the same places."""
    import pypdfium2

    pdf = pypdfium2.PdfDocument(data)
    sheet = pdf[page - 1]
    (width, height), text = sheet.get_size(), sheet.get_textpage()
    found = []
    for box in boxes:
        left, top = box.left * width, height - box.top * height
        found.append(text.get_text_bounded(left, top - box.height * height, left + box.width * width, top))
    for opened in (text, sheet, pdf):
        opened.close()
    return found


def test_the_boxes_of_a_quote_hold_its_words(pep: Document) -> None:
    data = PEP.read_bytes()
    found = 0
    for match in re.finditer(r"[A-Z][^.]{40,200}\.", pep.text):
        page = pep.page_at(match.start())
        if page != pep.page_at(match.end() - 1):
            continue
        begin, text = page_of(pep, page)
        boxes = quote_boxes(data, page, text, match.start() - begin, match.end() - begin)
        shown, quote = (_LEFT_OUT.sub("", each) for each in ("".join(under(data, page, boxes)), match[0]))
        # pdfium gives a letter that two boxes touch to one of them, or to both
        assert SequenceMatcher(None, shown, quote, autojunk=False).ratio() > 0.9, (shown, quote)
        found += 1
    assert found > 50


def test_the_second_of_two_places_with_the_same_words_is_not_the_first(pep: Document) -> None:
    _, text = page_of(pep, 1)
    word = "Assignment"
    first = text.index(word)
    second = text.index(word, first + 1)
    tops = [quote_boxes(PEP.read_bytes(), 1, text, at, at + len(word))[0].top for at in (first, second)]
    assert tops[0] < tops[1]


def test_words_that_are_not_on_the_page_have_no_boxes() -> None:
    assert quote_boxes(PEP.read_bytes(), 1, "Nothing of this stands there", 0, 28) == []
    assert quote_boxes(PEP.read_bytes(), 1, "   ", 0, 3) == []


def test_a_page_is_drawn_as_wide_as_asked() -> None:
    import PIL.Image

    with PIL.Image.open(io.BytesIO(draw_page(PEP.read_bytes(), 2, width=300))) as picture:
        assert abs(picture.width - 300) <= 1
        assert len(picture.convert("L").getcolors()) > 2  # there is something on it


def test_what_is_no_page_of_a_pdf_is_an_error() -> None:
    with pytest.raises(DocumentError, match="no page 99; it has 25"):
        draw_page(PEP.read_bytes(), 99)
    with pytest.raises(DocumentError, match="no PDF"):
        draw_page(b"%PDF-nothing", 1)
