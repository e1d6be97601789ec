"""Numbers as documents write them beside 12: 十二, xii, l, 乙."""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase

_FIGURES = "零一二三四五六七八九"
_UNITS = ("", "十", "百", "千")
_WORTH = {"十": 10, "百": 100, "千": 1000}
_OTHERWISE = str.maketrans("〇○两兩壹贰貳叁參肆伍陆陸柒捌玖拾佰仟萬億", "零零二二一二二三三四五六六七八九十百千万亿")
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_ROMAN_WORTH = {sign: value for value, sign in _ROMAN}
_ALPHABETS = {
    "lowerLetter": ascii_lowercase,
    "upperLetter": ascii_uppercase,
    "russianLower": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "russianUpper": "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ",
    "hebrew2": "אבגדהוזחטיכלמנסעפצקרשת",
    "arabicAlpha": "أبتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "ganada": "가나다라마바사아자차카타파하",
    "chosung": "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ",
    "aiueo": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    "iroha": "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン",
    "ideographTraditional": "甲乙丙丁戊己庚辛壬癸",
    "ideographZodiac": "子丑寅卯辰巳午未申酉戌亥",
}
_TIMES = 30  # that the letters are gone through: aa, bb …
_HAN_LEGAL = "零壹贰叁肆伍陆柒捌玖", ("", "拾", "佰", "仟")
_HANGUL = "영일이삼사오육칠팔구", ("", "십", "백", "천")
_COUNTED_IN_HAN = ("chinese", "japaneseCounting", "taiwanese", "ideographDigital")
_ENCLOSED = {"decimalEnclosedCircle": "①", "decimalEnclosedParen": "⑴", "decimalEnclosedFullstop": "⒈"}  # to 20
_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


def in_form(count: int, form: str) -> str:
    """A count in one of Word's number formats (ST_NumberFormat); decimal where it is none known here."""
    if form == "none":
        return ""
    alphabet = _ALPHABETS.get(form.removesuffix("FullWidth"))
    if alphabet and 0 < count <= _TIMES * len(alphabet):
        return _lettered(count, alphabet)
    if form in ("lowerRoman", "upperRoman") and 0 < count < 4000:
        return _roman(count) if form == "lowerRoman" else _roman(count).upper()
    if form == "decimalZero":
        return f"{count:02}"
    if form == "ordinal":
        return f"{count}{'th' if 10 < count % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"
    if form.startswith("decimalFullWidth"):
        return str(count).translate(_FULL_WIDTH)
    if form == "numberInDash":
        return f"- {count} -"
    if (first := _ENCLOSED.get(form.removesuffix("Chinese"))) and 0 < count <= 20:
        return chr(ord(first) + count - 1)
    if 0 <= count < 10_000:
        if form.startswith("chineseLegal"):
            return in_han(count, *_HAN_LEGAL)
        if form.startswith("korean"):
            return in_han(count, *_HANGUL)
        if form.startswith(_COUNTED_IN_HAN):
            return in_han(count)
    return str(count)


def in_han(value: int, figures: str = _FIGURES, units: tuple[str, ...] = _UNITS) -> str:
    """A number from 0 to 9,999 in Chinese characters, or in the figures of a neighbour that counts alike.

    >>> in_han(12), in_han(20), in_han(105), in_han(1010)
    ('十二', '二十', '一百零五', '一千零一十')
    """
    said = ""
    for place in (3, 2, 1, 0):
        if figure := value // 10**place % 10:
            gap = said and not value // 10 ** (place + 1) % 10
            said += (figures[0] if gap else "") + figures[figure] + units[place]
    return said.removeprefix(figures[1]) if 10 <= value < 20 else said or figures[0]


def from_han(text: str) -> int:
    """The number that Chinese characters up to 亿, those of sums on contracts too, or figures, write.

    >>> [from_han(text) for text in ("十二", "一百零五", "12", "二〇", "叁仟伍佰", "一亿二千万")]
    [12, 105, 12, 20, 3500, 120000000]
    """
    if text.isdecimal():
        return int(text)
    total, below, figure = 0, 0, 0
    for character in text.translate(_OTHERWISE):
        if character in _WORTH:
            below += (figure or 1) * _WORTH[character]
            figure = 0
        elif character == "万":
            total, below, figure = total + (below + figure or 1) * 10**4, 0, 0
        elif character == "亿":
            total, below, figure = (total + below + figure or 1) * 10**8, 0, 0
        else:
            figure = 10 * figure + max(_FIGURES.find(character), 0)
    return total + below + figure


def from_roman(text: str) -> int:
    """The number that Roman numerals write.

    >>> from_roman("IV"), from_roman("xxi")
    (4, 21)
    """
    worth = [_ROMAN_WORTH.get(sign, 0) for sign in text.lower()]
    return sum(-own if own < after else own for own, after in zip(worth, [*worth[1:], 0], strict=True))


def _lettered(count: int, alphabet: str) -> str:
    """The letter of a count from 1; behind the last one they are doubled, as Word does.

    >>> _lettered(2, "abc"), _lettered(5, "abc")
    ('b', 'bb')
    """
    again, at = divmod(count - 1, len(alphabet))
    return alphabet[at] * (again + 1)


def _roman(count: int) -> str:
    """A count from 1 in small Roman numerals.

    >>> _roman(14)
    'xiv'
    """
    numeral = ""
    for value, sign in _ROMAN:
        numeral += sign * (count // value)
        count %= value
    return numeral
