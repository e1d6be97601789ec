"""What evidence must share with the question, or it answers another one: the year, the quarter, the very thing; and
that it says how much, where that is asked.

"What was the revenue in 2021?" is not answered by the figure of 2022, nor a question about the PX-1400 by the PX-1300,
however alike they read to a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["NUMBER", "YEAR", "is_of_another", "lacks_amount", "quarters"]

NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
"""A figure as it is written, with its decimals."""

YEAR = re.compile(r"(?<![\d.,:])(?<!\d-)(?:19|20)\d\d(?![\d:]|[.,]\d)")
"""A year of our time."""

_ASIDE = re.compile(r"[(（\[][^()（）\[\]]*[)）\]]")  # the year of a work that is cited, above all
_SPAN = re.compile(
    rf"(?P<first>{YEAR.pattern})年?\s*(?:[-–—~～至到]|\bto\b|\band\b|\buntil\b|\bthrough\b)\s*(?P<last>(?:19|20)\d\d)"
    rf"|(?:\bsince|\bfrom|自|从)\s*(?P<since>{YEAR.pattern})",
    re.IGNORECASE,
)
_QUARTER = re.compile(
    r"\bQ(?P<figure>[1-4])\b|\b(?P<word>first|second|third|fourth|1st|2nd|3rd|4th) quarter\b"
    r"|第?(?P<chinese>[一二三四1-4])季度",
    re.IGNORECASE,
)
_QUARTERS = {
    word: i
    for i, words in enumerate(("first 1st 一", "second 2nd 二", "third 3rd 三", "fourth 4th 四"), 1)
    for word in words.split()
}
_IDENTIFIER = re.compile(r"(?<![\w.-])(?P<kind>[A-Za-z]{1,8})-?(?P<number>\d[A-Za-z\d]*(?:[.-]\d[A-Za-z\d]*)*)(?!\w)")
_AMOUNT = re.compile(
    r"\bhow (?:many|much|old|tall)\b|多少|几[个台人次天年岁条项种元块页级层名位家度倍周点号月]|几(?:小时|分钟|秒)",
    re.IGNORECASE,
)
_PRICE = re.compile(
    r"\bhow much (?:(?:is|are)\b|(?:do|does|did|will|would)\b.{1,80}\b(?:costs?|pay|owe|charged?)\b)|多少钱",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$€£¥₹元钱价费薪块万]|\b(?:USD|EUR|GBP|CNY|RMB|CHF|JPY|dollars?|euros?|pounds?|yuan|cents?|prices?|costs?|fees?|rent"
    r"|rates?|free)\b|金额|租金|工资|人民币",
    re.IGNORECASE,
)
_MARK = re.compile(r"^[ \t]{0,20}\d{1,3}[.)、][ \t]", re.MULTILINE)  # of an item in a list
_FIGURE = re.compile(r"(?<![A-Za-z\d])(?<![A-Za-z]-)\d+(?:[.,:]\d+)*")
_IN_WORDS = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?|hundreds|thousands|[mb]illions|dozens?|half|quarter|third"
    r"|once|twice|double|single|both|neither|none|no|free|all|any|every|each|several|few|many|most|more|less|unlimited)\b"
    r"|[零〇一二两三四五六七八九十百千万亿半数几]{1,12}(?:余|多)?[个條条天年月日次台人元块页级层名位家度倍周成分小岁款项种米公斤吨吋秒期批折]"
    r"|百分之|免费|不限|无限|没有|不[收需用]|全部|全额|所有|每",
    re.IGNORECASE,
)


def lacks_amount(question: str, said: str) -> bool:
    """Whether it is asked how much, and ``said`` has no figure that the question has not, nor a word for one; of a
    price, nothing of money.

    >>> lacks_amount("How much does Marketing get in 2026?", "Budget 2026 (thousand EUR)")
    True
    >>> lacks_amount("LP-300 多少钱？", "保修一年。"), lacks_amount("有几个人？", "共三人。")
    (True, False)
    """
    if _AMOUNT.search(question) is None:
        return False
    if _PRICE.search(question) and not _MONEY.search(said):
        return True
    if _IN_WORDS.search(said):
        return False
    return set(_FIGURE.findall(_MARK.sub("", said))) <= set(_FIGURE.findall(question))


def is_of_another(question: str, said: str, around: Iterable[str] = ()) -> bool:
    """Whether ``said`` is of another year, quarter or numbered thing than the question's.

    Args:
        around: what it stands under: headings, the title, the file's name.

    >>> is_of_another("What was the revenue in 2021?", "Revenue was 12 million in 2022.")
    True
    >>> is_of_another("What was the revenue in 2021?", "It was 12 million.", ["Report 2021"])
    False
    """
    everything = "\n".join((said, *around))
    years = _years(question)
    others = _years(_ASIDE.sub(" ", everything)) if years.isdisjoint(_years(everything)) else set()
    if years and others and not _spans(everything, years):
        return True
    asked = quarters(question)
    if asked and (found := quarters(everything)) and asked.isdisjoint(found):
        return True
    things = _things(question)
    told = _things(everything) if things else {}
    return any(kind in told and numbers.isdisjoint(told[kind]) for kind, numbers in things.items())


def _years(text: str) -> set[str]:
    return set(YEAR.findall(text))


def _spans(text: str, years: set[str]) -> bool:
    """Whether a stretch of years in ``text`` has one of ``years`` in it."""
    for found in _SPAN.finditer(text):
        first, last = found["first"] or found["since"], found["last"] or "9999"
        if any(first <= year <= last for year in years):
            return True
    return False


def quarters(text: str) -> set[int]:
    """The quarters of a year that ``text`` names, 1 to 4."""
    found = ((match["figure"] or match["word"] or match["chinese"]).lower() for match in _QUARTER.finditer(text))
    return {_QUARTERS.get(name) or int(name) for name in found}


def _things(text: str) -> dict[str, set[str]]:
    """Numbered things by their letters: part and model numbers, error codes, versions."""
    found: dict[str, set[str]] = {}
    for match in _IDENTIFIER.finditer(text):
        if not _QUARTER.fullmatch(match[0]):
            found.setdefault(match["kind"].lower(), set()).add(match["number"].lower())
    return found
