"""Files → :class:`~langbert.records.Document`: the text, its headings and its pages, with offsets kept.

One module per family of formats; each has ``read(data: bytes) -> Extract`` and imports its parser only when called.
:mod:`.formats` is the table that ties suffixes to modules. The names below load their modules on first use: stores hold
pictures, and who asks a question reads no document.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..boxes import Box
    from .captions import Cutting, figures
    from .files import find_files
    from .formats import FORMATS, MAX_BYTES, Format, supported_suffixes
    from .pdf_page import CHANGED, Look, Seen, draw_page, quote_boxes
    from .picture import Picture
    from .reader import read_document, read_documents
    from .reading import Reading, Task
    from .workers import Limits, Workers, read_in_order

_HOME = {
    "CHANGED": ".pdf_page",
    "FORMATS": ".formats",
    "MAX_BYTES": ".formats",
    "Box": "..boxes",
    "Cutting": ".captions",
    "Format": ".formats",
    "Limits": ".workers",
    "Look": ".pdf_page",
    "Picture": ".picture",
    "Reading": ".reading",
    "Seen": ".pdf_page",
    "Task": ".reading",
    "Workers": ".workers",
    "draw_page": ".pdf_page",
    "figures": ".captions",
    "find_files": ".files",
    "quote_boxes": ".pdf_page",
    "read_document": ".reader",
    "read_documents": ".reader",
    "read_in_order": ".workers",
    "supported_suffixes": ".formats",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value
