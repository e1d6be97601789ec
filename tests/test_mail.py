"""Mails: all that they say, whichever part says it."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from pathlib import Path

import pytest

from langbert.documents import read_document
from langbert.errors import DocumentError
from langbert.records import Document


def read(folder: Path, message: EmailMessage | bytes) -> Document:
    (folder / "a.eml").write_bytes(message if isinstance(message, bytes) else message.as_bytes())
    return read_document(folder / "a.eml")


def mail(text: str, subject: str = "Visit") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "a@example.org"
    message.set_content(text)
    return message


def test_a_stub_gives_way_to_the_page(tmp_path: Path) -> None:
    for plain in ("Please view this in a browser.", " \n"):
        message = mail(plain)
        message.add_alternative("<p>The gate opens at 6:30 and closes at 22:00 on working days.</p>", subtype="html")
        assert "6:30" in read(tmp_path, message).text
    message = mail("The gate opens at 6:30.")
    message.add_alternative("<p>The gate opens at <b>6:30</b>.</p>", subtype="html")
    assert read(tmp_path, message).text.count("6:30") == 1


def test_attachments_are_read_or_named(tmp_path: Path) -> None:
    message = mail("See below.")
    message.add_attachment(b"item,qty\nbolt,40\nnut,80\n", maintype="text", subtype="csv", filename="list.csv")
    message.add_attachment("# Access\n\nBadge at the desk.", subtype="markdown", filename="access.md")
    message.add_attachment(b"\x89PNG....", maintype="image", subtype="png", filename="plan.png")
    message.add_attachment(b"no pdf", maintype="application", subtype="pdf", filename="bad.pdf")
    document = read(tmp_path, message)
    for words in ("bolt,40", "Badge at the desk.", "Attachment: plan.png", "Attachment: bad.pdf"):
        assert words in document.text
    assert "bad.pdf" in document.metadata["remarks"]
    assert ("access.md", 2) in [(heading.text, heading.level) for heading in document.headings]
    assert all(document.text[h.start :].strip() for h in document.headings)


def test_forwarded_mails_and_further_parts(tmp_path: Path) -> None:
    message = mail("For you.")
    message.add_attachment(mail("The rent is 800 euros.", subject="Offer"))
    document = read(tmp_path, message)
    assert "Subject: Offer" in document.text
    assert "800 euros" in document.text
    assert [(h.level, h.text) for h in document.headings] == [(1, "Visit"), (2, "Offer")]
    parts = (
        b'Subject: Notes\nContent-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: text/plain\n\nOne.\n--x\n'
        b"Content-Type: text/html\n\n<p>Two.</p>\n--x--\n"
    )
    assert read(tmp_path, parts).text.endswith("One.\n\nTwo.")


def test_invitations(tmp_path: Path) -> None:
    message = mail("Invitation")
    event = "SUMMARY:Fire drill\\, all\nDTSTART;TZID=X:20250304T100000\nLOCATION:Yard\n"
    message.add_alternative(f"BEGIN:VCALENDAR\nBEGIN:VEVENT\n{event}END:VEVENT\n", subtype="calendar")
    assert read(tmp_path, message).text.endswith("Event: Fire drill, all\nBegins: 2025-03-04 10:00\nPlace: Yard")


@pytest.mark.parametrize(("kind", "name"), [("calendar", "invite.ics"), ("octet-stream", "Termin.ICS")])
def test_an_attached_invitation_is_read(tmp_path: Path, kind: str, name: str) -> None:
    message = mail("Please come.")
    event = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:Fire drill\r\nLOCATION:Yard\r\nEND:VEVENT\r\n"
    maintype = "text" if kind == "calendar" else "application"
    message.add_attachment(event, maintype=maintype, subtype=kind, filename=name)
    assert read(tmp_path, message).text.endswith(f"Attachment: {name}\n\nEvent: Fire drill\nPlace: Yard")


def test_a_text_without_a_name_is_read(tmp_path: Path) -> None:
    message = mail("See below.")
    message.add_attachment("disk 3 failed")
    assert read(tmp_path, message).text.endswith("See below.\n\ndisk 3 failed")


def test_a_forwarded_mail_may_be_encoded(tmp_path: Path) -> None:
    inner = base64.encodebytes(mail("The gate code is 5512.", subject="Gate").as_bytes())
    head = b'Subject: Fwd\nContent-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: message/rfc822\n'
    parts = head + b"Content-Transfer-Encoding: base64\n\n" + inner + b"--x--\n"
    assert read(tmp_path, parts).text.endswith("Subject: Gate\nFrom: a@example.org\n\nThe gate code is 5512.")


def test_headers_of_old_programs(tmp_path: Path) -> None:
    said = "Subject: Grüße\nFrom: a@example.org\nContent-Type: text/plain{}\n\nSchöne Grüße aus Köln.\n"
    assert read(tmp_path, said.format("").encode("cp1252")).text.startswith("Subject: Grüße")
    chinese = "Subject: 会议通知\nContent-Type: text/plain; charset=gb2312\n\n明天开会。\n"
    assert read(tmp_path, chinese.encode("gb18030")).text.startswith("Subject: 会议通知")


def test_mails_in_mails_end(tmp_path: Path) -> None:
    message = mail("innermost")
    for _ in range(20):
        outer = mail("next")
        outer.add_attachment(message)
        message = outer
    assert "deeper than can be read" in read(tmp_path, message).metadata["remarks"]


def test_an_outlook_message_is_read_as_a_mail() -> None:
    document = read_document(Path(__file__).parent / "samples" / "letter.msg")
    for words in (
        "Subject: Rent for the Oak Street flat 橡树街",
        "Bob Baker",
        "Cc: Carol",
        "the rent rises to 2,450 euros in May 五月.",
        "Attachment: rates.csv\n\nmonth,euros\nMay,2450",
        "The keys are at the porter's.",
        "Attachment: song.ogg",
    ):
        assert words in document.text, words
    assert document.metadata["title"] == "Rent for the Oak Street flat 橡树街"
    assert [heading.text for heading in document.headings if heading.level == 2] == ["rates.csv", "note.md", "song.ogg"]


def test_a_compound_file_that_is_no_message_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.msg").write_bytes(b"From: ann@example.com")
    with pytest.raises(DocumentError, match="encrypted, broken or of another kind"):
        read_document(tmp_path / "a.msg")


def test_a_mailbox_is_its_mails(tmp_path: Path) -> None:
    mails = "From a@b.c Tue Mar  5 10:00 2024\nSubject: One\n\nThe code is 11.\n>From here on.\n\n"
    mails += "From d@e.f Wed Mar  6 10:00 2024\nSubject: Zwei\n\nFrom within a line. Code 22.\n"
    (tmp_path / "all.mbox").write_text(mails)
    document = read_document(tmp_path / "all.mbox")
    assert (
        document.text
        == "Subject: One\n\nThe code is 11.\nFrom here on.\n\nSubject: Zwei\n\nFrom within a line. Code 22."
    )
    assert [heading.text for heading in document.headings] == ["One", "Zwei"]


def test_lines_that_flow_are_joined(tmp_path: Path) -> None:
    body = "A sentence that \ngoes on.\nAnother line. \n\n-- \nAnna"
    (tmp_path / "a.eml").write_text(f"Subject: x\nContent-Type: text/plain; format=flowed\n\n{body}\n")
    assert read_document(tmp_path / "a.eml").text.endswith("A sentence that goes on.\nAnother line. \n\n-- \nAnna")


def encoded(data: bytes, charset: str) -> str:
    return f"=?{charset}?B?{base64.b64encode(data).decode()}?="


def test_words_of_a_header_cut_within_a_character(tmp_path: Path) -> None:
    data = "周五消防演习，请全体到场".encode("gb18030")
    subject = f"{encoded(data[:7], 'gb2312')}\n {encoded(data[7:], 'gb2312')}"
    sender = f'"{encoded("陶喆, 二组".encode("gb18030"), "gb2312")}" <tao@example.org>'  # 喆 is not in GB 2312
    document = read(tmp_path, f"Subject: {subject}\nFrom: {sender}\n\nhi\n".encode())
    assert document.text == 'Subject: 周五消防演习，请全体到场\nFrom: "陶喆, 二组" <tao@example.org>\n\nhi'


def test_what_is_not_read_of_a_mail_is_said(tmp_path: Path) -> None:
    for kind, name in (("pkcs7-mime", "smime.p7m"), ("ms-tnef", "winmail.dat")):
        message = mail("hello")
        message.add_attachment(b"0\x80", maintype="application", subtype=kind, filename=name)
        assert "not read" in read(tmp_path, message).metadata["remarks"]


def test_a_report_and_parts_without_their_boundary(tmp_path: Path) -> None:
    head = b"Subject: x\nContent-Type: multipart/report; boundary=q\n\n"
    report = b"--q\nContent-Type: message/delivery-status\n\nReporting-MTA: a\n\nStatus: 5.1.1 no such user\n\n--q--\n"
    assert "5.1.1 no such user" in read(tmp_path, head + report).text
    assert read(tmp_path, head + b"The gate is shut.\n").text.endswith("The gate is shut.")


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n\n", b"From a@b.c Tue Mar  5 10:00 2024\n"])
def test_what_stands_before_the_headers(tmp_path: Path, before: bytes) -> None:
    assert read(tmp_path, before + b"Subject: Keys\nFrom: a@b.c\n\nAt the desk.\n").metadata["title"] == "Keys"


def test_mail_of_apples_program(tmp_path: Path) -> None:
    mail = "Subject: 进度\nFrom: a@b.c\n\nThe ferry leaves at 7. 渡轮七点开。\n".encode()
    notes = b'<?xml version="1.0"?><plist><dict><key>flags</key><integer>8590195713</integer></dict></plist>\n'
    (tmp_path / "1.emlx").write_bytes(b"%-10d\n" % len(mail) + mail + notes)
    document = read_document(tmp_path / "1.emlx")
    assert (document.metadata["title"], document.metadata["format"]) == ("进度", "email")
    assert document.text.rstrip().endswith("The ferry leaves at 7. 渡轮七点开。")


def test_quotes_that_flow_keep_one_mark(tmp_path: Path) -> None:
    body = "> When does \n> the ferry leave?\n>> 渡轮几点 \n> Bye. \nAt seven. \n From the pier.\n> \n> x"
    (tmp_path / "a.eml").write_text(
        f"Subject: x\nContent-Type: text/plain; format=flowed\n\n{body}\n", encoding="utf-8"
    )
    said = "> When does the ferry leave?\n>> 渡轮几点 \n> Bye. \nAt seven. From the pier.\n> \n> x"
    assert read_document(tmp_path / "a.eml").text.endswith(said)


@pytest.mark.timeout(60)
def test_many_encoded_words_that_no_one_can_read(tmp_path: Path) -> None:
    sender = "=?utf-8?B?QQQQQ?=" * 60 + "!"  # no base64
    assert "hives" in read(tmp_path, f"Subject: x\nFrom: {sender}\n\nThe hives stand here.\n".encode()).text


def test_an_address_that_was_encoded_with_its_name(tmp_path: Path) -> None:
    sender = encoded('"Müller, Ann" <ann@example.org>'.encode(), "utf-8")
    document = read(tmp_path, f"Subject: x\nFrom: {sender}\n\nhi\n".encode())
    assert document.text == 'Subject: x\nFrom: "Müller, Ann" <ann@example.org>\n\nhi'
    assert document.metadata["authors"] == ["Müller Ann"]


def test_a_signature_of_numbers_is_no_attachment(tmp_path: Path) -> None:
    mail = (
        "Subject: x\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: text/plain\n\nSigned words.\n"
        "--b\nContent-Type: application/pgp-signature; name=signature.asc\n\n-----BEGIN PGP SIGNATURE-----\niQ\n--b--\n"
    )
    assert read(tmp_path, mail.encode()).text == "Subject: x\n\nSigned words."
