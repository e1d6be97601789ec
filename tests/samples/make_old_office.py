"""Write the old Word file and the old slides of this folder: ``python tests/samples/make_old_office.py``.

python-docx and python-pptx make new ones, LibreOffice (``soffice``) makes old ones of them.
"""

from __future__ import annotations

import lzma
import subprocess
import tempfile
from pathlib import Path

from docx import Document
from pptx import Presentation
from pptx.util import Inches

HERE = Path(__file__).parent
DEPOTS = [["仓库", "电话", "传真"], ["北仓", "555-0101", ""], ["南仓", "", "555-0102"]]
COSTS = [["Item", "2024", "2025"], ["Rent", "100", "120"], ["Wages", "300", ""]]


def word(path: Path) -> None:
    document = Document()
    document.add_heading("仓库指南", 0)
    document.add_heading("开放时间", 1)
    document.add_paragraph("仓库六点开门，九点关门。")
    for item in ("按铃。", "出示工牌。", "签名。"):
        document.add_paragraph(item, style="List Number")
    table = document.add_table(rows=0, cols=3)
    for row in DEPOTS:
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = value
    document.add_heading("钥匙", 2)
    document.add_paragraph("钥匙由保安保管。").add_run(" Bold end.").bold = True
    document.sections[0].header.paragraphs[0].text = "Confidential header"
    document.core_properties.title, document.core_properties.author = "仓库指南", "Ann Lee"
    document.save(str(path))


def slides(path: Path) -> None:
    deck = Presentation()
    first, second, third = (deck.slides.add_slide(deck.slide_layouts[i]) for i in (0, 1, 5))
    first.shapes.title.text, first.placeholders[1].text = "Depot plan 仓库计划", "Spring 2025"
    second.shapes.title.text, second.placeholders[1].text_frame.text = "Goals", "Open two depots"
    second.placeholders[1].text_frame.add_paragraph().text = "第二季度招聘十人"
    second.notes_slide.notes_text_frame.text = "Say thanks to Ann."
    third.shapes.title.text = "Costs"
    table = third.shapes.add_table(3, 3, Inches(1), Inches(2), Inches(6), Inches(1)).table
    for i, row in enumerate(COSTS):
        for j, value in enumerate(row):
            table.cell(i, j).text = value
    deck.save(str(path))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for make, name, old in ((word, "depot-zh.docx", "doc"), (slides, "deck.pptx", "ppt")):
            new = Path(folder, name)
            make(new)
            subprocess.run(["soffice", "--headless", "--convert-to", old, "--outdir", folder, str(new)], check=True)
            data = new.with_suffix(f".{old}").read_bytes()
            (HERE / f"{new.stem}.{old}.xz").write_bytes(lzma.compress(data, preset=9))
