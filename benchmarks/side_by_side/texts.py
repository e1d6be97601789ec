"""What is embedded: evenly spaced paragraphs, and texts of exactly so many tokens."""

from __future__ import annotations

import itertools
from pathlib import Path

from langbert import Chunker, Embedder, read_documents
from langbert.bench import sample_texts
from langbert.evaluation import read_questions
from langbert.models import resolve
from langbert.models.files.tokenizer import TextTokenizer

DOCUMENTS = Path(__file__).parent.parent.parent / "examples" / "documents"
N_SPECIAL = 2
"""[CLS] and [SEP]."""


def mix(data: Path | None, n: int, model: str) -> list[str]:
    """``n`` paragraphs, evenly spaced, no two alike: of a SQuAD file, or of this project's example documents."""
    if data is not None:
        found = [text for _, text in read_questions(data).paragraphs.values()]
    else:
        chunker = Chunker.for_embedder(Embedder(model, precision="float32"), max_tokens=170)
        found = [chunk.text for document in read_documents([DOCUMENTS]) for chunk in chunker.split(document)]
    found = list(dict.fromkeys(text for text in found if text.strip()))
    if len(found) < n:
        raise SystemExit(f"{data or DOCUMENTS} has {len(found)} different paragraphs; asked for {n}")
    return [found[i * len(found) // n] for i in range(n)]


def question_about(passages: list[str], data: Path | None) -> str:
    """The first question of the data that one of the passages answers."""
    if data is not None:
        asked = read_questions(data)
        for question in asked.questions:
            if question.answers and asked.paragraphs[question.paragraph][1] in passages:
                return question.question
    return "How are type hints written for dictionaries with fixed keys?"


def of_length(n_tokens: int, n: int, *, chinese: bool, data: Path | None, model: str, start: int = 0) -> list[str]:
    """``n`` different texts of exactly ``n_tokens`` tokens, special ones included, cut out of running text."""
    if data is not None:
        running = [text for _, text in read_questions(data).paragraphs.values()]
    else:
        running = sample_texts(2000, language="zh" if chinese else "en")
    offsets = TextTokenizer.from_folder(resolve(model)).offsets
    wanted = n_tokens - N_SPECIAL
    found: dict[str, None] = {}
    held = ""
    for piece in itertools.islice(itertools.cycle(running), start, start + 20 * len(running)):
        held += ("" if chinese else " ") + piece
        while len(found) < n and len(tokens := offsets(held)) >= wanted:
            cut, held = held[: tokens[wanted - 1][1]].strip(), held[tokens[wanted - 1][1] :]
            if len(offsets(cut)) == wanted:
                found[cut] = None
        if len(found) == n:
            return list(found)
    raise SystemExit(f"no {n} different texts of {n_tokens} tokens in {data or 'the built-in texts'}")
