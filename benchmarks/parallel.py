"""Makes a reading set whose questions are Chinese and whose paragraphs are English, out of documentation in both.

    python benchmarks/parallel.py ENGLISH_FOLDER CHINESE_FOLDER --output cross.json
    langbert eval retrieval --data cross.json --mode dense

Pages of the same path with the same number of headings are taken for translations of each other, section by section; a
Chinese heading asks, as :mod:`langbert.training.headings` puts it, and the English section answers. All sections of the
English pages are the corpus. Debian has such pairs: ``libreoffice-help-en-us`` and ``libreoffice-help-zh-cn``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from langbert import Document, read_documents
from langbert.text.scripts import has_han, letters
from langbert.training.headings import as_question, sections


def pages(folder: Path) -> dict[str, Document]:
    return {document.source: document for document in read_documents(folder, on_skip=lambda *_: None)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("english", type=Path)
    parser.add_argument("chinese", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    rng = random.Random(0)
    english, chinese = pages(arguments.english), pages(arguments.chinese)
    articles, asked = [], []
    for name, document in english.items():
        there = {number: (heading, body) for number, _, heading, body in sections(document)}
        other = chinese.get(name)
        same = other is not None and len(other.headings) == len(document.headings)
        questions = {number: heading for number, _, heading, _ in sections(other)} if other and same else {}
        paragraphs = []
        for number, (_, body) in there.items():
            heading = questions.get(number, "")
            paragraphs.append({"context": body, "qas": []})
            if has_han(heading):
                asked.append((heading, paragraphs[-1], f"{name}#{number}"))
        articles.append({"title": Path(name).stem, "paragraphs": paragraphs})
    counts = Counter(letters(heading) for heading, _, _ in asked)
    for heading, paragraph, name in asked:
        if counts[letters(heading)] == 1:
            answer = {"text": paragraph["context"], "answer_start": 0}
            paragraph["qas"].append({"id": name, "question": as_question(heading, rng), "answers": [answer]})
    arguments.output.write_text(json.dumps({"data": articles}, ensure_ascii=False), encoding="utf-8")
    total = sum(len(article["paragraphs"]) for article in articles)
    print(f"{sum(count == 1 for count in counts.values())} Chinese questions over {total} English sections")


if __name__ == "__main__":
    main()
