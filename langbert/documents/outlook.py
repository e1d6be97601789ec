"""Outlook's messages ([MS-OXMSG]) through python-oxmsg: made a mail as others send it, and read as one."""

from __future__ import annotations

import struct
from email import message_from_string
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, cast

from ..errors import DocumentError
from .compound import check_compound
from .extract import Extract
from .mail import MAX_HEADER, Bounded, extract_of
from .remarks import remark

if TYPE_CHECKING:
    from oxmsg import Message
    from oxmsg.attachment import Attachment


def read(data: bytes) -> Extract:
    from oxmsg import Message

    check_compound(data)
    try:
        mail = _mail(Message.load(data))
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise DocumentError(f"the message is damaged ({error or type(error).__name__}); save it again") from error
    return extract_of(mail)


def _mail(message: Message) -> EmailMessage:
    from oxmsg.domain import constants

    told = message.properties
    sent = {name.lower(): value for name, value in message.message_headers.items()}
    headers = {
        "Subject": message.subject,
        "From": message.sender,
        "To": sent.get("to") or told.str_prop_value(constants.PID_DISPLAY_TO),
        "Cc": sent.get("cc") or told.str_prop_value(constants.PID_DISPLAY_CC),
        "Date": sent.get("date") or (format_datetime(message.sent_date) if message.sent_date else ""),
    }
    lines = [
        f"{name}: {' '.join(value.replace(chr(0), '').split())[:MAX_HEADER]}"
        for name, value in headers.items()
        if value
    ]
    mail = cast(EmailMessage, message_from_string("\n".join(lines) + "\n\n", policy=Bounded()))
    mail.make_mixed()
    alternatives = EmailMessage()
    alternatives.make_alternative()
    if plain := message.body:
        alternatives.attach(_part(plain.encode("utf-8", "replace"), "text", "plain", "utf-8"))
    if page := told.binary_prop_value(constants.PID_HTML):
        alternatives.attach(_part(page, "text", "html", told.body_encoding))
    elif words := told.str_prop_value(constants.PID_BODY_HTML):
        alternatives.attach(_part(words.encode("utf-8", "replace"), "text", "html", "utf-8"))
    mail.attach(alternatives)
    for attachment in message.attachments:
        _attach(attachment, mail)
    return mail


def _attach(attachment: Attachment, mail: EmailMessage) -> None:
    from oxmsg.domain import constants

    name = attachment.file_name or attachment.properties.str_prop_value(constants.PID_ATTACH_FILENAME) or "unnamed"
    data = attachment.file_bytes
    if data is None:
        remark(f"attachment {name}: a message in the message, or a link, which is not read; save it by itself")
    elif not attachment.properties.str_prop_value(constants.PID_ATTACH_CONTENT_ID):  # a picture in the text
        part = _part(data, "application", "octet-stream")
        part.add_header("Content-Disposition", "attachment", filename=name)
        mail.attach(part)


def _part(data: bytes, kind: str, form: str, charset: str | None = None) -> EmailMessage:
    part = EmailMessage()
    part.set_content(data, kind, form, params={"charset": charset} if charset else None)
    return part
