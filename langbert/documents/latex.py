"""LaTeX: the text stays as it is in the file but for lines of comments; title, author and sections are found.

What macros mean only TeX knows, and it executes what it reads.
"""

from __future__ import annotations

import re

from ..records import Heading
from .encoding import decode
from .extract import Extract, one_line, with_title

_COMMENT = re.compile(r"^[ \t]*%.*(?:\n|\Z)", re.MULTILINE)
_WORDS = r"\{(?P<words>(?:[^{}]|\{[^{}]{0,300}\}){0,300})\}"
_SECTION = re.compile(
    rf"^[ \t]*\\(?P<kind>part|chapter|(?:sub){{0,2}}section|paragraph)\*?(?:\[[^\[\]]{{0,200}}\])?{_WORDS}",
    re.MULTILINE,
)
_SAID = re.compile(rf"\\(?P<kind>title|author)(?:\[[^\[\]]{{0,200}}\])?{_WORDS}")
_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
_BREAK = re.compile(r"\\\\|\\and\b|\\thanks\{[^{}]{0,300}\}")
_MACRO = re.compile(r"\\[A-Za-z]+\*?|[{}$]")


def read(data: bytes) -> Extract:
    text = _COMMENT.sub("", decode(data))
    said = {found["kind"]: found["words"] for found in reversed([*_SAID.finditer(text)])}
    sections = [
        Heading(found.start() + len(found[0]) - len(found[0].lstrip()), _LEVELS[found["kind"]], words)
        for found in _SECTION.finditer(text)
        if (words := _plain(found["words"]))
    ]
    title = _plain(said.get("title", ""))
    authors = [name for part in _BREAK.split(said.get("author", "")) if (name := _plain(part))]
    return Extract(text, with_title(sections, title), (), title, {"authors": authors} if authors else {})


def _plain(words: str) -> str:
    r"""
    >>> _plain(r"Growth of \emph{sugar kelp} \& co.~(2025)")
    'Growth of sugar kelp & co. (2025)'
    """
    escaped = re.sub(r"\\([&%#_$])", r"\1", words.replace("~", " "))
    return one_line(_MACRO.sub("", _BREAK.sub(" ", escaped)))
