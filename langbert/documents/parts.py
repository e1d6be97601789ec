"""The bytes of the pictures of a file, by the names that its reader gave them: parts of it, or files beside a web page.

Nothing is fetched, and nothing is read that lies outside of the folder of the page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from ..errors import DocumentError
from .archive import member, open_archive
from .encoding import decode
from .limits import spend
from .loading import load

ARCHIVES = ("docx", "odt", "pptx", "epub")
"""Formats whose pictures are parts of a zip archive."""

_MOST_BYTES = 64 << 20  # of one picture
_LONGEST_PATH = 1000  # characters
_OUTPUTS = ("image/png", "image/jpeg", "image/gif", "image/webp")


def name_in_page(src: str) -> str:
    """What a picture of a web page is called: the path of its file, from the page; for one that stands in the page
    itself, a digest; empty where it is elsewhere.

    >>> name_in_page("images/a%20b.png?v=2"), name_in_page("https://example.org/a.png"), name_in_page("/etc/a.png")
    ('images/a b.png', '', '')
    """
    if src[:5].lower() == "data:":
        return f"data:{hashlib.sha256(src.encode('utf-8', 'replace')).hexdigest()}"
    try:
        parts = urlsplit(src)
    except ValueError:
        return ""
    path = unquote(parts.path)
    if (
        parts.scheme
        or parts.netloc
        or not 0 < len(path) < _LONGEST_PATH
        or path.startswith("/")
        or "\\" in path
        or ":" in path
    ):
        return ""
    return "" if (path := posixpath.normpath(path)).startswith("..") else path


def parts_of(kind: str, data: bytes, path: Path | None) -> Callable[[str], bytes]:
    """What finds the bytes of a picture by its name; they may be anything.

    Args:
        kind: the format of the file.
        data: its bytes.
        path: where it lies, for a web page; None: nothing beside it is read.

    Raises:
        DocumentError: then, and from what is returned: the file is broken, the picture is not there, or too large.
    """
    if kind in ARCHIVES:
        archive = open_archive(data)
        return lambda name: member(archive, name.lstrip("/"))
    if kind == "notebook":
        return _in_notebook(data)
    return _in_page(data, path)


def outputs_of(notebook: Mapping[str, Any]) -> dict[str, str]:
    """The pictures in what the cells of a notebook gave, as base64, by the numbers of cell and output."""
    found = {}
    for number, cell in enumerate(notebook["cells"]):
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for place, output in enumerate(outputs if isinstance(outputs, list) else ()):
            shown = output.get("data") if isinstance(output, dict) else None
            forms = [shown.get(form) for form in _OUTPUTS] if isinstance(shown, dict) else []
            if content := next((form for form in forms if form and isinstance(form, str | list)), None):
                found[f"{number}/{place}"] = content if isinstance(content, str) else "".join(map(str, content))
    return found


def _in_notebook(data: bytes) -> Callable[[str], bytes]:
    outputs = outputs_of(json.loads(decode(data)))
    return lambda name: _plain(outputs.get(name, ""))


def _in_page(data: bytes, path: Path | None) -> Callable[[str], bytes]:
    from .html import parse, source_of

    sources = (source_of(image) for image in parse(data).iter("img"))
    inline = {name_in_page(source): source for source in sources if source[:5].lower() == "data:"}

    def found(name: str) -> bytes:
        if name in inline:
            about, _, content = inline[name].partition(",")
            return _plain(content) if ";base64" in about.lower() else unquote_to_bytes(content[:_MOST_BYTES])
        if path is None or not name:
            raise DocumentError("it is not there")
        try:
            folder = path.parent.resolve()
            file = folder.joinpath(name).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a name that is none, links in a circle
            raise DocumentError(f"it cannot be found ({error})") from error
        if folder not in file.parents:  # by way of a link
            raise DocumentError("it lies outside of the folder of the page")
        loaded = load(file, _MOST_BYTES)
        spend(loaded.stamp.size)
        return loaded.data

    return found


def _plain(content: str) -> bytes:
    if len(content) > 2 * _MOST_BYTES:
        raise DocumentError(f"it has {len(content):,} characters; make it smaller")
    try:
        return base64.b64decode("".join(unquote(content).split()) + "==")
    except (binascii.Error, ValueError) as error:
        raise DocumentError(f"it is broken ({error})") from error
