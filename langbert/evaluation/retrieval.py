"""Does the right passage come up: recall, MRR and nDCG of a retriever over a data set, by ir-measures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import MissingExtra
from ..records import Chunk, Progress
from ..retrieval import Retriever
from .datasets import RetrievalSet
from .runs import RunFile

_MEASURES = ("R@1", "R@5", "R@20", "RR@10", "nDCG@10")
_DEPTH = 20


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """What came out.

    Attributes:
        scores: measure → mean over the queries, in [0, 1].
        per_query: query id → measure → value.
        seconds_per_query: median wall-clock seconds of one search, embedding of the question included.
    """

    name: str
    mode: str
    passages: int
    queries: int
    scores: Mapping[str, float]
    seconds_per_query: float
    per_query: Mapping[str, Mapping[str, float]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the values of each query."""
        return {
            "data": self.name,
            "mode": self.mode,
            "passages": self.passages,
            "queries": self.queries,
            "scores": {measure: round(score, 4) for measure, score in self.scores.items()},
            "ms_per_query": round(1000 * self.seconds_per_query, 2),
        }


def corpus_chunks(data: RetrievalSet) -> list[Chunk]:
    """Each passage of the corpus as one chunk, its title as the heading."""
    return [
        Chunk(id=name, document_id=name, text=text, headings=(title,) if title else (), source=title)
        for name, (title, text) in data.corpus.items()
    ]


def evaluate_retrieval(
    data: RetrievalSet, retriever: Retriever, *, queries: Sequence[str] | None = None, progress: Progress | None = None
) -> RetrievalReport:
    """Search every query of ``data`` in a store that holds :func:`corpus_chunks`.

    Args:
        queries: only these query ids; by default all.
        progress: told after each query.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtra("ir-measures", "eval", "evaluating retrieval") from error

    wanted = list(data.queries) if queries is None else list(queries)
    run: dict[str, dict[str, float]] = {}
    seconds: list[float] = []
    for query in wanted:
        started = time.perf_counter()
        found = retriever.retrieve(data.queries[query], _DEPTH)
        seconds.append(time.perf_counter() - started)
        # the rank is what counts; ties in the score must not be broken by the evaluator
        run[query] = {candidate.chunk.id: float(len(found) - rank) for rank, candidate in enumerate(found)}
        if progress:
            progress(1)
    qrels = {query: dict(data.qrels[query]) for query in wanted}
    measures = [ir_measures.parse_measure(name) for name in _MEASURES]
    per_query: dict[str, dict[str, float]] = {query: {} for query in wanted}
    for value in ir_measures.iter_calc(measures, qrels, run):
        per_query[value.query_id][str(value.measure)] = value.value
    scores = {name: sum(row.get(name, 0.0) for row in per_query.values()) / max(len(wanted), 1) for name in _MEASURES}
    return RetrievalReport(
        name=data.name,
        mode=retriever.mode + ("+reranker" if retriever.reranker else ""),
        passages=len(data.corpus),
        queries=len(wanted),
        scores=scores,
        seconds_per_query=sorted(seconds)[len(seconds) // 2] if seconds else 0.0,
        per_query=per_query,
    )


def save_retrieval(report: RetrievalReport, data: RetrievalSet, file: str | Path, **settings: Any) -> None:
    """Keep the values of each query, for :func:`langbert.evaluation.compare_runs`; what the file held is replaced."""
    Path(file).unlink(missing_ok=True)
    with RunFile(Path(file), {"kind": "retrieval", **report.to_dict(), **settings}) as run:
        for query, scores in report.per_query.items():
            run.append(
                {"id": query, "question": data.queries[query], "scores": {**dict.fromkeys(_MEASURES, 0.0), **scores}}
            )
