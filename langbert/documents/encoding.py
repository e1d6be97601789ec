"""Bytes → text: byte order marks, UTF-8, declared encodings, then a guess; binaries are refused.

What had to be guessed or replaced is said in a remark (:mod:`.remarks`). The guess is measured by
``benchmarks/text_encodings.py``: of texts of 41 to 200 characters in 18 encodings 98.9 % are read right, of longer ones
all.
"""

from __future__ import annotations

import codecs
import io
import re
from itertools import islice
from pathlib import Path

from ..errors import DocumentError
from ..text.scripts import CJK
from .remarks import path_read, preferred_encoding, remark

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

# The encodings met in the wild, by the names of chardet, with what a text of each is decoded by: the code pages of
# Windows where they hold more.
_CODECS = {
    "gb18030": ("gb18030",),
    "big5hkscs": ("cp950", "big5hkscs"),
    "cp932": ("cp932",),
    "shift_jis_2004": ("cp932", "shift_jis_2004"),
    "euc_jis_2004": ("euc_jp", "euc_jis_2004"),
    "iso2022_jp_2": ("iso2022_jp_2",),
    "euc_kr": ("cp949",),
    "cp949": ("cp949",),
    "iso8859-1": ("cp1252", "iso8859-1"),
}
# What browsers take such names for (WHATWG Encoding Standard), so that pages and mails rely on it.
_WEB_NAMES = {
    "iso8859-1": "cp1252", "ascii": "utf-8", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs",
    "shift_jis": "cp932", "euc_kr": "cp949",
}  # fmt: skip
_MULTI_BYTE = ("gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949")
_DOUBLE_BYTE = ("gb", "big5", "cp9", "euc", "shift", "iso2022", "hz")
_SINGLE_BYTE = (
    "cp1252", "iso8859-1", "iso8859-15", "cp1250", "iso8859-2", "cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5",
    "cp1253", "iso8859-7", "cp1254", "cp1255", "iso8859-8", "cp1256", "cp1257", "cp1258", "tis-620", "cp852",
    "mac-roman", "cp437", "cp850",
)  # fmt: skip
_OTHER_ALPHABETS = {
    "cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "cp1253", "iso8859-7", "cp1255", "iso8859-8", "cp1256",
    "tis-620",
}  # fmt: skip
_LIKELY = (*_MULTI_BYTE, "shift_jis_2004", "euc_kr", "iso2022_jp_2", *_SINGLE_BYTE)
# How much less, or more, often a text is in one of them than its score says: old machines' code pages are rare today.
_PRIOR = {"cp1252": 1.3, "mac-roman": 0.7, "cp437": 0.7, "cp850": 0.75, "cp852": 0.75, "cp1258": 0.7, "cp1257": 1.1}
_SAMPLE = 1 << 13  # bytes; what chardet does with some binaries costs the square of them
_FEW = 200  # bytes with fewer of them to tell it by, the files beside it count
_NEAR = 4.0  # how much likelier a file is in the encoding of those
_NEIGHBOURS = 100
_MOSTLY_UTF8 = 2  # well-formed bytes beyond ASCII to one that is not
_FEW_BAD = 0.02  # of the bytes of a double-byte text may be damaged

XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
"""Names an encoding, and so goes once a text is decoded."""

_ESCAPES = re.compile(rb"\x1b\$[@B]|\x1b\$\([A-O]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_EAST = re.compile(f"[{CJK}\u3000-\u303f\uff01-\uff65\n\r -~]")
_COMMON = re.compile("[的是在不一和了有の、。，]")
_MOSTLY = 0.98
_TORN = re.compile(r"(?<=[A-Za-z])(?:[‚„…‰‹‘“”•–—›€™¡-©«-´¶-¹»-¿×÷]|[À-ÖØ-ÞŠŸ\x80-\x9f])(?=[a-z])")
_FOREIGN = re.compile(rb"[^\n\x80-\xff]{0,40}[\x80-\xff](?:[^\n\x80-\xff]{0,40}[\x80-\xff])*[^\n\x80-\xff]{0,40}")
_CONTROL_1 = re.compile(r"[\x80-\x84\x86-\x9f]")  # which no text has: there they are letters of another
_WESTERN = ("cp1252", "iso8859-1", "iso8859-15")
_NO_ICELANDIC = "àâãçèêëìîïñòôõùûüÿ"
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# Signs that an English text has here and there; between two letters only the apostrophe is one, and letters are where
# they stand alone: Ø, Å.
_SIGN = re.compile(
    r"(?<![A-Za-z])[\xa0-\xbf×÷‚„…‰‹‘“”•–—›€™]|[\xa0-\xbf×÷‚„…‰‹‘“”•–—›€™](?![A-Za-z])|’"
    r"|(?<![A-Za-z\x80-\uffff])[À-ÿ](?![A-Za-z\x80-\uffff])"
)


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
        raise DocumentError("binary data, not text; give it the suffix of its real format")
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
            return _replacing(data[len(mark) :], encoding)
    wide = _wide(data)
    if wide:
        return _replacing(data, wide)
    named = [_known(name) for name in (declared, preferred_encoding())]
    if _ESCAPES.search(data):  # all of it is ASCII
        named.append("iso2022_jp_2")
    elif not (named[0] or "").startswith(_DOUBLE_BYTE):  # in those, two bytes may pass for UTF-8
        named.insert(0, "utf-8")
    for candidate in (*named, "utf-8"):
        if candidate and (text := _strict(data, candidate)) is not None:
            return text
    if _is_mostly_utf8(data):
        return _replacing(data, "utf-8")
    for candidate in named:
        if candidate and candidate != "utf-8" and _lost(data, candidate) <= _FEW_BAD:
            return _replacing(data, candidate)
    encoding = _guess(data)
    remark(f"read as {encoding}, which was guessed; --encoding names another")
    return _replacing(data, encoding)


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _replacing(data: bytes, encoding: str) -> str:
    """Decoded with U+FFFD for what is damaged, and a remark on how much that was."""
    if (text := _strict(data, encoding)) is not None:
        return text
    text = data.decode(encoding, "replace")
    first = text.index("\ufffd")
    line = text.count("\n", 0, first) + 1
    remark(f"{text.count(chr(0xFFFD)):,} characters could not be read as {encoding}, the first in line {line}")
    return text


def _known(name: str | None) -> str | None:
    """A text encoding's codec, as browsers understand its name; None where there is none."""
    try:
        codec = codecs.lookup(name or "")
    except (LookupError, ValueError):
        return None
    return _WEB_NAMES.get(codec.name, codec.name) if codec._is_text_encoding else None


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether what is not ASCII is UTF-8 but for a few bytes; chance makes a fifth of GB18030 look like it."""
    good = sum(len(character.encode()) for character in _NOT_ASCII.findall(data.decode("utf-8", "ignore")))
    high = len(data) - len(data.translate(None, bytes(range(128, 256))))
    return good > 0 and good >= _MOSTLY_UTF8 * (high - good)


def _lost(data: bytes, encoding: str) -> float:
    """The share of bytes that the encoding cannot hold."""
    return 1 - len(data.decode(encoding, "ignore").encode(encoding, "ignore")) / len(data)


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
    for encoding in ("utf-16-le", "utf-16-be"):  # Chinese, whose only zeros are those of the ends of lines
        text = _strict(head, encoding) or ""
        if "\n" in text and _COMMON.search(text) and len(_EAST.findall(text)) > _MOSTLY * len(text):
            return encoding
    if many[1] and many[3] and few[0] and few[2]:
        return "utf-16-le"
    if many[0] and many[2] and few[1] and few[3]:
        return "utf-16-be"
    return None


def _guess(data: bytes) -> str:
    """The likeliest encoding of a text that is no UTF-8."""
    sample = _telling(data)
    western = sample.decode("cp1252", "replace")
    if all(_SIGN.match(western, found.start()) for found in _NOT_ASCII.finditer(western)):
        return "cp1252"
    for name in _MULTI_BYTE:  # what is damaged is none of them any more, to chardet
        codec = _CODECS[name][0]
        if _strict(sample, codec) is None and _lost(sample, codec) <= _FEW_BAD:
            whole = _ranked(sample.decode(codec, "ignore").encode(codec, "ignore"))
            if whole[0] in _CODECS and codec in _CODECS[whole[0]]:
                return codec
    beside = _beside() if len(sample) < _FEW else b""
    ranked = _ranked(sample, _ranked(beside)[0] if len(beside) > len(sample) else "")
    codec_names = [codec for name in ranked for codec in _CODECS.get(name, (name,))]
    able = [codec for codec in codec_names if _strict(data, codec) is not None]
    sane = (codec for codec in able if not _CONTROL_1.search(sample.decode(codec, "ignore")))
    return next(sane, (able or codec_names)[0])


def _telling(data: bytes) -> bytes:
    """What is not plain ASCII, with a few words around it: a page of English would drown one foreign line."""
    sample = bytearray()
    for found in _FOREIGN.finditer(data):
        sample += found.group() + b"\n"
        if len(sample) >= _SAMPLE:
            break
    return bytes(sample[:_SAMPLE])


def _is_torn(sample: bytes, name: str) -> bool:
    """Whether signs or capitals stand within words, as what another code page has for its letters does."""
    text = sample.decode(_CODECS.get(name, (name,))[0], "ignore")
    return 3 * len(_TORN.findall(text)) > len(_NOT_ASCII.findall(text))


def _is_no_icelandic(sample: bytes) -> bool:
    """Whether ð and þ are beside letters of other languages: what Turkish and Baltic code pages have for theirs."""
    found = {*sample.decode("cp1252", "ignore").lower()}
    return not found.isdisjoint("ðþ") and not found.isdisjoint(_NO_ICELANDIC)


def _beside() -> bytes:
    """What is telling of the files of the same kind in the folder of the one being read."""
    path, sample = path_read(), b""
    for file in sorted(islice(path.parent.glob(f"*{path.suffix}"), _NEIGHBOURS)) if path else ():
        if file != path and len(sample) < _SAMPLE:
            data = _beginning(file)
            sample += b"" if _wide(data) or _is_mostly_utf8(data) else _telling(data)
    return sample


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") if file.is_file() else io.BytesIO() as stream:
            return stream.read(_SAMPLE)
    except OSError:
        return b""


def _ranked(sample: bytes, near: str = "") -> list[str]:
    """chardet's names of the encodings it may be in, the likeliest first; at least one.

    Args:
        near: the one that files beside this are in.
    """
    import chardet

    found = chardet.detect_all(sample, ignore_threshold=True, include_encodings=_LIKELY, compat_names=False)
    runs = len(re.findall(rb"[\x80-\xff]+", sample))
    within_words = len(re.findall(rb"[A-Za-z][\x80-\xff]+|(?<![\x80-\xff])[\x80-\xff]+[A-Za-z]", sample)) >= runs / 2
    scores = {name: guess["confidence"] * _PRIOR.get(name, 1) for guess in found if (name := guess["encoding"])}
    if within_words:  # of Latin letters; no other alphabet mixes with them
        scores = {name: score * (0.3 if name in _OTHER_ALPHABETS else 1) for name, score in scores.items()}
    scores = {name: score * (0.2 if _is_torn(sample, name) else 1) for name, score in scores.items()}
    scores = {
        name: score * (0.3 if name in _WESTERN and _is_no_icelandic(sample) else 1) for name, score in scores.items()
    }
    scores = {name: score * (_NEAR if name == near else 1) for name, score in scores.items()}
    known = [name for name in sorted(scores, key=scores.__getitem__, reverse=True) if name in _LIKELY]
    return known or ["cp1252"]
