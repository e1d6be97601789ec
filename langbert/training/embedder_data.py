"""What an embedder learns from: questions with their passages, scored pairs, or documents alone.

======================================  ================================================================
SQuAD file (``.json``)                  its questions and paragraphs; negatives from a mined file
JSON lines ``{"query", "positive"}``    and perhaps ``"negatives"``, ``"scores"`` (a teacher's logits of
                                        the positive, then of each negative), ``"title"``
JSON lines ``{"text", "pair"}``         and ``"score"``, 0 to 1, unless a teacher gives it
JSON lines ``{"text"}``                 texts alone
a folder or any other file              documents
======================================  ================================================================
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..chunking import Chunker
from ..errors import DataError
from ..evaluation.datasets import Question, QuestionSet, read_questions
from ..evaluation.lines import read_lines, read_numbered
from ..models.files.tokenizer import TextTokenizer
from ..records import Chunk
from ..text.scripts import count_han
from ..text.sentences import sentences
from .data import documents_in

ObjectiveName = Literal["ranking", "linear", "distill", "similarity", "tsdae"]
"""What an embedder can be trained by."""

_MIN_WORDS = 4  # of a sentence from which words are deleted


class RankingRow(NamedTuple):
    """A query, the passage that is right for it and some that are not: places in ``RankingData.passages``.

    ``scores`` are a teacher's logits of the right passage, then of each wrong one; empty where nobody gave any.
    """

    id: str
    query: str
    positive: int
    negatives: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RankingData:
    """Queries and the passages they are asked of, ``(title, text)`` each; a title may be empty."""

    name: str
    passages: Sequence[tuple[str, str]]
    rows: Sequence[RankingRow]


class ScoredPair(NamedTuple):
    """Two texts and how alike they are, 0 to 1; None where a teacher is to say."""

    text: str
    pair: str
    score: float | None


def is_documents(path: str | Path) -> bool:
    """Whether there is nothing but text to learn from."""
    return Path(path).suffix.lower() not in (".json", ".jsonl")


def objective_for(path: str | Path, *, teacher: bool = False, questions: bool = False) -> ObjectiveName:
    """The objective the data is clearly made for.

    Args:
        teacher: whether a cross-encoder stands by to give scores.
        questions: whether questions are to be made for documents.

    Raises:
        DataError: the data is none of the known forms.
    """
    if is_documents(path):
        return "tsdae" if not questions else "distill" if teacher else "ranking"
    if Path(path).suffix.lower() == ".json":
        return "distill" if teacher else "ranking"
    expected = '{"query", "positive"}, {"text", "pair", "score"} or {"text"}'
    number, keys = next(read_numbered(path, lambda row: set(dict(row)), expected), (0, None))
    if keys is None:
        raise DataError(f"{path} is empty: expected JSON lines of {expected}")
    if "positive" in keys:
        return "distill" if teacher or "scores" in keys else "ranking"
    if "pair" in keys:
        return "similarity"
    if "text" in keys:
        return "tsdae"
    raise DataError(f"{path}:{number}: expected {expected}; got {', '.join(sorted(keys)) or 'an empty object'}")


def read_ranking(path: str | Path) -> RankingData:
    """Questions with their passages, from a SQuAD file or JSON lines; the same passage twice is one.

    Raises:
        DataError: the file is in neither form, or holds no question.
    """
    path = Path(path)
    data = _ranking_of_squad(path) if path.suffix.lower() == ".json" else _ranking_of_lines(path)
    if not data.rows:
        raise DataError(f"{path} holds no question with a passage that answers it")
    return data


def _ranking_of_squad(path: Path) -> RankingData:
    data = read_questions(path)
    number = {name: i for i, name in enumerate(data.paragraphs)}
    rows = [RankingRow(q.id, q.question, number[q.paragraph]) for q in data.questions if q.answers]
    return RankingData(path.name, list(data.paragraphs.values()), rows)


def _ranking_of_lines(path: Path) -> RankingData:
    numbers: dict[str, int] = {}
    titles: dict[str, str] = {}

    def row_of(row: Any) -> RankingRow:
        query = _text(row["query"] if "query" in row else row["question"])
        right, wrong = _text(row["positive"]), _texts(row.get("negatives", []))
        titles[right] = row.get("title") or ""
        positive, *negatives = (numbers.setdefault(text, len(numbers)) for text in (right, *wrong))
        scores = tuple(float(score) for score in row.get("scores", ()))
        if scores and len(scores) != 1 + len(negatives):
            raise ValueError("a score for the positive and for each negative")
        return RankingRow("", query, positive, tuple(negatives), scores)

    expected = '{"query", "positive", "negatives": [texts], "scores": [of the positive, then of each negative]}'
    lines = read_lines(path, row_of, f"{expected} (the last two are optional)")
    rows = [row._replace(id=f"q{i}") for i, row in enumerate(lines)]
    return RankingData(path.name, [(titles.get(text, ""), text) for text in numbers], rows)


def question_set(data: RankingData) -> QuestionSet:
    """The same as :func:`~langbert.training.mining.mine_negatives` takes it.

    Where the exact answer is not known it is the whole passage, so that only the same passage again is no negative.
    """
    questions = [
        Question(row.id, row.query, (data.passages[row.positive][1],), (0,), f"p{row.positive}", "")
        for row in data.rows
    ]
    return QuestionSet(data.name, questions, {f"p{i}": passage for i, passage in enumerate(data.passages)})


def with_mined(data: RankingData, file: str | Path, hardest: int) -> RankingData:
    """``data`` with the negatives of a file that :func:`~langbert.training.mining.mine_negatives` wrote.

    Args:
        hardest: how many of the nearest to keep for each question.

    Raises:
        DataError: a line is not in the mined form, or names a passage that ``data`` does not hold.
    """
    number = {f"p{i}": i for i in range(len(data.passages))}  # as read_questions names them, too

    def mined(row: Any) -> tuple[str, tuple[int, ...]]:
        return row["id"], tuple(number[name] for name in row["negatives"][:hardest])

    expected = f'{{"id", "negatives": [passage ids of {data.name}]}}, mined from this very data'
    near = dict(read_lines(file, mined, expected))
    rows = [row._replace(negatives=row.negatives or near.get(row.id, ())) for row in data.rows]
    return replace(data, rows=rows)


def positives_of(rows: Sequence[RankingRow]) -> Mapping[str, set[int]]:
    """Every passage that is right for a query, by the query's words."""
    right: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        right[row.query].add(row.positive)
    return right


def read_pairs(path: str | Path, *, scored: bool) -> list[ScoredPair]:
    """Pairs of texts.

    Args:
        scored: whether each needs a score; otherwise those that have one keep it.

    Raises:
        DataError: a line is not in that form, or a score is not in [0, 1].
    """

    def pair_of(row: Any) -> ScoredPair:
        score = float(row["score"]) if scored or "score" in row else None
        if score is not None and not 0 <= score <= 1:
            raise ValueError("a score is between 0 and 1")
        return ScoredPair(_text(row["text"]), _text(row["pair"]), score)

    expected = '{"text", "pair", "score"} with a score from 0 to 1 (divide STS scores by 5)'
    return list(read_lines(path, pair_of, expected))


def read_texts(path: str | Path) -> list[str]:
    """The sentences of documents, or the texts of JSON lines; each once.

    Raises:
        DataError: there are none, or a line has no text.
    """
    if is_documents(path):
        texts = [
            " ".join(document.text[start:end].split())
            for document in documents_in(path)
            for start, end in sentences(document.text)
            if _words(document.text[start:end]) >= _MIN_WORDS
        ]
    else:
        texts = list(read_lines(path, lambda row: _text(row["text"]), '{"text"}'))
    if not texts:
        raise DataError(f"{path} holds no text to learn from")
    return list(dict.fromkeys(texts))


def every_text(path: str | Path) -> Iterator[str]:
    """Whatever there is to read in data of any of these forms, to make a vocabulary of.

    Raises:
        DataError: the data is in none of them.
    """
    if is_documents(path):
        yield from (document.text for document in documents_in(path))
    elif Path(path).suffix.lower() == ".json":
        data = read_ranking(path)
        yield from (f"{title}\n{text}" for title, text in data.passages)
        yield from (row.query for row in data.rows)
    else:
        for texts in read_lines(path, _strings, "JSON objects"):
            yield from texts


def _strings(row: Any) -> list[str]:
    values = [item for value in dict(row).values() for item in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, str)]


def read_passages(path: str | Path, tokenizer: TextTokenizer, max_tokens: int) -> list[Chunk]:
    """The documents under ``path`` in chunks, as an index of them would hold them.

    Raises:
        DataError: none could be read.
    """
    chunker = Chunker(tokenizer.offsets, max_tokens)
    chunks = [chunk for document in documents_in(path) for chunk in chunker.split(document)]
    if not chunks:
        raise DataError(f"{path} holds no document that can be read")
    return chunks


def _words(text: str) -> int:
    """Words between spaces; in writing without spaces, characters."""
    return max(len(text.split()), count_han(text))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected text")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("expected a list of texts")
    return [_text(item) for item in value]
