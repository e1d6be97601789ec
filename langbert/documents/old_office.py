"""Word's and PowerPoint's files of before 2007 ([MS-DOC], [MS-PPT]): made new ones by office_oxide, read as such."""

from __future__ import annotations

import codecs
import io
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.sax.saxutils import escape
from zipfile import ZipFile

from ..errors import DocumentError, is_fault
from . import docx, html, pptx, rtf
from .compound import MAGIC, check_compound, number
from .extract import Extract

_SAID = "\x05SummaryInformation"
_TEXT, _TIME = 30, 64  # types of properties
_MOST, _LONGEST = 64, 1000  # properties that are looked through, and bytes of one
_EPOCH, _LATEST = datetime(1601, 1, 1, tzinfo=timezone.utc), 10**18
_FAR = 0x10000  # code pages above 32,767 are written as negative numbers
_CODE_PAGES = {1200: "utf-16-le", 10000: "mac_roman", 54936: "gb18030"}
"""Those that Python has under other names than ``cp`` and their number."""
_CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
)
_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML has no way to write."""


def read(data: bytes) -> Extract:
    """A file that bears an old suffix and is of another kind, as programs write them, is read as what it is."""
    if data.startswith(b"PK"):
        return pptx.read(data) if b"ppt/presentation.xml" in data else docx.read(data)
    if data.lstrip().startswith(b"{\\rtf"):
        return rtf.read(data)
    if not data.startswith(MAGIC):
        if b"<html" not in data[:4096].lower():
            raise DocumentError("it is no Word or PowerPoint file; give it the suffix of its real format")
        return html.read(data)
    check_compound(data)
    try:
        return _converted(data)
    except (DocumentError, MemoryError):
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        raise DocumentError(f"it is encrypted, broken or of another kind ({error}); save it again") from error


def _converted(data: bytes) -> Extract:
    import olefile
    from office_oxide import Document

    with olefile.OleFileIO(io.BytesIO(data)) as file:
        is_word = file.exists("WordDocument")
        if not is_word and not file.exists("PowerPoint Document"):
            raise DocumentError("it holds no document of Word's, nor slides; give it the suffix of its real format")
        said: bytes = file.openstream(_SAID).read() if file.exists(_SAID) else b""
    with TemporaryDirectory() as folder:
        path = Path(folder, "new.docx" if is_word else "new.pptx")
        with Document.from_bytes(data, "doc" if is_word else "ppt") as document:
            document.save_as(str(path))
        new = _with(_core_properties(said), path)
    return docx.read(new) if is_word else pptx.read(new)


def _core_properties(said: bytes) -> bytes:
    """Title, author and dates, of the property set of a file ([MS-OLEPS] §2.21), as new files have them."""
    begin = number(said, 44)
    pairs = range(begin + 8, begin + 8 + 8 * min(number(said, begin + 4), _MOST), 8)
    places = {number(said, at): begin + number(said, at + 4) for at in pairs}
    encoding = _encoding(number(said, places[1] + 4) % _FAR if 1 in places else 1252)

    def text(at: int) -> str:
        if number(said, at) != _TEXT:
            return ""
        words = said[at + 8 : at + 8 + min(number(said, at + 4), _LONGEST)].decode(encoding, "replace")
        return escape(_UNWRITABLE.sub("", words.partition("\0")[0]))

    def time(at: int) -> str:
        tenths = number(said, at + 4) + (number(said, at + 8) << 32)  # of a microsecond
        known = number(said, at) == _TIME and 0 < tenths < _LATEST
        return (_EPOCH + timedelta(microseconds=tenths // 10)).isoformat() if known else ""

    told = {
        "dc:title": (2, text),
        "dc:creator": (4, text),
        "dcterms:created": (12, time),
        "dcterms:modified": (13, time),
    }
    found = {name: read(places[key]) for name, (key, read) in told.items() if key in places}
    written = "".join(f"<{name}>{value}</{name}>" for name, value in found.items() if value)
    return f"{_CORE}{written}</cp:coreProperties>".encode()


def _encoding(code_page: int) -> str:
    name = _CODE_PAGES.get(code_page, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"


def _with(about: bytes, path: Path) -> bytes:
    """The new file, with other properties: office_oxide takes every code page for Windows-1252."""
    new = io.BytesIO()
    with ZipFile(path) as made, ZipFile(new, "w") as archive:
        for name in made.namelist():
            archive.writestr(name, about if name == "docProps/core.xml" else made.read(name))
    return new.getvalue()
