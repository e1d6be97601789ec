"""Org mode: the text stays as it is in the file, its title and headlines are found (Org syntax, "Headings")."""

from __future__ import annotations

import re

from ..records import Heading
from .encoding import decode
from .extract import Extract, one_line, with_title

_HEADLINE = re.compile(
    r"^(?P<stars>\*{1,20})[ \t]+(?:(?:TODO|DONE|NEXT|WAITING|CANCELL?ED)[ \t]+)?(?:\[#\w\][ \t]*)?"
    r"(?P<words>\S.{0,400})$",
    re.MULTILINE,
)
_TAGS = re.compile(r"(?<![ \t])[ \t]{1,80}:[\w@#%:]{1,200}:[ \t]{0,80}$")
_SAID = re.compile(r"^#\+(?P<kind>title|author):[ \t]*(?P<words>\S.{0,400})$", re.IGNORECASE | re.MULTILINE)


def read(data: bytes) -> Extract:
    text = decode(data)
    said = {found["kind"].lower(): one_line(found["words"]) for found in reversed([*_SAID.finditer(text)])}
    title, author = said.get("title", ""), said.get("author", "")
    headlines = [
        Heading(found.start(), len(found["stars"]) + bool(title), one_line(_TAGS.sub("", found["words"])))
        for found in _HEADLINE.finditer(text)
    ]
    return Extract(text, with_title(headlines, title), (), title, {"authors": [author]} if author else {})
