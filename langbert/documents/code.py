"""Source code: the text as it is; definitions are its headings, so that passages begin at functions and classes.

A line scanner with a few patterns for each family of languages, as no parser reads all of them; comments and decorators
right above a definition belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from ..records import Heading
from .encoding import decode
from .extract import Extract, one_line
from .remarks import file_name

LANGUAGES: Mapping[str, str] = {
    suffix: language
    for language, suffixes in {
        "python": ".py .pyi",
        "javascript": ".js .mjs .cjs .jsx .vue",
        "typescript": ".ts .tsx",
        "java": ".java",
        "kotlin": ".kt",
        "groovy": ".groovy .gradle",
        "scala": ".scala",
        "swift": ".swift",
        "dart": ".dart",
        "c#": ".cs",
        "c": ".c .h",
        "c++": ".cc .cpp .cxx .hpp .hh",
        "go": ".go",
        "rust": ".rs",
        "ruby": ".rb",
        "php": ".php",
        "lua": ".lua",
        "shell": ".sh .bash",
        "sql": ".sql",
        "perl": ".pl",
        "r": ".r",
        "julia": ".jl",
        "elixir": ".ex",
        "haskell": ".hs",
    }.items()
    for suffix in suffixes.split()
}
"""Suffix → language."""

_DEEPEST = 4  # of definitions within definitions; a heading has six levels
_LONGEST = 500  # characters of a line; longer ones were written by a program
_KEYWORD = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|override|open|sealed|data|partial"
    r"|virtual|inline|extern|unsafe|const|pub(?:\([^)]*\))?|declare|local|suspend|case|readonly|required)\s+)*"
)
_C_LIKE = re.compile(
    r"(?!\s*(?:return|else|throw|new|delete|goto|case|await|yield|typedef|using)\b)"
    r"\s*(?:[\w:<>,~&*\[\]?.@]+[ \t]+){1,8}(?!(?:if|for|while|switch|catch|return|sizeof|lock|using)\b)"
    r"[*&]{0,3}[\w:~]+[ \t]*\([^;=]*$"
)
_PATTERNS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(rf"\s*{pattern}", re.IGNORECASE if name == "sql" else 0)
    for name, pattern in {
        "python": r"(?:async\s+)?(?:def|class)\s+\w",
        "javascript": _KEYWORD + r"(?:function\b|class\s+\w|interface\s+\w|enum\s+\w|namespace\s+\w|type\s+\w+.*=|"
        r"(?:let|var|const)?\s*\w+\s*=\s*(?:async\s*)?(?:\([^)]*\)|\w+)\s*=>)",
        "java": _KEYWORD
        + r"(?:class|interface|enum|struct|record|object|trait|protocol|extension|namespace|fun|func|def)\s+\w",
        "c": _KEYWORD + r"(?:struct|class|enum|union|namespace)\s+\w[^;]*$",
        "go": r"(?:func\b|type\s+\w+\s+(?:struct|interface))",
        "rust": _KEYWORD + r"(?:fn|struct|enum|trait|impl|mod|union|macro_rules!)\b[^;]*$",
        "ruby": r"(?:def|class|module|defmodule|defp?)\s+\w",
        "php": _KEYWORD + r"(?:function|class|interface|trait|enum)\s+&?\w",
        "lua": r"(?:local\s+)?function\b",
        "shell": r"(?:function\s+[\w-]+|[\w-]+\s*\(\s*\))\s*\{?\s*$",
        "sql": r"create\s+(?:or\s+replace\s+|temp(?:orary)?\s+)*(?:table|view|function|procedure|trigger|index|type)\b",
        "perl": r"(?:sub|package)\s+\w",
        "r": r"[\w.]+\s*(?:<-|=)\s*function\b",
        "julia": r"(?:function|struct|mutable\s+struct|module|macro)\s+\w",
        "haskell": r"(?:data|newtype|class|instance|module)\s+\w|\w+\s*::",
    }.items()
}
_FAMILY = {
    "typescript": "javascript", "kotlin": "java", "groovy": "java", "scala": "java", "swift": "java", "c#": "java",
    "dart": "java", "c++": "c", "elixir": "ruby",
}  # fmt: skip
_BRACED = {"java", "c", "c#", "c++", "dart"}
_ABOVE = re.compile(r"\s*(?:#(?!include|define|if|endif|else)|//|/\*|\*|--|@|\[\w)")


def read(data: bytes) -> Extract:
    language = LANGUAGES[PurePosixPath(file_name()).suffix.lower()]
    text = decode(data)
    return Extract(text, find_definitions(text, language), (), "", {"programming_language": language})


def find_definitions(text: str, language: str) -> tuple[Heading, ...]:
    """The lines that define something, by their indentation one below the other."""
    pattern = _PATTERNS[_FAMILY.get(language, language)]
    headings: list[Heading] = []
    around: list[int] = []  # the indentations of the definitions that a line may lie in
    start = above = 0
    is_above = False
    for line in text.split("\n"):
        told = line.expandtabs(4)
        indent = len(told) - len(told.lstrip())
        if len(line) <= _LONGEST and (pattern.match(line) or (language in _BRACED and _C_LIKE.match(line))):
            while around and around[-1] >= indent:
                around.pop()
            if len(around) < _DEEPEST:
                name = one_line(line.strip().rstrip("{:").rstrip())
                headings.append(Heading(above if is_above else start, 2 + len(around), name))
                around.append(indent)
            is_above = False
        elif _ABOVE.match(line):
            above = above if is_above else start
            is_above = True
        else:
            is_above = False
        start += len(line) + 1
    return tuple(headings)
