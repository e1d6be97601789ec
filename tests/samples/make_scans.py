"""Write ``scan-zh.png``: ``python tests/samples/make_scans.py``, with the font of Debian's ``fonts-noto-cjk``."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/opentype/noto/NotoSerifCJK-Regular.ttc"
LINES = ("员工每年享有十五天带薪年假。", "未休完的假期可以顺延到次年三月。", "申请须提前两周提交给经理批准。")

if __name__ == "__main__":
    page = Image.new("L", (760, 240), 255)
    pen = ImageDraw.Draw(page)
    for i, line in enumerate(LINES):
        pen.text((40, 30 + 60 * i), line, fill=0, font=ImageFont.truetype(FONT, 36))
    page.quantize(8).save(Path(__file__).parent / "scan-zh.png", optimize=True)
