"""Conversations to learn writing from: JSON lines, or a SQuAD file whose questions are put as the pipeline puts them.

The prompts over sources are those of :func:`langbert.answering.prompt.build_messages`, which a trained model will meet.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..answering.prompt import build_messages, not_found
from ..errors import DataError
from ..evaluation.datasets import Question, QuestionSet, read_questions
from ..evaluation.lines import read_numbered
from ..records import Candidate, Chunk, Message
from ..text.scripts import is_chinese

_EXPECTED = '{"messages": [{"role": …, "content": …}, …]}, {"prompt": …, "answer": …} or {"source": …, "target": …}'


class Conversation(NamedTuple):
    """Turns, and the group that stays on one side of the holdout: by default those that ask the same."""

    messages: list[Message]
    group: str


def read_conversations(
    data: str | Path, *, sources: int = 4, unanswerable: float = 0.25, seed: int = 0
) -> Iterator[tuple[int, Conversation]]:
    """Every conversation with its number, of JSON lines the line's.

    Args:
        sources, unanswerable: of a SQuAD ``.json`` file: see :func:`questions_over_sources`.

    Raises:
        DataError: a line is none, or has no answer; a SQuAD file has no questions.
    """
    if Path(data).suffix.lower() != ".json":
        return read_numbered(data, _conversation, _EXPECTED)
    questions = read_questions(data)
    if not questions.questions:
        raise DataError(f"{data} has no questions")
    return enumerate(questions_over_sources(questions, sources=sources, unanswerable=unanswerable, seed=seed), start=1)


def _conversation(row: Any) -> Conversation:
    """A line of the file.

    Raises:
        KeyError, TypeError, ValueError: it is no conversation, or one without an answer.
    """
    if "messages" in row:
        messages = [Message(turn["role"], turn["content"]) for turn in row["messages"]]
    else:
        asked, answer = ("source", "target") if "source" in row else ("prompt", "answer")
        messages = [Message("user", row[asked]), Message("assistant", row[answer])]
    for message in messages:
        if message.role not in ("system", "user", "assistant") or not isinstance(message.content, str):
            raise ValueError(f"{message} is no turn")
        if message.role == "assistant" and not message.content.strip():
            raise ValueError("an answer is empty")
    if all(message.role != "assistant" for message in messages):
        raise ValueError("there is no answer")
    return Conversation(messages, str(row.get("group", [message.content for message in messages[:-1]])))


def questions_over_sources(
    data: QuestionSet, *, sources: int = 4, unanswerable: float = 0.25, seed: int = 0
) -> Iterator[Conversation]:
    """Conversations whose answer is a passage's own words and its mark, ``Normandy [2].``, or the pipeline's refusal.

    The other passages are of the same article: they look right and do not hold the answer.

    Args:
        sources: the most passages a question is asked over; from one to so many are drawn.
        unanswerable: the share of answerable questions whose passage is withheld.
    """
    rng = random.Random(seed)  # noqa: S311
    by_title: dict[str, list[str]] = defaultdict(list)
    for name, (title, _) in data.paragraphs.items():
        by_title[title].append(name)
    everything = list(data.paragraphs)
    asked = list(data.questions)
    rng.shuffle(asked)
    for question in asked:
        withheld = bool(question.answers) and rng.random() < unanswerable
        near = _without_answer(by_title[question.title], question, data) or _without_answer(
            rng.sample(everything, min(len(everything), 4 * sources)), question, data
        )
        wanted = rng.randint(1, sources)
        names = rng.sample(near, min(len(near), wanted if withheld else wanted - 1))
        if not withheld:
            names.append(question.paragraph)
        if not names:
            continue  # one passage in all, and that one withheld
        rng.shuffle(names)
        answered = bool(question.answers) and not withheld
        answer = _marked(question, names.index(question.paragraph) + 1) if answered else not_found(question.question)
        turns = build_messages(question.question, _passages(names, data))
        yield Conversation([*turns, Message("assistant", answer)], question.title)


def _without_answer(names: Sequence[str], question: Question, data: QuestionSet) -> list[str]:
    """Those passages that are not the question's own and hold none of its answers."""
    return [
        name
        for name in names
        if name != question.paragraph and not any(answer in data.paragraphs[name][1] for answer in question.answers)
    ]


def _passages(names: Sequence[str], data: QuestionSet) -> list[Candidate]:
    found = (data.paragraphs[name] for name in names)
    return [
        Candidate(Chunk(id=name, document_id=name, text=text, source=title), 0.0)
        for name, (title, text) in zip(names, found, strict=True)
    ]


def _marked(question: Question, number: int) -> str:
    """The shortest answer given, with its source's mark, as a sentence."""
    answer = min(question.answers, key=len).strip().rstrip(".。")
    stop = "。" if is_chinese(question.question) else "."
    return f"{answer} [{number}]{stop}"
