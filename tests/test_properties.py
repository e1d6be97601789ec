"""What files say of themselves: titles, authors, days and languages in one form, whatever the format."""

from __future__ import annotations

import io
import textwrap
import zipfile
from datetime import datetime, timezone
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from store_tools import HashEmbedder

from langbert import Store, sync
from langbert.documents import read_document
from langbert.documents.header_block import front_matter, header_block
from langbert.documents.properties import authors_in, date_in, properties

KEYS = ("title", "authors", "created", "modified", "language")


def said(file: Path) -> dict[str, Any]:
    metadata = read_document(file).metadata
    return {key: metadata[key] for key in KEYS if key in metadata and (key != "modified" or "modified" in metadata)}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return folder / name


def test_a_pep_says_what_its_header_says(documents_folder: Path) -> None:
    document = read_document(documents_folder / "pep-0008.rst")
    metadata = document.metadata
    assert metadata["title"] == "PEP 8 – Style Guide for Python Code"
    assert metadata["authors"][:2] == ["Guido van Rossum", "Barry Warsaw"]
    assert (metadata["created"], metadata["status"], metadata["type"]) == ("2001-07-05", "Active", "Process")
    assert document.text.startswith("PEP: 8")


def test_every_pep_has_its_authors_and_its_day(documents_folder: Path) -> None:
    for file in sorted(documents_folder.glob("*.rst")):
        metadata = read_document(file).metadata
        assert metadata["authors"], file.name
        assert all(" " in author or author == "Aahz" for author in metadata["authors"]), (
            file.name,
            metadata["authors"],
        )
        assert metadata["created"][:2] in ("19", "20"), file.name
        assert metadata["status"], file.name


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Title: The Lease\nAuthor: Ann Lee <ann@example.org>,\n  Bob Ray\nDate: 5 March 2024\nRef-No: 007\n\nText.",
            {"title": "The Lease", "authors": ["Ann Lee", "Bob Ray"], "created": "2024-03-05", "ref_no": "007"},
        ),
        (
            "标题：租赁合同\n作者：王小明、李华\n日期：2024年3月5日\n编号：七\n\n正文。",
            {"title": "租赁合同", "authors": ["王小明", "李华"], "created": "2024-03-05", "编号": "七"},
        ),
    ],
)
def test_a_header_block_at_the_top_is_metadata_and_stays_in_the_text(
    tmp_path: Path, name: str, text: str, expected: dict[str, Any]
) -> None:
    document = read_document(written(tmp_path, name, text))
    assert document.text == text
    assert {key: document.metadata.get(key) for key in expected} == expected
    assert document.headings[0].text == expected["title"]


@pytest.mark.parametrize(
    "text",
    [
        "Note: this is no header.\nWarning: nor is this.\n\nText.",
        "Title: alone\n\nText.",
        "Title: one\nthen a line of text\nAuthor: Ann\n",
        "He said: go.\n",
        "注意：这不是标题。\n",
    ],
)
def test_what_only_looks_like_a_header_is_text(text: str) -> None:
    assert header_block(text) == ("", {})


def test_front_matter(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "post.md",
        """
        ---
        title: "河流 Rivers"
        author:
          - name: 王小明
          - Ann Lee
        date: 2024-03-05
        lastmod: 2024-03-06T12:00:00+02:00
        lang: zh_CN
        tags: [water, 水]
        draft: false
        weight: 3
        nested: {a: 1}
        path: /etc/passwd
        ---
        # Rivers

        Text.
        """,
    )
    metadata = read_document(file).metadata
    assert said(file) == {
        "title": "河流 Rivers",
        "authors": ["王小明", "Ann Lee"],
        "created": "2024-03-05",
        "modified": "2024-03-06T10:00:00+00:00",
        "language": "zh-cn",
    }
    assert (metadata["tags"], metadata["draft"], metadata["weight"]) == (["water", "水"], False, 3)
    assert "nested" not in metadata
    assert metadata["path"] == str(file)


@pytest.mark.parametrize(
    "yaml", ["a: [", "- list", "date: 2024-13-45", "&a [*a]", "!!python/object:os.system {}", "&a {b: *a}"]
)
def test_front_matter_that_cannot_be_understood_is_text(yaml: str) -> None:
    title, metadata = front_matter(f"---\n{yaml}\n---\ntext")
    assert (title, metadata.get("created", "")) == ("", "")


def test_html(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "a.html",
        """
        <html lang="zh-Hans"><head><title>长江</title><meta name="author" content="王小明，李华">
        <meta property="article:published_time" content="2024-03-05T08:00:00+08:00">
        <meta property="article:modified_time" content="2024-03-06"></head><body><p>长江很长。</p></body></html>
        """,
    )
    assert said(file) == {
        "title": "长江",
        "authors": ["王小明", "李华"],
        "created": "2024-03-05T00:00:00+00:00",
        "modified": "2024-03-06",
        "language": "zh-hans",
    }


def test_mail(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "季度报告", "王小明 <wang@example.org>"
    mail["Date"] = "Tue, 05 Mar 2024 10:11:12 +0800"
    mail.set_content("正文。")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    assert (
        said(tmp_path / "a.eml").items()
        >= {
            "title": "季度报告",
            "authors": ["王小明"],
            "created": "2024-03-05T02:11:12+00:00",
        }.items()
    )


def test_word(tmp_path: Path) -> None:
    from docx import Document

    document = Document()
    document.add_paragraph("Text.")
    document.save(str(tmp_path / "plain.docx"))
    assert "authors" not in read_document(tmp_path / "plain.docx").metadata
    core = document.core_properties
    core.title, core.author, core.language = "租赁合同", "Ann Lee; 王小明", "zh-CN"
    core.created = core.modified = datetime(2024, 3, 5, 10, 11, 12, tzinfo=timezone.utc)
    document.save(str(tmp_path / "a.docx"))
    assert said(tmp_path / "a.docx") == {
        "title": "租赁合同",
        "authors": ["Ann Lee", "王小明"],
        "created": "2024-03-05T10:11:12+00:00",
        "modified": "2024-03-05T10:11:12+00:00",
        "language": "zh-cn",
    }


def test_open_document(tmp_path: Path) -> None:
    office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
    meta = (
        f'<o:document-meta xmlns:o="{office}" xmlns:m="urn:oasis:names:tc:opendocument:xmlns:meta:1.0" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><o:meta><dc:title>河</dc:title>'
        "<m:initial-creator>李华</m:initial-creator><dc:creator>Editor</dc:creator>"
        "<m:creation-date>2024-03-05T10:11:12.123456789</m:creation-date><dc:date>2024-03-06T01:02:03</dc:date>"
        "</o:meta></o:document-meta>"
    )
    content = (
        f'<o:document-content xmlns:o="{office}" xmlns:t="urn:oasis:names:tc:opendocument:xmlns:text:1.0">'
        "<o:body><o:text><t:p>长江很长。</t:p></o:text></o:body></o:document-content>"
    )
    with zipfile.ZipFile(tmp_path / "a.odt", "w") as archive:
        archive.writestr("content.xml", content)
        archive.writestr("meta.xml", meta)
    assert said(tmp_path / "a.odt") == {
        "title": "河",
        "authors": ["李华"],
        "created": "2024-03-05T10:11:12",
        "modified": "2024-03-06T01:02:03",
    }


def pdf(info: dict[str, bytes], xmp: str = "") -> bytes:
    """A page with one line, its information dictionary and XMP."""
    stream = b"BT /F1 12 Tf 72 720 Td (A line of text.) Tj ET"
    packet = xmp.encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/Metadata 7 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<<" + b"".join(b"/%s %s" % (name.encode(), value) for name, value in info.items()) + b">>",
        b"<</Type/Metadata/Subtype/XML/Length %d>>stream\n%s\nendstream" % (len(packet), packet),
    ]
    out = io.BytesIO(b"%PDF-1.7\n")
    out.seek(0, io.SEEK_END)
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer<</Size %d/Root 1 0 R/Info 6 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table))
    return out.getvalue()


def test_pdf(tmp_path: Path) -> None:
    hexed = b"<feff" + "王小明".encode("utf-16-be").hex().encode() + b">"
    info = {"Title": b"(A line)", "Author": hexed, "CreationDate": b"(D:20240305101112+01'00')"}
    (tmp_path / "a.pdf").write_bytes(pdf(info))
    assert (
        said(tmp_path / "a.pdf").items()
        >= {
            "title": "A line",
            "authors": ["王小明"],
            "created": "2024-03-05T09:11:12+00:00",
        }.items()
    )


def test_pdf_with_xmp(tmp_path: Path) -> None:
    xmp = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
    <rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmp:ModifyDate="2024-03-06T00:00:00Z"><dc:creator><rdf:Seq><rdf:li>Smith, John</rdf:li>
    <rdf:li>李华</rdf:li></rdf:Seq></dc:creator><dc:language><rdf:Bag><rdf:li>en-GB</rdf:li></rdf:Bag></dc:language></rdf:Description></rdf:RDF>
    </x:xmpmeta>"""
    (tmp_path / "a.pdf").write_bytes(pdf({"Author": b"(Smith, John)"}, xmp))
    assert (
        said(tmp_path / "a.pdf").items()
        >= {
            "authors": ["Smith, John", "李华"],
            "modified": "2024-03-06T00:00:00+00:00",
            "language": "en-gb",
        }.items()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19-Aug-2004", "2004-08-19"),
        ("2024/3/5", "2024-03-05"),
        ("March 5, 2024", "2024-03-05"),
        ("２０２４年３月５日", "2024-03-05"),
        ("2024年3月", "2024-03"),
        ("2024", "2024"),
        ("2024-03-05T10:11:12.5Z", "2024-03-05T10:11:12+00:00"),
        ("04/05/2024", ""),  # of April or of May
        ("1601-01-01T00:00:00Z", ""),
        ("2024-02-31", ""),
        ("soon", ""),
    ],
)
def test_days_in_any_spelling(text: str, expected: str) -> None:
    assert date_in(text) == expected


@given(st.text(max_size=300))
@example("2024-00-00")
@example("D:99999999999999+99'99'")
@example("0 Jan 2024 99:99:99 +9999")
def test_nothing_that_is_said_can_do_harm(text: str) -> None:
    told = properties(authors=[text], created=text, modified=text, language=text)
    assert all(name.strip() == name and name for name in told.get("authors", ()))
    assert date_in(text) == "" or date_in(text)[:2] in ("19", "20", "21")
    header_block(text)
    front_matter(f"---\n{text}\n---\n")
    assert authors_in(text) == authors_in(text)


def test_they_can_be_filtered_by(documents_folder: Path) -> None:
    with Store.open(None, embedder=HashEmbedder()) as store:
        sync(sorted(documents_folder.glob("pep-00*.rst")), store)
        found = store.search("style", where={"created": {"$lt": "2001-07-01"}}, repeats=True)
        assert {hit.chunk.source for hit in found} == {"pep-0001.rst"}
        found = store.search("style", where={"authors": {"$contains": "Tim Peters"}})
        assert {hit.chunk.source for hit in found} == {"pep-0020.rst"}
