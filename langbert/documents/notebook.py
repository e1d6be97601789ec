"""Jupyter notebooks: Markdown cells with their headings and code cells, in order; of outputs the pictures alone."""

from __future__ import annotations

import json
from collections import defaultdict

from ..errors import DocumentError
from ..records import Heading
from .encoding import decode
from .extract import Extract, TextBuilder
from .markdown import find_headings
from .parts import outputs_of


def read(data: bytes) -> Extract:
    try:
        notebook = json.loads(decode(data))
        sources = [(str(cell["cell_type"]), _joined(cell["source"])) for cell in notebook["cells"]]
        outputs = defaultdict(list)
        for name in outputs_of(notebook):
            outputs[name.partition("/")[0]].append(name)
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError("it is no Jupyter notebook (nbformat 4); open and save it in Jupyter") from error
    builder = TextBuilder()
    for number, (kind, source) in enumerate(sources):
        offset = builder.block(source)
        if kind == "markdown" and source.strip():
            builder.headings += [Heading(offset + h.start, h.level, h.text) for h in find_headings(source)]
        for name in outputs[str(number)]:
            builder.picture(name)
    return builder.build()


def _joined(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)
