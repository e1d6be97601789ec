"""What the architectures learn from and are measured on, made of two SQuAD files."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from langbert.evaluation import read_questions
from langbert.labels.tagger import word_spans

PUNCTUATION = {".": ".", "?": ".", "!": ".", ",": ",", ";": ",", ":": ","}
"""What a reader would miss behind a word: the end of a sentence, or a pause."""


class Tagged(NamedTuple):
    """Words without capitals and punctuation, and for each what was taken from it: ``Title.``, ``lower,``, ``O`` …"""

    tokens: list[str]
    tags: list[str]


class Files(NamedTuple):
    """Training files: questions with paragraphs, tagged paragraphs, plain paragraphs."""

    pairs: Path
    tagged: Path
    texts: Path


def prepare(train: Path, folder: Path, *, n_pairs: int, n_paragraphs: int) -> Files:
    """Training files from a SQuAD file; those that are there are left as they are."""
    files = Files(folder / "pairs.jsonl", folder / "tagged.jsonl", folder / "texts.txt")
    if all(file.is_file() for file in files):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    data = read_questions(train)
    rng = random.Random(0)
    asked = rng.sample(data.questions, n_pairs)
    rows = [{"query": q.question, "positive": data.paragraphs[q.paragraph][1]} for q in asked]
    files.pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    paragraphs = [text for _, text in data.paragraphs.values()]
    tagged = [stripped(text)._asdict() for text in rng.sample(paragraphs, n_paragraphs)]
    files.tagged.write_text("".join(json.dumps(row) + "\n" for row in tagged), encoding="utf-8")
    files.texts.write_text("\n\n".join(" ".join(text.split()) for text in paragraphs), encoding="utf-8")
    return files


def stripped(text: str) -> Tagged:
    """A text as if dictated, and what is to be put back: gold labels are exact, since it was written so."""
    tokens: list[str] = []
    tags: list[str] = []
    for start, end in word_spans(text):
        word = text[start:end]
        if any(character.isalnum() for character in word):
            case = "UPPER" if word.isupper() and len(word) > 1 else "Title" if word[:1].isupper() else "lower"
            tokens.append(word.lower())
            tags.append(case)
        elif tags and word in PUNCTUATION and tags[-1][-1] not in ".,":
            tags[-1] += PUNCTUATION[word]
    return Tagged(tokens, ["O" if tag == "lower" else tag for tag in tags])


class Search(NamedTuple):
    """Paragraphs, questions, and for each question the place of its paragraph."""

    paragraphs: list[str]
    questions: list[str]
    right: list[int]


def search_set(dev: Path, n_questions: int) -> Search:
    data = read_questions(dev)
    place = {name: i for i, name in enumerate(data.paragraphs)}
    asked = random.Random(0).sample([q for q in data.questions if q.answers], n_questions)
    paragraphs = [text for _, text in data.paragraphs.values()]
    return Search(paragraphs, [q.question for q in asked], [place[q.paragraph] for q in asked])


def tagging_set(dev: Path, n_paragraphs: int) -> Sequence[Tagged]:
    texts = [text for _, text in read_questions(dev).paragraphs.values()]
    return [stripped(text) for text in random.Random(0).sample(texts, n_paragraphs)]
