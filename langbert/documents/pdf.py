"""PDF through pdfium: text in reading order, pages kept, paragraphs and headings told by the layout."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import Any

from ..errors import DocumentError
from .archive import parse_xml
from .extract import Extract, TextBuilder, one_line
from .ocr import LONGEST, Recognised, is_blank, pages_named, unread
from .pdf_layout import Line, Outline, body_size, find_title, mark_headings, page_lines, paragraph_starts
from .pdf_tables import tabulated
from .pdfium import PDFIUM, opened_page
from .properties import properties
from .remarks import remark

_MAX_XMP = 1 << 20
_FINEST = 200 / 72  # pixels to the point: of a small page, more than OCR has use for
_GLANCE = 500  # pixels of the longer side, to see whether a page is blank
_DC = "{http://purl.org/dc/elements/1.1/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

_HYPHENATED = re.compile(r"(?<![^\W\d_])([^\W\d_]+)\ufffe([^\W\d_]+)")
_NO_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_JUNK_TITLE = re.compile(
    r"untitled|microsoft (word|powerpoint) - |.*\.(docx?|pptx?|tex|dvi|indd|jpe?g|png|pdf|qxd|xlsx?)$", re.I
)


def read(data: bytes) -> Extract:
    with PDFIUM:
        loaded, outline, title, said = _load(data)
    pages = [lines or [] for lines in loaded]
    recognised = Recognised()
    bare = [number for number, lines in enumerate(loaded, 1) if lines is not None and not _has_text(lines)]
    images = _look_at(data, bare, pages, recognised)
    if not any(map(_has_text, pages)):
        what = "only images" if images else "they are blank" if bare else "they are damaged"
        reason = f"; {unread()}" if images and unread() else ""
        raise DocumentError(f"there is no text on its {len(pages)} page{'s' * (len(pages) != 1)}, {what}{reason}")
    if images and unread():
        remark(f"{pages_named(images)}: only images, not read; {unread()}")
    return written(pages, outline, title, said, recognised)


def written(
    pages: list[list[Line]],
    outline: list[Outline] | None = None,
    title: str = "",
    said: dict[str, Any] | None = None,
    recognised: Recognised | None = None,
) -> Extract:
    """The text of pages of lines, with its paragraphs and headings.

    Args:
        said: metadata.
        recognised: which of the pages are not the file's own words.
    """
    _join_hyphens(pages)
    if recognised is not None:
        recognised.settle_sizes(pages)
    body = body_size(pages)
    shown = find_title(pages, body)
    if not title and shown:
        title = one_line(" ".join(line.text for line in shown))
    mark_headings(pages, body, outline or [], shown)
    builder = TextBuilder()
    for page in pages:
        builder.page()
        _write_page(page, builder, body)
    metadata = said or {}
    return builder.build(title, recognised.metadata(pages, metadata) if recognised else metadata)


def _has_text(lines: list[Line]) -> bool:
    return any(line.text.strip() for line in lines)


def _look_at(data: bytes, numbers: list[int], pages: list[list[Line]], recognised: Recognised) -> list[int]:
    """Recognise pages without text, if that is wanted; those on which there is something to be seen."""
    images = []
    for number in numbers:
        with opened_page(data, number) as sheet:
            height = sheet.get_height()
            scale = min((_GLANCE if unread() else LONGEST) / max(sheet.get_width(), height, 1), _FINEST)
            bitmap = sheet.render(scale=scale, rev_byteorder=True)
            try:
                image = bitmap.to_numpy()[:, :, :3].copy()
            finally:
                bitmap.close()
        if not is_blank(image):
            images.append(number)
            if not unread():
                pages[number - 1] = recognised.page(number, image, height)
    return images


def _load(data: bytes) -> tuple[list[list[Line] | None], list[Outline], str, dict[str, Any]]:
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
        pages = [_page(pdf, index) for index in range(len(pdf))]
        title = one_line(pdf.get_metadata_value("Title") or "")
        outline = _outline(pdf)
        said = _properties(pdf, data)
    finally:
        pdf.close()
    return pages, outline, "" if _JUNK_TITLE.match(title) else title, said


def _properties(pdf: Any, data: bytes) -> dict[str, Any]:
    """What the information dictionary says, and XMP (ISO 16684) where that says more: it lists authors one by one."""
    info = properties(
        authors=[pdf.get_metadata_value("Author") or ""],
        created=pdf.get_metadata_value("CreationDate"),
        modified=pdf.get_metadata_value("ModDate"),
    )
    begin = data.rfind(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", begin, begin + _MAX_XMP)
    if begin < 0 or end < 0:
        return info
    try:
        root = parse_xml(data[begin : end + len(b"</x:xmpmeta>")])
    except DocumentError:
        return info
    attributes = {name: value for node in root.iter(f"{_RDF}Description") for name, value in node.attrib.items()}

    def text(name: str) -> str:
        return attributes.get(f"{_XMP}{name}") or root.findtext(f".//{_XMP}{name}") or ""

    listed = {
        name: [item.text or "" for item in root.iterfind(f".//{_DC}{name}//{_RDF}li")]
        for name in ("creator", "language")
    }
    xmp = properties(
        authors=listed["creator"],
        created=text("CreateDate"),
        modified=text("ModifyDate"),
        language=next(iter(listed["language"]), ""),
    )
    more = len(xmp.get("authors", ())) > len(info.get("authors", ()))
    return {**xmp, **info, **({"authors": xmp["authors"]} if more else {})}


def _page(pdf: Any, index: int) -> list[Line] | None:
    """The lines of a page; None where it is damaged, and the others are read all the same."""
    import pypdfium2

    try:
        return tabulated(page_lines(pdf, index))
    except pypdfium2.PdfiumError as error:
        remark(f"page {index + 1} is damaged and was not read ({error})")
        return None


def _outline(pdf: Any) -> list[Outline]:
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
            parts = [line]
            while index + 1 < len(lines) and lines[index + 1].continues_heading:
                index += 1
                parts.append(lines[index])
            words = [" ".join(part.text.split()) for part in parts]
            builder.heading(" ".join(words), line.heading)
            start = len(builder) - len(" ".join(words))
            for part, text in zip(parts, words, strict=True):
                _place(part, builder, start, len(text))
                start += len(text) + 1
        else:
            after_heading = index > 0 and bool(lines[index - 1].heading or lines[index - 1].continues_heading)
            text = line.text.rstrip()
            start = builder.block(text, tight=not (first or after_heading or index in starts))
            _place(line, builder, start, len(text))
        first = False
        index += 1


def _place(line: Line, builder: TextBuilder, start: int, length: int) -> None:
    """Note where a line stands that was written at ``start``."""
    ends = [*(at for at, _ in line.boxes[1:]), length]
    builder.placed += [
        (start + at, start + min(end, length), box)
        for (at, box), end in zip(line.boxes, ends, strict=False)
        if at < min(end, length)
    ]
