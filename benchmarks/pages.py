"""Pictures of pages whose text is known: what OCR is measured on, here and in the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

POINTS = (595, 842)  # of A4
MARGIN, LEADING, GUTTER = 56, 1.45, 24  # points, font sizes, points
LATIN = "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"
CHINESE = (
    "/usr/share/fonts/opentype/noto/NotoSerifCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
)


def draw(
    paragraphs: Sequence[str], font: str, *, dpi: int = 150, columns: int = 1, size: float = 10.5, title: str = ""
) -> tuple[Image.Image, str]:
    """A grey picture of A4, and what stands on it: the lines of one paragraph joined as they were, blank for blank."""
    scale = dpi / 72
    letters = ImageFont.truetype(font, round(size * scale))
    page = Image.new("L", (round(POINTS[0] * scale), round(POINTS[1] * scale)), 255)
    pen = ImageDraw.Draw(page)
    top = MARGIN * scale
    told = []
    if title:
        large = ImageFont.truetype(font, round(1.6 * size * scale))
        pen.text((page.width / 2, top), title, fill=0, font=large, anchor="ma")
        top += 3 * size * scale
        told.append(title)
    width = (page.width - (2 * MARGIN + (columns - 1) * GUTTER) * scale) / columns
    left, y, column = MARGIN * scale, top, 0
    for paragraph in paragraphs:
        shown = []
        for line in wrapped(paragraph, letters, width):
            if y + size * scale > page.height - MARGIN * scale:
                column, y = column + 1, top
                if column == columns:
                    return page, "\n".join([*told, "".join(shown)])
                left += width + GUTTER * scale
            pen.text((left, y), line.rstrip(), fill=0, font=letters)
            shown.append(line)
            y += LEADING * size * scale
        told.append("".join(shown))
        y += 0.5 * size * scale
    return page, "\n".join(told)


def wrapped(paragraph: str, font: ImageFont.FreeTypeFont, width: float) -> Iterator[str]:
    """Lines, each with the blank at its end if it has one; Chinese breaks anywhere."""
    is_chinese = any("\u4e00" <= character <= "\u9fff" for character in paragraph)
    parts, blank = (list(paragraph), "") if is_chinese else (paragraph.split(" "), " ")
    line = ""
    for part in parts:
        if line and font.getlength(line + part) > width:
            yield line
            line = ""
        line += part + blank
    yield line


def noisy(page: Image.Image, seed: int = 0) -> Image.Image:
    """As from a copier: grey paper, grain, a little blurred and askew."""
    rng = np.random.default_rng(seed)
    turned = page.rotate(rng.uniform(-0.7, 0.7), Image.Resampling.BICUBIC, fillcolor=255)
    grey = np.asarray(turned.filter(ImageFilter.GaussianBlur(page.width / 2500)), np.float32) * 0.8 + 32
    return Image.fromarray(np.clip(grey + rng.normal(0, 14, grey.shape), 0, 255).astype(np.uint8))


def paragraphs(file: Path) -> list[str]:
    """The passages of a file in SQuAD's format, in one line each."""
    articles = json.loads(file.read_text(encoding="utf-8"))["data"]
    return [" ".join(p["context"].split()) for article in articles for p in article["paragraphs"]]
