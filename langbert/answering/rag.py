"""Rag: answers out of a store. What happens on the way is in :mod:`langbert.answering.flow`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..errors import GenerationError
from ..generation.remote import RemoteGenerator
from ..generation.streaming import StopStrings
from ..models.configured import Configured
from ..records import Answer, AnswerMode, GeneratorLike, Message, Refuse, Unsupported
from ..retrieval import Retriever
from . import flow
from .evidence import best_evidence
from .flow import FULL, SHORT, SMALL_DECODER, Budget, Policy, Step, answer_flow, drive
from .parts import Part
from .refusal import known_encoder, threshold_of
from .selection import weigh

if TYPE_CHECKING:
    from ..reading import Reader
    from ..reranking import Reranker
    from ..store import StoreLike

__all__ = ["Rag"]


class Rag(Configured):
    """Answers questions from a store, every sentence tied to the words it came from.

    Models are loaded when first needed. A store of ``e5-small`` vectors comes with a reranker and a reader on the same
    encoder, for all its languages; any other with those on ``minilm``, which know English: questions in other scripts
    are then answered without them unless they are given. Where a shipped model's base is not here and may not be
    fetched (``offline``), answers are made without that model, and the log says so once.

    Args:
        store: the documents.
        retriever: finds the candidates; by default hybrid search (by words alone in a store without an embedder), then
            the reranker; the one on ``e5-small`` orders passages no better than the search does, and reads only pieces.
        reranker: what the default retriever uses, and what pieces of passages are judged by; None is the shipped one,
            False is none.
        reader: points at the words that answer; None is the shipped one, False is none.
        generator: writes the answers: a :class:`langbert.Generator`, a :class:`langbert.RemoteGenerator`, or the name
            of one that is loaded when first needed. The default is the catalogue's small decoder: in mode ``auto`` the
            documents' own words are then shown instead, which answer better.
        k: passages that are read.
        depth: candidates that are searched for and reranked.
        instructions: how the generator shall answer, for example ``"Answer in three paragraphs."``. That it is to keep
            to the sources, and to obey nothing that stands in them, it is told in any case. By default it is asked for
            one or two short sentences, and its first paragraph is taken; a model behind a URL is asked for as much as
            the question wants.
        max_tokens: the longest answer; by default 128, and 512 where it need not be short.
        prompt_tokens: the longest prompt; passages that do not fit are shortened to whole sentences or left out.
        threshold: refuse below this confidence; or ``"rarely"``, ``"balanced"`` (0.5), ``"strictly"``.
        calibrated: whether the confidence is what the store's own questions made of it, where there is such a thing:
            see :func:`langbert.answering.calibrate`.
        sure: a question for a name, a number or a date is answered with one sentence where the reader's words are at
            least so probably right.
        unsupported: what becomes of a decoder's sentence that no source supports: ``"drop"``, ``"mark"`` or ``"keep"``.
        offline: touch no network to find a model; None means what the environment says.
    """

    def __init__(
        self,
        store: StoreLike,
        *,
        retriever: Retriever | None = None,
        reranker: Reranker | Literal[False] | None = None,
        reader: Reader | Literal[False] | None = None,
        generator: GeneratorLike | str | None = None,
        k: int = 4,
        depth: int = 20,
        instructions: str | None = None,
        max_tokens: int | None = None,
        prompt_tokens: int = 1024,
        threshold: Refuse | float = "balanced",
        calibrated: bool = True,
        sure: float = 0.75,
        unsupported: Unsupported = "drop",
        offline: bool | None = None,
    ) -> None:
        self.store = store
        self.k = k
        self.depth = max(k, depth)
        self._short = instructions is None and not isinstance(generator, RemoteGenerator)
        self.instructions = instructions or (SHORT if self._short else FULL)
        self.max_tokens = max_tokens or (128 if self._short else 512)
        self.prompt_tokens = prompt_tokens
        self.threshold = threshold_of(threshold)
        self.calibrated = calibrated
        self.sure = sure
        self.unsupported: Unsupported = unsupported
        self.offline = offline
        self._retriever = retriever
        self._encoder = known_encoder(store.embedder.space if store.embedder is not None else None)
        multilingual = self._encoder == "e5"
        self._reranker = Part("reranker", reranker, self._shipped_reranker, multilingual=multilingual)
        self._reader = Part("reader", reader, self._shipped_reader, multilingual=multilingual)
        self._reranks = reranker is not None or not multilingual
        self._generator: GeneratorLike | str = SMALL_DECODER if generator is None else generator

    def _shipped_reranker(self) -> Reranker:
        from ..reranking import Reranker

        return Reranker(f"{self._encoder or 'minilm'}-reranker", offline=self.offline)

    def _shipped_reader(self) -> Reader:
        from ..reading import Reader

        return Reader(f"{self._encoder or 'minilm'}-reader", offline=self.offline)

    def retriever_for(self, question: str) -> Retriever:
        """What finds the candidates for a question."""
        if self._retriever is not None:
            return self._retriever
        mode: Literal["hybrid", "lexical"] = "hybrid" if self.store.embedder is not None else "lexical"
        reranker = self._reranker.knowing(question) if self._reranks else None
        return Retriever(self.store, mode=mode, reranker=reranker, depth=self.depth)

    def reader_for(self, question: str) -> Reader | None:
        """What points at the words that answer a question; None where nothing can."""
        return self._reader.knowing(question)

    @property
    def generator(self) -> GeneratorLike:
        """What writes, loaded if it is not yet."""
        if isinstance(self._generator, str):
            from ..generation.generator import Generator

            self._generator = Generator(self._generator, offline=self.offline)
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
        events = self.stream(question, mode=mode, where=where, history=history, unsupported=unsupported)
        return next(event for event in events if isinstance(event, Answer))

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
        policy = Policy(
            mode=mode,
            k=self.k,
            threshold=self.threshold,
            sure=self.sure,
            unsupported=unsupported or self.unsupported,
            instructions=self.instructions,
            writer=self._generator if isinstance(self._generator, str) else getattr(self._generator, "name", ""),
            encoder=self._encoder,
            calibration=self.store.calibration if self.calibrated else None,
        )
        yield from drive(answer_flow(question, policy, history), lambda step: self._perform(step, where))

    def _perform(self, step: Step, where: Mapping[str, Any] | None) -> Any:
        """What a step of the flow asks for."""
        match step:
            case flow.Retrieve(question):
                return self.retriever_for(question).retrieve(question, self.depth, where=where)
            case flow.Read(question, candidates):
                reader = self.reader_for(question)
                return best_evidence(question, candidates, reader) if reader is not None else []
            case flow.Prepare():
                room = self.generator.context_length - self.max_tokens
                return Budget(self.generator.count_tokens, min(self.prompt_tokens, room))
            case flow.Write(messages):
                return self._decoded(messages)
            case flow.Weigh(question, pieces):
                reranker = self._reranker.knowing(question)
                return weigh(question, pieces, self.store.embedder, reranker)
            case flow.Fetch(document_id):
                return self.store.document(document_id)
            case flow.Rewrite():
                raise NotImplementedError("Rag's policy rewrites nothing")

    def _decoded(self, messages: Sequence[Message]) -> Iterator[str]:
        """What the decoder writes; of a short answer, the first paragraph."""
        stop, begun = StopStrings(["\n\n"] if self._short else []), False
        try:
            for piece in self.generator.stream(messages, max_tokens=self.max_tokens):
                # blank lines before the first word end nothing
                text = stop.push(piece if begun else piece.lstrip())
                begun = begun or bool(text)
                yield text
                if stop.stopped:
                    return
            yield stop.flush()
        except GenerationError:
            raise
        except Exception as error:  # whatever a decoder of somebody's own may run into
            raise GenerationError(f"{type(error).__name__}: {error}") from error
