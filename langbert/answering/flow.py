"""Question → Answer: the whole policy, as one generator that yields what it needs and is sent the result.

What a step needs (a search, a model, a document's text) is somebody else's to give: :class:`langbert.Rag` gives it out
of a store, LangChain's chain out of any retriever and chat model, blocking or not. So who answers, when nobody does,
what is checked and what is cited is written down here and nowhere else::

    candidates → evidence → (prompt → text →) checked sentences → Answer

:func:`drive` and :func:`adrive` run it: they perform the steps, and hand on the pieces of the answer as they come.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import GenerationError
from ..records import Answer, AnswerMode, Calibration, Candidate, Citation, Document, Message, Unsupported
from ..text.question import checked_question
from ..text.scripts import one_line, reading_length
from .clauses import in_clause
from .evidence import Evidence, narrowed
from .fields import asked_fields
from .grounding import Grounder
from .missing import missing_words
from .named import as_told, is_ruled_out
from .packing import pack
from .pieces import LOOKED_AT, PIECE, Piece, blocks_of, cut_pieces
from .prompt import FULL, SHORT, build_messages, not_found
from .refusal import Encoder, confidence, features
from .relative import with_its_base
from .selection import Weighed, as_candidates, is_among_the_best, merged, select, with_headings
from .versions import newest_first, versions
from .wants import Wants, parts, wants

__all__ = [
    "FULL",
    "SHORT",
    "SMALL_DECODER",
    "Budget",
    "Fetch",
    "Flow",
    "Policy",
    "Prepare",
    "Read",
    "Retrieve",
    "Rewrite",
    "Step",
    "Weigh",
    "Write",
    "adrive",
    "answer_flow",
    "drive",
]

SMALL_DECODER = "smollm2-135m-instruct"
"""The catalogue's decoder that writes where none is given."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Let a chat model rewrite a follow-up question. Sent its text."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Find what may hold the answer. Sent ``list[Candidate]``, best first."""

    question: str


@dataclass(frozen=True, slots=True)
class Read:
    """Let a reader that knows the question's language point at the words that answer. Sent ``list[Evidence]``, best
    first; empty where there is none."""

    question: str
    candidates: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the decoder ready. Sent its :class:`Budget`."""


@dataclass(frozen=True, slots=True)
class Write:
    """Let the decoder answer. Yielded again for each piece: sent the next one, None at the end."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class Weigh:
    """Tell how well pieces of the passages answer. Sent a :class:`.selection.Weighed`."""

    question: str
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a whole document. Sent ``Document | None``."""

    document_id: str


Step = Rewrite | Retrieve | Read | Prepare | Write | Weigh | Fetch
Flow = Generator[Step | str | Answer, Any, None]
"""Steps to perform, checked pieces of the answer (``str``), and at the end the :class:`~langbert.Answer`."""


_NEAREST = 3  # pieces that a refusal shows
_PROMPT = (
    100.0  # words of evidence in a prompt for each passage that is read: whole passages hold fewer facts in as many
)
_Documents = dict[str, Document | None]


class Budget(NamedTuple):
    """How long a prompt may be.

    Attributes:
        count: the tokens of a conversation.
        tokens: the most it may have; None is no limit.
    """

    count: Callable[[Sequence[Message]], int]
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Policy:
    """What is up to the user.

    Attributes:
        mode: who answers.
        k: candidates that are read; None is all. A decoder is shown evidence of their length out of the first twelve,
            which holds more of the facts that are asked for.
        threshold: refuse below this confidence.
        sure: a question for a name, a number or a date is answered with the one sentence that a reader points at, where
            that is at least so probably right, and no other piece clearly better; every other with all the evidence
            there is room for.
        unsupported: what becomes of a decoder's sentence that no source supports.
        rewrites: whether follow-up questions are rewritten by a chat model.
        writer: the decoder's name: in mode ``auto`` :data:`SMALL_DECODER` is not asked, for it writes less well than
            the documents themselves.
        instructions: how the decoder shall answer; :data:`SHORT`, :data:`FULL` or the user's own.
        encoder: whose cosines, reader and reranker they are that confidence is made of: see
            :func:`.refusal.known_encoder`; the cosines of others do not count.
        calibration: what the store's own questions make of the confidence.
    """

    mode: AnswerMode = "auto"
    k: int | None = 4
    threshold: float = 0.5
    sure: float = 0.75
    unsupported: Unsupported = "drop"
    rewrites: bool = False
    writer: str = ""
    encoder: Encoder | None = "minilm"
    instructions: str = SHORT
    calibration: Calibration | None = None


def answer_flow(asked: str, policy: Policy, history: Sequence[Message] = ()) -> Flow:
    """The way from a question, and the conversation before it, to its answer.

    Raises:
        QuestionError: the question is empty or not text.
        GenerationError: the decoder broke off; ``error.answer`` holds what was checked until then. Its own error
            where nothing was, if that is another one: then it can be tried again, or by another model.
    """
    clock = _Clock()
    asked = checked_question(asked)
    question = asked
    if history:
        from .follow_up import rewriting_messages, standalone_question, with_key_words

        question = with_key_words(asked, history)
        if policy.rewrites:
            question = standalone_question(asked, (yield Rewrite(rewriting_messages(asked, history))), history)
    candidates: list[Candidate] = yield Retrieve(question)
    in_parts = parts(question)
    if len(in_parts) > 1:
        of_parts: list[list[Candidate]] = []
        for part in in_parts:
            of_parts.append((yield Retrieve(part)))  # noqa: PERF401 - a comprehension cannot yield
        candidates = merged([candidates, *of_parts])
    clock.lap("retrieve")
    first = candidates[: policy.k]
    found: list[Evidence] = (yield Read(question, first)) if first else []
    documents: _Documents = {}
    wanted = wants(question)
    yield from _fetched((candidate.document_id for candidate in candidates[:LOOKED_AT]), documents)
    words = 0.0 if wanted.fact or wanted.titles else PIECE
    placed = list(blocks_of(candidates, documents))
    pieces = cut_pieces(candidates, documents, words, asked_fields(question), placed)
    pieces = as_told(question, pieces, candidates, documents, placed)
    found = [evidence for evidence in found if not is_ruled_out(evidence, pieces)]
    weighed: Weighed = (yield Weigh(question, pieces)) if pieces else Weighed(np.zeros(0), ())
    by_part = [] if len(in_parts) > 1 and pieces else [weighed.scores]
    for part in in_parts if not by_part else ():
        of_part: Weighed = yield Weigh(part, pieces)
        by_part.append((weighed.scores + of_part.scores) / 2)
    nearest_piece = None if weighed.nearest is None else pieces[weighed.nearest]
    known = features(
        question,
        candidates,
        found,
        relevances=weighed.relevances,
        nearest=None if nearest_piece is None else nearest_piece.source,
        is_named=nearest_piece is not None and nearest_piece.told > 0,
        known_cosines=policy.encoder is not None,
    )
    sure = confidence(known, policy.encoder or "minilm", policy.calibration)
    clock.lap("read")
    best = chosen = select(pieces, by_part, wanted, read=found)
    is_sure = wanted.fact and bool(found) and found[0].score >= policy.sure and not (best and best[0].told > 0)
    is_disputed = is_sure and not is_among_the_best(found[0], pieces, by_part[0], found)
    if is_sure and not is_disputed:
        chosen = found[:1]
    short = one_line(found[0].short) if found else ""
    chosen, is_new = _to_the_point(question, chosen, pieces, documents, wanted, len(in_parts) == 1)
    if wanted.fact and chosen and (whole := with_its_base(chosen[0])) is not chosen[0]:
        chosen, is_new = [whole, *(other for other in chosen[1:] if not whole.overlaps(other))], True
    if is_new or (is_disputed and chosen):
        alone = as_candidates([narrowed(chosen[0])])  # what stands beside it misleads a reader
        again: list[Evidence] = yield Read(question, alone)
        short = one_line(again[0].short if again else chosen[0].said or chosen[0].quote)
    elif chosen and chosen[0].told > 0:
        short = one_line(chosen[0].short)
    grounder = Grounder(candidates, question, found=found, unsupported=policy.unsupported)

    def nearest() -> tuple[Citation, ...]:
        near = [evidence.citation for evidence in best[:_NEAREST]]
        return tuple(_on_its_page(citation, candidates, documents) for citation in near)

    def answer() -> Generator[Step, Any, Answer]:
        yield from _fetched((cited.document_id for cited in grounder.citations if cited.page is not None), documents)
        return Answer(
            text=grounder.text or not_found(asked),
            citations=tuple(_on_its_page(citation, candidates, documents) for citation in grounder.citations),
            refused=not grounder.text,
            confidence=sure,
            timings=clock.laps(),
            question=asked,
            standalone_question=question,
            unsupported=tuple(grounder.unsupported),
            short=short if grounder.text else "",
            nearest=() if grounder.text else nearest(),
            missing=() if grounder.text else missing_words(question, candidates),
        )

    if sure >= policy.threshold:
        if policy.mode == "generate" or (policy.mode == "auto" and policy.writer != SMALL_DECODER):
            try:
                words = sum(reading_length(candidate.text) for candidate in first)
                sources = as_candidates(select(pieces, by_part, Wants(words), read=found, faint=math.inf)) or first
                yield from _written(question, sources, policy.instructions, grounder, documents, clock)
            except Exception as error:
                if not grounder.text and not isinstance(error, GenerationError):
                    raise
                raise _broken_off(error, replace((yield from answer()), text=grounder.text)) from error
        if not grounder.text and not grounder.declined:
            for evidence in chosen:
                yield grounder.quote(evidence, titled=wanted.titles)
    if not grounder.text:
        yield not_found(asked)
    yield (yield from answer())


def _to_the_point(
    question: str,
    chosen: list[Evidence],
    pieces: Sequence[Piece],
    documents: _Documents,
    wanted: Wants,
    of_one: bool,
) -> tuple[list[Evidence], bool]:
    """What was ``chosen``, the best of it beside its versions in other documents, and as one clause where one answers;
    and whether the best is another now."""
    if not chosen or wanted.titles:
        return chosen, False
    if wanted.headings and chosen[0].told <= 0:
        return [with_headings(evidence, pieces) for evidence in chosen], False
    if chosen[0].told > 0:
        return newest_first(chosen, documents), False
    best = versions(question, chosen[0], pieces, documents)
    clauses = [in_clause(question, version) for version in best] if of_one and not wanted.several else [None]
    if any(clauses):
        return [clause or version for clause, version in zip(clauses, best, strict=True)], True
    if len(best) == 1:
        return chosen, False
    return [*best, *(other for other in chosen[1:] if not any(other.overlaps(version) for version in best))], True


def _broken_off(error: Exception, answer: Answer) -> GenerationError:
    """What a decoder ran into, with what was checked until then."""
    reason = str(error) if isinstance(error, GenerationError) else f"{type(error).__name__}: {error}"
    until = f"; written until then: {answer.text!r}" if answer.text else ""
    return GenerationError(f"the decoder broke off: {reason}{until}", answer)


def _written(
    question: str,
    candidates: Sequence[Candidate],
    instructions: str,
    grounder: Grounder,
    documents: _Documents,
    clock: _Clock,
) -> Flow:
    """What the decoder writes, as far as the candidates support it."""
    budget: Budget = yield Prepare()
    clock.lap("load")
    counts = Counter(candidate.document_id for candidate in candidates)
    yield from _fetched((document_id for document_id, count in counts.items() if count > 1), documents)

    def between(document_id: str, start: int, end: int) -> str | None:
        return document.text[start:end] if (document := documents.get(document_id)) is not None else None

    def tokens(packed: Sequence[Candidate]) -> int:
        return budget.count(build_messages(question, packed, instructions)) if budget.tokens else 0

    packed = pack(question, candidates, tokens, budget.tokens or 0, between=between)
    if packed:
        grounder.candidates = packed
        write = Write(build_messages(question, packed, instructions))
        while (piece := (yield write)) is not None:
            yield from grounder.feed(piece)
        yield from grounder.finish()
    clock.lap("generate")


def _fetched(ids: Iterable[str], documents: _Documents) -> Generator[Step, Any, None]:
    """Have these among ``documents``."""
    for document_id in ids:
        if document_id not in documents:
            documents[document_id] = yield Fetch(document_id)


def _on_its_page(citation: Citation, candidates: Sequence[Candidate], documents: _Documents) -> Citation:
    """A chunk bears the page it begins on; a quote out of it, or out of several, may stand on the next."""
    if citation.page is None:
        return citation
    if (document := documents.get(citation.document_id)) is not None:
        return replace(citation, page=document.page_at(citation.start))
    chunks = [candidate.chunk for candidate in candidates if candidate.document_id == citation.document_id]
    around = [chunk for chunk in chunks if chunk.start <= citation.start < chunk.end]
    return replace(citation, page=max(around, key=lambda chunk: chunk.start).page) if around else citation


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = self._laps.get(stage, 0.0) + now - self._last
        self._last = now

    def laps(self) -> Mapping[str, float]:
        return {**self._laps, "total": time.perf_counter() - self._start}


def drive(flow: Flow, perform: Callable[[Step], Any]) -> Iterator[str | Answer]:
    """Run ``flow``: the pieces of the answer, then the answer.

    Args:
        perform: gives the result of a step; of :class:`Write`, an iterator over its pieces.
    """
    writing: Step | None = None
    pieces: Iterator[str] = iter(())
    try:
        step = next(flow)
        while not isinstance(step, Answer):
            result: Any = None
            try:
                if isinstance(step, str):
                    yield step
                elif isinstance(step, Write):
                    if step is not writing:
                        writing, pieces = step, perform(step)
                    result = next(pieces, None)
                else:
                    result = perform(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
        yield step
    finally:
        if close := getattr(pieces, "close", None):
            close()


async def adrive(flow: Flow, perform: Callable[[Step], Awaitable[Any]]) -> AsyncIterator[str | Answer]:
    """:func:`drive` on an event loop; the flow itself, which counts and checks, runs in worker threads.

    Args:
        perform: awaited for the result of a step; of :class:`Write`, an async iterator over its pieces.
    """
    writing: Step | None = None
    pieces: Any = None  # an async iterator
    try:
        step = await asyncio.to_thread(next, flow)
        while not isinstance(step, Answer):
            result: Any = None
            try:
                if isinstance(step, str):
                    yield step
                elif isinstance(step, Write):
                    if step is not writing:
                        writing, pieces = step, await perform(step)
                    result = await anext(pieces, None)
                else:
                    result = await perform(step)
            except Exception as error:
                step = await asyncio.to_thread(flow.throw, error)
            else:
                step = await asyncio.to_thread(flow.send, result)
        yield step
    finally:
        if close := getattr(pieces, "aclose", None):
            await close()
