"""Plain text: taken as it is, but for letters that programs write as numbers; a block of fields at its top says what it
is."""

from __future__ import annotations

import re
from pathlib import PurePath

from .encoding import decode
from .extract import Extract, with_title
from .header_block import header_block
from .remarks import file_name

_ESCAPED = (".json", ".jsonl", ".ndjson", ".properties", ".strings")
_LETTERS = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")


def read(data: bytes) -> Extract:
    text = decode(data)
    if "\\u" in text and PurePath(file_name()).suffix.lower() in _ESCAPED:
        text = _LETTERS.sub(_unescaped, text)
    said = header_block(text)
    return Extract(text, with_title((), said.title), (), said.title, said.metadata)


def _unescaped(found: re.Match[str]) -> str:
    """``\\u4f1a`` as the letter it is; signs of the notation, and halves of a character, stay as they are written."""
    said = bytes.fromhex(found[2].replace("\\u", "")).decode("utf-16-be", "surrogatepass")
    letters = (c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in said)
    return found[1] + "".join(letters)
