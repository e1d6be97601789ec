"""Text and tables out of files whose content is known, beside other readers: those of them that are installed.

    pip install fpdf2 markitdown[docx,pdf,pptx,xlsx] kreuzberg pypdf docling-slim
    python benchmarks/parsers.py SQUAD.json [--paragraphs 40]

Each file is made of paragraphs, headings and a table of 12 products by 4 quarters. ``text`` is one minus the edit
distance of the words that were written to those that were read, in parts of the former, marks of Markdown left out.
``cells`` is the part of the table's figures that stand in a line with both the name of their row and that of their
column, as a passage that is found by itself has to have them; ``rows``, with that of their row. Seconds are of one
processor, the median of three reads, the imports done. Docling reads PDFs with ``docling`` in place of
``docling-slim``, which brings torch for CUDA and fetches models from a hub.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pages import paragraphs
from rapidfuzz.distance import Levenshtein

Reader = Callable[[Path], str]

COLUMNS = ("First quarter", "Second quarter", "Third quarter", "Fourth quarter")
TREES = ("Alder", "Birch", "Cedar", "Doum", "Elm", "Fir", "Ginkgo", "Hazel", "Iroko", "Juniper", "Kauri", "Larch")
ROWS = tuple(f"Product {tree}" for tree in TREES)
FIGURES = np.random.default_rng(0).integers(10_000, 99_999, (len(ROWS), len(COLUMNS)))
TITLE = "What the works made"


def readers() -> dict[str, Reader]:
    from langbert.documents import read_document

    found: dict[str, Reader] = {"langbert": lambda file: read_document(file, ocr=False).text}
    try:
        from markitdown import MarkItDown

        converter = MarkItDown()
        found["markitdown"] = lambda file: converter.convert(str(file)).text_content
    except ImportError:
        pass
    try:
        from kreuzberg import extract_file_sync

        found["kreuzberg"] = lambda file: extract_file_sync(str(file)).content
    except ImportError:
        pass
    try:
        from pypdf import PdfReader

        found["pypdf"] = lambda file: "\n".join(page.extract_text() for page in PdfReader(file).pages)
    except ImportError:
        pass
    try:
        from docling.document_converter import DocumentConverter

        docling = DocumentConverter()
        found["docling"] = lambda file: docling.convert(file).document.export_to_markdown()
    except ImportError:
        pass
    return found


def as_docx(file: Path, texts: Sequence[str]) -> None:
    import docx

    document = docx.Document()
    document.add_heading(TITLE, 0)
    for text in texts:
        document.add_paragraph(text)
    table = document.add_table(1 + len(ROWS), 1 + len(COLUMNS))
    for row, cells in zip(table.rows, cells_of(), strict=True):
        for cell, value in zip(row.cells, cells, strict=True):
            cell.text = value
    document.save(str(file))


def as_html(file: Path, texts: Sequence[str]) -> None:
    first, *rest = cells_of()
    head = "".join(f"<th>{cell}</th>" for cell in first)
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rest)
    body = "".join(f"<p>{text}</p>" for text in texts)
    file.write_text(f"<!DOCTYPE html><meta charset=utf-8><h1>{TITLE}</h1>{body}<table><tr>{head}</tr>{rows}</table>")


def as_pdf(file: Path, texts: Sequence[str], columns: int = 1) -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.add_font("serif", fname="/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")
    pdf.add_font("serif", "B", "/usr/share/fonts/truetype/dejavu/DejaVuSerif-Bold.ttf")
    pdf.set_font("serif", size=18)
    pdf.cell(text=TITLE, new_x="LMARGIN", new_y="NEXT", h=14)
    pdf.set_font("serif", size=10)
    with pdf.text_columns(ncols=columns, gutter=8, text_align="J") as flow:
        for text in texts:
            flow.paragraph().write(text)
            flow.end_paragraph()
            flow.write("\n")
    pdf.add_page()
    with pdf.table() as table:
        for cells in cells_of():
            row = table.row()
            for cell in cells:
                row.cell(cell)
    pdf.output(str(file))


def cells_of() -> list[list[str]]:
    figures = [[name, *map(str, row)] for name, row in zip(ROWS, FIGURES, strict=True)]
    return [["Product name", *COLUMNS], *figures]


def words(text: str) -> list[str]:
    return re.sub(r"[#*|_\\`:–]+|-{3,}", " ", text).split()


def figures_found(text: str) -> tuple[float, float]:
    """Those in a line with the names of their row and column, and of their row, in parts of all."""
    whole = row_only = 0
    lines = [" ".join(words(line)) for line in text.split("\n")]
    for name, figures in zip(ROWS, FIGURES, strict=True):
        for column, figure in zip(COLUMNS, figures, strict=True):
            holding = [line for line in lines if str(figure) in line and name in line]
            row_only += bool(holding)
            whole += any(column in line for line in holding)
    return whole / FIGURES.size, row_only / FIGURES.size


def measured(read: Reader, file: Path, truth: list[str]) -> tuple[float, float, float, float]:
    spent = []
    for _ in range(3):
        started = time.process_time()
        text = read(file)
        spent.append(time.process_time() - started)
    prose = words(text)
    # tables differ in how they are written out, so the text ends where the table begins
    end = next((i for i, word in enumerate(prose) if prose[i : i + 2] == ["Product", "name"]), len(prose))
    end = min(end, next((i for i in range(len(prose)) if prose[i : i + 2] == ROWS[0].split()), len(prose)))
    right = 1 - min(1.0, Levenshtein.distance(truth, prose[:end]) / len(truth))
    return right, *figures_found(text), statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("english", type=Path, help="a SQuAD JSON file: its passages are the text")
    parser.add_argument("--paragraphs", type=int, default=40)
    options = parser.parse_args()
    texts = paragraphs(options.english)[: options.paragraphs]
    truth = words(" ".join([TITLE, *texts]))
    print("| file | reader | text | cells | rows | s |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in ("a.docx", "a.html", "a.pdf", "two-columns.pdf")}
        as_docx(files["a.docx"], texts)
        as_html(files["a.html"], texts)
        as_pdf(files["a.pdf"], texts)
        as_pdf(files["two-columns.pdf"], texts, 2)
        for name, file in files.items():
            for reader, read in readers().items():
                if reader == "pypdf" and file.suffix != ".pdf":
                    continue
                try:
                    text, cells, rows, seconds = measured(read, file, truth)
                except Exception as error:  # a reader that cannot is a result
                    print(f"| {name} | {reader} | {type(error).__name__} | | | |", flush=True)
                    continue
                print(f"| {name} | {reader} | {text:.3f} | {cells:.2f} | {rows:.2f} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
