"""``create_rag_chain``: question → retriever → (reranker) → chat model → answer with checked citations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.language_models import LanguageModelLike
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableGenerator, run_in_executor
from langchain_core.runnables.utils import AddableDict
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langbert.answering import NOT_FOUND, build_messages, confidence, fit_sources, quote_best_sentences
from langbert.followup import rewriting_messages, standalone_question
from langbert.grounding import Grounder, Source
from langbert.records import EmbedderLike, Message
from langbert.retrieval import checked_question

from ._convert import passage_of
from ._foreign import embedder_of
from .chat_models import ChatLangBert
from .embeddings import LangBertEmbeddings
from .retrievers import LangBertRetriever
from .vectorstores import LangBertVectorStore

__all__ = ["create_rag_chain"]

RagInput = str | Mapping[str, Any] | Sequence[BaseMessage]
"""A question; ``{"question": …}``, with ``"chat_history": […]`` if there is one; ``{"messages": […]}``; or messages,
the last human one being the question and those before it the history."""

_PROMPT_TOKENS = 1024
_QUOTABLE = 0.5  # a sentence nearer to the question than this may stand for an answer


def create_rag_chain(
    retriever: RetrieverLike | VectorStore,
    llm: LanguageModelLike | None = None,
    reranker: BaseDocumentCompressor | None = None,
    *,
    k: int = 4,
    prompt_tokens: int | None = None,
    threshold: float = 0.5,
) -> Runnable[RagInput, dict[str, Any]]:
    """A chain that answers from documents and shows where every sentence comes from.

    The sources are numbered in the prompt. Each sentence of the answer is let through only if words of a source
    support it, and carries that citation's ``[n]``; if nothing is left, the answer says so and ``refused`` is True.

    After earlier turns a question is first rewritten by ``llm`` so that it stands alone (one more call, run as
    ``rewrite_question`` with the tag ``nostream``: leave that out where you pick tokens out of ``astream_events``). A
    rewriting that does not keep to the conversation is not used; the question is then searched for together with the
    key words of the user's turn before it.

    Args:
        retriever: any retriever, or any vector store (ours is then searched in hybrid mode).
        llm: any chat model; by default ``ChatLangBert(max_tokens=128)``.
        reranker: any document compressor; it then reads 20 documents of a vector store instead of ``k``.
        k: how many documents of a vector store the answer may draw on.
        prompt_tokens: the longest prompt; by default 1024 for ``ChatLangBert``, and for other models, whose tokens are
            estimated, no limit. As many sources as fit go into it, best first.
        threshold: over a ``LangBertVectorStore`` with ``LangBertEmbeddings``: below this confidence that it holds the
            answer the model is not asked at all, and the chain refuses. Cosines of other embeddings mean other things.

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
    llm = llm if llm is not None else ChatLangBert(max_tokens=128)
    chain = _RagChain(_as_retriever(retriever, k, reranker), llm, reranker, prompt_tokens, threshold)
    return RunnableGenerator(chain.stream, chain.astream, name="langbert_rag")  # type: ignore[arg-type]


def _as_retriever(given: RetrieverLike | VectorStore, k: int, reranker: object | None) -> RetrieverLike:
    if not isinstance(given, VectorStore):
        return given
    depth = k if reranker is None else max(k, 20)
    if isinstance(given, LangBertVectorStore):
        return LangBertRetriever(vectorstore=given, k=depth)
    return given.as_retriever(search_kwargs={"k": depth})


class _RagChain:
    """The steps, once for both ways of running them."""

    def __init__(
        self,
        retriever: RetrieverLike,
        llm: LanguageModelLike,
        reranker: BaseDocumentCompressor | None,
        prompt_tokens: int | None,
        threshold: float,
    ) -> None:
        self.retriever = retriever
        self.llm = llm
        self.writer = llm | StrOutputParser()
        short = llm.bind(max_tokens=64, stop=["\n"]) if isinstance(llm, ChatLangBert) else llm
        self.rewriter = (short | StrOutputParser()).with_config(run_name="rewrite_question", tags=["nostream"])
        self.reranker = reranker
        self.prompt_tokens = prompt_tokens
        self.threshold = threshold

    def stream(self, inputs: Iterator[RagInput], config: RunnableConfig) -> Iterator[AddableDict]:
        asked, history = _asked(list(inputs))
        question = asked
        if history:
            rewritten = self.rewriter.invoke(_chat(rewriting_messages(asked, history)), config)
            question = standalone_question(asked, rewritten, history)
        documents = self.retriever.invoke(question, config)
        if self.reranker is not None:
            documents = list(self.reranker.compress_documents(documents, question, config.get("callbacks")))
        sources = self._sources(question, documents)
        grounder = Grounder(sources, question)
        if sources:
            for piece in self.writer.stream(_prompt(question, sources), config):
                yield from map(_piece, grounder.feed(piece))
            yield from map(_piece, grounder.finish())
        yield from map(_piece, self._instead(question, grounder))
        yield _end(asked, question, documents, grounder)

    async def astream(self, inputs: AsyncIterator[RagInput], config: RunnableConfig) -> AsyncIterator[AddableDict]:
        asked, history = _asked([item async for item in inputs])
        question = asked
        if history:
            rewritten = await self.rewriter.ainvoke(_chat(rewriting_messages(asked, history)), config)
            question = standalone_question(asked, rewritten, history)
        documents = await self.retriever.ainvoke(question, config)
        if self.reranker is not None:
            documents = list(await self.reranker.acompress_documents(documents, question, config.get("callbacks")))
        # Counting tokens loads the model, and checking a sentence takes milliseconds: neither belongs on the loop.
        sources = await run_in_executor(None, self._sources, question, documents)
        grounder = Grounder(sources, question)
        if sources:
            async for piece in self.writer.astream(_prompt(question, sources), config):
                for checked in await run_in_executor(None, _listed, grounder.feed, piece):
                    yield _piece(checked)
            for checked in await run_in_executor(None, _listed, grounder.finish):
                yield _piece(checked)
        for quoted in await run_in_executor(None, _listed, self._instead, question, grounder):
            yield _piece(quoted)
        yield _end(asked, question, documents, grounder)

    def _sources(self, question: str, documents: Sequence[Document]) -> list[Source]:
        """The documents that go into the prompt, numbered; none where they do not seem to hold the answer."""
        if self._confidence(question) < self.threshold:
            return []
        sources = [Source(number, passage_of(document)) for number, document in enumerate(documents, start=1)]
        model = self.llm.bound if isinstance(self.llm, RunnableBinding) else self.llm
        budget = self.prompt_tokens or (_PROMPT_TOKENS if isinstance(model, ChatLangBert) else None)
        if not sources or budget is None:
            return sources
        count = model.generator.count_tokens if isinstance(model, ChatLangBert) else _approximate_tokens
        fitting = fit_sources(question, sources, count, budget)
        if not fitting:
            raise ValueError(
                f"the best document alone makes a prompt longer than {budget} tokens: "
                "split documents before adding them (LangBertTextSplitter), or raise prompt_tokens="
            )
        return fitting

    def _confidence(self, question: str) -> float:
        """How likely the store holds the answer, in [0, 1]; 1 where it cannot be told."""
        retriever = self.retriever
        if isinstance(retriever, LangBertRetriever) and isinstance(retriever.vectorstore.embedding, LangBertEmbeddings):
            return confidence(question, retriever.candidates(question))
        return 1.0

    def _instead(self, question: str, grounder: Grounder) -> Iterator[str]:
        """Where no sentence of the model is supported: the sentence of the sources that answers best, or a refusal."""
        if grounder.citations:
            return
        if self.embedder is not None:
            for support in quote_best_sentences(question, grounder.sources, self.embedder):
                if support.score >= _QUOTABLE:
                    yield f"{' '.join(support.citation.quote.split())} [{grounder.cite(support)}]"
        if not grounder.citations:
            yield NOT_FOUND

    @property
    def embedder(self) -> EmbedderLike | None:
        """The retriever's own embedder, if it is one over a vector store."""
        embeddings = self.retriever.vectorstore.embeddings if isinstance(self.retriever, VectorStoreRetriever) else None
        return None if embeddings is None else embedder_of(embeddings)


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


def _prompt(question: str, sources: Sequence[Source]) -> list[BaseMessage]:
    return _chat(build_messages(question, sources))


def _chat(messages: Sequence[Message]) -> list[BaseMessage]:
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [kinds[message.role](message.content) for message in messages]


def _approximate_tokens(messages: Sequence[Message]) -> int:
    return count_tokens_approximately(_chat(messages))


def _piece(text: str) -> AddableDict:
    return AddableDict(answer=text)


def _end(asked: str, question: str, documents: Sequence[Document], grounder: Grounder) -> AddableDict:
    return AddableDict(
        citations=[asdict(citation) for citation in grounder.citations],
        refused=not grounder.citations,
        context=list(documents),
        question=asked,
        standalone_question=question,
    )


def _listed(step: Callable[..., Iterator[str]], *arguments: Any) -> list[str]:
    """Runs a step of the grounder to its end, for a worker thread."""
    return list(step(*arguments))
