"""Question → candidates and the reader's spans in them, computed once: a run that stops goes on where it was.

What the search and the reranker say is kept in one file, what a reader says in another, named by a digest of its
weights: a new reader reads again, and nothing else is done twice.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.progress import track

from langbert import Candidate, Chunk, Embedder, Reader, Reranker, Retriever, Store
from langbert.answering.evidence import Evidence, best_evidence, heading_line
from langbert.answering.pieces import PIECE, cut_pieces
from langbert.answering.selection import weigh
from langbert.answering.wants import wants
from langbert.evaluation import read_questions
from langbert.evaluation.datasets import Question, squad_as_retrieval
from langbert.evaluation.retrieval import corpus_chunks
from langbert.models import resolve
from langbert.reading import ReadSpan

DEPTH = 20  # candidates that the reranker orders
READ = 8  # of them, that the reader reads
PER_PASSAGE = 10

Spans = list[ReadSpan]


@dataclass(frozen=True)
class Asked:
    """A question and what was found.

    Attributes:
        held: whether the corpus holds the answer.
        candidates: best first, with all their scores.
        read: of the first ones, the reader's spans; empty without a reader.
        relevances: what the cross-encoder says of pieces of them, as log-odds; empty where it orders passages instead.
        nearest: the one with the best of these pieces.
    """

    question: Question
    held: bool
    candidates: Sequence[Candidate]
    read: Sequence[Spans]
    relevances: Sequence[float] = ()
    nearest: Candidate | None = None

    def best_spans(
        self, questions: Sequence[str], passages: Sequence[str], n: int, *, headings: Sequence[str] | None = None
    ) -> list[Spans]:
        """As :meth:`langbert.Reader.best_spans`, from what was kept."""
        known = {candidate.text: spans for candidate, spans in zip(self.candidates, self.read, strict=False)}
        return [known[passage][:n] for passage in passages]

    def evidence(self, read: int = READ) -> list[Evidence]:
        """What :func:`langbert.answering.evidence.best_evidence` makes of the first ``read`` candidates."""
        first = self.candidates[: min(read, len(self.read))]
        return best_evidence(self.question.question, first, self)  # type: ignore[arg-type]


class Asking:
    """Asks questions of a SQuAD file's paragraphs, as one corpus.

    Args:
        cache: a folder.
        reader: a name or folder; None only searches.
        rerank: order the candidates by the reranker; with ``e5-small``, judge pieces of them.
        encoder: what finds them: ``minilm`` or ``e5-small``.
        threads: for the models.
    """

    def __init__(
        self,
        data: str | Path,
        cache: str | Path,
        *,
        reader: str | None = "minilm-reader",
        rerank: bool = True,
        encoder: str = "minilm",
        threads: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.data = read_questions(data)
        self.cache = Path(cache)
        self.cache.mkdir(parents=True, exist_ok=True)
        self.reader_name, self.rerank, self.threads = reader, rerank, threads
        self._chunks: dict[str, Chunk] = {chunk.id: chunk for chunk in corpus_chunks(squad_as_retrieval(self.data))}

    def sample(self, count: int, *, absent: bool = False, cached: bool = False) -> list[Question]:
        """``count`` questions at random, the same every time: those that an earlier run has got to come first.

        With ``cached`` no others, and only those that this reader has read.
        """
        mixed = list(self.data.questions)
        random.Random(1).shuffle(mixed)
        known = self._rows(self._kind(absent)).keys()
        mixed.sort(key=lambda question: question.id not in known)
        if cached:
            if self.reader_name is not None:
                known &= self._rows(f"{self._kind(absent)}-{self._digest}").keys()
            mixed = [question for question in mixed if question.id in known]
        return mixed[:count]

    def ask(self, questions: Sequence[Question], *, absent: bool = False) -> list[Asked]:
        """Every question; ``absent`` leaves out the paragraphs of its own article, so that nothing holds the answer."""
        kind = self._kind(absent)
        found = self._kept(kind, questions, lambda question: self._search(question, absent))
        candidates = {name: [self._candidate(row) for row in rows] for name, rows in found.items()}
        judged: Mapping[str, Any] = {}
        if self.rerank and self._judges:
            judged = self._kept(
                f"{kind}-pieces-{self._digest}",
                questions,
                lambda question: self._judge(question, candidates[question.id]),
            )
        read: Mapping[str, Any] = {}
        if self.reader_name is not None:
            read = self._kept(
                f"{kind}-{self._digest}", questions, lambda question: self._read(question, candidates[question.id])
            )
        asked = []
        for question in questions:
            relevances, nearest = judged.get(question.id, ((), None))
            spans = [[ReadSpan(*span) for span in spans] for spans in read.get(question.id, [])]
            best = next((one for one in candidates[question.id] if one.chunk.id == nearest), None)
            held = bool(question.answers) and not absent
            asked.append(Asked(question, held, candidates[question.id], spans, relevances, best))
        return asked

    def _kind(self, absent: bool) -> str:
        encoder = "" if self.encoder == "minilm" else f"-{self.encoder}"
        return self.data.name + encoder + ("-absent" if absent else "") + ("" if self.rerank else "-search")

    @property
    def _judges(self) -> bool:
        """Whether the cross-encoder of this encoder judges pieces, and orders no passages."""
        return self.encoder == "e5-small"

    def _rows(self, name: str) -> dict[str, Any]:
        return dict(json.loads(line) for line in _whole_lines(self.cache / f"{name}.jsonl"))

    def _kept(self, name: str, questions: Sequence[Question], compute: Any) -> dict[str, Any]:
        file = self.cache / f"{name}.jsonl"
        rows = self._rows(name)
        missing = [question for question in questions if question.id not in rows]
        with file.open("a", encoding="utf-8") as out:
            for question in track(missing, name, disable=not missing):
                rows[question.id] = compute(question)
                out.write(json.dumps([question.id, rows[question.id]]) + "\n")
                out.flush()
        return rows

    def _search(self, question: Question, absent: bool) -> list[Any]:
        where = {"source": {"$ne": question.title}} if absent else None
        return [
            (found.chunk.id, found.score, dict(found.scores))
            for found in self._retriever.retrieve(question.question, DEPTH, where=where)
        ]

    def _candidate(self, row: Sequence[Any]) -> Candidate:
        name, score, scores = row
        return Candidate(self._chunks[name], score, scores)

    def _read(self, question: Question, candidates: Sequence[Candidate]) -> list[Spans]:
        first = candidates[:READ]
        passages, headings = [one.text for one in first], [heading_line(one.chunk) for one in first]
        return self._reader.best_spans([question.question] * len(first), passages, PER_PASSAGE, headings=headings)

    def _judge(self, question: Question, candidates: Sequence[Candidate]) -> tuple[list[float], str | None]:
        pieces = cut_pieces(candidates, {}, 0.0 if wants(question.question).fact else PIECE)
        weighed = weigh(question.question, pieces, self._retriever.store.embedder, self._reranker)
        nearest = None if weighed.nearest is None else pieces[weighed.nearest].source.chunk.id
        return [round(relevance, 4) for relevance in weighed.relevances], nearest

    @cached_property
    def _retriever(self) -> Retriever:
        name = f"{self.data.name}-{self.encoder}-store"
        store = Store.open(self.cache / name, embedder=Embedder(self.encoder, threads=self.threads))
        if len(store) < len(self._chunks):
            store.add(self._chunks.values())
        reranker = self._reranker if self.rerank and not self._judges else None
        return Retriever(store, reranker=reranker, depth=DEPTH)

    @cached_property
    def _reranker(self) -> Reranker:
        return Reranker("e5-reranker" if self._judges else "minilm-reranker", threads=self.threads)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.reader_name or "minilm-reader", threads=self.threads)

    @cached_property
    def _digest(self) -> str:
        folder = resolve(self.reader_name or ("e5-reranker" if self._judges else "minilm-reader"))
        digest = hashlib.sha256()
        for file in sorted(folder.rglob("*.safetensors")):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:8]


def _whole_lines(file: Path) -> Iterator[str]:
    """The lines of a file, without one that a stopped run broke off; none where there is no file."""
    if not file.exists():
        return
    text = file.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        file.write_text(text, encoding="utf-8")
    yield from text.splitlines()


def halves(titles: Sequence[str], seed: int = 0) -> frozenset[str]:
    """Half of the articles, drawn at random: what is fitted on one half is reported on the other."""
    names = sorted(set(titles))
    random.Random(seed).shuffle(names)
    return frozenset(names[::2])
