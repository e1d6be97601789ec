"""What travels between the stages: frozen dataclasses, standard library and numpy only.

Offsets are Python string indices into a document's extracted text, end exclusive, so that
``document.text[chunk.start:chunk.end] == chunk.text`` and
``document.text[citation.start:citation.end] == citation.quote`` always hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .boxes import Box, Illustration, boxes_between
from .log_odds import log_odds, sigmoid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Answer",
    "AnswerMode",
    "Box",
    "Calibration",
    "Candidate",
    "Chunk",
    "Citation",
    "Document",
    "EmbedderLike",
    "EmbeddingSpace",
    "Entailment",
    "Generation",
    "GeneratorLike",
    "Heading",
    "Message",
    "Progress",
    "Refuse",
    "Role",
    "SearchMode",
    "Span",
    "SpanEmbedderLike",
    "Unsupported",
]

Role = Literal["document", "query"]
SearchMode = Literal["hybrid", "dense", "lexical"]
AnswerMode = Literal["auto", "generate", "extract"]
"""Who answers: the documents themselves, in their own words (``extract``); the decoder, in its own (``generate``); or
the decoder if it is up to it, else the documents (``auto``)."""
Refuse = Literal["rarely", "balanced", "strictly"]
"""When the documents are taken not to hold an answer: rather too seldom, as seems likelier, or rather too often."""
Unsupported = Literal["drop", "mark", "keep"]
"""What becomes of a sentence that no source supports: left out, shown with ``[?]`` behind it, or shown as it is."""
Progress = Callable[[int], None]
"""Called with how many more items (texts, files, bytes …) are done."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a document: where its line starts, its level (1 = title) and its words."""

    start: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """One source text as it was extracted, never altered afterwards.

    Attributes:
        id: stable name; adding the same id again replaces the document.
        text: the extracted text all offsets refer to.
        source: what a person would call it: a path relative to the indexed folder, a URL, a title.
        metadata: JSON values the user may filter by.
        page_starts: offset at which each page begins, ascending from 0; empty if the format has no pages.
        headings: the headings in order of appearance.
        line_boxes: where its lines stand on their pages, packed; :meth:`boxes` reads it. Empty if nobody knows.
        illustrations: the pictures in its file, as far as its format tells.
    """

    id: str
    text: str
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    page_starts: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()
    line_boxes: str = field(default="", repr=False)
    illustrations: tuple[Illustration, ...] = ()

    def page_at(self, offset: int) -> int | None:
        """The page (from 1) that holds ``offset``; None where the format has no pages."""
        return bisect_right(self.page_starts, offset) or None

    def boxes(self, start: int, end: int) -> dict[int, list[Box]]:
        """Where ``text[start:end]`` stands: for each page, from 1, the boxes of the lines, or of their parts.

        Empty where the format has no pages, or a page's lines have no known place.
        """
        found: dict[int, list[Box]] = {}
        for offset, box in boxes_between(self.line_boxes, self.text, start, end):
            found.setdefault(self.page_at(offset) or 1, []).append(box)
        return found

    def line_at(self, offset: int) -> int:
        """The line (from 1) that holds ``offset``."""
        return self.text.count("\n", 0, offset) + 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document small enough for the encoder: ``document.text[start:end] == text``."""

    id: str
    document_id: str
    text: str
    start: int = 0
    end: int = -1
    page: int | None = None
    headings: tuple[str, ...] = ()
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.end == -1:
            object.__setattr__(self, "end", self.start + len(self.text))
        if self.end - self.start != len(self.text):
            raise ValueError(
                f"chunk {self.id!r}: offsets {self.start}:{self.end} span {self.end - self.start} characters, "
                f"the text has {len(self.text)}"
            )

    @property
    def title(self) -> str:
        """What a reader would call it: the source's name and the heading path."""
        return " > ".join(part for part in (self.source, *self.headings) if part)

    @property
    def contextual_text(self) -> str:
        """The text under its heading path: what the encoder and the lexical index read."""
        return " > ".join(self.headings) + "\n" + self.text if self.headings else self.text


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk proposed as holding the answer.

    Attributes:
        score: what the list is ordered by, in [0, 1], higher is better.
        scores: the parts it came from, e.g. ``{"dense": 0.71, "lexical": 0.4, "reranker": 0.98}``.
        places: other chunks that say the same: copies of a file, a paragraph that many files repeat.
        relevance: how sure one may be that the chunk speaks of what was asked, in [0, 1]; unlike ``score`` it is the
            same for every question: 1/2 is the border. None where nobody told.
    """

    chunk: Chunk
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)
    places: tuple[Chunk, ...] = ()
    relevance: float | None = None

    @property
    def document_id(self) -> str:
        return self.chunk.document_id

    @property
    def text(self) -> str:
        return self.chunk.text


@dataclass(frozen=True, slots=True)
class Span:
    """Words a reader points at: ``passages[passage][start:end] == text``; score in [0, 1]."""

    text: str
    start: int
    end: int
    score: float
    passage: int


@dataclass(frozen=True, slots=True)
class Entailment:
    """How a hypothesis stands to its premise (Bowman et al. 2015, "SNLI"): three probabilities, whose sum is 1."""

    entailed: float
    neutral: float
    contradicted: float


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a sentence of an answer comes from: ``document.text[start:end] == quote``.

    Attributes:
        also_in: the other places where the same stands: copies of a file, a paragraph that many files repeat.
    """

    source: str
    document_id: str
    page: int | None
    start: int
    end: int
    quote: str
    score: float
    also_in: tuple[Citation, ...] = ()

    @property
    def place(self) -> str:
        """What a reader would look up: the source, and the page or else the characters."""
        where = f"p. {self.page}" if self.page is not None else f"characters {self.start}–{self.end}"
        return f"{self.source or self.document_id}, {where}"

    @property
    def places(self) -> str:
        """All of them: ``a.pdf, p. 3; also in b.pdf, p. 7``."""
        return "; also in ".join([self.place, *(other.place for other in self.also_in)])

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the fields by name, ``also_in`` where there is any such place."""
        fields = {key: value for key, value in asdict(self).items() if key != "also_in"}
        return fields | ({"also_in": [other.to_dict() for other in self.also_in]} if self.also_in else {})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence.

    Attributes:
        text: the answer; ``[n]`` in it points at ``citations[n - 1]``, and ``[?]`` follows what no source supports.
        refused: True if the documents do not hold the answer; ``citations`` is then empty.
        confidence: in [0, 1], how sure the pipeline is that the documents hold the answer.
        timings: seconds spent in each stage, and ``"total"``.
        question: as it was asked.
        standalone_question: what was searched for: with what it takes from the conversation before it.
        unsupported: the sentences of the decoder that no source supports, whether ``text`` shows them or not.
        short: the words within the evidence that answer, for programs: a name, a number, a few words. Empty where no
            reader pointed at any.
        nearest: where it is refused, what came nearest to an answer, best first.
        missing: where it is refused, the words of the question that nothing of what was found holds.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    refused: bool = False
    confidence: float = 0.0
    timings: Mapping[str, float] = field(default_factory=dict)
    question: str = ""
    standalone_question: str = ""
    unsupported: tuple[str, ...] = ()
    short: str = ""
    nearest: tuple[Citation, ...] = ()
    missing: tuple[str, ...] = ()

    def plain(self) -> str:
        """As plain text: the answer, then a line for each source with its place and the quoted words."""
        lines = [f"[{n}] {c.places}: “{_one_line(c.quote)}”" for n, c in enumerate(self.citations, start=1)]
        return "\n".join([self.text, *([""] if lines else []), *lines])

    def markdown(self) -> str:
        """As Markdown, the same way; what documents and models wrote is escaped, so that it is shown and not obeyed."""
        text = "".join(
            part if _ANSWER_MARK.fullmatch(part) else _escaped(part) for part in _ANSWER_MARK.split(self.text)
        )
        lines = [
            f"{n}. **{_escaped(c.places)}**: “{_escaped(_one_line(c.quote))}”"
            for n, c in enumerate(self.citations, start=1)
        ]
        return "\n".join([text, *([""] if lines else []), *lines])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that ``langbert ask --json`` prints."""
        return {
            "question": self.question,
            "answer": self.text,
            "short": self.short,
            "refused": self.refused,
            "confidence": round(self.confidence, 4),
            "citations": [citation.to_dict() for citation in self.citations],
            "nearest": [citation.to_dict() for citation in self.nearest],
            "missing": list(self.missing),
            "timings": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
        }


_ANSWER_MARK = re.compile(r"(\[(?:\d+|\?)\])")
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~!&]|(?m:^\s*(?:[-+=]|\d+[.)]))")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """Words that Markdown shows as they are: no link, picture, tag, heading or list comes of them."""
    return _MARKDOWN.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", text)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Generation:
    """What a decoder wrote, and why it stopped."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Everything that decides whether two vectors may be compared.

    Two embedders whose spaces are equal give the same vector for the same text (up to precision).
    ``weights`` and ``tokenizer`` are SHA-256 digests, or a plain label for embedders that are not ours.
    ``late_chunking`` is 0 where a chunk is embedded by itself, else the tokens its document is read in at once.
    """

    model: str
    weights: str
    tokenizer: str
    pooling: str
    normalize: bool
    dimension: int
    query_prompt: str = ""
    document_prompt: str = ""
    late_chunking: int = 0

    def differences(self, other: EmbeddingSpace) -> list[str]:
        """The fields that differ, as ``"pooling: 'mean' != 'cls'"``; ``model`` is a label and never counts."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{key}: {mine[key]!r} != {theirs[key]!r}" for key in mine if key != "model" and mine[key] != theirs[key]
        ]

    @property
    def options(self) -> dict[str, Any]:
        """What :class:`langbert.Embedder` is given beside ``model`` to make such vectors."""
        return {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dimensions": self.dimension,
            "query_prompt": self.query_prompt,
            "document_prompt": self.document_prompt,
            "max_length": self.late_chunking or None,
        }

    @property
    def fingerprint(self) -> str:
        """A SHA-256 over every field but the label."""
        fields = {key: value for key, value in asdict(self).items() if key != "model"}
        if not self.late_chunking:  # so that fingerprints made before it existed hold
            del fields["late_chunking"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often a confidence has been right in one store, as its own questions told (``langbert calibrate``).

    Attributes:
        slope, bias: of the log-odds of a confidence, which makes another of it (Platt 1999, §2.1).
        questions: how many told.
        space: the fingerprint of the embedding space that they were asked in; it holds for no other.
    """

    slope: float = 1.0
    bias: float = 0.0
    questions: int = 0
    space: str = ""

    def of(self, confidence: float) -> float:
        """The calibrated confidence, in [0, 1]; where nothing was found, 0 as ever."""
        return sigmoid(self.slope * log_odds(confidence) + self.bias) if confidence else 0.0

    def was(self, calibrated: float) -> float:
        """The confidence that is calibrated to this one."""
        return sigmoid((log_odds(calibrated) - self.bias) / self.slope)


class GeneratorLike(Protocol):
    """What answering needs of whatever writes: a :class:`langbert.Generator` or :class:`langbert.RemoteGenerator`."""

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and answer may have together."""
        ...

    def count_tokens(self, messages: Sequence[Message], /) -> int:
        """Tokens of the prompt they become."""
        ...

    def stream(self, messages: Sequence[Message], /, *, max_tokens: int) -> Iterator[str]:
        """The assistant's next turn, in pieces."""
        ...


class EmbedderLike(Protocol):
    """What the store needs of whatever makes its vectors; :class:`langbert.Embedder` is one."""

    @property
    def space(self) -> EmbeddingSpace: ...

    @property
    def dimension(self) -> int: ...

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Vectors of shape ``(n, dimension)``, float32."""
        ...

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """Character offsets of every token of ``text``, without special tokens, never truncated."""
        ...

    def room(self, role: Role = "document") -> int:
        """How many tokens of text fit beside the special tokens and the role's prompt."""
        ...


class SpanEmbedderLike(EmbedderLike, Protocol):
    """What late chunking needs beyond that."""

    @property
    def span_space(self) -> EmbeddingSpace:
        """The space of what ``embed_spans`` returns."""
        ...

    def embed_spans(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], *, progress: Progress | None = None
    ) -> list[NDArray[np.float32]]:
        """For each document the vectors ``(n_spans, dimension)`` of its spans in characters, float32."""
        ...
