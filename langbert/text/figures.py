"""Figures that another may write otherwise: sums, quarters, times of day, long numbers in groups, parts of books.

``八十元`` and ``80元``, ``1.75 million`` and ``1,750,000``, ``1.234,50`` and ``1,234.50``, ``百分之八`` and ``8%``,
``Q3 2019`` and ``third quarter of 2019``, ``2:35 pm``, ``下午2点35分`` and ``14:35``, ``DE89 3704 0044`` and
``DE8937040044``, ``Chapter IV`` and ``chapter 4``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from .numerals import from_han, from_roman
from .scripts import apart, folded

_HAN = "零〇一二两三四五六七八九十百千万亿壹贰貳叁參肆伍陆陸柒捌玖拾佰仟萬億兩"
_HAN_SUM = re.compile(f"百分之(?P<share>[{_HAN}]{{1,12}})|[{_HAN}]{{2,20}}")
_HAN_UNIT = re.compile("[十百千万亿拾佰仟萬億]")
_TIMES = {
    "thousand": 10**3, "million": 10**6, "billion": 10**9, "百": 10**2, "千": 10**3, "万": 10**4, "萬": 10**4,
    "亿": 10**8, "億": 10**8,
}  # fmt: skip
_MANY = re.compile(rf"(?<![\d.,])(\d{{1,9}}(?:\.\d{{1,6}})?)\s?({'|'.join(_TIMES)})", re.I)
_CONTINENTAL = re.compile(r"(?<![\w.,])(\d{1,3}(?:[.  ]\d{3})+),(\d{1,2})(?![\w,])")
_SHARE = re.compile(r"(?<![\d.,])(\d{1,9}(?:[.,]\d{1,6})?)\s?(?:%|per ?cent\b)", re.I)
_ORDINALS = ("1st first", "2nd second", "3rd third", "4th fourth")
_QUARTER = re.compile(
    r"\bQ(?P<q1>[1-4])[ /-]?(?:FY ?)?(?P<y1>[12]\d{3})|\b(?:FY ?)?(?P<y2>[12]\d{3})(?: ?年 ?|[ /-]?)Q(?P<q2>[1-4])"
    r"|\b(?P<q5>[1-4])Q[ /-]?(?:FY ?)?(?P<y5>[12]\d{3})"
    r"|\b(?P<q3>1st|first|2nd|second|3rd|third|4th|fourth) quarter (?:of )?(?P<y3>[12]\d{3})"
    r"|(?P<y4>[12]\d{3}) ?年? ?第? ?(?P<q4>[一二三四1-4]) ?季",
    re.I,
)
_TIME = re.compile(r"(?<![\d.:])([01]?\d|2[0-3])(?:[:.h]([0-5]\d))?(?:\s?([ap])\.?m\b|(?<=[:h]\d\d)(?![\d:]))", re.I)
_HAN_TIME = re.compile(
    r"(?:(?P<early>凌晨|清晨|早上|早晨|上午|中午|午前)|(?P<late>下午|午后|午後|傍晚|晚上|晚间|夜里))?[ ]?"
    rf"(?<![\d.:{_HAN}])(?P<hour>\d{{1,2}}|[{_HAN}]{{1,3}})[ ]?"
    r"(?::(?P<figures>[0-5]\d)(?!\d)|[点點时時][ ]?(?:(?P<part>半|[一三]刻)"
    rf"|(?P<minutes>\d{{1,2}}|[{_HAN}]{{1,3}})[ ]?分|(?P<tens>[二三四五]?十[一二三四五六七八九]?)"
    r"|(?P<sharp>钟|鐘|整))?)"
)
_PARTS = {"半": 30, "一刻": 15, "三刻": 45}
_GROUPED = re.compile(
    r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"
    r"|(?<![\w.,:/-])[+(]{0,2}[A-Za-z]{0,3}\d{1,34}(?:[ ()./‐–-]{1,2}(?:\d{1,12}|[A-Z]{4}(?=[ ]\d)))*(?!\w)"
)
_FEWEST, _MOST = 7, 34  # characters of a long number; IBANs have 34 at most
_TAIL = 7  # of a telephone number, which may begin with a country's or an area's code or without
_PART = re.compile(
    r"\b(?:chapter|part|article|section|annex|appendix|volume|book|title|phase|class|type|level)\s([IVXL]+)\b", re.I
)


def figures(text: str) -> tuple[list[str], list[str]]:
    """The figures in ``text`` in their one form: those that are to be found as a whole, and numbers as words.

    >>> figures("8% in Q3 2019, by 2:35 pm")
    (['8%', '2019-q3', '14:35'], [])
    >>> figures("三千五百元, 1.75 million, DE89 3704 0044, Chapter IV")
    (['de8937040044'], ['3500', '1750000', '4'])
    """
    text = apart(folded(text))
    whole = dict.fromkeys((*_shares(text), *_continental(text), *_quarters(text), *_times(text)))
    numbers = dict.fromkeys((*_sums(text), *_parts(text)))
    for long in _long(text):
        (numbers if long.isdecimal() else whole)[long] = None
    return list(whole), list(numbers)


def _shares(text: str) -> Iterator[str]:
    for number in _SHARE.findall(text):
        yield f"{number.replace(',', '.')}%"
    for found in _HAN_SUM.finditer(text):
        if found["share"]:
            yield f"{from_han(found['share'])}%"


def _continental(text: str) -> Iterator[str]:
    """As the names in other spellings have it: ``1234-50``."""
    for number, cents in _CONTINENTAL.findall(text):
        yield f"{re.sub('[^0-9]', '', number)}-{cents.lstrip('0') or '0'}"


def _sums(text: str) -> Iterator[str]:
    for found in _HAN_SUM.finditer(text) if not text.isascii() else ():
        if not found["share"] and _HAN_UNIT.search(found[0]):
            yield str(from_han(found[0]))
    for number, times in _MANY.findall(text):
        value = Decimal(number) * _TIMES[times.lower()]
        if value == int(value):
            yield str(int(value))


def _quarters(text: str) -> Iterator[str]:
    for found in _QUARTER.finditer(text):
        said = {name[0]: value.lower() for name, value in found.groupdict().items() if value}
        quarter = next((n for n, names in enumerate(_ORDINALS, 1) if said["q"] in names.split()), 0) or from_han(
            said["q"]
        )
        yield f"{said['y']}-q{quarter}"


def _times(text: str) -> Iterator[str]:
    for hour, minute, half in _TIME.findall(text):
        later = 12 * (half.lower() == "p") - 12 * (half != "" and int(hour) == 12)
        if int(hour) + later < 24:
            yield f"{int(hour) + later}:{minute or '00'}"
    for found in _HAN_TIME.finditer(text) if not text.isascii() else ():
        said = found["figures"] or found["tens"] or found["minutes"] or ""
        hour, minute = from_han(found["hour"]), _PARTS.get(found["part"] or "") or from_han(said)
        if found["late"]:
            hour += 12 * (hour < 12) - 12 * (hour == 12 and found["late"][0] in "晚夜")
        certain = found["early"] or found["late"] or (found["sharp"] or found["part"] or found["minutes"])
        if certain and hour < 24 and minute < 60:  # else it may be three points
            yield f"{hour}:{minute:02}"


def _long(text: str) -> Iterator[str]:
    for found in _GROUPED.finditer(text):
        long = "".join(filter(str.isalnum, found[0])).lower()
        if _FEWEST <= len(long) <= _MOST:
            yield long
            if long.isdecimal() and len(long) > _TAIL + 1:
                yield long[-_TAIL:]


def _parts(text: str) -> Iterator[str]:
    return (str(from_roman(numeral)) for numeral in _PART.findall(text))
