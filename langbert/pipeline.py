"""Rag: the whole way from a question to a cited answer, on one screen."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from .answering import (
    build_messages,
    confidence,
    fit_sources,
    is_chinese,
    not_found,
    quote_best_sentences,
    quote_best_span,
)
from .errors import ModelNotFound, StoreError
from .grounding import Grounder, Source, number_sources
from .records import Answer
from .retrieval import Retriever, checked_question

if TYPE_CHECKING:
    from .generation import Generator
    from .reading import Reader
    from .reranking import Reranker
    from .store import Store

__all__ = ["AnswerMode", "Rag"]

log = logging.getLogger("langbert")

AnswerMode = Literal["auto", "generate", "extract"]


class Rag:
    """Answers questions from a store, every sentence tied to the words it came from.

    Models are loaded when first needed. The shipped reranker and reader know English; a Chinese question is answered
    without them, unless others are given.

    Args:
        store: the documents.
        retriever: finds candidates; by default a hybrid search of ``store``, reordered by ``reranker``.
        reranker: reads question and passage together; None is ``minilm-reranker``, False is none.
        reader: points at the answering words; None is ``minilm-reader``, False is none.
        generator: writes the answer; by default ``smollm2-135m-instruct``.
        k: how many passages the decoder reads.
        depth: how many passages the reranker orders, and in which a sentence to quote is looked for.
        max_tokens: the longest answer, in tokens of the decoder.
        prompt_tokens: the longest prompt; a short one is read sooner.
        threshold: below this confidence the answer is "not in these documents".
        offline: touch no network for the default models; None asks the environment.
    """

    def __init__(
        self,
        store: Store,
        *,
        retriever: Retriever | None = None,
        reranker: Reranker | Literal[False] | None = None,
        reader: Reader | Literal[False] | None = None,
        generator: Generator | None = None,
        k: int = 4,
        depth: int = 20,
        max_tokens: int = 128,
        prompt_tokens: int = 1024,
        threshold: float = 0.5,
        offline: bool | None = None,
    ) -> None:
        self.store = store
        self.k = k
        self.depth = max(k, depth)
        self.max_tokens = max_tokens
        self.prompt_tokens = prompt_tokens
        self.threshold = threshold
        self.offline = offline
        self._retriever, self._reranker, self._reader, self._generator = retriever, reranker, reader, generator

    def retriever_for(self, question: str) -> Retriever:
        """What finds the candidates for a question."""
        if self._retriever is not None:
            return self._retriever
        if self._reranker is False or (self._reranker is None and is_chinese(question)):
            return Retriever(self.store)
        if self._reranker is None:
            self._reranker = _default("Reranker", self.offline)
        return Retriever(self.store, reranker=self._reranker or None, depth=self.depth)

    def reader_for(self, question: str) -> Reader | None:
        """What points at the words that answer a question; None where nothing can."""
        if self._reader is None:
            if is_chinese(question):
                return None
            self._reader = _default("Reader", self.offline)
        return self._reader or None

    @property
    def generator(self) -> Generator:
        if self._generator is None:
            from .generation import Generator

            self._generator = Generator(offline=self.offline)
        return self._generator

    def ask(self, question: str, *, mode: AnswerMode = "auto", where: Mapping[str, Any] | None = None) -> Answer:
        """The answer, complete.

        Raises:
            QuestionError: the question is empty or not text.
        """
        for event in self.stream(question, mode=mode, where=where):
            if isinstance(event, Answer):
                return event
        raise AssertionError("unreachable: a stream ends with an Answer")

    def stream(
        self, question: str, *, mode: AnswerMode = "auto", where: Mapping[str, Any] | None = None
    ) -> Iterator[str | Answer]:
        """The answer piece by piece (``str``), each piece already checked; at the end the :class:`Answer`."""
        question = checked_question(question)
        clock = _Clock()
        candidates = self.retriever_for(question).retrieve(question, self.depth, where=where)
        clock.lap("retrieve")
        sure = confidence(question, candidates[: self.k])
        sources = number_sources(candidates)
        grounder = Grounder(sources, question)
        pieces: list[str] = []
        if sure >= self.threshold:
            writer = self._extract if mode == "extract" else self._generate
            for piece in writer(question, sources, grounder, clock):
                pieces.append(piece)
                yield piece
        refused = not pieces
        if refused:
            pieces.append(not_found(question))
            yield pieces[0]
        yield Answer(
            text="".join(pieces),
            citations=tuple(grounder.citations),
            refused=refused,
            confidence=sure,
            timings=clock.laps(),
            question=question,
        )

    def _generate(self, question: str, sources: list[Source], grounder: Grounder, clock: _Clock) -> Iterator[str]:
        """What the decoder writes, as far as the sources support it; a quotation where they support none of it."""
        generator = self.generator
        clock.lap("load")
        room = min(self.prompt_tokens, generator.context_length - self.max_tokens)
        read = fit_sources(question, sources[: self.k], generator.count_tokens, room)
        grounder.sources = read
        messages = build_messages(question, read)
        for piece in generator.stream(messages, max_tokens=self.max_tokens, stop=["\n\n"]) if read else ():
            yield from grounder.feed(piece)
        yield from grounder.finish()
        clock.lap("generate")
        if not grounder.citations:
            yield from self._extract(question, sources, grounder, clock)

    def _extract(self, question: str, sources: list[Source], grounder: Grounder, clock: _Clock) -> Iterator[str]:
        """The words a reader points at; without one, the sentence of the sources that answers best."""
        reader = self.reader_for(question)
        clock.lap("load")
        if reader is not None and (found := quote_best_span(question, sources[: self.k], reader)):
            span, support = found
            yield f"{' '.join(span.split())} [{grounder.cite(support)}]"
        else:
            yield from self._quote(question, sources, grounder)
        clock.lap("extract")

    def _quote(self, question: str, sources: list[Source], grounder: Grounder) -> Iterator[str]:
        if self.store.embedder is None:
            raise StoreError("an extracted answer needs the store's embedder: Store.open(path, embedder=Embedder(…))")
        for support in quote_best_sentences(question, sources, self.store.embedder):
            yield f"{' '.join(support.citation.quote.split())} [{grounder.cite(support)}]"


def _default(kind: Literal["Reranker", "Reader"], offline: bool | None) -> Any:
    """The shipped model of that kind; False, said in the log, where its base is not here and may not be fetched."""
    import langbert

    try:
        return getattr(langbert, kind)(offline=offline)
    except ModelNotFound as error:
        log.warning("answering without a %s: %s", kind.lower(), error)
        return False


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = self._laps.get(stage, 0.0) + now - self._last
        self._last = now

    def laps(self) -> dict[str, float]:
        return {**self._laps, "total": time.perf_counter() - self._start}
