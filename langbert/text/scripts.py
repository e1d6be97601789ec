"""In which script a text is written: the one place that knows the Unicode blocks of Chinese and its neighbours.

The constants are ranges for a regular expression's character class, ``re.compile(f"[{HAN}]+")``.
"""

from __future__ import annotations

import re
import unicodedata

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, with those of Japanese and old Korean."""

KANA = "\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff"
"""The syllables of Japanese."""

HANGUL = "\uac00-\ud7a3"
"""The syllables of Korean."""

CJK = f"{HAN}{KANA}"
"""Chinese and Japanese, which put no spaces between words."""

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007"  # Japanese marks of repetition, and the round zero
    "\u3105-\u312f"  # Bopomofo
    f"{CJK}{HANGUL}"  # Hangul has spaces, but its words carry their particles
)
"""Scripts whose words cannot be told apart by spaces."""

_SET_SOLID = f"{CJK}\u3001-\u3011\u3014-\u301b\u30fb\u30fc\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65…—“”‘’"
_WRAP = re.compile(rf"(?<=[{_SET_SOLID}])[ \t\u3000]*\n[ \t\u3000]*(?=[{_SET_SOLID}])")
_BORDER = re.compile(rf"(?<=[{UNSPACED}])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[{UNSPACED}])")
_RAISED = re.compile("(?<=[0-9０-９])(?=[¼-¾⅐-⅞⁰¹²³⁴-⁹])")
_FEW_KANA = 6  # Chinese characters to one kana, where it is Chinese that quotes a word
_HAN = re.compile(f"[{HAN}]")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_CJK_WORD = re.compile(rf"[{CJK}]|[^\W{CJK}]+")
_CJK_TOKEN = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_CJK_CHARACTER = re.compile(f"[{CJK}]")
_LATIN = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_LATIN_WORD = re.compile(f"[{_LATIN}]+")
_KANA = re.compile(f"[{KANA}]")
_OTHER_WORD = re.compile(rf"[{UNSPACED}]|[^\W\d_{_LATIN}{UNSPACED}]+")


def count_han(text: str) -> int:
    """How many Chinese characters ``text`` has."""
    return len(_HAN.findall(text))


def has_han(text: str) -> bool:
    """Whether ``text`` has a Chinese character."""
    return _HAN.search(text) is not None


def has_unspaced(text: str) -> bool:
    """Whether ``text`` has a character of a script whose words no spaces part."""
    return _UNSPACED.search(text) is not None


def is_japanese(text: str) -> bool:
    """Whether ``text`` has kana, and more than Chinese borrows of it (``の`` for one)."""
    return len(_KANA.findall(text.replace("の", ""))) * _FEW_KANA > count_han(text)


def is_chinese(text: str) -> bool:
    """Whether ``text`` has more Chinese characters than Latin words, and is not Japanese.

    >>> [is_chinese(text) for text in ("如何用 Cursor 连接 MCP Server？", "What does 你好 mean?", "東京はどこですか")]
    [True, False, False]
    """
    return count_han(text) > len(_LATIN_WORD.findall(text)) and not is_japanese(text)


def is_latin(text: str) -> bool:
    """Whether ``text`` has no more words (characters, in scripts without spaces) of other scripts than Latin ones.

    >>> [is_latin(text) for text in ("What does 你好 mean?", "Кто это написал?", "2024?")]
    [True, False, True]
    """
    return len(_LATIN_WORD.findall(text)) >= len(_OTHER_WORD.findall(text))


def folded(text: str) -> str:
    """Wide, raised and joined forms as plain characters (NFKC); what is raised behind a number is no more of it.

    >>> folded("２０１９¹, 5½ m²")
    '2019 1, 5 1⁄2 m2'
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", _RAISED.sub(" ", text))


def apart(text: str) -> str:
    """With a blank wherever Latin letters or figures meet a script without spaces: there words begin and end.

    >>> apart("会议于2024-03-05举行")
    '会议于 2024-03-05 举行'
    """
    return text if text.isascii() else _BORDER.sub(" ", text)


def unwrapped(text: str) -> str:
    """Chinese and Japanese lines joined where one was only full: there a break stands for no blank.

    >>> unwrapped("二十四小\\n时内\\n\\n通知 the\\nteam")
    '二十四小时内\\n\\n通知 the\\nteam'
    """
    return _WRAP.sub("", text) if "\n" in text and not text.isascii() else text


def one_line(text: str) -> str:
    """White space collapsed, and none where only a line of Chinese or Japanese ended."""
    return " ".join(unwrapped(text).split())


def cjk_words(text: str) -> list[str]:
    """The words of ``text`` in order, Chinese and Japanese characters one by one.

    >>> cjk_words("诺曼底 in France")
    ['诺', '曼', '底', 'in', 'France']
    """
    return _CJK_WORD.findall(text)


def reading_length(text: str) -> float:
    """How much there is to read, in words; a Chinese or Japanese character counts as half a word.

    >>> reading_length("诺曼底 in France")
    3.5
    """
    return sum(0.5 if _CJK_CHARACTER.match(word) else 1.0 for word in _CJK_TOKEN.findall(text))


def letters(text: str) -> str:
    """Letters and digits alone, case folded: what stays the same however a text is set."""
    return "".join(character for character in text if character.isalnum()).casefold()
