"""Files that were made to do harm, or broken on their way: read, or refused with the reason, and nothing else."""

from __future__ import annotations

import random
import struct
import time
import zlib
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from small_files import HTML, ODT, SHEET, book, broken, small_files, unzipped, word, zipped

from langbert.documents import read_document
from langbert.errors import DocumentError

DEEP = 20_000
DISTANT = "the innermost words 最里面的话"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_or_reason(path: Path) -> tuple[str, str]:
    """The text, or why there is none."""
    try:
        return read_document(path).text, ""
    except DocumentError as error:
        return "", str(error)


# Small files that become large ones


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"word/document.xml": "0" * (40 << 20), "content.xml": "0" * (40 << 20)}, id="one part"),
        pytest.param({f"word/{i}.xml": "0" * (4 << 20) for i in range(10)}, id="ten parts"),
    ],
)
def test_a_docx_that_unpacks_without_end_is_refused(tmp_path: Path, content: dict[str, str | bytes]) -> None:
    path = write(tmp_path, "bomb.docx", zipped({**unzipped(word()), **content}))
    with pytest.raises(DocumentError, match=r"bomb\.docx: its [\d,]+ bytes unfold to more than .*, like a zip bomb"):
        read_document(path)


@pytest.mark.parametrize("part", ["content.xml", "ppt/presentation.xml", "META-INF/container.xml"])
def test_one_part_that_unpacks_without_end_is_refused(tmp_path: Path, part: str) -> None:
    suffix = {"content.xml": ".odt", "ppt/presentation.xml": ".pptx"}.get(part, ".epub")
    path = write(tmp_path, f"bomb{suffix}", zipped({part: "0" * (40 << 20)}))
    with pytest.raises(DocumentError, match="like a zip bomb"):
        read_document(path)


def test_parts_that_lie_over_each_other_count_each(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = b"0" * (1 << 20)
    packed = packer.compress(content) + packer.flush()
    name, crc = b"word/document.xml", zlib.crc32(content)
    sizes = (crc, len(packed), len(content), len(name))
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0, 0) + name
    file = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, *sizes, 0) + name + packed
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1000, 1000, 1000 * len(entry), len(file), 0)
    with pytest.raises(DocumentError, match="like a zip bomb"):
        read_document(write(tmp_path, "overlap.docx", file + entry * 1000 + end))


def test_a_mail_survives_a_bomb_and_many_small_ones_count_together(tmp_path: Path) -> None:
    from email.message import EmailMessage

    def mail(attachment: bytes, times: int) -> Path:
        message = EmailMessage()
        message["Subject"] = "files"
        message.set_content("see the files")
        for number in range(times):
            message.add_attachment(attachment, maintype="application", subtype="zip", filename=f"{number}.odt")
        return write(tmp_path, "a.eml", message.as_bytes())

    document = read_document(mail(zipped({"content.xml": "0" * (40 << 20)}), 1))
    assert "see the files" in document.text
    assert "attachment 0.odt: its" in document.metadata["remarks"]
    small = zipped({"content.xml": ODT.replace("opens at six", "opens at six " * 200_000)})  # 3 MB, allowed by itself
    assert "remarks" not in read_document(mail(small, 1)).metadata
    with pytest.raises(DocumentError, match="like a zip bomb"):
        read_document(mail(small, 30))


def test_what_a_file_unfolds_to_is_the_callers_to_say(tmp_path: Path) -> None:
    many = "<text:p>" + "opens " * 600_000 + "</text:p>"
    path = write(tmp_path, "a.odt", zipped({"content.xml": ODT.replace("<text:list>", many * 5 + "<text:list>")}))
    with pytest.raises(DocumentError, match="if you trust it, raise max_unfolded"):
        read_document(path)
    assert read_document(path, max_unfolded=1 << 30).text.count("opens") == 3_000_001
    with pytest.raises(DocumentError, match="unfold to more than 1,000"):
        read_document(path, max_unfolded=1000)


_ROW = '<table:table-row table:number-rows-repeated="1000"><table:table-cell table:number-columns-repeated="1000">'
_ROW += "<text:p>a cell of some words</text:p></table:table-cell></table:table-row>"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cells.odt", zipped({"content.xml": ODT.replace("<table:table>", "<table:table>" + _ROW)})),
        ("cells.html", "<table>" + "<tr><td colspan=1000 rowspan=1000>a cell of some words<td>b" * 3000),
        ("names.html", f"<table><tr><th>a<th>{'name ' * 1000}" + "<tr><td>1<td>2" * 20_000),
        ("names.csv", f"a,{'name ' * 1000}\n" + "x,y\n" * 20_000),
        ("names.md", f"| a | {'name ' * 1000} |\n|---|---|\n" + "| x | y |\n" * 20_000),
    ],
)  # fmt: skip
def test_tables_do_not_become_more_than_a_file_may(tmp_path: Path, name: str, content: str | bytes) -> None:
    text, refused = read_or_reason(write(tmp_path, name, content))
    assert "unfold to more than" in refused or len(text) <= 32 << 20


def test_a_chapter_named_a_thousand_times_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.epub", book(spine='<itemref idref="a"/>' * 1000))
    assert read_document(path).text.count("Opening hours") == 1


def test_text_boxes_within_each_other_are_read_once(tmp_path: Path) -> None:
    paragraph = f"<w:p><w:r><w:t>{DISTANT}</w:t></w:r></w:p>"
    for _ in range(40):  # each of them twice as often as the one around it would be 10^12 times
        paragraph = f"<w:p><w:r><w:pict><w:txbxContent>{paragraph}</w:txbxContent></w:pict></w:r></w:p>"
    document = docx.Document()
    document.element.body.insert(0, parse_xml(paragraph.replace("<w:p>", f"<w:p {nsdecls('w')}>", 1)))
    document.save(str(tmp_path / "a.docx"))
    assert read_document(tmp_path / "a.docx").text == DISTANT


def test_entities_are_neither_fetched_nor_multiplied(tmp_path: Path) -> None:
    secret = write(tmp_path, "secret.txt", "SECRET")
    bomb = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    declared = f'<!DOCTYPE x [<!ENTITY e0 "lol">{bomb}<!ENTITY s SYSTEM "{secret.as_uri()}">]>'
    parts = unzipped(word())
    body = parts["word/document.xml"].decode().replace("opens", "opens &s; &e9;")  # type: ignore[union-attr]
    files = {
        "a.odt": zipped({"content.xml": declared + ODT.replace("opens", "opens &s; &e9;")}),
        "a.docx": zipped({**parts, "word/document.xml": body.replace("<w:document", declared + "<w:document", 1)}),
        "a.epub": book(chapter=declared + HTML.replace("<!DOCTYPE html>", "").replace("opens", "opens &s; &e9;")),
    }
    for name, data in files.items():
        text, _ = read_or_reason(write(tmp_path, name, data))
        assert "SECRET" not in text
        assert len(text) < 1000


# Nesting


@pytest.mark.parametrize("tag", ["div", "span", "ul><li", "table><tr><td", "aside", "blockquote", "b", "article"])
@pytest.mark.parametrize("closed", [True, False])
def test_words_in_twenty_thousand_elements_are_read(tmp_path: Path, tag: str, closed: bool) -> None:
    end = "".join(f"</{name}>" for name in reversed(tag.split("><"))) * DEEP if closed else ""
    document = read_document(write(tmp_path, "a.html", f"<p>first</p>{f'<{tag}>' * DEEP}{DISTANT}{end}<p>last</p>"))
    assert [word in document.text for word in ("first", DISTANT, "last")] == [True, True, True]
    assert "nests deeper" in document.metadata["remarks"]


def test_attributes_without_end_cost_no_square_of_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(f"<p {' '.join(f'a{i}=1' for i in range(300_000))}>words</p>")
    started = time.process_time()
    assert read_document(tmp_path / "a.html").text == "words"
    assert time.process_time() - started < 20  # compared each with each, they take minutes


def test_a_page_that_nests_as_pages_do_keeps_its_structure(tmp_path: Path) -> None:
    page = "<div>" * 150 + "<h2>Hours</h2><ul><li>six<li>seven</ul>" + "</div>" * 150
    document = read_document(write(tmp_path, "a.html", page))
    assert document.text == "Hours\n\n- six\n- seven"
    assert "remarks" not in document.metadata


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.odt", zipped({"content.xml": ODT.replace("The depot", "<text:span>" * 300 + "x" + "</text:span>" * 300)})),
        ("a.ipynb", '{"cells": ' + "[" * DEEP + "]" * DEEP + "}"),
        ("a.eml", "Subject: x\n" + "Content-Type: message/rfc822\n\nSubject: y\n" * 2000 + "\nwords\n"),
    ],
)
def test_what_nests_too_deep_says_so(tmp_path: Path, name: str, content: str | bytes) -> None:
    with pytest.raises(DocumentError, match=rf"{name}: .*nests (deeper|more than)"):
        read_document(write(tmp_path, name, content))


# Broken ones


@pytest.mark.parametrize(
    "part", ["_rels/.rels", "[Content_Types].xml", "word/document.xml", "word/_rels/document.xml.rels"]
)
def test_a_docx_without_a_part_names_itself_and_the_way_out(tmp_path: Path, part: str) -> None:
    parts = unzipped(word())
    del parts[part]
    path = write(tmp_path, "contract.docx", zipped(parts))
    text, refused = read_or_reason(path)
    assert "opens at six" in text or refused.startswith(f"{path}: the file is broken")


@pytest.mark.parametrize("content", ["<a/>", "", '<w:document xmlns:w="urn:other"/>'])
def test_a_docx_without_a_body_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, "a.docx", zipped({**unzipped(word()), "word/document.xml": content}))
    with pytest.raises(DocumentError, match=r"a\.docx: the file is broken"):
        read_document(path)


def test_a_damaged_page_costs_itself_only(tmp_path: Path) -> None:
    data = small_files()[".pdf"]
    at = data.index(b"/Type /Page") if b"/Type /Page" in data else data.index(b"/Type/Page")
    looping = data.replace(b"/Count 2", b"/Count 9", 1)
    for content in (data[:at] + b"/Type /Nope" + data[at + 11 :], looping):
        assert any(read_or_reason(write(tmp_path, "a.pdf", content)))


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-3", "0x10", "٣", ""])
def test_numbers_that_are_none_do_no_harm(tmp_path: Path, value: str) -> None:
    cells = f'<table><tr><td colspan="{value}">six<td rowspan="{value}">seven</table><ol start="{value}"><li>one</ol>'
    assert "seven" in read_document(write(tmp_path, "a.html", cells)).text
    columns = ODT.replace('columns-repeated="3"', f'columns-repeated="{value}"').replace('c="2"', f'c="{value}"')
    assert "six" in read_document(write(tmp_path, "a.odt", zipped({"content.xml": columns}))).text
    parts = unzipped(word())
    body = parts["word/document.xml"].decode()  # type: ignore[union-attr]
    assert "<w:tcPr>" in body
    parts["word/document.xml"] = body.replace("<w:tcPr>", f'<w:tcPr><w:gridSpan w:val="{value}"/>')
    assert "Monday" in read_document(write(tmp_path, "a.docx", zipped(parts))).text


def test_a_row_repeated_without_end_is_refused(tmp_path: Path) -> None:
    parts = unzipped(small_files()[".ods"])
    for number in ("1000000000", "9" * 5000, "-1"):
        content = SHEET.replace('rows-repeated="3"', f'rows-repeated="{number}"')
        with pytest.raises(DocumentError, match="over the limit of 20,000,000 cells"):
            read_document(write(tmp_path, "a.ods", zipped({**parts, "content.xml": content})))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_old_spreadsheet_whose_sectors_lead_in_a_circle_is_refused(tmp_path: Path, at: int) -> None:
    data = bytearray(small_files()[".xls"])
    table = 512 * (1 + int.from_bytes(data[76:80], "little"))
    first = next(n for n in range(at, 128) if int.from_bytes(data[table + 4 * n :][:4], "little") < 128)
    data[table + 4 * first : table + 4 * first + 4] = first.to_bytes(4, "little")
    with pytest.raises(DocumentError, match="in a circle"):
        read_document(write(tmp_path, "a.xls", bytes(data)))


def test_an_old_spreadsheet_with_a_part_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(small_files()[".xls"])
    entry = data.index("Root Entry".encode("utf-16-le"))
    data[entry + 120 : entry + 124] = b"\xff\xff\xff\x7f"
    with pytest.raises(DocumentError, match="longer than the file"):
        read_document(write(tmp_path, "a.xls", bytes(data)))


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(r"{\fonttbl" + r"{\f0\fnil\fcharset134 SimS<9" * 5_000, id="fonts that do not end"),
        pytest.param(r"{\field{\*\fldinst{HYPERLINK " + '"a" HYPERLINK ' * 5_000, id="a link of links"),
    ],
)
def test_rich_text_that_repeats_its_beginnings_is_read_in_one_go(tmp_path: Path, again: str) -> None:
    path = write(tmp_path, "a.rtf", r"{\rtf1\ansi the words before " + again)
    assert read_document(path).text == "the words before"


def _read_or_refused(path: Path, data: bytes, seed: int) -> bool:
    """Whether it was read."""
    path.write_bytes(broken(data, random.Random(seed)))
    try:
        text, refused = read_or_reason(path)
    except Exception as error:
        raise AssertionError(f"seed {seed}") from error
    assert text or refused.startswith(f"{path}: "), seed
    assert "cannot be parsed as" not in refused, f"seed {seed}: {refused}"  # a reason, not the name of an exception
    return bool(text)


@pytest.mark.parametrize("suffix", list(small_files()))
def test_broken_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    for seed in range(30):
        _read_or_refused(tmp_path / f"a{suffix}", small_files()[suffix], seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("suffix", list(small_files()))
def test_two_thousand_broken_files_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    data = small_files()[suffix]
    read = sum(_read_or_refused(tmp_path / f"a{suffix}", data, seed) for seed in range(2000))
    assert 0 < read < 2000
