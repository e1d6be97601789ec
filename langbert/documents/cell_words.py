"""What the words of a table's cell are: a quantity, a unit, or what may name a column or a value."""

from __future__ import annotations

import re

EMPTY = "–"
"""What stands for a cell in which nothing does."""

SEPARATOR = " | "
"""Between the cells of a row that is written as a line."""

MAX_NAME = 60
"""Characters: a longer first row is text, no names."""

_YEAR = re.compile(r"(?:19|20)\d\d(?:[/–-]\d\d(?:\d\d)?)?")
_YEARS = re.compile(_YEAR.pattern + r"\s?(?P<what>年?[^\W\d_][^\d\n]{0,40})")  # "2025 plan", "2025年预算"
QUANTITY = re.compile(r"[^\w\s]{0,3}\s?\d")
_ONE = (
    r"(?:%|‰|°[CF]|℃|[€$£¥]|[munkKMGdch]?(?:m|g|l|L|s|N|Pa|W|V|A|J|Hz|B|Wh|Ω)|t|h|min|d|bar|K|EUR|USD|CNY|RMB|GBP|pcs"
    r"|[千万亿]?(?:元|吨|人|个|台|件|次)|千克|公斤|克|[毫厘千]?米|公里|升|毫升|天|小时|分钟|秒)(?:\s?\^?[-−]?[23]|[²³])?"
)
UNIT = re.compile(rf"{_ONE}(?:\s?[/·]\s?{_ONE})?|[-–]")


def is_quantity(text: str) -> bool:
    """Whether it begins with a figure, but is no year, nor what was in it, which may name a column.

    >>> [is_quantity(text) for text in ("12 %", "2025 EUR", "2025-03-05", "2025", "2025/26 plan", "2025年预算")]
    [True, True, True, False, False, False]
    """
    if QUANTITY.match(text) is None or _YEAR.fullmatch(text):
        return False
    of_year = _YEARS.fullmatch(text)
    return of_year is None or UNIT.fullmatch(of_year["what"]) is not None


def is_name(text: str) -> bool:
    """Whether it may name a column: few words, and no quantity."""
    return 0 < len(text) <= MAX_NAME and not is_quantity(text)
