"""PDF through pdfium: text in reading order, pages kept, paragraphs and headings told by the layout."""

from __future__ import annotations

import re
import threading
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from .extract import Extract, TextBuilder, one_line
from .pdf_layout import Line, Outline, body_size, find_title, mark_headings, page_lines, paragraph_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

PDFIUM = threading.Lock()  # the library is not thread-safe, not even for two different files

_HYPHENATED = re.compile(r"([^\W\d_]+)\ufffe([^\W\d_]+)")
_NO_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_JUNK_TITLE = re.compile(
    r"untitled|microsoft (word|powerpoint) - |.*\.(docx?|pptx?|tex|dvi|indd|jpe?g|png|pdf|qxd|xlsx?)$", re.I
)


def read(data: bytes) -> Extract:
    with PDFIUM:
        pages, outline, title = _load(data)
    if not any(line.text.strip() for page in pages for line in page):
        raise DocumentError(
            f"there is no text on its {len(pages)} page{'s' * (len(pages) != 1)}, only images; "
            "run it through OCR first (for instance: ocrmypdf in.pdf out.pdf)"
        )
    _join_hyphens(pages)
    body = body_size(pages)
    shown = find_title(pages, body)
    if not title and shown:
        title = one_line(" ".join(line.text for line in shown))
    mark_headings(pages, body, outline, shown)
    builder = TextBuilder()
    for page in pages:
        builder.page()
        _write_page(page, builder, body)
    return builder.build(title)


def _load(data: bytes) -> tuple[list[list[Line]], list[Outline], str]:
    import pypdfium2

    try:
        pdf: Any = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise DocumentError("it is encrypted; save a copy without a password") from error
        raise DocumentError(f"it is broken or no PDF at all ({error}); download or export it again") from error
    try:
        if not len(pdf):
            raise DocumentError("it has no pages")
        pages = [page_lines(pdf, index) for index in range(len(pdf))]
        title = one_line(pdf.get_metadata_value("Title") or "")
        outline = list(_outline(pdf))
    finally:
        pdf.close()
    return pages, outline, "" if _JUNK_TITLE.match(title) else title


def _outline(pdf: Any) -> Sequence[Outline]:
    entries = []
    for bookmark in pdf.get_toc():
        destination = bookmark.get_dest()
        page = None if destination is None else destination.get_index()
        entries.append(Outline(bookmark.level, one_line(bookmark.get_title() or ""), page))
    return entries


def _join_hyphens(pages: list[list[Line]]) -> None:
    """Put words together that were split at the end of a line, which pdfium marks with U+FFFE.

    Whether the hyphen belongs to the word ("fine-tuning") is told by how the document spells it elsewhere.
    """
    spellings: Counter[str] = Counter()
    for page in pages:
        for line in page:
            spellings.update(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", line.text.lower()))
    parts = Counter(two for word, n in spellings.items() for two in _neighbours(word) for _ in range(n))

    def joined(match: re.Match[str]) -> str:
        left, right = match.groups()
        with_hyphen, without = f"{left}-{right}".lower(), f"{left}{right}".lower()
        return f"{left}-{right}" if parts[with_hyphen] > spellings[without] else left + right

    for page in pages:
        for line in page:
            if "\ufffe" in line.text:
                line.text = _HYPHENATED.sub(joined, line.text)
            # "GPT-\n2": between other characters than letters the hyphen is part of the text.
            line.text = line.text.replace("\ufffe", "-")
            line.text = _NO_CHARACTERS.sub("", line.text)


def _neighbours(word: str) -> list[str]:
    """ "left-to-right" → "left-to", "to-right"."""
    parts = word.split("-")
    return [f"{a}-{b}" for a, b in pairwise(parts)]


def _write_page(lines: list[Line], builder: TextBuilder, body: float) -> None:
    starts = paragraph_starts(lines, body)
    index = 0
    first = True
    while index < len(lines):
        line = lines[index]
        if line.heading:
            words = [line.text.strip()]
            while index + 1 < len(lines) and lines[index + 1].continues_heading:
                index += 1
                words.append(lines[index].text.strip())
            builder.heading(" ".join(words), line.heading)
        else:
            after_heading = index > 0 and bool(lines[index - 1].heading or lines[index - 1].continues_heading)
            builder.block(line.text.rstrip(), tight=not (first or after_heading or index in starts))
        first = False
        index += 1
