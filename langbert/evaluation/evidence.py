"""Is the evidence that is shown what people underlined: sentences of long answers, and of answers over several texts.

ClapNQ (Rosenthal et al. 2025, "CLAPnq: Cohesive Long-form Answers from Passages in Natural Questions"): JSON lines with
``input``, ``passages[].{title, sentences}`` and ``output[].selected_sentences``, none where it is not answered.
HotpotQA (Yang et al. 2018, §5.2, supporting facts): objects with ``question``, ``context[] = [title, sentences]`` and
``supporting_facts[] = [title, indices, …]``, one a line.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..records import Citation, Document, Progress
from .answers import Asks
from .estimates import Estimate, estimate_auroc, estimate_mean
from .lines import read_lines

_FORMS = '{"input", "passages", "output"} as in ClapNQ, or {"question", "context", "supporting_facts"} as in HotpotQA'

Sentence = tuple[str, int]
"""A passage's id, and which of its sentences."""


class EvidenceQuestion(NamedTuple):
    """A question, and for each of those who underlined sentences which ones; nobody where it is not answered."""

    id: str
    question: str
    accepted: tuple[frozenset[Sentence], ...]


@dataclass(frozen=True, slots=True)
class EvidenceSet:
    """Questions, and the sentences of the passages of all of them, by passage id, its title first."""

    name: str
    questions: Sequence[EvidenceQuestion]
    passages: Mapping[str, tuple[str, tuple[str, ...]]]

    def documents(self) -> list[Document]:
        """The passages, for a store: a sentence after the other with a blank between."""
        return [
            Document(id=name, text=" ".join(sentences), source=title, metadata={"title": title})
            for name, (title, sentences) in self.passages.items()
        ]

    def sentences_in(self, citation: Citation) -> list[Sentence]:
        """The sentences half of which, at least, a citation shows."""
        begin, found = 0, []
        for i, sentence in enumerate(self.passages[citation.document_id][1]):
            shown = min(citation.end, begin + len(sentence)) - max(citation.start, begin)
            if shown >= len(sentence) / 2:
                found.append((citation.document_id, i))
            begin += len(sentence) + 1
        return found


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """Over the questions that are answered: of the sentences shown, how many were underlined (``precision``), of these,
    how many are shown (``recall``), and ``f1``, means over questions; ``auroc`` of the confidence, answered against
    not. None where there are no such questions."""

    name: str
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    auroc: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def read_evidence(*paths: str | Path) -> EvidenceSet:
    """Files of ClapNQ's or HotpotQA's form as one set over one corpus.

    Raises:
        DataError: a line is in neither form.
    """
    numbers: dict[tuple[str, tuple[str, ...]], str] = {}

    def number(title: str, sentences: Sequence[str]) -> str:
        said = tuple(sentence.strip() for sentence in sentences)
        return numbers.setdefault((title, said), f"p{len(numbers)}")

    def question(row: Any) -> EvidenceQuestion:
        return _clapnq(row, number) if "input" in row else _hotpotqa(row, number)

    questions = [each for path in paths for each in read_lines(Path(path), question, _FORMS)]
    name = " + ".join(Path(path).name for path in paths)
    return EvidenceSet(name, questions, {name: passage for passage, name in numbers.items()})


def _clapnq(row: Any, number: Any) -> EvidenceQuestion:
    (passage,) = row["passages"]
    name = number(passage["title"], passage["sentences"])
    said = [sentence.strip() for sentence in passage["sentences"]]
    chosen = [[said.index(sentence.strip()) for sentence in output["selected_sentences"]] for output in row["output"]]
    accepted = tuple(frozenset((name, i) for i in own) for own in chosen if own)
    return EvidenceQuestion(row["id"], row["input"], accepted)


def _hotpotqa(row: Any, number: Any) -> EvidenceQuestion:
    names = {title: number(title, sentences) for title, sentences in row["context"]}
    facts = frozenset((names[title], i) for title, places, *_ in row["supporting_facts"] for i in places)
    return EvidenceQuestion(row["_id"], row["question"], (facts,))


def evaluate_evidence(data: EvidenceSet, rag: Asks, *, progress: Progress | None = None) -> EvidenceReport:
    """Ask all questions of ``data``, its documents being in the store behind ``rag``, which should refuse nothing.

    Where several people underlined sentences, those count that the answer agrees with most.
    """
    scores: list[tuple[float, float, float]] = []
    answered: list[float] = []
    others: list[float] = []
    for question in data.questions:
        answer = rag.ask(question.question, mode="extract")
        (answered if question.accepted else others).append(answer.confidence)
        if question.accepted:
            shown = {sentence for citation in answer.citations for sentence in data.sentences_in(citation)}
            scores.append(max((_scores(shown, own) for own in question.accepted), key=lambda found: found[2]))
        if progress:
            progress(1)
    precision, recall, f1 = (estimate_mean([score[i] for score in scores]) for i in range(3))
    return EvidenceReport(data.name, precision, recall, f1, estimate_auroc(answered, others))


def _scores(shown: set[Sentence], accepted: frozenset[Sentence]) -> tuple[float, float, float]:
    """Precision, recall and their harmonic mean."""
    both = len(shown & accepted)
    precision, recall = both / max(len(shown), 1), both / len(accepted)
    return precision, recall, statistics.harmonic_mean((precision, recall)) if both else 0.0
