"""The table of formats: which suffix is read by which module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import DocumentError
from .code import LANGUAGES
from .ocr import is_installed

MAX_BYTES = 200 * 1024 * 1024
"""Larger files are refused unless the caller raises the limit."""


@dataclass(frozen=True, slots=True)
class Format:
    """A family of files: its name in ``metadata["format"]``, its suffixes, the module that reads it.

    Attributes:
        version: raise it where the module reads the same bytes otherwise than before: stores then read them again.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    version: int = 1


_TEXTS = (
    *(".txt", ".text", ".log", ".asc", ".adoc", ".asciidoc", ".json", ".yaml", ".yml", ".jsonl", ".ndjson"),
    *(".toml", ".ini", ".cfg", ".conf", ".properties", ".bib", ".po", ".textile", ".wiki", ".mediawiki"),
    *(".lst", ".nfo", ".man", ".diff", ".patch", ".vcf", ".strings", ".cmake", ".tf", ".proto", ".graphql", ".nix"),
    *(".ps1", ".bat", ".cmd", ".m", ".vb", ".clj", ".erl", ".ml", ".fs", ".zig", ".asm", ".awk"),
    *(".css", ".scss", ".less", ".env", ".out", ".err"),
)

FORMATS: tuple[Format, ...] = (
    Format("text", _TEXTS, "plain", version=2),
    Format("markdown", (".md", ".markdown", ".mdown", ".mkd", ".mdx", ".rmd", ".qmd"), "markdown", version=3),
    Format("rst", (".rst", ".rest"), "rst"),
    Format("latex", (".tex", ".ltx"), "latex"),
    Format("org", (".org",), "org"),
    Format("html", (".html", ".htm", ".xhtml"), "html", version=7),
    Format("pdf", (".pdf",), "pdf", version=4),
    Format("docx", (".docx", ".docm"), "docx", version=6),
    Format("odt", (".odt", ".odp"), "odt", version=5),
    Format("pptx", (".pptx", ".pptm"), "pptx", version=6),
    Format("word", (".doc", ".dot"), "old_office", version=2),
    Format("powerpoint", (".ppt", ".pps"), "old_office", version=2),
    Format("epub", (".epub",), "epub", version=3),
    Format("email", (".eml", ".emlx", ".mbox", ".mht", ".mhtml"), "mail", version=6),
    Format("outlook", (".msg",), "outlook", version=2),
    Format("csv", (".csv", ".tsv"), "table", version=4),
    Format("spreadsheet", (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "spreadsheet", version=4),
    Format("rtf", (".rtf",), "rtf", version=4),
    Format("xml", (".xml", ".opml", ".fb2", ".xliff", ".xlf", ".tmx", ".resx", ".plist", ".dita", ".svg"), "elements"),
    Format("subtitles", (".srt", ".vtt"), "subtitles", version=2),
    Format("calendar", (".ics",), "events", version=2),
    Format("notebook", (".ipynb",), "notebook", version=3),
    Format("code", tuple(LANGUAGES), "code"),
    Format("image", (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"), "image"),
    Format("archive", (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"), "packed"),
)

NOT_READ = "files are not read"
"""In what is said of a file of an unknown kind."""

_BY_SUFFIX = {suffix: entry for entry in FORMATS for suffix in entry.suffixes}

_PART_OF_NAME = re.compile(r"\.\d[\d._-]*(?:st|nd|rd|th)?")  # of a date, a version, read.1st

# What to do about the unsupported formats people meet most.
_HINTS = {
    ".mobi": "convert it to epub",
    ".azw3": "convert it to epub",
    ".djvu": "convert it to pdf",
}


def supported_suffixes() -> tuple[str, ...]:
    """Every suffix that is read, in the order of the table; pictures' only where ``langbert[ocr]`` is installed."""
    return tuple(suffix for suffix, entry in _BY_SUFFIX.items() if entry.module != "image" or is_installed())


def format_of(path: Path) -> Format:
    """The format a path's suffix stands for; a name without one (``README``, ``v1.2.3 release notes``,
    ``notes.2024-03-05``) counts as text.

    Raises:
        DocumentError: the suffix is not in the table.
    """
    suffix = path.suffix.lower()
    if not suffix or " " in suffix or _PART_OF_NAME.fullmatch(suffix):
        return FORMATS[0]
    if suffix in supported_suffixes():
        return _BY_SUFFIX[suffix]
    if suffix in _BY_SUFFIX:
        raise DocumentError(f'{suffix} files are pictures; to have their text recognised: pip install "langbert[ocr]"')
    hint = f"; {_HINTS[suffix]} and try again" if suffix in _HINTS else ""
    raise DocumentError(f"{suffix} {NOT_READ}{hint}")
