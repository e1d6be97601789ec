"""Text in pictures of pages: what is on them is known, for they are drawn here."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import docx
import numpy as np
import pytest
from small_files import zipped
from store_tools import HashEmbedder, LineChunker

from langbert import Document, Store, sync
from langbert.boxes import Box
from langbert.documents import read_document, read_documents
from langbert.documents.ocr_layout import Piece, page_lines
from langbert.errors import DocumentError

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("rapidocr")
from PIL import ImageDraw, ImageFont  # noqa: E402

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
pytestmark = pytest.mark.skipif(not Path(FONT).exists(), reason="the font DejaVu Sans is not installed")
SCAN_ZH = Path(__file__).parent / "samples" / "scan-zh.png"
LINES = (
    "The lease begins on 1 March 2024 and",
    "runs for three years. The monthly rent",
    "is 2,450 euros, to be paid in advance.",
)
TEXT = " ".join(LINES)


def drawn(*lines: str, width: int = 800, mode: str = "L", paper: object = 255, ink: object = 0) -> Image.Image:
    page = Image.new(mode, (width, 60 + 48 * max(len(lines), 1)), paper)
    for i, line in enumerate(lines):
        ImageDraw.Draw(page).text((40, 30 + 48 * i), line, fill=ink, font=ImageFont.truetype(FONT, 30))
    return page


def words(document: Document) -> str:
    return " ".join(document.text.split())


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """A PDF of two scanned pages with an empty one between them."""
    file = tmp_path_factory.mktemp("ocr") / "scan.pdf"
    pages = [drawn(*LINES), drawn(), drawn("The deposit is two months' rent.")]
    pages[0].save(file, resolution=150, save_all=True, append_images=pages[1:])
    return read_document(file)


def test_the_pages_of_a_scan_are_read_and_empty_ones_passed_over(scan: Document) -> None:
    assert words(scan) == f"{TEXT} The deposit is two months' rent."
    assert scan.page_at(scan.text.index("deposit")) == 3
    assert scan.metadata["ocr_pages"] == 2
    assert scan.metadata["language"] == "en"
    assert scan.metadata["ocr_confidence"] > 0.9
    assert "remarks" not in scan.metadata


def test_where_the_words_of_a_scan_stand_is_known(scan: Document) -> None:
    start = scan.text.index("runs for")
    ((page, (box,)),) = scan.boxes(start, start + len(LINES[1])).items()
    font = ImageFont.truetype(FONT, 30)
    height = 60 + 48 * 3
    left, top, right, bottom = font.getbbox(LINES[1])
    assert page == 1
    assert np.allclose([box.left, box.left + box.width], [(40 + left) / 800, (40 + right) / 800], atol=0.02)
    assert box.top < (78 + top + 5) / height < (78 + bottom - 5) / height < box.top + box.height
    assert box.height < 0.3
    start = scan.text.index("rent")  # the last word of the line
    (word,) = scan.boxes(start, start + 4)[1]
    assert word.left + word.width == pytest.approx(box.left + box.width, abs=0.01)
    assert word.width < 0.2 * box.width


def png(picture: Image.Image) -> io.BytesIO:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return io.BytesIO(out.getvalue())


def test_pictures_in_a_word_document_are_read_where_they_stand(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("Before the picture.")
    for _ in range(2):  # the same bytes are one part, and read once
        document.add_picture(png(drawn(*LINES)))
    document.add_paragraph("Behind it.")
    document.add_table(1, 1).cell(0, 0).paragraphs[0].add_run("Cell").add_picture(png(drawn("In a table.")))
    document.add_picture(png(Image.new("L", (20, 20))))  # an icon
    document.add_picture(png(Image.new("L", (400, 400), 255)))
    document.sections[0].header.paragraphs[0].add_run("Head").add_picture(png(drawn("A logo.")))
    document.save(str(tmp_path / "a.docx"))
    read = read_document(tmp_path / "a.docx")
    assert words(read) == f"Head Before the picture. {TEXT} Behind it. Cell In a table."
    assert read.metadata["ocr_pictures"] == 2
    assert read.metadata["ocr_confidence"] > 0.9
    without = read_document(tmp_path / "a.docx", ocr=False)
    assert words(without) == "Head Before the picture. Behind it. Cell"
    assert "ocr_pictures" not in without.metadata


def test_pictures_on_slides_are_read_where_they_stand(tmp_path: Path) -> None:
    picture = '<p:pic><p:blipFill><a:blip r:embed="{}"/></p:blipFill></p:pic>'.format
    shape = "<p:sp><p:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></p:txBody></p:sp>".format
    names = " ".join(
        f'xmlns:{letter}="http://schemas.openxmlformats.org/{name}"'
        for letter, name in (
            ("a", "drawingml/2006/main"),
            ("p", "presentationml/2006/main"),
            ("r", "officeDocument/2006/relationships"),
        )
    )
    shapes = shape("Before.") + picture("r2") + shape("Behind.") + picture("r3")
    relation = '<Relationship Id="{}" Type="x" Target="{}"/>'.format
    of_slide = relation("r2", "../media/a.png") + relation("r3", "../media/drawing.emf")
    package = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'.format
    )
    parts = {
        "ppt/presentation.xml": f'<p:presentation {names}><p:sldId r:id="r1"/></p:presentation>',
        "ppt/_rels/presentation.xml.rels": package(relation("r1", "slides/slide1.xml")),
        "ppt/slides/slide1.xml": f"<p:sld {names}>{shapes}</p:sld>",
        "ppt/slides/_rels/slide1.xml.rels": package(of_slide),
        "ppt/media/a.png": png(drawn(*LINES)).getvalue(),
        "ppt/media/drawing.emf": b"no picture that is read",
    }
    (tmp_path / "a.pptx").write_bytes(zipped(parts))
    read = read_document(tmp_path / "a.pptx")
    assert words(read) == f"Before. {TEXT} Behind."
    assert read.metadata["ocr_pictures"] == 1


def test_chinese_is_read_out_of_a_picture() -> None:
    document = read_document(SCAN_ZH)
    assert (
        "".join(document.text.split())
        == "员工每年享有十五天带薪年假。未休完的假期可以顺延到次年三月。申请须提前两周提交给经理批准。"
    )
    assert document.metadata["format"] == "image"
    assert document.metadata["language"] == "zh"


@pytest.mark.parametrize(
    ("name", "turned"), [("lying.png", 90), ("lying-right.jpg", -90), ("upside-down.webp", 180), ("camera.jpg", 0)]
)
def test_turned_pages_are_read(name: str, turned: int, tmp_path: Path) -> None:
    page = drawn(*LINES)
    exif = Image.Exif()
    if not turned:  # as a telephone has it: lying, and a word on how it was held
        page, exif[0x0112] = page.rotate(90, expand=True), 6
    page.rotate(turned, expand=True).save(tmp_path / name, exif=exif)
    document = read_document(tmp_path / name)
    assert words(document) == TEXT
    start = document.text.index("runs")
    (box,) = document.boxes(start, start + len(LINES[1]))[1]
    x, y = 0.416, 0.48  # the middle of the line on the page as it is read
    where = {90: (y, 1 - x), -90: (1 - y, x), 180: (1 - x, 1 - y), 0: (x, y)}[turned]
    assert np.allclose((box.left + box.width / 2, box.top + box.height / 2), where, atol=0.03)


def test_every_page_of_a_tiff_and_white_on_clear(tmp_path: Path) -> None:
    pages = [drawn(LINES[0]).convert("1"), drawn(LINES[1], mode="RGB", paper="navy", ink="white")]
    pages[0].save(tmp_path / "fax.tiff", save_all=True, append_images=pages[1:])
    drawn(LINES[2], mode="RGBA", paper=(0, 0, 0, 0), ink=(0, 0, 90, 255)).save(tmp_path / "clear.png")
    clear, fax = read_documents(tmp_path)
    assert words(clear) == LINES[2]
    assert fax.text.replace("\n\n", "\n").split("\n") == list(LINES[:2])
    assert len(fax.page_starts) == 2


def test_a_page_that_cannot_be_made_out_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    far = np.asarray(drawn(*LINES).resize((160, 40)).resize((800, 204)), float)
    Image.fromarray(np.clip(far + rng.normal(0, 70, far.shape), 0, 255).astype(np.uint8)).save(tmp_path / "far.png")
    assert "page 1: OCR is unsure of it" in read_document(tmp_path / "far.png").metadata["remarks"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\x89PNG\r\n\x1a\n nothing more", "broken or no picture at all"), (b"GIF89a" + bytes(30), "no picture at all")],
)
def test_what_is_no_picture_says_so(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DocumentError, match=reason):
        read_document(tmp_path / "a.png")


def test_nothing_to_be_seen_is_no_document(tmp_path: Path) -> None:
    drawn().save(tmp_path / "white.png")
    with pytest.raises(DocumentError, match="no text to be seen"):
        read_document(tmp_path / "white.png")
    drawn().save(tmp_path / "white.pdf")
    with pytest.raises(DocumentError, match="no text on its 1 page, they are blank"):
        read_document(tmp_path / "white.pdf")


def test_ocr_can_be_left_out_and_be_had_later(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    drawn(*LINES).save(folder / "scan.pdf", resolution=150)
    with Store.open(tmp_path / "store", embedder=HashEmbedder(), chunker=LineChunker()) as store:
        assert "only images; OCR is off" in dict(sync(folder, store, ocr=False).skipped)["scan.pdf"]
        assert sync(folder, store, ocr=False).added == 0
        report = sync(folder, store, workers=1)
        assert report.added == 1
        (stored,) = store.documents()
        document = store.document(stored.id)
        assert document is not None
        assert words(document) == TEXT
        assert document.boxes(0, 3)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    drawn(LINES[0]).save(tmp_path / "scan.pdf")
    drawn(LINES[0]).save(tmp_path / "photo.jpg")
    program = textwrap.dedent("""
        import sys
        from importlib.machinery import PathFinder
        class Without(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name == "rapidocr" else PathFinder.find_spec(name, path, target)
        sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
        from langbert.documents import read_document
        for name in sys.argv[1:]:
            for ocr in (None, True):
                try:
                    read_document(name, ocr=ocr)
                except Exception as error:
                    print(type(error).__name__, error)
    """)
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "scan.pdf"), str(tmp_path / "photo.jpg")],
        capture_output=True,
        text=True,
        check=True,
    )
    scan, missing, photo, _ = ran.stdout.splitlines()
    assert 'no text on its 1 page, only images; OCR needs: pip install "langbert[ocr]"' in scan
    assert 'MissingExtra reading scanned pages and pictures needs rapidocr: pip install "langbert[ocr]"' in missing
    assert '.jpg files are pictures; to have their text recognised: pip install "langbert[ocr]"' in photo


# --- the order of reading


def piece(text: str, left: float, top: float, right: float, height: float = 20) -> Piece:
    return Piece(text, 1.0, left, top, right, top + height, Box(left / 1000, top / 1000, (right - left) / 1000, 0.02))


def read_off(pieces: list[Piece]) -> list[str]:
    return [line.text for line in page_lines(pieces, 1.0)]


def test_columns_are_read_one_after_the_other() -> None:
    title, foot = piece("title", 300, 40, 700, 40), piece("7", 490, 950, 510)
    left = [piece(f"l{i}", 50, 120 + 30 * i, 470 - 3 * i) for i in range(6)]
    right = [piece(f"r{i}", 530, 131 + 30 * i, 940 + i) for i in range(6)]
    assert read_off([foot, *right, *left, title]) == [
        "title", *(f"l{i}" for i in range(6)), *(f"r{i}" for i in range(6)), "7",
    ]  # fmt: skip


def test_what_crosses_the_columns_parts_them() -> None:
    pieces = [piece(f"{side}{part}{i}", left, 100 + 300 * part + 30 * i, left + 400)
              for part in range(2) for side, left in (("l", 50), ("r", 530)) for i in range(4)]  # fmt: skip
    expected = [p.text for p in pieces]
    assert read_off([*pieces, piece("middle", 100, 300, 900)]) == [*expected[:8], "middle", *expected[8:]]


def test_the_cells_of_a_table_stay_in_their_row() -> None:
    rows = [("Item", "Units", "Price"), ("Bolts M6", "40", "1,200"), ("Nuts", "1,000", "9"), ("Washers", "7", "88.50")]
    pieces = [
        piece(cell, left, 100 + 40 * i + 3 * k, left + 12 * len(cell))
        for i, row in enumerate(rows)
        for k, (cell, left) in enumerate(zip(row, (50, 400, 700), strict=True))
    ]
    assert read_off(pieces) == [" | ".join(row) for row in rows]


def test_a_word_split_between_lines_is_put_together() -> None:
    (line,) = page_lines([piece("an exam-", 50, 100, 300), piece("ple of it", 50, 130, 280)], 1.0)
    assert line.text == "an exam\ufffeple of it"
    assert [at for at, _ in line.boxes] == [0, 8]
