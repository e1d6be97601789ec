"""Names of things, of versions and of days, so that one spelling finds the other.

``E-1042``, ``E1042`` and ``E 1042``; ``v1.2.3`` and ``1.2.3``; ``ISO 9001`` and ``ISO9001``; ``1,234`` and ``1234``;
``maxLength``, ``max_length`` and ``max length``; ``Wi-Fi`` and ``wifi``; ``5 March 2024``, ``2024-03-05`` and
``二〇二四年三月五日``; ``第32条`` and ``第三十二条``. Each is brought to one form: its pieces, in small letters and
without leading zeros, joined by hyphens. As it is written it is kept beside that, so that the same spelling comes
first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .numerals import from_han
from .scripts import apart, folded

_LONGEST = 128  # characters; longer runs without a blank are data, not names
_MOST_PIECES = 8  # likewise: "a3f9c2b1e4"
_AROUND = "\"'“”‘’`´.,;:!?()[]{}<>*"

_THOUSANDS = re.compile(r"(?<=\d)[,'’](?=\d{3}(?!\d))")
_NAME = re.compile(
    r"\b[A-Za-z](?:\+\+|\#)"  # C++, C#
    r"|(?:(?<!_)_+)?[^\W_]+"  # PEP-0008, max_length, PX-1201/B, 1,234
    r"(?:(?:[-‐–_./]+|(?<=\d)[,'’](?=\d{3}(?!\d)))[^\W_]+)*_*"
)
_RUN = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+|\d+")  # of maxLength, HTTPServer, PX1201B
_HAN_FIGURES = "〇○零一二三四五六七八九十百千"
_HAN_NUMBER = re.compile(f"[{_HAN_FIGURES}]{{1,9}}(?=[年月日])")
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "民国": 1911, "民國": 1911}  # what is to be added to their years
_ERA_YEAR = re.compile(rf"({'|'.join(_ERAS)}) ?(\d{{1,3}}) ?年")
_CLAUSE = re.compile(rf"第\s?(\d{{1,6}}|[{_HAN_FIGURES}]{{1,9}})\s?([条條章节節款项項页頁期版])")
_SIMPLER = str.maketrans("條節項頁", "条节项页")
_HYPHEN = re.compile("[-‐–]")
_PREFIX = 3  # letters of the shortest part of a word that is also written without its hyphen
_VERSION = ("v", "ver", "version")

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905 - easier to read
_MONTH = (
    r"(?P<{}>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = re.compile(r"[12]\d{3}")
_DATE = re.compile(
    r"(?P<y1>[12]\d{3}) ?[年년] ?(?P<m1>\d{1,2}) ?[月월](?: ?(?P<d1>\d{1,2}) ?[日일号號])?"
    rf"|\b(?:(?P<d2>\d{{1,2}})(?:st|nd|rd|th|\.)?\s(?:of\s)?)?{_MONTH.format('m2')},?\s(?P<y2>[12]\d{{3}})\b"
    rf"|\b{_MONTH.format('m3')}\s(?P<d3>\d{{1,2}})(?:st|nd|rd|th)?,?\s(?P<y3>[12]\d{{3}})\b"
    r"|\b(?P<y6>[12]\d{3})(?P<by>[./-])(?P<m6>\d{1,2})(?P=by)(?P<d6>\d{1,2})\b"
    r"|\b(?P<d4>\d{1,2})(?P<either>[./-])(?P<m4>\d{1,2})(?P=either)(?P<y4>[12]\d{3})\b"
    r"|\b(?P<y5>(?:19|20)\d{2})(?P<m5>0[1-9]|1[0-2])(?P<d5>[0-2]\d|3[01])\b",
    re.IGNORECASE,
)


def identifiers(text: str) -> tuple[list[str], list[str]]:
    """The names in ``text`` (as :func:`~langbert.text.terms.spaced` gives it): each as it is written, in its one form,
    and that without its endings. And the words inside those that are written without a joint.

    >>> identifiers("see PEP-0008.rst and RFC 2119")
    (['pep-0008.rst', 'pep-8-rst', 'pep0008rst', 'pep-8', 'rfc-2119'], [])
    >>> identifiers("E1042 after 1,234 calls")
    (['e1042', 'e-1042', '1,234', '1234'], ['1042', '1234'])
    """
    found: dict[str, None] = {}
    inner: list[str] = []
    for name, before in _names(text):
        pieces = _pieces(name)
        if name[0].isdigit() and (before.isupper() or before.lower() in _VERSION):
            found[_one_form([before, *pieces])] = None
        found.update(dict.fromkeys(_spellings(name, pieces)))
        if len(pieces) <= _MOST_PIECES:
            found.update(dict.fromkeys(_one_form(pieces[:n]) for n in range(len(pieces) - 1, 1, -1)))
        inner += _inner(name, pieces)
    return list(found), inner


def question_identifiers(text: str) -> tuple[list[str], list[str]]:
    """The names that a question, likewise spaced, may mean: those in it, a word and the number after it ("pep 8"), and
    words that another may write as one ("max length"). And the words inside them, as in :func:`identifiers`."""
    found: dict[str, None] = {}
    inner: list[str] = []
    words: list[str] = []  # "" for what is none
    for name, before in _names(text, plain=True):
        pieces = _pieces(name)
        words.append(name.lower() if len(pieces) == 1 and name.isalpha() and name.isascii() else "")
        if name[0].isdigit() and before.isalpha():
            found[_one_form([before, *pieces])] = None
        if before.isdigit() and name.isalpha() and len(name) <= _PREFIX:  # of 50kg
            found[_one_form([before, name])] = None
        found.update(dict.fromkeys(_spellings(name, pieces)))
        inner += _inner(name, pieces)
    for neighbours in (pairwise(words), zip(words, words[1:], words[2:], strict=False)):
        found.update(dict.fromkeys("-".join(some) for some in neighbours if all(some)))
    return list(found), inner


def dates(text: str) -> list[str]:
    """The days and months in ``text``, as year, month and day, and as year and month; where the first two numbers may
    be either, both ways.

    >>> dates("on 5 March 2024, or 2024年4月")
    ['2024-3-5', '2024-3', '2024-4']
    """
    if not text.isascii():
        text = _HAN_NUMBER.sub(lambda number: str(from_han(number[0])), folded(text))
        text = _ERA_YEAR.sub(lambda year: f"{_ERAS[year[1]] + int(year[2])}年", text.replace("元年", "1年"))
        text = apart(text)
    if _YEAR.search(text) is None:
        return []
    found: dict[str, None] = {}
    for match in _DATE.finditer(text):
        named = {key[0]: value for key, value in match.groupdict().items() if value is not None}
        year, month, day = named["y"], named["m"].lower(), named.get("d")
        number = int(month) if month.isdigit() else _MONTHS.index(month[:3]) + 1
        for one, other in {(number, day), (int(day), str(number))} if "e" in named and day else {(number, day)}:
            if 1 <= one <= 12:
                found.update(dict.fromkeys(([f"{year}-{one}-{int(other)}"] if other else []) + [f"{year}-{one}"]))
    return list(found)


def clauses(text: str) -> list[str]:
    """The numbered parts of a Chinese document that ``text`` names, with their numbers in figures.

    >>> clauses("见第三十二条和第5章")
    ['第32条', '第5章']
    """
    if text.isascii():
        return []
    found = (f"第{from_han(number)}{part.translate(_SIMPLER)}" for number, part in _CLAUSE.findall(text))
    return list(dict.fromkeys(found))


def _names(text: str, *, plain: bool = False) -> Iterator[tuple[str, str]]:
    """The words of ``text`` that may be names, each with the word before it.

    Args:
        plain: the ordinary words too.
    """
    before = ""
    for word in text.split():
        word = word.strip(_AROUND)
        # what almost every word is, told quickly
        if word.isalpha() and (word.isupper() or word[1:].lower() == word[1:]):
            if plain:
                yield word, before
            before = word
        elif len(word) <= _LONGEST:
            for name in _NAME.findall(word):
                yield name, before
                before = name


def _spellings(name: str, pieces: Sequence[str]) -> list[str]:
    """As it is written and in its one form; nothing of a word or a whole number, which the analyser sees."""
    if name.isalnum() and len(pieces) < 2:
        return []
    own = [name.lower()]
    if 1 < len(pieces) <= _MOST_PIECES or pieces == [_THOUSANDS.sub("", name)]:
        own.append(_one_form(pieces))
    if len(pieces) > 1 and not name.isalnum() and any(piece.isdigit() for piece in pieces):
        own.append("".join(_RUN.findall(name)).lower())
    return own


def _inner(name: str, pieces: Sequence[str]) -> list[str]:
    """What the analyser does not see of it: of ``pieces`` those with nothing between them, the words of ``maxLength``;
    of ``E1042`` the number, as letters beside a number rarely say anything without it. And what it is without hyphens
    where people leave them out, in ``wi-fi`` or a long number."""
    parts = _HYPHEN.split(name)
    short = all(part.isalpha() for part in parts) and min(map(len, parts)) <= _PREFIX
    joined = ["".join(parts)] if len(parts) > 1 and (short or len(pieces) > _MOST_PIECES) else []
    if len(pieces) > _MOST_PIECES:
        return joined
    seen = _RUN.findall(name)
    if not any(piece.isdigit() for piece in pieces):
        return joined + [piece for piece in pieces if piece not in seen]
    return [piece for piece in pieces if len(piece) > 1 and piece.isdigit() and piece not in seen]


def _pieces(name: str) -> list[str]:
    name = _THOUSANDS.sub("", name)
    return _PIECE.findall(name if name.isascii() else name.lower())


def _one_form(pieces: Sequence[str]) -> str:
    plain = [piece.lstrip("0") or "0" if piece.isdigit() else piece.lower() for piece in pieces]
    if len(plain) > 1 and plain[0] in _VERSION and plain[1].isdigit():
        plain[:1] = [] if len(plain) > 2 else ["v"]
    return "-".join(plain)
