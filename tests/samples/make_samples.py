"""Write the sample files of this folder that are not text: ``python tests/samples/make_samples.py``.

The PDF is written by hand, so that every line, size and gap of it is known; to encrypt it takes pypdf, and the old
Excel file xlwt.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent

# (font, size, x, y, text): F1 is Helvetica, F2 Helvetica-Bold.
PAGES = [
    [
        ("F2", 18, 72, 720, "A Study of Small Things"),
        ("F1", 14, 72, 690, "Ann Author"),
        ("F2", 12, 72, 650, "1 Introduction"),
        ("F1", 10, 72, 630, "Small things are small. They are"),
        ("F1", 10, 72, 618, "often overlooked, and this is why we look at them here."),
        ("F1", 10, 72, 590, "A second paragraph follows after a gap."),
        ("F2", 12, 72, 560, "1.1 Scope"),
        ("F1", 10, 72, 540, "We look at things below one millimetre, measured by hand."),
    ],
    [
        ("F2", 12, 72, 720, "2 Results"),
        ("F1", 10, 72, 700, "The smallest thing was a grain of sand. It weighed 0.02 grams"),
        ("F1", 10, 72, 688, "and was found on the second day."),
    ],
]


def content(lines: list[tuple[str, int, int, int, str]]) -> bytes:
    return "\n".join(f"BT /{font} {size} Tf {x} {y} Td ({text}) Tj ET" for font, size, x, y, text in lines).encode()


def pdf(pages: list[list[tuple[str, int, int, int, str]]]) -> bytes:
    kids = " ".join(f"{5 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
    ]
    for i, page in enumerate(pages):
        stream = content(page)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {6 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def main() -> None:
    (HERE / "two-pages.pdf").write_bytes(pdf(PAGES))
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(HERE / "two-pages.pdf"))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(HERE / "encrypted.pdf")


if __name__ == "__main__":
    main()
