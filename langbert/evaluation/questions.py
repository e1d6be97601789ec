"""People's questions over whole folders: which facts an answer holds, from which file, and when it should be refused.

Questions are JSON lines with ``id``, ``question``, ``lang``, ``kind``, ``corpus``, ``sources`` (names of the files that
may be cited), ``nuggets`` (see :mod:`langbert.evaluation.nuggets`) and, where the documents do not tell,
``unanswerable``; ``evidence`` (``source`` and ``quote``) and ``note`` are for whoever reads the report. Answers are
JSON lines, too, with ``id``, ``answer``, ``citations`` (``source`` and ``quote``), ``refused`` and ``confidence``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Literal

from ..errors import DataError
from ..records import Answer, AnswerMode, Progress
from .answers import Asks
from .lines import read_lines, read_numbered
from .nuggets import nuggets_held
from .runs import RunFile

RIGHT = 0.5
"""An answer that holds so large a share of its nuggets is right."""

_MARKER = re.compile(r"\[\d+\]|\[\?\]")
_EXPECTED = "an object with id, question, lang, kind, corpus, sources, nuggets and, where there is none, unanswerable"
_GIVEN = "an object with id, answer, citations (source, quote), refused and confidence"


@dataclass(frozen=True, slots=True)
class GoldQuote:
    """Words of a file that hold the answer."""

    source: str
    quote: str


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question as somebody asked it.

    Attributes:
        corpus: the documents it is asked of; a store is chosen by it.
        sources: the files that may be cited, by their base names; empty where ``unanswerable``.
        nuggets: the facts that a good answer holds, each a choice of wordings; empty where ``unanswerable``.
    """

    id: str
    question: str
    lang: str
    kind: str
    corpus: str
    sources: tuple[str, ...]
    nuggets: tuple[tuple[str, ...], ...]
    unanswerable: bool = False
    evidence: tuple[GoldQuote, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Quoted:
    """A citation, as far as it is shown."""

    source: str
    quote: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer of langbert, or of anything else that can write down what it shows.

    Attributes:
        answer: as shown, ``[n]`` pointing at citations.
        timings: seconds by stage, where they are known.
    """

    answer: str = ""
    citations: tuple[Quoted, ...] = ()
    refused: bool = False
    confidence: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Answer) -> GivenAnswer:
        quotes = tuple(Quoted(cited.source, cited.quote, cited.page) for cited in answer.citations)
        return cls(answer.text, quotes, answer.refused, float(answer.confidence), dict(answer.timings))

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> GivenAnswer:
        return cls(
            str(row.get("answer") or ""),
            tuple(
                Quoted(str(cited.get("source") or ""), str(cited.get("quote") or ""), cited.get("page"))
                for cited in row.get("citations") or ()
            ),
            bool(row.get("refused")),
            float(row.get("confidence") or 0.0),
            row.get("timings") or {},
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """What a person reads, in order: the answer with blanks for its marks, and the quotes."""
        return _MARKER.sub(lambda mark: " " * len(mark[0]), self.answer), *(cited.quote for cited in self.citations)


Verdict = Literal["right", "partly right", "wrong", "refused", "rightly refused"]

REFUSAL = GivenAnswer(refused=True)
"""What counts where there is no answer."""


@dataclass(frozen=True)
class QuestionRow:
    """A question, what was answered, and how good that is."""

    question: AskedQuestion
    given: GivenAnswer

    @cached_property
    def held(self) -> tuple[bool, ...]:
        """Of each nugget, whether the answer holds it."""
        return nuggets_held(self.given.parts, self.question.nuggets)

    @property
    def nuggets(self) -> float:
        """The share of the nuggets held; a refusal holds none."""
        return 0.0 if self.given.refused or not self.held else sum(self.held) / len(self.held)

    @property
    def cites_right(self) -> bool:
        """Whether the first citation is of a file that may be cited."""
        cited = next((PurePath(each.source).name for each in self.given.citations), None)
        return not self.given.refused and cited in {PurePath(source).name for source in self.question.sources}

    @property
    def wrong(self) -> bool:
        """Whether it is answered, with nothing that it should hold: what hurts trust."""
        return not self.given.refused and self.nuggets == 0

    @property
    def right(self) -> bool:
        """Whether it is answered with at least half of what it should hold."""
        return not self.given.refused and self.nuggets >= RIGHT

    @property
    def verdict(self) -> Verdict:
        """What became of it, in a word."""
        if self.given.refused:
            return "rightly refused" if self.question.unanswerable else "refused"
        return "right" if self.right else "wrong" if self.wrong else "partly right"

    @property
    def scores(self) -> dict[str, float]:
        """By name, in [0, 1]; of an unanswerable question ``refused`` and ``wrong`` alone."""
        refused = float(self.given.refused)
        if self.question.unanswerable:
            return {"refused": refused, "wrong": float(self.wrong)}
        return {
            "nuggets": self.nuggets,
            "source": float(self.cites_right),
            "answered": 1.0 - refused,
            "wrong": float(self.wrong),
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that a file of answers holds."""
        asked = {"id": self.question.id, "question": self.question.question}
        return {**asked, **asdict(self.given), "scores": self.scores}


def read_asked_questions(path: str | Path) -> list[AskedQuestion]:
    """The questions of a file of JSON lines.

    Raises:
        DataError: a line is not of that form, an id comes twice, or a question that can be answered has no nugget or
            one without words.
    """
    questions: dict[str, AskedQuestion] = {}
    for number, asked in read_numbered(path, _asked, _EXPECTED):
        if asked.id in questions:
            raise DataError(f"{path}:{number}: the id {asked.id!r} came before: every question needs one of its own")
        if not asked.unanswerable and not all((asked.nuggets, *asked.nuggets)):
            raise DataError(
                f"{path}:{number}: {asked.id!r} can be answered, but has no nuggets or one without wordings: "
                'say what a good answer holds, or "unanswerable": true'
            )
        questions[asked.id] = asked
    if not questions:
        raise DataError(f"{path} is empty: expected JSON lines, each {_EXPECTED}")
    return list(questions.values())


def _asked(row: Mapping[str, Any]) -> AskedQuestion:
    nuggets = tuple(tuple(map(_wording, wordings)) for wordings in row["nuggets"])
    return AskedQuestion(
        id=str(row["id"]),
        question=_wording(row["question"]),
        lang=str(row["lang"]),
        kind=str(row["kind"]),
        corpus=str(row["corpus"]),
        sources=tuple(map(str, row["sources"])),
        nuggets=nuggets,
        unanswerable=bool(row.get("unanswerable")),
        evidence=tuple(GoldQuote(str(gold["source"]), str(gold["quote"])) for gold in row.get("evidence") or ()),
        note=str(row.get("note") or ""),
    )


def _wording(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"expected words, got {text!r}")
    return text


def read_answerable(path: str | Path, corpus: str | None = None) -> list[tuple[str, bool]]:
    """Questions, and whether the documents answer each: all that calibrating needs to be told.

    Args:
        corpus: only the questions asked of this one.

    Raises:
        DataError: a line is not of that form, or the questions are asked of several corpora and none is named.
    """

    def parse(row: Mapping[str, Any]) -> tuple[str, bool, str]:
        answerable = row.get("answerable", not row.get("unanswerable", False))
        if not isinstance(answerable, bool):
            raise TypeError(f"expected true or false, got {answerable!r}")
        return _wording(row["question"]), answerable, str(row.get("corpus", ""))

    rows = list(read_lines(path, parse, '{"question": …} and, where the documents do not tell, "unanswerable": true'))
    corpora = sorted({name for *_, name in rows})
    if corpus is None and len(corpora) > 1:
        raise DataError(f"{path} asks of {', '.join(corpora)}: say which of them is in the store (--corpus NAME)")
    if corpus is not None and corpus not in corpora:
        raise DataError(f"{path} asks nothing of {corpus!r}, only of {', '.join(corpora) or 'nothing at all'}")
    return [(question, answerable) for question, answerable, name in rows if corpus in (None, name)]


def read_given_answers(path: str | Path) -> dict[str, GivenAnswer]:
    """Id → answer, out of a file of JSON lines; a first line of settings, as our own runs have one, is passed over.

    Raises:
        DataError: a line is not of that form.
    """
    rows = read_lines(path, lambda row: (str(row["id"]), GivenAnswer.from_dict(row), "kind" in row), _GIVEN)
    return {name: given for name, given, is_settings in rows if not is_settings}


def questions_run(path: str | Path, settings: Mapping[str, Any], *, resume: bool = False) -> RunFile:
    """The file that keeps every answer as soon as it is given: for resuming, comparing and scoring again.

    Raises:
        DataError: it is there already, and not to be resumed; or it holds a run of something else.
    """
    # it has an id as every line has, so that whoever knows answers only reads past it
    return RunFile(Path(path), {"id": "settings", "kind": "questions", **settings}, resume=resume)


def ask_questions(
    questions: Sequence[AskedQuestion],
    rags: Asks | Mapping[str, Asks],
    *,
    mode: AnswerMode = "auto",
    file: RunFile | None = None,
    progress: Progress | None = None,
) -> list[QuestionRow]:
    """Ask each question of its corpus.

    Args:
        rags: what is asked: one :class:`langbert.Rag` for all, or one for each corpus.
        file: what ``with questions_run(…) as file`` gives; an answer that stands in it is not asked for again.
        progress: told after each answer, those of an earlier run included.

    Raises:
        DataError: a question's corpus is not among ``rags``.
    """
    by_corpus = rags if isinstance(rags, Mapping) else dict.fromkeys((each.corpus for each in questions), rags)
    if missing := sorted({each.corpus for each in questions} - set(by_corpus)):
        raise DataError(
            f"questions are asked of {', '.join(missing)}; there is only {', '.join(by_corpus) or 'nothing'}"
        )
    rows = []
    for asked in questions:
        earlier = file.rows.get(asked.id) if file is not None else None
        if earlier is not None:
            row = QuestionRow(asked, GivenAnswer.from_dict(earlier))
        else:
            row = QuestionRow(asked, GivenAnswer.of(by_corpus[asked.corpus].ask(asked.question, mode=mode)))
            if file is not None:
                file.append(row.to_dict())
        rows.append(row)
        if progress:
            progress(1)
    return rows
