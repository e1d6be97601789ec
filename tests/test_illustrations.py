"""The pictures of Word, OpenDocument and PowerPoint files, books, web pages and notebooks: found where they are shown,
bound to the words that are their captions; and what strangers put in their place."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path

import docx
import pytest
from small_files import HTML, book, unzipped, word, zipped
from store_tools import HashEmbedder, LineChunker

from langbert import Document, Store
from langbert.documents import Cutting, Picture, Workers, figures, read_document
from langbert.documents.captions import Cut
from langbert.documents.reader import parse_as

Image = pytest.importorskip("PIL.Image")

RED, BLUE, GREEN = (220, 20, 20), (20, 20, 220), (20, 220, 20)
_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_MAIN = "http://schemas.openxmlformats.org"


def picture(colour: tuple[int, int, int], form: str = "PNG", size: tuple[int, int] = (160, 120)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, form)
    return out.getvalue()


def inline(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shown(file: Path) -> list[Picture]:
    """The figures of a file, whose captions are characters of its text, as a worker would cut them out."""
    document = read_document(file, ocr=False)
    found = figures(file.read_bytes(), document)
    assert all(document.text[one.start : one.end] == one.caption for one in found)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    job = Cutting.of(replace(document, metadata={**document.metadata, "sha256": digest}))
    cut = Cut() if job is None else job.done()
    assert Cut.from_json(json.loads(json.dumps(cut.to_json()))) == Cut(tuple(found))
    return found


def colour(one: Picture) -> tuple[int, int, int]:
    with Image.open(io.BytesIO(one.png)) as opened:
        return opened.convert("RGB").getpixel((opened.width // 2, opened.height // 2))


def written(tmp_path: Path, name: str, content: bytes | str) -> Path:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def report(above: bool = False) -> docx.document.Document:
    """A Word file with a picture and a caption of Word's, one whose caption is a plain line, and one that only its
    alternative text tells of; a table of pictures; an icon."""
    made = docx.Document()
    made.add_paragraph("Of bees and rivers.")
    captions = [("Figure 1 Honey gathered by month", "Caption"), ("图 2 河流穿过山谷", "Normal")]
    for (caption, style), look in zip(captions, (RED, BLUE), strict=True):
        if above:
            made.add_paragraph(caption, style=style)
        made.add_picture(io.BytesIO(picture(look, "JPEG")))
        if not above:
            made.add_paragraph(caption, style=style)
    made.add_paragraph("Prose between the two.")
    made.add_picture(io.BytesIO(picture(GREEN, "GIF")))
    made.inline_shapes[2]._inline.docPr.set("descr", "A wood in spring 春天的树林")
    made.add_paragraph("Table 1: what follows is no caption of the wood.", style="Caption")
    made.add_picture(io.BytesIO(picture(RED, size=(16, 16))))
    return made


@pytest.mark.parametrize("above", [False, True])
def test_word(tmp_path: Path, above: bool) -> None:
    report(above).save(str(tmp_path / "a.docx"))
    red, blue, green = shown(tmp_path / "a.docx")
    assert red.caption == "Figure 1 Honey gathered by month"
    assert blue.caption == "图 2 河流穿过山谷"
    assert green.caption == "A wood in spring 春天的树林"
    assert [max(range(3), key=colour(one).__getitem__) for one in (red, blue, green)] == [0, 2, 1]


def test_word_in_cells_and_each_once(tmp_path: Path) -> None:
    made = docx.Document()
    made.sections[0].header.paragraphs[0].add_run().add_picture(io.BytesIO(picture(GREEN)))  # a logo
    made.add_paragraph("Before.")
    cells = made.add_table(1, 2).rows[0].cells
    cells[0].paragraphs[0].add_run().add_picture(io.BytesIO(picture(RED)))
    cells[0].paragraphs[0]._p.xpath(".//wp:docPr")[0].set("descr", "ready")
    cells[1].text = "Valve"
    made.add_paragraph("Fig. 1. A valve that is ready")
    made.add_picture(io.BytesIO(picture(RED)))
    made.save(str(tmp_path / "a.docx"))
    (one,) = shown(tmp_path / "a.docx")
    assert one.caption == "Fig. 1. A valve that is ready"
    assert read_document(tmp_path / "a.docx").text.startswith("Before.\n\nready | Valve\n")


def test_pictures_without_any_words_stand_where_they_are_shown(tmp_path: Path) -> None:
    made = docx.Document()
    made.add_picture(io.BytesIO(picture(RED)))
    made.add_paragraph("One paragraph.")
    made.add_picture(io.BytesIO(picture(BLUE)))
    made.inline_shapes[1]._inline.docPr.set("descr", "IMG_0042.JPG")  # tells nothing
    made.add_paragraph("Another.")
    made.save(str(tmp_path / "a.docx"))
    red, blue = shown(tmp_path / "a.docx")
    text = read_document(tmp_path / "a.docx").text
    assert text == "One paragraph.\n\nAnother."
    assert (red.start, red.end, text[blue.start : blue.start + 1], blue.caption) == (0, 0, ".", "")


def slides(*shapes: str, images: dict[str, bytes]) -> bytes:
    names = f'xmlns:a="{_MAIN}/drawingml/2006/main" xmlns:p="{_MAIN}/presentationml/2006/main"'
    names += f' xmlns:r="{_MAIN}/officeDocument/2006/relationships"'
    relation = '<Relationship Id="{}" Type="x/{}" Target="{}"/>'
    around = f'<Relationships xmlns="{_MAIN}/package/2006/relationships">{{}}</Relationships>'
    parts: dict[str, str | bytes] = {
        "ppt/presentation.xml": f"<p:presentation {names}><p:sldIdLst>"
        + "".join(f'<p:sldId r:id="r{i}"/>' for i in range(len(shapes)))
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": around.format(
            "".join(relation.format(f"r{i}", "slide", f"slides/s{i}.xml") for i in range(len(shapes)))
        ),
        **{f"ppt/media/{name}": data for name, data in images.items()},
    }
    media = "".join(relation.format(name.partition(".")[0], "image", f"../media/{name}") for name in images)
    for i, shape in enumerate(shapes):
        parts[f"ppt/slides/s{i}.xml"] = f"<p:sld {names}><p:cSld><p:spTree>{shape}</p:spTree></p:cSld></p:sld>"
        parts[f"ppt/slides/_rels/s{i}.xml.rels"] = around.format(media)
    return zipped(parts)


def pic(name: str, about: str = "") -> str:
    return f'<p:pic><p:nvPicPr><p:cNvPr id="1" {about}/></p:nvPicPr><a:blip r:embed="{name}"/></p:pic>'


def line(text: str) -> str:
    return f"<p:sp><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"


def test_slides(tmp_path: Path) -> None:
    images = {"red.png": picture(RED), "blue.jpg": picture(BLUE, "JPEG"), "green.bmp": picture(GREEN, "BMP")}
    first = line("Bees 蜜蜂") + pic("red", 'descr="采蜜的蜜蜂"')
    last = pic("green") + line("Figure 3: A wood") + pic("red", 'descr="采蜜的蜜蜂"')
    red, blue, green = shown(written(tmp_path, "a.pptx", slides(first, pic("blue"), last, images=images)))
    assert (red.caption, red.page) == ("采蜜的蜜蜂", 1)
    assert (blue.caption, blue.page) == ("", 2)  # a slide of a picture and nothing else
    assert (green.caption, green.page) == ("Figure 3: A wood", 3)


def odt(body: str, images: dict[str, bytes]) -> bytes:
    spaces = " ".join(f'xmlns:{name}="{_ODF}:{space}:1.0"' for name, space in (
        ("office", "office"), ("text", "text"), ("draw", "drawing"), ("svg", "svg-compatible"), ("table", "table")
    ))  # fmt: skip
    content = (
        f'<office:document-content {spaces} xmlns:xlink="http://www.w3.org/1999/xlink"><office:body><office:text>'
        f"{body}</office:text></office:body></office:document-content>"
    )
    return zipped({"content.xml": content, **{f"Pictures/{name}": data for name, data in images.items()}})


def test_opendocument(tmp_path: Path) -> None:
    frame = '<draw:frame><draw:image xlink:href="Pictures/{}"/>{}</draw:frame>'
    about = "<svg:title>River</svg:title><svg:desc>山谷里的河</svg:desc>"
    boxed = frame.format("red.png", "") + "Figure 1: Honey by month"
    body = (
        f"<text:p>Prose.<draw:frame><draw:text-box><text:p>{boxed}</text:p></draw:text-box></draw:frame></text:p>"
        f"<text:p>More prose. {frame.format('blue.png', about)}</text:p>"
        f"<text:p/>{frame.format('green.png', '')}<text:p>图 3：春天的树林</text:p>"
        f"<text:list><text:list-item><text:p>{frame.format('gone.png', '')}item</text:p></text:list-item></text:list>"
    )
    images = {"red.png": picture(RED), "blue.png": picture(BLUE), "green.png": picture(GREEN)}
    file = written(tmp_path, "a.odt", odt(body, images))
    assert [one.caption for one in shown(file)] == ["Figure 1: Honey by month", "山谷里的河", "图 3：春天的树林"]
    assert read_document(file).text.startswith(
        "Prose.\n\nFigure 1: Honey by month\n\nMore prose.\n\n山谷里的河\n\n图 3"
    )


PAGE = """<html><body><main><h1>Of bees</h1><p>{words}</p>
<figure><img src="img/a%20b.png?v=2" alt="bars"><figcaption><p>Honey, by month 按月份的蜂蜜</p></figcaption></figure>
<p>Press <img src="img/gear.png" alt="gear" width=16 height=16> here,
or <img src="img/c.webp" alt="the wheel"> there.</p>
<p><img src="{river}" alt="A river in a valley"></p>
<div class="wp-caption"><img src="thumb.gif" data-src="img/d.gif"><p class="wp-caption-text">A wood in spring</p></div>
<table><tr><th>Part<th>Look<tr><td>Valve<td><img src="img/e.png" alt="round"></table>
<p><img src="https://example.org/logo.png" alt="The mill at night"></p><p><img src="img/none.png" alt="IMG_1.png"></p>
</main></body></html>"""


def page(tmp_path: Path, river: bytes = b"") -> Path:
    for name, look, form in (
        ("a b.png", RED, "PNG"),
        ("c.webp", BLUE, "WEBP"),
        ("d.gif", GREEN, "GIF"),
        ("e.png", RED, "PNG"),
    ):
        written(tmp_path, f"img/{name}", picture(look, form))
    text = PAGE.format(words="Words about bees and what they do all year. " * 9, river=inline(river or picture(BLUE)))
    return written(tmp_path, "a.html", text)


def test_web_page(tmp_path: Path) -> None:
    file = page(tmp_path)
    found = {one.id.partition(":")[2][:10]: one.caption for one in shown(file)}
    text = read_document(file).text
    assert list(found) == [
        "img/a b.pn",
        "img/c.webp",
        next(name for name in found if name.startswith("data:")),
        "img/d.gif",
        "img/e.png",
    ]
    assert [*found.values()][:4] == ["Honey, by month 按月份的蜂蜜", "", "A river in a valley", "A wood in spring"]
    assert "bars\n\nHoney, by month" in text  # a listener hears both
    assert "Press here, or there." in text  # icons among words say nothing
    assert "Valve | Look: round" in text
    assert "The mill at night" in text  # it cannot be had, but what is said of it can
    assert "IMG_1" not in text


def test_nothing_outside_of_the_folder_of_the_page_is_read(tmp_path: Path) -> None:
    written(tmp_path, "secret.png", picture(RED))
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "folder.png").mkdir()
    secret = (tmp_path / "secret.png").as_posix()
    ways = [
        "../secret.png",
        "%2e%2e/secret.png",
        secret,
        f"file://{secret}",
        "link.png",
        "folder.png",
        "img/../../secret.png",
    ]
    ways += [
        "..\\secret.png",
        "//host/secret.png",
        "http://127.0.0.1:9/secret.png",
        "x:secret.png",
        "http://[",
        "%00.png",
    ]
    images = "".join(f'<p><img src="{way}"></p>' for way in ways)
    assert shown(written(tmp_path, "site/a.html", f"<html><body><p>Words.</p>{images}</body></html>")) == []
    assert (
        len(shown(written(tmp_path, "a.html", '<html><body><p>Words.</p><img src="site/../secret.png"></body></html>')))
        == 1
    )


def test_book(tmp_path: Path) -> None:
    chapter = HTML.replace(
        "</main>", '<figure><img src="../art/red.png"/><figcaption>The depot 仓库</figcaption></figure></main>'
    )
    data = book(chapter.replace("<main>", '<main><img src="a.xhtml"><img src="../../../etc/passwd">'))
    parts = {**unzipped(data), "art/red.png": picture(RED)}
    (one,) = shown(written(tmp_path, "a.epub", zipped(parts)))
    assert (one.caption, one.id.partition(":")[2]) == ("The depot 仓库", "art/red.png")


def test_notebook(tmp_path: Path) -> None:
    plot = {
        "output_type": "display_data",
        "data": {"image/png": base64.b64encode(picture(RED)).decode(), "text/plain": ["x"]},
    }
    cells = [
        {"cell_type": "markdown", "source": ["# Honey\n", "a year"]},
        {
            "cell_type": "code",
            "source": "plot(honey)",
            "outputs": [{"output_type": "stream", "text": ["1"]}, plot, None, {"data": 3}, {"data": {"image/png": 3}}],
        },
        {"cell_type": "markdown", "source": "图 1 按月份的蜂蜜"},
        {"cell_type": "code", "source": "plot(wax)", "outputs": [{**plot, "data": {"image/svg+xml": "<svg/>"}}]},
    ]
    file = written(tmp_path, "a.ipynb", json.dumps({"cells": cells}))
    assert [one.caption for one in shown(file)] == ["图 1 按月份的蜂蜜"]
    assert read_document(file).text == "# Honey\na year\n\nplot(honey)\n\n1\n\n图 1 按月份的蜂蜜\n\nplot(wax)"


def test_a_notebook_of_many_pictures_is_read_in_one_go() -> None:
    cell = {"cell_type": "code", "source": "plot()", "outputs": [{"data": {"image/png": "x"}}]}
    began = time.process_time()
    assert len(parse_as(json.dumps({"cells": [cell] * 20_000}).encode(), "a.ipynb").illustrations) == 1000
    assert time.process_time() - began < 10


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def declared(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + rows


HOSTILE = {
    "cut off": picture(RED)[:200],
    "60000 x 60000": declared(60_000, 60_000),
    "12000 x 12000": declared(12_000, 12_000),
    "nothing": b"",
    "a drawing with a script": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n%%EndComments\n(secret) run\n",
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "a text of a gigabyte": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 200, 200, 8, 2, 0, 0, 0))
    + chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * (80 << 20)))
    + chunk(b"IEND", b""),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_left_out_and_the_others_stay(tmp_path: Path, name: str) -> None:
    images = {"bad.png": HOSTILE[name], "good.png": picture(BLUE)}
    file = written(tmp_path, "a.pptx", slides(line("Bees") + pic("bad") + pic("good"), images=images))
    assert [one.id.rpartition("/")[2] for one in shown(file)] == ["good.png"]
    body = f'<p>Bees.</p><img src="{inline(HOSTILE[name])}"><p>and</p><img src="{inline(picture(BLUE))}">'
    assert len(shown(written(tmp_path, "a.html", f"<html><body>{body}</body></html>"))) == 1


def test_a_bomb_among_the_parts(tmp_path: Path) -> None:
    images = {"bomb.png": picture(RED) + b"\0" * (40 << 20), "good.png": picture(BLUE)}
    file = written(tmp_path, "a.pptx", slides(line("Bees") + pic("bomb") + pic("good"), images=images))
    assert file.stat().st_size < 1 << 20
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    document = read_document(file)
    job = Cutting.of(replace(document, metadata={**document.metadata, "sha256": digest}))
    assert job is not None
    workers = Workers(1)
    try:
        assert [one.id.rpartition("/")[2] for one in workers.submit(job).result().pictures] == ["good.png"]
        assert len(workers.submit(replace(job, max_unfolded=1 << 30)).result().pictures) == 2  # if it is trusted
    finally:
        workers.close()


@pytest.mark.parametrize(
    "uri",
    ["data:image/png;base64,", "data:,", "data:image/png;base64,%%%", "data:image/png;base64," + "A" * 9, "data:"],
)
def test_what_stands_in_a_page_may_be_anything(tmp_path: Path, uri: str) -> None:
    assert shown(written(tmp_path, "a.html", f'<html><body><p>Bees.</p><img src="{uri}"></body></html>')) == []


def test_a_page_that_holds_too_much_of_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = page(tmp_path)
    assert len(shown(file)) == 5
    monkeypatch.setattr("langbert.documents.parts._MOST_BYTES", 100)
    assert shown(file) == []


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_damaged_pictures_never_stop_the_work(tmp_path: Path, form: str) -> None:
    chance = random.Random(form)
    whole = picture(GREEN, form)
    images = {}
    for i in range(60):
        damaged = bytearray(whole[: chance.randrange(1, len(whole) + 1) if i % 3 == 0 else len(whole)])
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        images[f"i{i}.png"] = bytes(damaged)
    images["good.png"] = whole
    shapes = line("Bees") + "".join(pic(name.partition(".")[0]) for name in images)
    assert shown(written(tmp_path, "a.pptx", slides(shapes, images=images)))[-1].id.endswith("good.png")


def test_so_many_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = page(tmp_path)
    document = read_document(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    job = Cutting.of(replace(document, metadata={**document.metadata, "sha256": digest}))
    assert job is not None
    for name, most in (("_MOST_PICTURES", 2), ("_MOST_BYTES", len(job.done().pictures[0].png) * 5 // 2)):
        with monkeypatch.context() as patched:
            patched.setattr(f"langbert.documents.captions.{name}", most)
            cut = job.done()
            assert (len(cut.pictures), cut.reason) == (2, "only the first 2 are kept")


def test_where_pictures_are_shown_is_kept_with_the_document(tmp_path: Path) -> None:
    report().save(str(tmp_path / "a.docx"))
    document = read_document(tmp_path / "a.docx")
    assert len(document.illustrations) == 4
    with Store.open(None, embedder=HashEmbedder(), chunker=LineChunker()) as store:
        store.add([document, Document("plain", "text")])
        kept = store.document(document.id)
        assert kept == document
        assert figures((tmp_path / "a.docx").read_bytes(), kept) == shown(tmp_path / "a.docx")
    assert read_document(written(tmp_path, "b.docx", word())).illustrations == ()


def test_of_other_formats_there_are_none(tmp_path: Path) -> None:
    """A page in a file that bears the suffix of a Word file of before 2007."""
    written(tmp_path, "red.png", picture(RED))
    file = written(
        tmp_path, "a.doc", "<html><body><p>Bees.</p><img src='red.png' alt='A wood in spring'></body></html>"
    )
    assert len(read_document(file).illustrations) == 1
    assert shown(file) == []


@pytest.mark.timeout(60)  # minutes, were each compared with all of the long block
def test_a_page_of_nothing_but_pictures(tmp_path: Path) -> None:
    images = "".join(f'<img src="{i}.png" alt="picture of {i} bees">' for i in range(20_000))
    body = f"<p>{images}</p><pre>{'word ' * 400_000}</pre><img src='{'x' * 10_000}.png'>"
    document = read_document(written(tmp_path, "a.html", f"<html><body>{body}</body></html>"))
    assert document.text.startswith("picture of 0 bees\n\npicture of 1 bees\n\n")
    assert len(document.illustrations) == 1000
