"""Markdown (CommonMark): the text stays as it is in the file but for its tables; a parser finds the headings."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import DocumentError
from ..records import Heading
from ..text.layout import FRONT_MATTER
from .encoding import decode
from .extract import Extract, one_line, with_title
from .grid import row_line
from .header_block import front_matter, header_block
from .limits import spend

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_HTML_HEADING = re.compile(r"<h([1-6])\b[^>]{0,500}>(.{0,2000}?)</h\1\s{0,9}>", re.DOTALL | re.IGNORECASE)
_DELIMITER_ROW = re.compile(r"^[ \t]*(?:\|[ \t]*)?:?-[ \t:|-]*$", re.MULTILINE)
_GONE = "\0"  # a line of a table that is written otherwise
_MAX_HEADING = 2_000  # characters of mark-up and words: more is not shown, and some mark-up costs its square
_TAG = re.compile(r"<[^<>]*>")
_ANCHOR = re.compile(r"\{#[^{}]{0,200}\}\s*$")  # "## Heading {#its-name}"


def read(data: bytes) -> Extract:
    text = _with_named_cells(decode(data))
    said = front_matter(text) if FRONT_MATTER.match(text) else header_block(text)
    return Extract(text, with_title(find_headings(text), said.title), (), said.title, said.metadata)


def _with_named_cells(text: str) -> str:
    """The rows of tables with the names of their columns beside the values."""
    if not _DELIMITER_ROW.search(text) and "</table" not in text.lower():
        return text
    lines = text.split("\n")
    names: list[str] = []
    row: list[str] = []
    line = 0
    for token in _parser().parse(text):
        if token.type == "table_open":
            names = []
        elif token.type == "tr_open" and token.map:
            row, line = [], token.map[0]
        elif token.type == "html_block" and token.map and (written := _html_table(token.content)):
            lines[slice(*token.map)] = [written, *[_GONE] * (token.map[1] - token.map[0] - 1)]
        elif token.type == "inline":
            row.append(token.content)
        elif token.type == "tr_close" and token.level == 2:  # not within a list or a quote
            if names and any(row):
                lines[line] = f"| {row_line(row, names)} |"
                spend(len(lines[line]))
            names = names or row
    return "\n".join(line for line in lines if line is not _GONE)


def _html_table(block: str) -> str:
    """The rows of a table that is written in HTML; nothing of another block."""
    from .html import read as read_page

    if not block.lstrip().lower().startswith("<table") or "</table" not in block.lower():
        return ""
    try:
        return read_page(block.encode()).text
    except DocumentError:  # nothing in it
        return ""


def find_headings(text: str) -> list[Heading]:
    """The headings of a Markdown text: ATX, setext and HTML ones; those in code, quotes and lists do not count."""
    parser = _parser()
    front = FRONT_MATTER.match(text)
    skipped_lines = text.count("\n", 0, front.end()) if front else 0
    body = text[front.end() :] if front else text
    line_starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
    tokens = parser.parse(body)
    headings = []
    for token, following in zip(tokens, tokens[1:] + tokens[-1:], strict=True):
        if token.level or token.map is None:
            continue
        start = line_starts[token.map[0] + skipped_lines]
        if token.type == "heading_open":
            words = _words(parser, following.content[:_MAX_HEADING])
            headings.append(Heading(start, int(token.tag[1]), words))
        elif token.type == "html_block":
            for match in _HTML_HEADING.finditer(token.content):
                inside = one_line(_TAG.sub("", match.group(2)))
                headings.append(Heading(start + match.start(), int(match.group(1)), inside))
    return [heading for heading in headings if heading.text]


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Inline parsing is most of the work and only headings need it.
    return MarkdownIt("commonmark").enable("table").disable("inline")


def _words(parser: MarkdownIt, source: str) -> str:
    """The words of a heading without its markup."""
    from markdown_it.token import Token

    tokens: list[Token] = []
    parser.inline.parse(source, parser, {}, tokens)
    plain = {"text", "code_inline", "softbreak", "hardbreak"}
    words = "".join(" " if token.type.endswith("break") else token.content for token in tokens if token.type in plain)
    return one_line(_ANCHOR.sub("", words))
