"""How often the encoding of a plain text is guessed right: known texts in 18 encodings, cut to ten lengths.

The texts are the messages of Django's translations, joined to prose (``pip install django``), so that nothing of them
was seen when the guessing was written. A file counts as right where the text that comes out is the text that went in.

    python benchmarks/text_encodings.py [--wrong]
"""

from __future__ import annotations

import argparse
import gettext
import random
import re
from collections import Counter
from pathlib import Path

from langbert.documents.encoding import decode

LENGTHS = (20, 41, 60, 90, 130, 200, 300, 600, 1500, 4000)
SAMPLES = 4  # of each encoding, language and length
LANGUAGES = {
    "utf-8": ("zh_Hans", "de", "ru"),
    "utf-16": ("ja", "fr"),
    "gb18030": ("zh_Hans",),
    "big5": ("zh_Hant",),
    "shift_jis": ("ja",),
    "euc_jp": ("ja",),
    "euc_kr": ("ko",),
    "cp1252": ("fr", "de", "es", "pt", "sv", "it"),
    "iso8859-15": ("fi", "nl", "da"),
    "cp1250": ("cs", "pl", "hu"),
    "iso8859-2": ("cs", "pl", "hr"),
    "cp1251": ("ru", "uk", "bg"),
    "koi8-r": ("ru",),
    "cp866": ("ru",),
    "cp1253": ("el",),
    "cp1254": ("tr",),
    "cp1255": ("he",),
    "cp1256": ("ar",),
    "cp1257": ("lt", "lv"),
}


def text_of(language: str) -> str:
    """All messages of a language, in a fixed order, without their placeholders."""
    import django

    root = Path(django.__file__).parent
    messages: list[str] = []
    for catalog in sorted(root.glob(f"**/locale/{language}/LC_MESSAGES/django.mo")):
        with catalog.open("rb") as file:
            found = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        messages += [message for key, message in found.items() if key and isinstance(message, str)]
    plain = (re.sub(r"%\(\w+\)[sd]|%[sd]|\{[^}]*\}|<[^>]*>", "", message) for message in messages)
    return " ".join(sorted({" ".join(message.split()) for message in plain if len(message) > 25}))


def files(seed: int = 0) -> list[tuple[str, str, int, str, bytes]]:
    """``(encoding, language, length, text, bytes)``; a text without a character beyond ASCII is left out."""
    chosen = random.Random(seed)
    made = []
    for encoding, languages in LANGUAGES.items():
        for language in languages:
            known = text_of(language).encode(encoding, "ignore").decode(encoding)
            for length in LENGTHS:
                for _ in range(SAMPLES):
                    begin = chosen.randrange(max(1, len(known) - length))
                    text = known[begin : begin + length]
                    if not text.isascii():
                        made.append((encoding, language, length, text, text.encode(encoding)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="show what was read wrong")
    arguments = parser.parse_args()
    tried: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for encoding, language, length, text, data in files():
        try:
            read = decode(data)
        except ValueError as error:
            read = str(error)
        size = "to 40" if length <= 40 else "41–200" if length <= 200 else "above 200"
        for key in ((encoding, size), ("all", size)):
            tried[key] += 1
            right[key] += read == text
        if arguments.wrong and read != text:
            print(f"{encoding} {language} {length}: {text[:60]!r} read as {read[:60]!r}")
    for key in sorted(tried, key=lambda key: (key[1], key[0])):
        print(f"{key[1]:>10}  {key[0]:<12} {right[key]:>4} of {tried[key]:<4} {right[key] / tried[key]:.3f}")


if __name__ == "__main__":
    main()
