"""Rag: the whole way from a question to a cited answer, on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from .answering import build_messages, confidence, fit_sources, not_found, quote_best_sentences
from .errors import StoreError
from .grounding import Grounder, Source, number_sources
from .records import Answer
from .retrieval import Retriever, checked_question

if TYPE_CHECKING:
    from .generation import Generator
    from .store import Store

__all__ = ["AnswerMode", "Rag"]

AnswerMode = Literal["auto", "generate", "extract"]


class Rag:
    """Answers questions from a store, every sentence tied to the words it came from.

    Args:
        store: the documents.
        retriever: finds candidates; by default a hybrid search of ``store``.
        generator: writes the answer; by default ``smollm2-135m-instruct``, loaded when first needed.
        k: how many passages the decoder reads.
        depth: how many passages are searched for a sentence to quote.
        max_tokens: the longest answer, in tokens of the decoder.
        prompt_tokens: the longest prompt; a short one is read sooner.
        threshold: below this confidence the answer is "not in these documents".
    """

    def __init__(
        self,
        store: Store,
        *,
        retriever: Retriever | None = None,
        generator: Generator | None = None,
        k: int = 4,
        depth: int = 20,
        max_tokens: int = 128,
        prompt_tokens: int = 1024,
        threshold: float = 0.5,
    ) -> None:
        self.store = store
        self.retriever = retriever or Retriever(store)
        self.k = k
        self.depth = max(k, depth)
        self.max_tokens = max_tokens
        self.prompt_tokens = prompt_tokens
        self.threshold = threshold
        self._generator = generator

    @property
    def generator(self) -> Generator:
        if self._generator is None:
            from .generation import Generator

            self._generator = Generator()
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
        candidates = self.retriever.retrieve(question, self.depth, where=where)
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
        read = fit_sources(question, sources[: self.k], generator.count_tokens, self.prompt_tokens)
        grounder.sources = read
        pieces = generator.stream(build_messages(question, read), max_tokens=self.max_tokens, stop=["\n\n"])
        for piece in pieces:
            yield from grounder.feed(piece)
        yield from grounder.finish()
        clock.lap("generate")
        if not grounder.citations:
            yield from self._extract(question, sources, grounder, clock)

    def _extract(self, question: str, sources: list[Source], grounder: Grounder, clock: _Clock) -> Iterator[str]:
        """The sentence of the sources that answers best, word for word."""
        if self.store.embedder is None:
            raise StoreError("an extracted answer needs the store's embedder: Store.open(path, embedder=Embedder(…))")
        for support in quote_best_sentences(question, sources, self.store.embedder):
            yield f"{' '.join(support.citation.quote.split())} [{grounder.cite(support)}]"
        clock.lap("extract")


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
