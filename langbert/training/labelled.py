"""Files of labelled texts and of tagged words; whatever cannot be used is named by its line."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..errors import DataError
from ..evaluation.lines import numbered_lines, read_lines, read_numbered

_JSON = (".jsonl", ".json", ".ndjson")
_FIRST = ("text", "premise", "sentence1", "question1")
_SECOND = ("pair", "text_pair", "hypothesis", "sentence2", "question2")
"""What the two texts of a pair are called: here, by transformers, by SNLI and MNLI, by GLUE."""

_BLANKS = re.compile("[ \t]+")

Row = TypeVar("Row")


class LabelledText(NamedTuple):
    """A text, or two, and what it is."""

    text: str
    pair: str | None
    label: str


class TaggedSentence(NamedTuple):
    """Words, a tag for each, and the line of the file each came from."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


def read_labelled(path: str | Path) -> list[LabelledText]:
    """JSON lines of ``{"text", "label"}`` or ``{"text", "pair", "label"}``, or lines ``text<TAB>label`` or
    ``text<TAB>pair<TAB>label``, with or without a header. Pairs may bear the names of the sets they come from:
    ``text_pair``; ``premise`` and ``hypothesis``; ``sentence1``/``2``; ``question1``/``2``.

    Raises:
        DataError: the file is missing, a line is unusable, or there are not two different labels.
    """
    path = Path(path)
    if path.suffix.lower() in _JSON:
        rows = list(read_lines(path, _labelled, '{"text": …, "label": …} or {"text": …, "pair": …, "label": …}'))
    else:
        rows = list(_from_table(path))
    labels = {row.label for row in rows}
    if len(labels) < 2:
        raise DataError(f"{path}: expected two different labels or more, got {sorted(labels)}")
    return rows


def read_tagged(path: str | Path, *, column: int = -1) -> list[TaggedSentence]:
    """CoNLL lines ``word … tag`` with a blank line between sentences, or JSON lines of ``{"tokens", "tags"}``.

    Args:
        column: of a CoNLL file: which one holds the tag; the word is in the first.

    Raises:
        DataError: the file is missing, a line is unusable, or there is no sentence.
    """
    path = Path(path)
    if path.suffix.lower() in _JSON:
        parsed = read_numbered(path, _tagged, '{"tokens": […], "tags": […]}, a tag for each token')
        rows = [TaggedSentence(words, tags, (number,) * len(words)) for number, (words, tags) in parsed]
    else:
        rows = list(_from_columns(path, column))
    sentences = [row for row in rows if row.words]
    if not sentences:
        raise DataError(f"{path}: expected sentences of tagged words, got none")
    return sentences


def split(
    rows: Sequence[Row],
    share: float,
    seed: int,
    *,
    key: Callable[[Row], Hashable],
    stratum: Callable[[Row], str] = lambda row: "",
) -> tuple[list[Row], list[Row]]:
    """Rows to learn from and rows that are held out: ``share`` of each stratum, rows of one key together, at least one
    key a stratum to learn from.

    Raises:
        ValueError: ``share`` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"holdout must be in [0, 1), got {share}")
    stratum_of: dict[Hashable, str] = {}
    for row in rows:
        stratum_of.setdefault(key(row), stratum(row))
    members: dict[str, list[Hashable]] = defaultdict(list)
    for name, kind in stratum_of.items():
        members[kind].append(name)
    rng = random.Random(seed)  # noqa: S311
    held: set[Hashable] = set()
    for found in members.values():
        rng.shuffle(found)
        held.update(found[: min(round(share * len(found)), len(found) - 1)])
    return [row for row in rows if key(row) not in held], [row for row in rows if key(row) in held]


def _from_table(path: Path) -> Iterator[LabelledText]:
    expected = "text<TAB>label or text<TAB>pair<TAB>label"
    for number, line in numbered_lines(path, f"lines of {expected}, or JSON lines in a .jsonl"):
        columns = [column.strip() for column in line.split("\t")]
        if number == 1 and columns[-1].lower() == "label":
            continue
        if len(columns) not in (2, 3) or not all(columns):
            raise DataError(f"{path}:{number}: expected {expected}; got {line[:80]}")
        yield LabelledText(columns[0], columns[1] if len(columns) == 3 else None, columns[-1])


def _from_columns(path: Path, column: int) -> Iterator[TaggedSentence]:
    words: list[tuple[str, str, int]] = []
    for number, line in numbered_lines(path, "CoNLL lines 'word … tag', or JSON lines in a .jsonl", blank=True):
        if not line.strip(" \t"):
            yield _sentence(words)
            words = []
            continue
        cells = line.split("\t") if "\t" in line else _BLANKS.split(line.strip(" "))
        try:
            word, tag = cells[0], cells[column].strip(" ")
        except IndexError:
            tag = ""
        if len(cells) < 2 or not word or not tag:
            raise DataError(f"{path}:{number}: expected a word and its tag (column {column}); got {line[:80]}")
        if word != "-DOCSTART-":
            words.append((word, tag, number))
    yield _sentence(words)


def _sentence(words: Sequence[tuple[str, str, int]]) -> TaggedSentence:
    columns = tuple(zip(*words, strict=True)) or ((), (), ())
    return TaggedSentence(*columns)


def _labelled(row: Any) -> LabelledText:
    text, pair = (next((row[name] for name in names if name in row), None) for names in (_FIRST, _SECOND))
    label = row["label"]
    if isinstance(label, (bool, int)):
        label = str(label).lower()
    if not isinstance(text, str) or not all(
        isinstance(value, str) and value.strip() for value in (text, label, text if pair is None else pair)
    ):
        raise ValueError("a text or a label is missing or blank")
    return LabelledText(text, pair, label.strip())


def _tagged(row: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words, tags = row["tokens"], row["tags"]
    if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
        raise ValueError("not a tag for each token")
    if not all(isinstance(value, str) and value for value in (*words, *tags)):
        raise ValueError("a token or a tag is not text")
    return tuple(words), tuple(tags)
