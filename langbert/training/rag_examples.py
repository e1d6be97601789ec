"""What a decoder should write for a question over numbered sources: examples for fine-tuning out of a SQuAD file.

The prompts are those of :func:`langbert.answering.prompt.build_messages`, the ones a trained model will meet.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..answering.prompt import build_messages, not_found
from ..errors import DataError
from ..evaluation.datasets import Question, QuestionSet, read_questions
from ..records import Candidate, Chunk
from ..text.scripts import is_chinese

__all__ = ["rag_examples", "write_rag_examples"]


def write_rag_examples(
    data: str | Path,
    file: str | Path,
    *,
    sources: int = 4,
    unanswerable: float = 0.25,
    limit: int | None = None,
    seed: int = 0,
) -> int:
    """Write JSON lines for :class:`~langbert.training.sft.SftTask`; how many.

    Args:
        data: a SQuAD file, 1.1 or 2.0, in any language.
        file: written anew.
        sources: the most passages a question is asked over; from one to so many are drawn.
        unanswerable: the share of answerable questions whose passage is withheld.
        limit: no more than so many questions, drawn at random.

    Raises:
        DataError: ``data`` is not in SQuAD's form, or has no questions.
    """
    questions = read_questions(data)
    if not questions.questions:
        raise DataError(f"{data} has no questions")
    count = 0
    with Path(file).open("w", encoding="utf-8") as lines:
        for row in rag_examples(questions, sources=sources, unanswerable=unanswerable, limit=limit, seed=seed):
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def rag_examples(
    data: QuestionSet, *, sources: int = 4, unanswerable: float = 0.25, limit: int | None = None, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Conversations whose answer is a passage's own words and its mark, ``Normandy [2].``, or the pipeline's refusal.

    The other passages are of the same article: they look right and do not hold the answer.
    """
    rng = random.Random(seed)  # noqa: S311
    by_title: dict[str, list[str]] = defaultdict(list)
    for name, (title, _) in data.paragraphs.items():
        by_title[title].append(name)
    everything = list(data.paragraphs)
    asked = list(data.questions)
    rng.shuffle(asked)
    for question in asked[:limit]:
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
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        yield {
            "id": question.id,
            "group": question.title,
            "messages": [*messages, {"role": "assistant", "content": answer}],
        }


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
