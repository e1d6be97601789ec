"""``create_rag_chain``: question → retriever → (reranker) → chat model → answer with checked citations."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.language_models import LanguageModelLike
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableGenerator, run_in_executor
from langchain_core.runnables.utils import AddableDict
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langbert.answering.evidence import FoundSpan, best_spans, quote_best_sentences
from langbert.answering.follow_up import rewriting_messages, standalone_question, with_key_words
from langbert.answering.grounding import Grounder, Source, Unsupported
from langbert.answering.packing import pack
from langbert.answering.prompt import AnswerMode, build_messages, is_chinese, not_found, points
from langbert.answering.rag import shipped
from langbert.answering.refusal import confidence, features
from langbert.errors import GenerationError, ModelNotFound
from langbert.records import Answer, EmbedderLike, Message
from langbert.retrieval import checked_question

from ._convert import passage_of
from ._foreign import embedder_of
from .chat_models import ChatLangBert
from .embeddings import LangBertEmbeddings
from .reranker import LangBertReranker
from .retrievers import LangBertRetriever
from .vectorstores import LangBertVectorStore

if TYPE_CHECKING:
    from langbert import Reader

__all__ = ["create_rag_chain"]

RagInput = str | Mapping[str, Any] | Sequence[BaseMessage]
"""A question; ``{"question": …}``, with ``"chat_history": […]`` if there is one; ``{"messages": […]}``; or messages,
the last human one being the question and those before it the history."""

log = logging.getLogger("langbert")

_PROMPT_TOKENS = 1024
_QUOTABLE = 0.5  # a sentence nearer to the question than this may stand for an answer


def create_rag_chain(
    retriever: RetrieverLike | VectorStore,
    llm: LanguageModelLike | None = None,
    reranker: BaseDocumentCompressor | None = None,
    *,
    mode: AnswerMode | None = None,
    reader: Reader | None = None,
    k: int = 4,
    prompt_tokens: int | None = None,
    threshold: float = 0.5,
    sure: float = 0.3,
    unsupported: Unsupported = "drop",
) -> Runnable[RagInput, dict[str, Any]]:
    """A chain that answers from documents and shows where every sentence comes from.

    The sources are numbered in the prompt. Each sentence of the answer is let through only if words of a source
    support it, and carries that citation's ``[n]``; if nothing is left, or the model says that the sources do not tell,
    the answer says so and ``refused`` is True.

    A question that leans on earlier turns is searched for so that it stands alone. A given ``llm`` rewrites it (one
    more call, run as ``rewrite_question`` with the tag ``nostream``: leave that out where you pick tokens out of
    ``astream_events``); a rewriting that does not keep to the conversation is not used, and the shipped decoder, too
    small to rewrite well, is not asked: then the key words of the user's turn before it are added.

    Args:
        retriever: any retriever, or any vector store (ours is then searched in hybrid mode).
        llm: any chat model; by default ``ChatLangBert(max_tokens=128)``.
        reranker: any document compressor; it then reads 20 documents of a vector store instead of ``k``. Without
            ``llm`` the shipped one, for questions in English.
        mode: ``"generate"``, the default with an ``llm``; ``"extract"``: the words of a source that a reader points at;
            ``"auto"``, the default without: the reader where it is sure, else the model.
        reader: what points at words; by default the shipped one, for questions in English.
        k: how many documents of a vector store the answer may draw on.
        prompt_tokens: the longest prompt; by default 1024 for ``ChatLangBert``, and for other models, whose tokens are
            estimated, no limit. As many sources as fit go into it, best first, the last one cut between sentences.
        threshold: over a ``LangBertVectorStore`` with ``LangBertEmbeddings``: below this confidence that it holds the
            answer the model is not asked at all, and the chain refuses. Cosines of other embeddings mean other things.
        sure: in mode ``"auto"``: how likely a span must be right for the model not to be asked.
        unsupported: what becomes of a sentence no source supports: ``"drop"``, ``"mark"`` (with ``[?]``) or ``"keep"``.

    Raises:
        GenerationError: when run, where the model fails in the middle of its answer; ``error.answer`` is what was
            checked until then, with its citations. Before the first sentence it is the model's own error, as ever.

    Returns:
        A Runnable from a question (``str``, ``{"question": …, "chat_history": […]}``, ``{"messages": […]}`` or a list
        of messages) to ``{"answer": str, "citations": list[dict], "refused": bool, "context": list[Document],
        "question": str, "standalone_question": str}``, the last being what was searched for.
        ``citations[n - 1]`` is what ``[n]`` points at, with the keys of :class:`langbert.Citation`:
        ``quote`` stands word for word at ``[start:end]`` of the document. A Document with ``start_index`` in its
        metadata is cited in the offsets of the text it was cut from. Streaming gives ``{"answer": piece}`` first and
        all the other keys last.

    Example:
        >>> chain = create_rag_chain(LangBertVectorStore(LangBertEmbeddings(), "my-index"))  # doctest: +SKIP
        >>> chain.invoke("What is the maximum line length?")["citations"][0]["quote"]  # doctest: +SKIP
        'Limit all lines to a maximum of 79 characters.'
    """
    mode = mode or ("auto" if llm is None else "generate")
    default_reranker = llm is None and reranker is None and isinstance(retriever, VectorStore)
    depth = k if reranker is None and not default_reranker else max(k, 20)
    chain = _RagChain(
        _as_retriever(retriever, depth),
        llm,
        reranker,
        reader,
        default_reranker=default_reranker,
        mode=mode,
        k=k,
        prompt_tokens=prompt_tokens,
        threshold=threshold,
        sure=sure,
        unsupported=unsupported,
    )
    return RunnableGenerator(chain.stream, chain.astream, name="langbert_rag")  # type: ignore[arg-type]


def _as_retriever(given: RetrieverLike | VectorStore, depth: int) -> RetrieverLike:
    if not isinstance(given, VectorStore):
        return given
    if isinstance(given, LangBertVectorStore):
        return LangBertRetriever(vectorstore=given, k=depth)
    return given.as_retriever(search_kwargs={"k": depth})


class _RagChain:
    """The steps, once for both ways of running them."""

    def __init__(
        self,
        retriever: RetrieverLike,
        llm: LanguageModelLike | None,
        reranker: BaseDocumentCompressor | None,
        reader: Reader | None,
        *,
        default_reranker: bool,
        mode: AnswerMode,
        k: int,
        prompt_tokens: int | None,
        threshold: float,
        sure: float,
        unsupported: Unsupported,
    ) -> None:
        self.retriever = retriever
        self.given_llm = llm is not None  # the shipped decoder knows no Chinese, and is too small to rewrite well
        self.llm = llm if llm is not None else ChatLangBert(max_tokens=128)
        self.writer = self.llm | StrOutputParser()
        short = self.llm.bind(max_tokens=64, stop=["\n"]) if isinstance(self.llm, ChatLangBert) else self.llm
        self.rewriter = (short | StrOutputParser()).with_config(run_name="rewrite_question", tags=["nostream"])
        self.reranker = reranker
        self.default_reranker = default_reranker
        self.reader: Reader | Literal[False] | None = reader
        self.mode: AnswerMode = mode
        self.k = k
        self.prompt_tokens = prompt_tokens
        self.threshold = threshold
        self.sure = sure
        self.unsupported: Unsupported = unsupported

    def stream(self, inputs: Iterator[RagInput], config: RunnableConfig) -> Iterator[AddableDict]:
        asked, history = _asked(list(inputs))
        question = with_key_words(asked, history)
        if history and self.given_llm:
            rewritten = self.rewriter.invoke(_chat(rewriting_messages(asked, history)), config)
            question = standalone_question(asked, rewritten, history)
        documents = self.retriever.invoke(question, config)
        if reranker := self._reranker_for(question):
            documents = list(reranker.compress_documents(documents, question, config.get("callbacks")))
        elif self.default_reranker:
            documents = documents[: self.k]
        draft = self._draft(asked, question, documents)
        if draft.read:
            try:
                for piece in self.writer.stream(draft.prompt, config):
                    yield from draft.feed(piece)
            except Exception as error:
                raise draft.broken(error) from error
        yield from self._rest(draft)

    async def astream(self, inputs: AsyncIterator[RagInput], config: RunnableConfig) -> AsyncIterator[AddableDict]:
        asked, history = _asked([item async for item in inputs])
        question = with_key_words(asked, history)
        if history and self.given_llm:
            rewritten = await self.rewriter.ainvoke(_chat(rewriting_messages(asked, history)), config)
            question = standalone_question(asked, rewritten, history)
        documents = await self.retriever.ainvoke(question, config)
        # Models, counted tokens and checked sentences take their time: none of it belongs on the loop.
        if reranker := await run_in_executor(None, self._reranker_for, question):
            documents = list(await reranker.acompress_documents(documents, question, config.get("callbacks")))
        elif self.default_reranker:
            documents = documents[: self.k]
        draft = await run_in_executor(None, self._draft, asked, question, documents)
        if draft.read:
            try:
                async for piece in self.writer.astream(draft.prompt, config):
                    for checked in await run_in_executor(None, _listed, draft.feed, piece):
                        yield checked
            except Exception as error:
                raise draft.broken(error) from error
        for rest in await run_in_executor(None, _listed, self._rest, draft):
            yield rest

    def _draft(self, asked: str, question: str, documents: Sequence[Document]) -> _Draft:
        """What is known before the model is asked: the sources it may read, none where it need not or must not."""
        sources = [Source(n, passage_of(document), 1.0 / n) for n, document in enumerate(documents, start=1)]
        spans: list[FoundSpan] = []
        if sources and self.mode != "generate" and (reader := self._reader_for(question)):
            spans = best_spans(question, sources[: self.k], reader)
        grounder = Grounder(sources, question, found=spans, unsupported=self.unsupported)
        draft = _Draft(asked, question, list(documents), grounder, spans)
        if not sources or self._confidence(question, spans) < self.threshold:
            draft.refused = True
            return draft
        quotes = not self.given_llm and self.embedder is not None
        if not points(self.mode, question, spans, sure=self.sure, quotes_chinese=quotes):
            draft.read = self._packed(question, sources)
            grounder.sources = draft.read or sources
        return draft

    def _packed(self, question: str, sources: list[Source]) -> list[Source]:
        model = self.llm.bound if isinstance(self.llm, RunnableBinding) else self.llm
        budget = self.prompt_tokens or (_PROMPT_TOKENS if isinstance(model, ChatLangBert) else None)
        counter = model.generator.count_tokens if isinstance(model, ChatLangBert) else _approximate_tokens

        def count(packed: Sequence[Source]) -> int:
            return counter(build_messages(question, packed)) if budget else 0

        return pack(question, sources, count, budget or 0)

    def _rest(self, draft: _Draft) -> Iterator[AddableDict]:
        """What is left to say when the model is done, or was not asked; then everything but the answer."""
        grounder = draft.grounder
        yield from map(_piece, grounder.finish())
        if not (grounder.written or grounder.declined or draft.refused):
            yield from map(_piece, self._quoted(draft))
        if not grounder.written:
            yield _piece(not_found(draft.asked))
        yield draft.end()

    def _quoted(self, draft: _Draft) -> Iterator[str]:
        """The words a reader pointed at; without one, the sentence of the sources that answers best."""
        grounder = draft.grounder
        if draft.spans:
            yield grounder.quote(draft.spans[0].text, draft.spans[0].support)
        elif self.embedder is not None:
            for support in quote_best_sentences(draft.question, grounder.sources, self.embedder):
                if support.score >= _QUOTABLE:
                    yield grounder.quote(support.quote, support)

    def _confidence(self, question: str, spans: Sequence[FoundSpan]) -> float:
        """How likely the store holds the answer, in [0, 1]; 1 where it cannot be told."""
        retriever = self.retriever
        if isinstance(retriever, LangBertRetriever) and isinstance(retriever.vectorstore.embedding, LangBertEmbeddings):
            return confidence(features(question, retriever.candidates(question), spans))
        return 1.0

    def _reranker_for(self, question: str) -> BaseDocumentCompressor | None:
        if not self.default_reranker:
            return self.reranker
        if is_chinese(question):
            return None
        if self.reranker is None:
            try:
                self.reranker = LangBertReranker(top_n=self.k)
            except ModelNotFound as error:
                log.warning("answering without a reranker: %s", error)
                self.default_reranker = False
        return self.reranker

    def _reader_for(self, question: str) -> Reader | None:
        if self.reader is None:
            if is_chinese(question):
                return None
            self.reader = shipped("Reader", None)
        return self.reader or None

    @property
    def embedder(self) -> EmbedderLike | None:
        """The retriever's own embedder, if it is one over a vector store."""
        embeddings = self.retriever.vectorstore.embeddings if isinstance(self.retriever, VectorStoreRetriever) else None
        return None if embeddings is None else embedder_of(embeddings)


class _Draft:
    """An answer in the making.

    Attributes:
        refused: whether the documents do not seem to hold it, so that nobody is asked.
        spans: what a reader found.
        read: the sources the model is to read; empty where it is not asked.
    """

    def __init__(
        self, asked: str, question: str, documents: list[Document], grounder: Grounder, spans: Sequence[FoundSpan]
    ) -> None:
        self.asked = asked
        self.question = question
        self.documents = documents
        self.grounder = grounder
        self.refused = False
        self.spans = spans
        self.read: Sequence[Source] = []
        self._pieces: list[str] = []

    @property
    def prompt(self) -> list[BaseMessage]:
        return _chat(build_messages(self.question, self.read))

    def feed(self, piece: str) -> Iterator[AddableDict]:
        for checked in self.grounder.feed(piece):
            self._pieces.append(checked)
            yield _piece(checked)

    def broken(self, error: Exception) -> Exception:
        """What to raise: the model's own error if nothing was written yet, so that retries and fallbacks know it."""
        if not self.grounder.written:
            return error
        text = "".join(self._pieces)
        answer = Answer(text, tuple(self.grounder.citations), question=self.asked, standalone_question=self.question)
        return GenerationError(f"the model broke off: {type(error).__name__}: {error}; until then: {text!r}", answer)

    def end(self) -> AddableDict:
        return AddableDict(
            citations=[asdict(citation) for citation in self.grounder.citations],
            refused=not self.grounder.written,
            context=self.documents,
            question=self.asked,
            standalone_question=self.question,
        )


def _asked(inputs: list[RagInput]) -> tuple[str, list[Message]]:
    """The question in whatever came, and the turns before it; streamed pieces of the input are put together.

    Raises:
        ValueError: there is no question in it (a ``QuestionError`` if it is empty).
    """
    given: Any = inputs[0]
    for more in inputs[1:]:
        given = given + more
    history: list[BaseMessage] = []
    if isinstance(given, Mapping):
        if "question" not in given and "messages" not in given:
            raise ValueError(f"a dict with the keys {sorted(given)} came: expected 'question' or 'messages'")
        history = convert_to_messages(given.get("chat_history") or [])
        given = given["question"] if "question" in given else given["messages"]
    if isinstance(given, BaseMessage):
        given = [given]
    if isinstance(given, Sequence) and not isinstance(given, str):
        messages = convert_to_messages(given)
        last = max((i for i, message in enumerate(messages) if isinstance(message, HumanMessage)), default=None)
        if last is None:
            raise ValueError("no human message came: the last one is the question")
        history += messages[:last]
        given = messages[last].text
    question = checked_question(str(given) if isinstance(given, str) else given)
    turns = [Message("user" if isinstance(m, HumanMessage) else "assistant", str(m.text)) for m in _spoken(history)]
    return question, turns if any(turn.role == "user" for turn in turns) else []


def _spoken(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """What user and assistant said to each other: no system prompts, no tools' results, no empty turns."""
    return [message for message in messages if isinstance(message, (HumanMessage, AIMessage)) and message.text.strip()]


def _chat(messages: Sequence[Message]) -> list[BaseMessage]:
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [kinds[message.role](message.content) for message in messages]


def _approximate_tokens(messages: Sequence[Message]) -> int:
    return count_tokens_approximately(_chat(messages))


def _piece(text: str) -> AddableDict:
    return AddableDict(answer=text)


def _listed(step: Callable[..., Iterator[AddableDict]], *arguments: Any) -> list[AddableDict]:
    """Runs a step of the grounder to its end, for a worker thread."""
    return list(step(*arguments))
