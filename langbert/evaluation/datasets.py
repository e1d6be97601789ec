"""Readers of the two formats most public sets come in: BEIR folders and SQuAD JSON.

BEIR (Thakur et al. 2021): ``corpus.jsonl`` with ``_id title text``, ``queries.jsonl`` with ``_id text`` and
``qrels/SPLIT.tsv`` with ``query-id corpus-id score`` under a header line.
SQuAD (Rajpurkar et al. 2016, 2018): ``data[].paragraphs[].{context, qas[].{id, question, answers, is_impossible}}``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError
from .lines import read_lines

_TEXT = "an object with text and _id"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A corpus, queries and which passage answers which query.

    Attributes:
        corpus: passage id → ``(title, text)``.
        queries: query id → question.
        qrels: query id → passage id → relevance (> 0 is relevant); every query has at least one.
    """

    name: str
    corpus: Mapping[str, tuple[str, str]]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question over one paragraph; ``answers`` is empty where the paragraph does not hold one."""

    id: str
    question: str
    answers: tuple[str, ...]
    answer_starts: tuple[int, ...]
    paragraph: str
    title: str


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a SQuAD file and its paragraphs, paragraph id → ``(title, text)``."""

    name: str
    questions: Sequence[Question]
    paragraphs: Mapping[str, tuple[str, str]]


def read_retrieval_set(path: str | Path, split: str | None = None) -> RetrievalSet:
    """A BEIR folder, or a SQuAD file whose paragraphs become the corpus.

    Args:
        split: which ``qrels/SPLIT.tsv`` of a BEIR folder; by default ``test``, else the only one.

    Raises:
        DataError: it is neither, or a line is not as the format has it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_beir(path, split)
    if path.is_file():
        return squad_as_retrieval(read_questions(path))
    raise DataError(
        f"no data set at {path}: give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/) or a SQuAD JSON file"
    )


def _read_beir(folder: Path, split: str | None) -> RetrievalSet:
    passages = read_lines(
        folder / "corpus.jsonl", lambda row: (row["_id"], (row.get("title") or "", row["text"])), _TEXT
    )
    corpus: dict[str, tuple[str, str]] = dict(passages)
    texts: dict[str, str] = dict(read_lines(folder / "queries.jsonl", lambda row: (row["_id"], row["text"]), _TEXT))
    qrels: dict[str, dict[str, int]] = {}
    with _qrels_file(folder, split).open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            if number == 1 and row and not row[-1].lstrip("-").isdigit():
                continue  # the header
            if len(row) != 3:
                raise DataError(f"{lines.name}:{number}: expected query-id, corpus-id, score; got {row}")
            query, passage, score = row
            if query in texts and passage in corpus and int(score) > 0:
                qrels.setdefault(query, {})[passage] = int(score)
    return RetrievalSet(folder.name, corpus, {query: texts[query] for query in qrels}, qrels)


def _qrels_file(folder: Path, split: str | None) -> Path:
    there = sorted((folder / "qrels").glob("*.tsv"))
    wanted = [file for file in there if file.stem == (split or "test")] or (there if split is None else [])
    if len(wanted) != 1:
        names = ", ".join(file.stem for file in there) or "none"
        raise DataError(f"{folder}/qrels: cannot tell which split to use (asked: {split}, there: {names}): give split=")
    return wanted[0]


def read_questions(path: str | Path) -> QuestionSet:
    """A SQuAD 1.1 or 2.0 file (CMRC 2018 too).

    Raises:
        DataError: the file is not JSON, or not in SQuAD's form.
    """
    path = Path(path)
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        paragraphs: dict[str, tuple[str, str]] = {}
        ids: dict[str, str] = {}  # the same text twice is one paragraph
        questions: list[Question] = []
        for article in articles:
            title = str(article.get("title", "")).replace("_", " ")
            for paragraph in article["paragraphs"]:
                text = paragraph["context"]
                name = ids.setdefault(text, f"p{len(ids)}")
                paragraphs.setdefault(name, (title, text))
                questions.extend(_question(qa, name, title) for qa in paragraph["qas"])
    except FileNotFoundError as error:
        raise DataError(f"no file at {path}: give a SQuAD JSON file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not in SQuAD's form: expected data[].paragraphs[] with context and qas[] "
            f"(id, question, answers[].text, answers[].answer_start); at fault: {error}"
        ) from error
    return QuestionSet(path.stem, questions, paragraphs)


def _question(qa: Mapping[str, Any], paragraph: str, title: str) -> Question:
    answers = [] if qa.get("is_impossible") else qa["answers"]
    return Question(
        id=str(qa["id"]),
        question=qa["question"],
        answers=tuple(answer["text"] for answer in answers),
        answer_starts=tuple(int(answer["answer_start"]) for answer in answers),
        paragraph=paragraph,
        title=title,
    )


def squad_as_retrieval(data: QuestionSet) -> RetrievalSet:
    """The paragraphs as a corpus, each answerable question with its own as the only relevant one."""
    answerable = [question for question in data.questions if question.answers]
    return RetrievalSet(
        data.name,
        data.paragraphs,
        {question.id: question.question for question in answerable},
        {question.id: {question.paragraph: 1} for question in answerable},
    )


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """``count`` of the items, evenly spread; all of them where ``count`` is None."""
    return list(items) if count is None else list(items[:: max(1, len(items) // max(count, 1))][:count])
