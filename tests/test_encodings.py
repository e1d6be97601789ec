"""Bytes → text: damaged UTF-8, small legacy files, declared and preferred encodings, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from langbert.documents import read_document
from langbert.documents.encoding import decode
from langbert.errors import DocumentError

CHINESE = "会议室须提前一天预约，使用后请关闭投影仪和空调。\n"
JAPANESE = "会議室は前日までに予約し、使用後は照明を消してください。\n"
GERMAN = "Die Schlüssel für das Büro hängen am Empfang – bitte zurückbringen.\n"


@pytest.mark.parametrize(
    ("data", "kept", "lost"),
    [
        (CHINESE.encode() * 20 + b"\xfe" + CHINESE.encode(), 21 * CHINESE.count("投影仪"), 1),
        ((CHINESE * 21).encode()[:-3], 21, 1),  # cut within the last character
        ((CHINESE * 21).encode()[1:], 21, 2),
        (CHINESE.encode() * 21 + "旧系统。".encode("gb18030"), 21, None),
    ],
)
def test_a_few_bad_bytes_leave_utf8_what_it_is(tmp_path: Path, data: bytes, kept: int, lost: int | None) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    document = read_document(tmp_path / "a.txt")
    assert document.text.count("投影仪") == kept
    assert lost is None or document.text.count("\ufffd") == lost
    assert "could not be read as utf-8" in document.metadata["remarks"]


@pytest.mark.parametrize(("text", "encoding"), [(CHINESE, "gb18030"), (JAPANESE, "cp932"), (JAPANESE, "euc_jp")])
def test_a_damaged_double_byte_text_keeps_its_encoding(text: str, encoding: str) -> None:
    data = (text * 20).encode(encoding)
    assert decode(data + b"\xff\n" + data).count(text) == 40
    assert decode(data[:-2]).count(text) == 19


@pytest.mark.parametrize(
    "sign", ["Keep below 8 °C.", "£25 deposit", "¾ full", "See §7.", "±3 mm", "© 2020", "10 µm", "Pipe: Ø 80"]
)
@pytest.mark.parametrize("lines", [0, 1, 12])
def test_english_with_one_sign_is_windows_1252(sign: str, lines: int) -> None:
    text = "Lift trucks are inspected before every shift by the driver.\n" * lines + sign + "\n"
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        ("會議室須提前一天預約，使用後請關閉投影機和空調。", "big5"),
        (JAPANESE, "cp932"),
        ("회의실은 하루 전에 예약하고 사용 후에는 조명을 꺼 주십시오.", "cp949"),
        ("Переговорную комнату бронируют за день до встречи.", "cp866"),
        ("Переговорную комнату бронируют за день до встречи.", "koi8-r"),
        ("Переговорную комнату бронируют за день до встречи.", "cp1251"),
        ("Zasedací místnost si rezervujte den předem, klíč je na vrátnici.", "cp1250"),
        ("Zasedací místnost si rezervujte den předem, klíč je na vrátnici.", "iso8859-2"),
        ("Café meeting", "cp1252"),
        ("Les congés payés s’élèvent à 25 jours.", "cp1252"),
        ("Le système coûte 12 € ; l’été, c’est « différent ».", "mac-roman"),
        ("El año próximo habrá más plazas.", "cp1252"),
        ("Η αίθουσα πρέπει να κρατηθεί μία ημέρα νωρίτερα.", "cp1253"),
        ("Toplantı odası bir gün önceden ayrılmalı, ışıklar söndürülmelidir.", "cp1254"),
        ("Lütfen değerin doğru olduğundan emin olun.", "cp1254"),
        ("Šis slaptažodis yra per trumpas, įveskite naują.", "cp1257"),
        ("Atslēga ir pie sētnieka, lūdzu paņemiet to šodien.", "cp1257"),
        ("Vinsamlegast lokið glugganum þegar fundi er lokið.", "cp1252"),
        ("café £10", "cp1252"),
    ],
)
def test_small_files_are_told_apart(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    document = read_document(tmp_path / "a.txt")
    assert document.text == text
    assert "which was guessed" in document.metadata["remarks"]


def test_iso_2022_jp_is_no_ascii() -> None:
    assert decode(JAPANESE.encode("iso2022_jp")) == JAPANESE


def test_what_a_page_declares_comes_before_the_guess_but_not_before_utf8(tmp_path: Path) -> None:
    page = '<html><head><meta charset="{}"></head><body><p>{}</p></body></html>'
    short = "关机"
    (tmp_path / "a.html").write_bytes(page.format("gbk", short).encode("gbk"))
    assert read_document(tmp_path / "a.html").text == short
    (tmp_path / "b.html").write_bytes(page.format("iso-8859-1", "Größe").encode())
    assert read_document(tmp_path / "b.html").text == "Größe"
    (tmp_path / "c.html").write_bytes(page.format("big5", "機器" * 40).encode("big5") + b"\xff")
    assert "機器" * 40 in read_document(tmp_path / "c.html").text


def test_the_user_names_what_cannot_be_known(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Ł1".encode("cp1250"))
    assert read_document(path, encoding="cp1250").text == "Ł1"
    assert "remarks" not in read_document(path, encoding="cp1250").metadata
    path.write_text("Größe")
    assert read_document(path, encoding="cp1250").text == "Größe"
    with pytest.raises(DocumentError, match="'latin-99' is no encoding"):
        read_document(path, encoding="latin-99")


def test_good_utf8_is_no_remark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(GERMAN)
    assert "remarks" not in read_document(tmp_path / "a.txt").metadata


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [CHINESE, JAPANESE, CHINESE * 500])
def test_chinese_utf_16_needs_no_mark(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        ("Пропуск выдаёт охрана.", "cp1251"),
        ("钥匙在前台。", "gb18030"),
        ("鍵は受付にあります。", "cp932"),
        ("열쇠는 안내 데스크에 있습니다.", "cp949"),
        ("Το κλειδί είναι στη ρεσεψιόν.", "cp1253"),
    ],
)
def test_a_line_in_a_page_of_english_is_read_in_its_own_encoding(line: str, encoding: str) -> None:
    english = "Lift trucks are inspected before every shift by the driver. " * 20
    for text in (f"{english}\n{line}\n{english}", f"{english}{line} {english}"):
        assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Öffnen Sie die Tür erst, wenn die Säge völlig steht.", "mac-roman"),
        ("La clé est déposée à l'accueil dès la fin de la journée.", "cp850"),
    ],
)
def test_signs_within_words_are_letters_of_another_code_page(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_a_few_letters_are_read_as_the_files_beside_them(tmp_path: Path) -> None:
    for name, text in {
        "a": "Anahtarı girişte bırakın, çıkışta ışığı söndürün, teşekkürler.",
        "b": "Giriş şifresi 4",
    }.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode("cp1254"))
    assert read_document(tmp_path / "b.txt").text == "Giriş şifresi 4"
    french = "Prière de déposer la clé à l’accueil dès la fin de la journée."
    (tmp_path / "c.txt").write_bytes(french.encode("cp1252"))
    assert read_document(tmp_path / "c.txt").text == french
