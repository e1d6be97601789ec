"""Bytes → text: byte order marks, declared encodings, UTF-8, then a guess; binaries are refused."""

from __future__ import annotations

import codecs
import re

from ..errors import DocumentError

__all__ = ["decode", "refuse_binary"]

# UTF-32's mark begins with UTF-16's, so the longer ones come first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_MAGIC = (
    (b"%PDF-", "a PDF", ".pdf"),
    (b"PK\x03\x04", "a zip archive, such as docx, odt, pptx or epub", ""),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office file", ""),
    (b"{\\rtf", "an RTF file", ""),
    (b"\x89PNG", "a PNG image", ""),
    (b"\xff\xd8\xff", "a JPEG image", ""),
    (b"GIF8", "a GIF image", ""),
    (b"\x7fELF", "a program", ""),
    (b"\x1f\x8b", "a gzip archive", ""),
    (b"SQLite format 3\x00", "an SQLite database", ""),
)

# Guessing among every codec Python has mistakes GB18030 for mac_iceland; these are the ones met in the wild.
_LIKELY = [
    "gb18030", "big5", "cp932", "euc_jp", "iso2022_jp", "cp949", "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253",
    "cp1254", "cp1255", "cp1256", "cp1257", "cp437", "mac_roman", "tis_620",
]  # fmt: skip
_WESTERN = {"cp1250", "cp1254", "cp1257", "cp437", "mac_roman"}
_SAMPLE = 1 << 16

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes, declared: str | None = None) -> str:
    """The text of ``data``, newlines as ``\\n`` and the byte order mark gone; otherwise unaltered.

    Args:
        declared: the encoding the file names for itself, believed if the bytes agree.

    Raises:
        DocumentError: the bytes are no text.
    """
    refuse_binary(data)
    text = _decode(data, declared)
    if len(_CONTROL.findall(text)) > max(1, len(text) // 100):
        raise DocumentError("binary data, not text; give the file the suffix of its real format")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def refuse_binary(data: bytes) -> None:
    """Raise where the first bytes are those of a well-known binary format."""
    for magic, what, suffix in _MAGIC:
        if data.startswith(magic):
            way_out = f"rename it to end in {suffix}" if suffix else "give it the suffix of its real format"
            raise DocumentError(f"it holds {what}, not text; {way_out}")


def _decode(data: bytes, declared: str | None) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    for candidate in (declared, _wide(data), "utf-8"):
        if candidate:
            try:
                return data.decode(candidate)
            except (LookupError, UnicodeDecodeError):
                continue
    return data.decode(_guess(data), "replace")


def _wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, told by where the zero bytes of its ASCII characters fall."""
    head = data[: 4096 - 4096 % 4]
    if b"\0" not in head:
        return None
    zeros = [head[i::4].count(0) / max(1, len(head[i::4])) for i in range(4)]
    many, few = [share > 0.3 for share in zeros], [share < 0.1 for share in zeros]
    if zeros[1] > 0.9 and zeros[2] > 0.9 and zeros[3] > 0.9:
        return "utf-32-le"
    if zeros[0] > 0.9 and zeros[1] > 0.9 and zeros[2] > 0.9:
        return "utf-32-be"
    if many[1] and many[3] and few[0] and few[2]:
        return "utf-16-le"
    if many[0] and many[2] and few[1] and few[3]:
        return "utf-16-be"
    return None


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    cut = data.rfind(b"\n", 0, _SAMPLE) + 1 or _SAMPLE  # at a newline, lest a multi-byte character be halved
    sample = data[:cut]
    high = sum(byte > 127 for byte in sample)
    if not high and cut < len(data):  # plain ASCII so far: look where it stops being so
        first = next(i for i, byte in enumerate(data) if byte > 127)
        begin = data.rfind(b"\n", 0, first) + 1
        return _guess(data[begin : begin + _SAMPLE])
    # The default threshold finds dense Chinese too messy to be text.
    matches = from_bytes(sample, cp_isolation=_LIKELY, threshold=0.5)
    best = matches.best()
    if best is None:
        return "cp1252"
    # Where every Western code page fits, take the most common; Czech or Polish would be a mess in it.
    plausible = {match.encoding for match in matches if match.chaos <= best.chaos + 0.02}
    return "cp1252" if best.encoding in _WESTERN and "cp1252" in plausible else best.encoding
