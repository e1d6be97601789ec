"""Email (RFC 5322): the headers a person looks at, then the plain text, or else the HTML part as text."""

from __future__ import annotations

from ..records import Heading
from .extract import Extract, one_line


def read(data: bytes) -> Extract:
    from email import message_from_bytes, policy
    from email.message import EmailMessage

    message = message_from_bytes(data, policy=policy.default)
    head = [
        f"{name}: {one_line(str(message[name]))}" for name in ("Subject", "From", "To", "Cc", "Date") if message[name]
    ]
    body = message.get_body(("plain", "html")) if isinstance(message, EmailMessage) else None
    text = _text(body) if body is not None else ""
    subject = one_line(str(message["Subject"] or ""))
    metadata = {"date": str(message["Date"])} if message["Date"] else {}
    headings = (Heading(0, 1, subject),) if subject else ()
    return Extract("\n".join(head) + "\n\n" + text.strip("\n"), headings, (), subject, metadata)


def _text(part: object) -> str:
    from email.message import EmailMessage

    from .encoding import decode
    from .html import read as read_html

    if not isinstance(part, EmailMessage):
        return ""
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    if part.get_content_subtype() == "html":
        return read_html(data, part.get_content_charset()).text if data.strip() else ""
    return decode(data, part.get_content_charset())
