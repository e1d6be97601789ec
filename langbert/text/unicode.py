"""Text as it comes from outside → text that UTF-8, and so every stage, can hold."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """``text`` without lone surrogates; itself where it has none.

    They come from a terminal or file system whose bytes Python could not decode (PEP 383: the bytes are then read as
    UTF-8), or from a program that cut an emoji in half (halves that belong together are joined). What is left becomes
    U+FFFD.

    >>> well_formed("caf\\udcc3\\udca9"), well_formed("half \\ud83d of one")
    ('café', 'half � of one')
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
