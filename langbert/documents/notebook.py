"""Jupyter notebooks: Markdown cells with their headings, code cells and what they gave, in order: pictures and text."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

from ..errors import DocumentError
from ..records import Heading
from .encoding import decode
from .extract import Extract, TextBuilder
from .markdown import find_headings
from .parts import outputs_of
from .remarks import remark

_MOST = 10_000  # characters of what one cell gave
_COLOURS = re.compile(r"\x1b\[[\d;]{0,20}m")
_OBJECT = re.compile(r"\[?<[^<>\n]{1,200}>\]?")  # <Figure size 640x480 with 1 Axes>: a picture's, or nobody's name


def read(data: bytes) -> Extract:
    try:
        notebook = json.loads(decode(data))
        cells = [(str(cell["cell_type"]), _joined(cell["source"]), _said(cell)) for cell in notebook["cells"]]
        outputs = defaultdict(list)
        for name in outputs_of(notebook):
            outputs[name.partition("/")[0]].append(name)
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError("it is no Jupyter notebook (nbformat 4); open and save it in Jupyter") from error
    builder = TextBuilder()
    for number, (kind, source, said) in enumerate(cells):
        offset = builder.block(source)
        if kind == "markdown" and source.strip():
            builder.headings += [Heading(offset + h.start, h.level, h.text) for h in find_headings(source)]
        if len(said) > _MOST:
            remark(f"of what cell {number + 1} gave, {len(said) - _MOST:,} characters not read")
        builder.block(said[:_MOST])
        for name in outputs[str(number)]:  # last, beside what says what is seen
            builder.picture(name)
    return builder.build()


def _said(cell: dict[str, Any]) -> str:
    """What a cell gave, as text: printed, as a value, or the error that it ended with."""
    outputs = cell.get("outputs")
    texts = [_text(output) for output in (outputs if isinstance(outputs, list) else ()) if isinstance(output, dict)]
    return "\n".join(text for one in texts if (text := _COLOURS.sub("", one).strip("\n")))


def _text(output: dict[str, Any]) -> str:
    match output:
        case {"output_type": "stream", "text": str() | list() as text}:
            return _joined(text)
        case {"output_type": "error", "ename": str() as name, "evalue": str() as value}:
            return f"{name}: {value}"
        case {"data": {"image/png": _} | {"image/jpeg": _} | {"image/svg+xml": _}}:
            return ""  # of which the text is a name
        case {"data": {"text/plain": str() | list() as text}} if not _OBJECT.fullmatch(_joined(text).strip()):
            return _joined(text)
    return ""


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(map(str, source))
