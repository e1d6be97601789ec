"""Email (RFC 5322), one or a mailbox of them: the headers a person looks at, then all that the mail says.

Of alternatives the plain text is read, and the HTML where that says more; every further part, invitations, forwarded
mails, and attachments of a format that is read. Other attachments are named.
"""

from __future__ import annotations

import re
from base64 import b64encode
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import EmailPolicy
from email.utils import parseaddr
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import DocumentError
from ..records import Heading
from ..text.scripts import cjk_words
from .encoding import decode
from .events import events
from .extract import Extract, TextBuilder, one_line
from .ocr import unread
from .properties import properties
from .remarks import remark
from .table import read_verbatim

if TYPE_CHECKING:
    from email.message import Message

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_ADDRESSES = ("From", "To", "Cc")
_WHOLE = 0.6  # of the words that the HTML has; plain text with fewer is a stub
MAX_HEADER = 4_000  # characters
_MAX_DEPTH = 12
_MAILS = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\r\n]{1,200}\d{4}[^\r\n]{0,20}\r?\n")
_COUNT = re.compile(rb"(\d{1,12})[ \t]*\r?\n")  # of the mail's bytes: Apple's program writes its own notes behind them
_WORD = r"=\?[^\s?]+\?[bq]\?[^\s?]*\?="
_ENCODED_WORDS = re.compile(rf"{_WORD}(?:[ \t\r\n]*{_WORD})*", re.I)
_UNREAD = {
    "application/pkcs7-mime": "a part that is encrypted, or signed as a whole, not read",
    "application/x-pkcs7-mime": "a part that is encrypted, or signed as a whole, not read",
    "application/ms-tnef": "a part in Outlook's own format (winmail.dat) not read",
}
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature")


class Bounded(EmailPolicy):
    """The standard library parses addresses and parameters in the square of their length.

    It also decodes the words of a header one by one, though programs cut them within a character, and by the letter of
    their charset, which often holds less than they do.
    """

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, _ENCODED_WORDS.sub(_in_utf8, value[:MAX_HEADER])


def _in_utf8(words: re.Match[str]) -> str:
    """Encoded words (RFC 2047) in a row, as one."""
    try:
        parts = decode_header(words[0])
        text = "".join(decode(part, charset) if isinstance(part, bytes) else part for part, charset in parts)
    except Exception:  # as in _header
        return words[0]
    return f"=?utf-8?b?{b64encode(text.encode()).decode()}?="


def read(data: bytes) -> Extract:
    data = data.removeprefix(BOM_UTF8).lstrip(b"\r\n")
    if counted := _COUNT.match(data):
        data = data[counted.end() : counted.end() + int(counted[1])]
    mails = _MAILS.split(data)[1:] if data.startswith(b"From ") else []  # a mailbox (RFC 4155)
    if len(mails) < 2:
        return extract_of(message_from_bytes(mails[0] if mails else data, policy=Bounded()))
    builder = TextBuilder()
    for mail in mails:
        _write(message_from_bytes(_QUOTED_FROM.sub(rb"\1", mail), policy=Bounded()), builder, 1)
    return builder.build()


def extract_of(message: Message) -> Extract:
    builder = TextBuilder()
    _write(message, builder, 0)
    said = properties(authors=[_sender(message)], created=_header(message, "Date"))
    return builder.build(_header(message, "Subject"), said)


def _write(message: Message, builder: TextBuilder, depth: int) -> None:
    """The headers and the body of a mail; forwarded ones are sections of the mail they came in."""
    values = {name: _header(message, name) for name in _HEADERS}
    start = builder.block("\n".join(f"{name}: {value}" for name, value in values.items() if value))
    if values["Subject"]:
        builder.headings.append(Heading(start, 1 + depth, values["Subject"]))
    _write_part(message, builder, depth)


def _write_part(part: Message, builder: TextBuilder, depth: int) -> None:
    kind = part.get_content_type()
    if depth > _MAX_DEPTH:
        remark("mails within mails deeper than can be read")
    elif kind == "multipart/alternative":
        _write_alternatives(list(_parts(part)), builder, depth)
    elif kind == "multipart/encrypted":
        remark("an encrypted part not read")
    elif kind == "message/rfc822":
        for forwarded in _parts(part):
            _write(_decoded(forwarded, part), builder, depth + 1)
    elif kind in ("message/delivery-status", "message/disposition-notification"):
        for fields in _parts(part):
            builder.block("\n".join(f"{name}: {one_line(str(value))}" for name, value in fields.raw_items()))
    elif part.is_multipart():
        for inner in _parts(part):
            _write_part(inner, builder, depth + (kind != "multipart/mixed"))
    elif part.get_content_disposition() == "attachment" or not kind.startswith(("text/", "multipart/")):
        _write_attachment(part, builder, depth)
    else:
        builder.block(_text(part))


def _write_alternatives(parts: list[Message], builder: TextBuilder, depth: int) -> None:
    """One of the plain and the HTML text, and what is neither."""
    texts = {part.get_content_type(): _text(part) for part in parts if not part.is_multipart()}
    plain = texts.get("text/plain", "")
    related = [part for part in parts if part.is_multipart()]  # the HTML with its pictures
    page = TextBuilder()
    for part in related:
        _write_part(part, page, depth + 1)
    rich = texts.get("text/html") or page.build().text
    said, shown = set(cjk_words(plain.lower())), set(cjk_words(rich.lower()))
    whole = len(said & shown) >= _WHOLE * len(shown)
    if whole or len(said & shown) < len(said) / 2:
        builder.block(plain)
    if not whole:
        builder.block(rich)
    builder.block(texts.get("text/calendar", ""))


def _write_attachment(part: Message, builder: TextBuilder, depth: int) -> None:
    """Its name, and what it says where that can be read."""
    from .formats import supported_suffixes
    from .reader import parse_as

    name = one_line(_filename(part))
    kind = part.get_content_type()
    if kind in _UNREAD:
        remark(_UNREAD[kind])
    if kind in _SIGNATURES:
        return
    if not name:  # else a picture in the text, a signature
        builder.block(_text(part) if kind.startswith("text/") else "")
        return
    builder.headings.append(Heading(builder.block(f"Attachment: {name}"), 2 + depth, name))
    if kind == "text/calendar" or name.lower().endswith(".ics"):
        builder.block(events(decode(_payload(part), part.get_content_charset())))
        return
    if PurePosixPath(name).suffix.lower() not in supported_suffixes() or _is_left_alone(part):
        return
    try:
        is_table = name.lower().endswith((".csv", ".tsv"))  # a few lines, that people quote as they are
        extract = read_verbatim(_payload(part)) if is_table else parse_as(_payload(part), name)
    except DocumentError as error:
        remark(f"attachment {name}: {error}")
        return
    start = builder.block(extract.text)
    for heading in extract.headings:
        builder.headings.append(replace(heading, start=start + heading.start, level=heading.level + 2 + depth))


def _is_left_alone(part: Message) -> bool:
    """A picture that is shown within the text, as logos are, or any where pictures are not read."""
    if part.get_content_maintype() != "image":
        return False
    return bool(unread()) or part.get_content_disposition() != "attachment"


def _decoded(forwarded: Message, around: Message) -> Message:
    """A forwarded mail, which some programs encode though RFC 2046 (5.2.1) forbids it."""
    encoding = str(around.get("Content-Transfer-Encoding", "")).lower()
    if encoding not in ("base64", "quoted-printable") or forwarded.keys():
        return forwarded
    forwarded["Content-Transfer-Encoding"] = encoding
    return message_from_bytes(_payload(forwarded), policy=Bounded())


def _parts(part: Message) -> Iterator[Message]:
    payload = part.get_payload()
    yield from (inner for inner in payload if not isinstance(inner, str)) if isinstance(payload, list) else ()


def _text(part: Message) -> str:
    from .html import read as read_html

    data = _payload(part)
    charset = part.get_content_charset()
    if not data.strip():
        return ""
    if part.get_content_type() == "text/html":
        return read_html(data, charset).text.strip("\n")
    text = decode(data, charset).strip("\n")
    if part.get_param("format") == "flowed":
        text = _flowed(text, "" if part.get_param("delsp") == "yes" else " ")
    return events(text) if part.get_content_type() == "text/calendar" else text


def _flowed(text: str, blank: str) -> str:
    """Paragraphs in one line, quoted ones too (RFC 3676): what ends with a blank goes on in the next line of its depth.

    >>> _flowed("> a \\n> b\\nc \\n d\\n-- \\ne", " ")
    '> a b\\nc d\\n-- \\ne'
    """
    lines: list[str] = []
    open_at = -1  # how deep the line is quoted that goes on
    for line in text.split("\n"):
        said = line.lstrip(">")
        depth = len(line) - len(said)
        said = said.removeprefix(" ")  # put before what would be taken for a mark
        signed = said.rstrip() == "--"
        if depth == open_at and not signed and said:
            lines[-1] = lines[-1].removesuffix(" ") + blank + said
        else:
            lines.append(">" * depth + " " * (depth > 0) + said)
        open_at = depth if said.endswith(" ") and not signed else -1
    return "\n".join(lines)


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _header(message: Message, name: str) -> str:
    """A header in one line; 8-bit ones, which old programs send, are in the encoding of the text."""
    raw = str(next((value for key, value in message.raw_items() if key.lower() == name.lower()), ""))
    if any("\udc80" <= character <= "\udcff" for character in raw):
        texts = [part for part in message.walk() if part.get_content_maintype() == "text"][:1]
        charset = texts[0].get_content_charset() if texts else None
        line = " ".join(raw.split()).encode("utf-8", "surrogateescape")
        return one_line(decode(b"\n".join([line, *map(_payload, texts)]), charset).split("\n")[0])
    try:
        if name in _ADDRESSES and _ENCODED_WORDS.fullmatch(raw.strip()):  # with the address, against RFC 2047
            return one_line(str(make_header(decode_header(raw.strip()))))
        return one_line(str(message[name] or ""))
    except Exception:  # the standard library trips over some malformed headers
        return one_line(raw)


def _sender(message: Message) -> str:
    """The name that a mail is from, or else the address."""
    name, address = parseaddr(_header(message, "From"))
    return f"{name.replace(',', ' ')}" if name else address.partition("@")[0]


def _filename(part: Any) -> str:
    try:
        return str(part.get_filename() or "")
    except Exception:  # as in _header
        return "unnamed"
