"""Files → :class:`~langbert.records.Document`: the text, its headings and its pages, with offsets kept.

One module per family of formats; each has ``read(data: bytes) -> Extract`` and imports its parser only when called,
so that importing this package costs nothing. :mod:`.formats` is the table that ties suffixes to modules.
"""

from __future__ import annotations

from ..boxes import Box
from .captions import Cutting, Picture, figures
from .files import find_files
from .formats import FORMATS, MAX_BYTES, Format, supported_suffixes
from .pdf_page import CHANGED, Look, Seen, draw_page, quote_boxes
from .reader import read_document, read_documents
from .reading import Reading, Task
from .workers import Limits, Workers, read_in_order

__all__ = [
    "CHANGED",
    "FORMATS",
    "MAX_BYTES",
    "Box",
    "Cutting",
    "Format",
    "Limits",
    "Look",
    "Picture",
    "Reading",
    "Seen",
    "Task",
    "Workers",
    "draw_page",
    "figures",
    "find_files",
    "quote_boxes",
    "read_document",
    "read_documents",
    "read_in_order",
    "supported_suffixes",
]
