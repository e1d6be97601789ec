"""Hard negatives: what our own hybrid search finds for a question and does not hold its answer."""

from __future__ import annotations

import json
import random
from pathlib import Path

from ..evaluation.datasets import QuestionSet, squad_as_retrieval
from ..evaluation.lines import read_lines, whole_lines
from ..evaluation.retrieval import corpus_chunks
from ..records import EmbedderLike, Progress
from ..store import Store

_DEPTH = 21
_KEPT = 16


def mine_negatives(
    data: QuestionSet,
    embedder: EmbedderLike,
    output: str | Path,
    *,
    store: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write ``{"id", "question", "positive", "negatives"}``, a line for each question, nearest negatives first.

    A passage in which an accepted answer occurs is no negative. What ``output`` already holds is kept, so that a
    stopped run goes on where it was.

    Args:
        store: a folder for the passages' index; None makes it in memory.
        limit: mine only so many questions, chosen by ``seed``.
    """
    output = Path(output)
    questions = [question for question in data.questions if question.answers]
    random.Random(seed).shuffle(questions)  # noqa: S311
    done = len(whole_lines(output, cut=True))
    with Store.open(store, embedder=embedder) as passages, output.open("a", encoding="utf-8") as lines:
        passages.add(corpus_chunks(squad_as_retrieval(data)))
        for question in questions[done:limit]:
            hits = passages.search(question.question, _DEPTH)
            answers = [answer.casefold() for answer in question.answers]
            near = [
                hit.chunk.id
                for hit in hits
                if hit.chunk.id != question.paragraph and not any(answer in hit.text.casefold() for answer in answers)
            ]
            row = {"id": question.id, "question": question.question, "positive": question.paragraph}
            lines.write(json.dumps({**row, "negatives": near[:_KEPT]}, ensure_ascii=False) + "\n")
            if progress:
                progress(1)
    return output


def read_negatives(path: str | Path) -> dict[str, list[str]]:
    """What :func:`mine_negatives` wrote: the id of a question → the ids of passages, nearest first.

    Raises:
        DataError: a line has another form.
    """
    return dict(read_lines(path, lambda row: (row["id"], row["negatives"]), '{"id": …, "negatives": […]}'))
