"""What files say of themselves (title, authors, days, language) in one form, so that it can be filtered by.

``authors`` is a list of names; ``created`` and ``modified`` are ISO 8601 text, times with a zone in UTC, so that they
compare as text; ``language`` is a tag such as ``en`` or ``zh-cn``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from ..text.names import dates
from ..text.scripts import has_han

_MOST_AUTHORS = 100
_LONGEST = 200  # characters of a name
_JUNK_AUTHORS = {
    "",
    "-",
    "admin",
    "administrator",
    "anonymous",
    "author",
    "none",
    "python-docx",
    "root",
    "unknown",
    "user",
}
_BRACKETED = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]|(?<![\w.+-])[\w.+-]{1,100}(?:@| at )[\w-]+(?:\.[\w-]+)+")
_BETWEEN = re.compile(r"[;；、\n]|(?<!\s)\s+(?:and|und|et|&)\s+")
_COMMA = re.compile(r"[,，]")
_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?)?(?:([+-])(\d\d)'?(\d\d)?|Z)?")
_YEAR_ALONE = re.compile(r"(?:19|20)\d\d")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
_TEMPLATE = "2013-12-23T23:15:00"  # when python-docx's template was made


def properties(
    *, authors: Iterable[str] = (), created: object = "", modified: object = "", language: str = ""
) -> dict[str, Any]:
    """Those of them that say something.

    Args:
        authors: each a name, or several in one text.
        created, modified: days or times in any spelling, or as Python has them.
    """
    names = list(dict.fromkeys(name for text in authors for name in authors_in(text)))[:_MOST_AUTHORS]
    found = {
        "authors": names,
        "created": date_in(created),
        "modified": date_in(modified),
        "language": _language(language),
    }
    return {name: value for name, value in found.items() if value}


def authors_in(text: str) -> list[str]:
    """The names in what a file says of its authors; addresses and notes in brackets are left out.

    >>> authors_in("Guido van Rossum <guido@python.org>, Barry Warsaw (editor)")
    ['Guido van Rossum', 'Barry Warsaw']
    >>> authors_in("Smith, John; 王小明、李华")
    ['Smith, John', '王小明', '李华']
    """
    names: list[str] = []
    for part in _BETWEEN.split(_BRACKETED.sub(" ", text[: _MOST_AUTHORS * _LONGEST])):
        # "Smith, John" is one name; between whole names, or Chinese ones, a comma separates
        pieces = [" ".join(piece.split()) for piece in _COMMA.split(part)]
        pieces = [piece for piece in pieces if piece]
        whole = all(" " in piece or has_han(piece) for piece in pieces)
        names += pieces if whole else [", ".join(pieces)]
    return [name for name in names if len(name) <= _LONGEST and name.casefold() not in _JUNK_AUTHORS]


def date_in(said: object) -> str:
    """A day, month, year or time as ISO 8601; empty where it cannot be told.

    >>> date_in("19-Aug-2004"), date_in("2024年3月5日"), date_in("D:20240305101112+01'00'")
    ('2004-08-19', '2024-03-05', '2024-03-05T09:11:12+00:00')
    """
    if isinstance(said, datetime | date):
        return _iso(said)
    text = " ".join(unicodedata.normalize("NFKC", str(said or "")[:100]).split())
    if not text:
        return ""
    for parse in (_from_iso, _from_pdf, parsedate_to_datetime):
        try:
            return _iso(parse(text))
        except (ValueError, TypeError, IndexError, OverflowError):  # noqa: PERF203
            continue
    days = [day for day in dates(re.sub(r"(?<=[^\W\d])-|-(?=[^\W\d])", " ", text)) if day.count("-") == 2]
    if len(days) == 1:
        year, month, day = map(int, days[0].split("-"))
        try:
            return date(year, month, day).isoformat()
        except ValueError:
            return ""
    months = dates(text)
    if not days and len(months) == 1:
        year, month = map(int, months[0].split("-"))
        return f"{year}-{month:02}"
    return text if _YEAR_ALONE.fullmatch(text) else ""


def _iso(when: date) -> str:
    if not 1900 <= when.year <= 2100:
        return ""
    if not isinstance(when, datetime):
        return when.isoformat()
    if when.tzinfo is not None:
        when = when.astimezone(timezone.utc)
    text = when.isoformat(timespec="seconds")
    return "" if text.startswith(_TEMPLATE) else text


def _from_iso(text: str) -> date:
    text = re.sub(r"[Zz]$", "+00:00", re.sub(r"\.\d+", "", text))
    return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)


def _from_pdf(text: str) -> date:
    """PDF 32000-1, 7.9.4."""
    found = _PDF_DATE.match(text)
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, sign, hours, minutes = found.groups()
    if hour is None:
        return date(int(year), int(month or 1), int(day or 1))
    zone = "+00:00" if sign is None and text.rstrip().endswith("Z") else ""
    zone = f"{sign}{hours}:{minutes or '00'}" if sign else zone
    return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{zone}")


def _language(text: str) -> str:
    """
    >>> _language("zh_CN"), _language("English")
    ('zh-cn', '')
    """
    text = text.strip()
    return text.replace("_", "-").lower() if _LANGUAGE.fullmatch(text) and len(re.split("[-_]", text)[0]) < 4 else ""


def office_properties(root: Any) -> dict[str, Any]:
    """Those of ``docProps/core.xml``, of OpenDocument's ``meta.xml`` or of an EPUB's package (Dublin Core)."""
    values: dict[str, list[str]] = {}
    for element in root.iter():
        if isinstance(element.tag, str) and element.text and element.text.strip():
            values.setdefault(element.tag.rpartition("}")[2], []).append(element.text.strip())

    def first(*names: str) -> str:
        return next((value for name in names for value in values.get(name, ())), "")

    return properties(
        authors=values.get("initial-creator") or values.get("creator") or (),
        created=first("created", "creation-date", "issued") or ("" if "creation-date" in values else first("date")),
        modified=first("modified") or (first("date") if "creation-date" in values else ""),
        language=first("language"),
    )
