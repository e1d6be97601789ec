"""Jupyter notebooks: Markdown cells with their headings and code cells, in order; outputs are left out."""

from __future__ import annotations

import json

from ..errors import DocumentError
from ..records import Heading
from .encoding import decode
from .extract import Extract, with_title
from .markdown import find_headings


def read(data: bytes) -> Extract:
    try:
        cells = json.loads(decode(data))["cells"]
        sources = [(str(cell["cell_type"]), _joined(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError("it is no Jupyter notebook (nbformat 4); open and save it in Jupyter") from error
    parts: list[str] = []
    headings: list[Heading] = []
    offset = 0
    for kind, source in sources:
        if not source.strip():
            continue
        if kind == "markdown":
            headings += [Heading(offset + h.start, h.level, h.text) for h in find_headings(source)]
        parts.append(source)
        offset += len(source) + 2
    return Extract("\n\n".join(parts), with_title(headings, ""))


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)
