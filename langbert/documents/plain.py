"""Plain text: taken as it is; a block of fields at the top says what it is."""

from __future__ import annotations

from .encoding import decode
from .extract import Extract, with_title
from .header_block import header_block


def read(data: bytes) -> Extract:
    text = decode(data)
    said = header_block(text)
    return Extract(text, with_title((), said.title), (), said.title, said.metadata)
