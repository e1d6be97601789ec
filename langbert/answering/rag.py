"""Rag: the whole way from a question to a cited answer, on two screens."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import GenerationError, ModelNotFound, StoreError
from ..records import Answer, Citation, Message
from ..retrieval import Retriever, checked_question
from .evidence import FoundSpan, best_spans, quote_best_sentences
from .follow_up import with_key_words
from .grounding import Grounder, Source, Unsupported, number_sources
from .packing import pack
from .prompt import AnswerMode, build_messages, is_chinese, not_found, points
from .refusal import confidence, features

if TYPE_CHECKING:
    from ..generation.generator import Generator
    from ..reading import Reader
    from ..reranking import Reranker
    from ..store import Store

__all__ = ["AnswerMode", "Rag", "shipped"]

log = logging.getLogger("langbert")


class Rag:
    """Answers questions from a store, every sentence tied to the words it came from.

    Models are loaded when first needed. The shipped reranker and reader know English; a Chinese question is answered
    without them unless they are given. Where a shipped model's base is not here and may not be fetched (``offline``),
    answers are made without that model, and the log says so once.

    Args:
        store: the documents.
        retriever: finds the candidates; by default hybrid search, then the reranker.
        reranker: what the default retriever uses; None is the shipped one, False is none.
        reader: points at the words that answer; None is the shipped one, False is none.
        generator: writes the answers, or the name of one that is loaded when first needed; by default the catalogue's
            small decoder, which knows English: in mode ``auto`` a Chinese question is then answered by quoting.
        k: passages that are read.
        depth: candidates that are searched for, reranked and, where nobody points or writes, quoted from.
        max_tokens: the longest answer.
        prompt_tokens: the longest prompt; passages that do not fit are shortened to whole sentences or left out.
        threshold: refuse below this confidence.
        sure: in mode ``auto`` the reader answers where its span is at least so probably right, else the decoder.
        unsupported: what becomes of a decoder's sentence that no source supports: ``"drop"``, ``"mark"`` or ``"keep"``.
        offline: touch no network to find a model; None means what the environment says.
    """

    def __init__(
        self,
        store: Store,
        *,
        retriever: Retriever | None = None,
        reranker: Reranker | Literal[False] | None = None,
        reader: Reader | Literal[False] | None = None,
        generator: Generator | str | None = None,
        k: int = 4,
        depth: int = 20,
        max_tokens: int = 128,
        prompt_tokens: int = 1024,
        threshold: float = 0.5,
        sure: float = 0.3,
        unsupported: Unsupported = "drop",
        offline: bool | None = None,
    ) -> None:
        self.store = store
        self.k = k
        self.depth = max(k, depth)
        self.max_tokens = max_tokens
        self.prompt_tokens = prompt_tokens
        self.threshold = threshold
        self.sure = sure
        self.unsupported: Unsupported = unsupported
        self.offline = offline
        self._retriever, self._reranker, self._reader, self._generator = retriever, reranker, reader, generator
        self._knows_chinese = generator is not None

    def retriever_for(self, question: str) -> Retriever:
        """What finds the candidates for a question."""
        if self._retriever is not None:
            return self._retriever
        if self._reranker is False or (self._reranker is None and is_chinese(question)):
            return Retriever(self.store)
        if self._reranker is None:
            self._reranker = shipped("Reranker", self.offline)
        return Retriever(self.store, reranker=self._reranker or None, depth=self.depth)

    def reader_for(self, question: str) -> Reader | None:
        """What points at the words that answer a question; None where nothing can."""
        if self._reader is None:
            if is_chinese(question):
                return None
            self._reader = shipped("Reader", self.offline)
        return self._reader or None

    @property
    def generator(self) -> Generator:
        if self._generator is None or isinstance(self._generator, str):
            from ..generation.generator import Generator

            name = (self._generator,) if self._generator is not None else ()
            self._generator = Generator(*name, offline=self.offline)
        return self._generator

    def ask(
        self,
        question: str,
        *,
        mode: AnswerMode = "auto",
        where: Mapping[str, Any] | None = None,
        history: Sequence[Message] = (),
        unsupported: Unsupported | None = None,
    ) -> Answer:
        """The answer, complete.

        Args:
            where: only documents whose metadata match are asked.
            history: the conversation so far; what the question takes from it is searched for along with it.
            unsupported: for this question, instead of the pipeline's own.

        Raises:
            QuestionError: the question is empty or not text.
            GenerationError: the decoder broke off; ``error.answer`` holds what was checked until then.
        """
        for event in self.stream(question, mode=mode, where=where, history=history, unsupported=unsupported):
            if isinstance(event, Answer):
                return event
        raise AssertionError("unreachable: a stream ends with an Answer")

    def stream(
        self,
        question: str,
        *,
        mode: AnswerMode = "auto",
        where: Mapping[str, Any] | None = None,
        history: Sequence[Message] = (),
        unsupported: Unsupported | None = None,
    ) -> Iterator[str | Answer]:
        """The answer piece by piece (``str``), each piece already checked; at the end the :class:`Answer`."""
        asked = checked_question(question)
        clock = _Clock()
        question = with_key_words(asked, history)
        candidates = self.retriever_for(question).retrieve(question, self.depth, where=where)
        sources = number_sources(candidates)
        clock.lap("retrieve")
        reader = self.reader_for(question)
        clock.lap("load")
        spans = best_spans(question, sources[: self.k], reader) if reader is not None else []
        sure = confidence(features(question, candidates, spans))
        clock.lap("read")
        grounder = Grounder(sources, question, found=spans, unsupported=unsupported or self.unsupported)
        pieces: list[str] = []

        def answer() -> Answer:
            return Answer(
                text="".join(pieces),
                citations=tuple(map(self._on_its_page, grounder.citations)),
                refused=not grounder.written,
                confidence=sure,
                timings=clock.laps(),
                question=asked,
                standalone_question=question,
                unsupported=tuple(grounder.unsupported),
            )

        if sure >= self.threshold:
            quotes = not self._knows_chinese and self.store.embedder is not None
            pointed = points(mode, question, spans, sure=self.sure, quotes_chinese=quotes)
            try:
                for piece in self._point(grounder, spans) if pointed else self._write(grounder, spans, clock):
                    pieces.append(piece)
                    yield piece
            except GenerationError as error:
                raise GenerationError(f"{error}; written until then: {''.join(pieces)!r}", answer()) from error
        if not pieces:
            pieces.append(not_found(asked))
            yield pieces[0]
        yield answer()

    def _write(self, grounder: Grounder, spans: Sequence[FoundSpan], clock: _Clock) -> Iterator[str]:
        """What the decoder writes, as far as the sources support it; a quotation where they support none of it."""
        generator = self.generator
        clock.lap("load")
        room = min(self.prompt_tokens, generator.context_length - self.max_tokens)
        found, question = grounder.sources, grounder.question

        def count(packed: Sequence[Source]) -> int:
            return generator.count_tokens(build_messages(question, packed))

        grounder.sources = pack(question, found[: self.k], count, room, between=self._between)
        if grounder.sources:
            for piece in self._decoded(build_messages(question, grounder.sources)):
                yield from grounder.feed(piece)
            yield from grounder.finish()
        clock.lap("generate")
        if not grounder.written and not grounder.declined:
            grounder.sources = found
            yield from self._point(grounder, spans)

    def _decoded(self, messages: Sequence[Message]) -> Iterator[str]:
        try:
            yield from self.generator.stream(messages, max_tokens=self.max_tokens, stop=["\n\n"])
        except GenerationError:
            raise
        except Exception as error:  # whatever a decoder of somebody's own may run into
            raise GenerationError(f"the decoder broke off: {type(error).__name__}: {error}") from error

    def _point(self, grounder: Grounder, spans: Sequence[FoundSpan]) -> Iterator[str]:
        """The words a reader points at; without one, the sentence of the sources that answers best."""
        if spans:
            yield grounder.quote(spans[0].text, spans[0].support)
        elif self.store.embedder is None:
            raise StoreError("an extracted answer needs the store's embedder: Store.open(path, embedder=Embedder(…))")
        else:
            for support in quote_best_sentences(grounder.question, grounder.sources, self.store.embedder):
                yield grounder.quote(support.quote, support)

    def _between(self, document_id: str, start: int, end: int) -> str | None:
        document = self.store.document(document_id)
        return document.text[start:end] if document is not None else None

    def _on_its_page(self, citation: Citation) -> Citation:
        """A chunk bears the page it begins on; a quote out of it may stand on the next."""
        if citation.page is None or (document := self.store.document(citation.document_id)) is None:
            return citation
        return replace(citation, page=document.page_at(citation.start))


def shipped(kind: Literal["Reranker", "Reader"], offline: bool | None) -> Any:
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
