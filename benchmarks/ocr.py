"""Characters that OCR gets wrong on pages made from known texts, beside tesseract.

    python benchmarks/ocr.py [--english SQUAD.json] [--chinese CMRC.json] [--pages 3]

The character error rate is the edit distance between the text that was drawn and the text that was read, in parts of
the former; runs of blanks count as one, in Chinese as none. Two columns are right only in the order of reading.
Tesseract runs as it comes with Debian (``tesseract-ocr``, ``tesseract-ocr-chi-sim``), on the same pictures. Seconds are
of one processor.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from pages import CHINESE, LATIN, draw, noisy, paragraphs
from rapidfuzz.distance import Levenshtein

from langbert.documents import read_document

KINDS = ("150 dpi", "300 dpi", "two columns, 150 dpi", "two columns, 300 dpi", "noise, 150 dpi", "noise, 300 dpi")


def plain(text: str, language: str) -> str:
    return ("" if language == "chinese" else " ").join(text.split())


def langbert(picture: Path, language: str) -> str:
    return read_document(picture, ocr=True).text


def tesseract(picture: Path, language: str) -> str:
    code = {"english": "eng", "chinese": "chi_sim"}[language]
    command = [shutil.which("tesseract") or "tesseract", str(picture), "-", "-l", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"OMP_THREAD_LIMIT": "1"}).stdout


def seconds() -> float:
    """Of the processor, here and in processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--english", type=Path)
    parser.add_argument("--chinese", type=Path)
    parser.add_argument("--pages", type=int, default=3, help="of each kind")
    options = parser.parse_args()
    engines = {"langbert": langbert, **({"tesseract": tesseract} if shutil.which("tesseract") else {})}
    fonts = {"english": LATIN, "chinese": next(font for font in CHINESE if Path(font).exists())}
    print("| pages | " + " | ".join(f"{name}: CER | s/page" for name in engines) + " |")
    with tempfile.TemporaryDirectory() as folder:
        for language, font in fonts.items():
            if (file := getattr(options, language)) is None:
                continue
            texts = paragraphs(file)
            for kind in KINDS:
                wrong, spent = dict.fromkeys(engines, 0), dict.fromkeys(engines, 0.0)
                drawn = 0
                for number in range(options.pages):
                    columns, dpi = 1 + ("columns" in kind), int(kind[-7:-4])
                    page, text = draw(texts[number * 40 :], font, dpi=dpi, columns=columns)
                    page = noisy(page, number) if "noise" in kind else page
                    picture = Path(folder, f"{language}-{kind}-{number}.png")
                    page.save(picture, dpi=(dpi, dpi))
                    truth = plain(text, language)
                    drawn += len(truth)
                    for name, read in engines.items():
                        started = seconds()
                        found = plain(read(picture, language), language)
                        spent[name] += seconds() - started
                        wrong[name] += Levenshtein.distance(truth, found)
                numbers = (f"{100 * wrong[name] / drawn:.2f} % | {spent[name] / options.pages:.1f}" for name in engines)
                print(f"| {language}, {kind} | {' | '.join(numbers)} |", flush=True)


if __name__ == "__main__":
    main()
