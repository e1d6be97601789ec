"""``create_rag_chain``: question → retriever → (reranker) → chat model → answer with checked citations.

What happens on the way is :mod:`langbert.answering.flow`'s; here LangChain's parts perform its steps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import LanguageModelLike
from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableGenerator, run_in_executor
from langchain_core.runnables.utils import AddableDict
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langbert import Answer, AnswerMode, Candidate, Message
from langbert.answering import Part, best_evidence, flow, known_encoder, threshold_of, weigh
from langbert.records import Calibration, EmbeddingSpace, Refuse, Unsupported

from ._convert import candidates_of, chat_of, spoken_of
from ._foreign import embedder_of
from .chat_models import ChatLangBert
from .embeddings import LangBertEmbeddings
from .reranker import LangBertReranker
from .vectorstores import LangBertRetriever, LangBertVectorStore

if TYPE_CHECKING:
    from langbert import Reader, Reranker

RagInput = str | Mapping[str, Any] | Sequence[BaseMessage]
"""A question; ``{"question": …}``, with ``"chat_history": […]`` if there is one; ``{"messages": […]}``; or messages,
the last human one being the question and those before it the history."""

_PROMPT_TOKENS = 1024


def create_rag_chain(
    retriever: RetrieverLike | VectorStore,
    llm: LanguageModelLike | None = None,
    reranker: BaseDocumentCompressor | None = None,
    *,
    mode: AnswerMode | None = None,
    reader: Reader | None = None,
    k: int = 4,
    prompt: str | None = None,
    prompt_tokens: int | None = None,
    threshold: Refuse | float = "balanced",
    sure: float = 0.75,
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
            ``llm`` the shipped one: for questions in English, or in any language where the vectors are ``e5-small``'s.
        mode: ``"generate"``, the default with an ``llm``; ``"extract"``: the sources' own words, whole sentences, lists
            and table rows; ``"auto"``, the default without: the model if it is up to it, else the sources' words.
        reader: what points at words; by default the shipped one, for the same questions, unless ``mode`` is
            ``"generate"``.
        k: how many documents of a vector store the answer may draw on.
        prompt: how the model shall answer, for example ``"Answer in three paragraphs."``. That it is to keep to the
            sources, and to obey nothing that stands in them, it is told in any case. By default a ``ChatLangBert`` is
            asked for one or two short sentences, another model for as much as the question wants.
        prompt_tokens: the longest prompt; by default 1024 for ``ChatLangBert``, and for other models, whose tokens are
            estimated, no limit. As many sources as fit go into it, best first, the last one cut between sentences.
        threshold: below this confidence that the documents hold the answer the model is not asked at all, and the
            chain refuses; ``"rarely"``, ``"balanced"`` and ``"strictly"`` are 0.25, 0.5 and 0.75. How much is known
            decides how far that can be told: cosines of ``LangBertEmbeddings`` in a ``LangBertVectorStore``, a
            ``LangBertReranker``, a reader; of any retriever at least the words. 0 where question and documents are in
            different languages.
        sure: how likely a reader's words must be right for one sentence to answer a question for a name or a number.
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
    encoder = known_encoder(_space_of(retriever))
    base, multilingual = encoder or "minilm", encoder == "e5"
    # the cross-encoder on e5-small judges pieces well, and orders passages no better than the search does
    default_reranker = llm is None and reranker is None and isinstance(retriever, VectorStore)
    reranks = reranker is not None or (default_reranker and not multilingual)
    model = llm if llm is not None else ChatLangBert(max_tokens=128)
    own = _own(model)
    writer = own.model if own else ""
    chain = _RagChain(
        _as_retriever(retriever, k if reranker is None and not default_reranker else max(k, 20)),
        model,
        Part("reranker", reranker if reranks else False, lambda: LangBertReranker(top_n=k)),
        Part(
            "reader",
            False if reader is None and mode == "generate" else reader,
            lambda: _shipped_reader(base),
            multilingual=multilingual,
        ),
        Part(
            "reranker",
            _judge(reranker) if reranker is not None or not default_reranker else None,
            lambda: LangBertReranker(model=f"{base}-reranker").reranker,
            multilingual=multilingual,
        ),
        k=k if default_reranker else None,
        prompt_tokens=prompt_tokens,
        policy=flow.Policy(
            mode=mode,
            k=None,
            threshold=threshold_of(threshold),
            sure=sure,
            unsupported=unsupported,
            rewrites=writer != flow.SMALL_DECODER,
            writer=writer,
            instructions=prompt or (flow.SHORT if own else flow.FULL),
            encoder=encoder,
            calibration=_calibration_of(retriever),
        ),
    )
    return RunnableGenerator(chain.stream, chain.astream, name="langbert_rag")  # type: ignore[arg-type]


def _as_retriever(given: RetrieverLike | VectorStore, depth: int) -> RetrieverLike:
    if not isinstance(given, VectorStore):
        return given
    if isinstance(given, LangBertVectorStore):
        return LangBertRetriever(vectorstore=given, k=depth)
    return given.as_retriever(search_kwargs={"k": depth})


def _space_of(retriever: object) -> EmbeddingSpace | None:
    """Of the vectors behind a retriever, where they are ours."""
    store = getattr(retriever, "vectorstore", retriever)
    embeddings = store.embeddings if isinstance(store, VectorStore) else None
    return embeddings.embedder.space if isinstance(embeddings, LangBertEmbeddings) else None


def _calibration_of(retriever: object) -> Calibration | None:
    """What the questions of a store of ours have taught."""
    store = getattr(retriever, "vectorstore", retriever)
    return store.store.calibration if isinstance(store, LangBertVectorStore) else None


def _shipped_reader(base: str) -> Reader:
    from langbert import Reader

    return Reader(f"{base}-reader")


def _judge(reranker: BaseDocumentCompressor | None) -> Reranker | Literal[False]:
    """What tells how well a piece of a passage answers: the model of a reranker that is ours."""
    return reranker.reranker if isinstance(reranker, LangBertReranker) else False


def _own(llm: LanguageModelLike) -> ChatLangBert | None:
    """Our own model, if it is one, bound to options or not."""
    model = llm.bound if isinstance(llm, RunnableBinding) else llm
    return model if isinstance(model, ChatLangBert) else None


class _RagChain:
    """LangChain's parts, and what they do for a step.

    Args:
        k: how many documents are kept where nothing reranks them; None is all.
    """

    def __init__(
        self,
        retriever: RetrieverLike,
        llm: LanguageModelLike,
        reranker: Part[BaseDocumentCompressor],
        reader: Part[Reader],
        judge: Part[Reranker],
        *,
        k: int | None,
        prompt_tokens: int | None,
        policy: flow.Policy,
    ) -> None:
        self.retriever = retriever
        self.own = _own(llm)
        self.writer = llm | StrOutputParser()
        short = llm.bind(max_tokens=64) if self.own else llm
        self.rewriter = (short | StrOutputParser()).with_config(run_name="rewrite_question", tags=["nostream"])
        self.reranker = reranker
        self.reader = reader
        self.judge = judge
        self.k = k
        self.prompt_tokens = prompt_tokens
        self.policy = policy

    def stream(self, inputs: Iterator[RagInput], config: RunnableConfig) -> Iterator[AddableDict]:
        asked, history = _asked(list(inputs))
        run = _Run(self, config)
        for event in flow.drive(flow.answer_flow(asked, self.policy, history), run.perform):
            yield run.output(event)

    async def astream(self, inputs: AsyncIterator[RagInput], config: RunnableConfig) -> AsyncIterator[AddableDict]:
        asked, history = _asked([item async for item in inputs])
        run = _Run(self, config)
        async for event in flow.adrive(flow.answer_flow(asked, self.policy, history), run.aperform):
            yield run.output(event)

    def perform(self, step: flow.Step) -> Any:
        """What a step asks for that LangChain has no part in."""
        match step:
            case flow.Read(question, candidates):
                reader = self.reader.knowing(question)
                return best_evidence(question, candidates, reader) if reader is not None else []
            case flow.Prepare():
                return self._budget()
            case flow.Weigh(question, pieces):
                embedder = embedder_of(self.embeddings) if self.embeddings is not None else None
                return weigh(question, pieces, embedder, self.judge.knowing(question))
        return None  # what a retriever gives is all there is of a document

    def _budget(self) -> flow.Budget:
        if self.own is not None:
            return flow.Budget(self.own.generator.count_tokens, self.prompt_tokens or _PROMPT_TOKENS)
        return flow.Budget(lambda messages: count_tokens_approximately(chat_of(messages)), self.prompt_tokens)

    @property
    def embeddings(self) -> Embeddings | None:
        """The retriever's own, if it is one over a vector store."""
        return self.retriever.vectorstore.embeddings if isinstance(self.retriever, VectorStoreRetriever) else None


class _Run:
    """One question on its way through a chain."""

    def __init__(self, chain: _RagChain, config: RunnableConfig) -> None:
        self._chain = chain
        self._config = config
        self._documents: list[Document] = []
        self._scored: list[Candidate] = []  # the documents with what the search said of them

    def perform(self, step: flow.Step) -> Any:
        chain = self._chain
        match step:
            case flow.Rewrite(messages):
                return chain.rewriter.invoke(chat_of(messages), self._config)
            case flow.Retrieve(question):
                documents: Sequence[Document] = chain.retriever.invoke(question, self._config, **self._scores())
                reranker = chain.reranker.knowing(question)
                if reranker is not None:
                    documents = reranker.compress_documents(documents, question, self._config.get("callbacks"))
                return self._found(documents, reranker)
            case flow.Write(messages):
                return chain.writer.stream(chat_of(messages), self._config)
        return chain.perform(step)

    async def aperform(self, step: flow.Step) -> Any:
        chain = self._chain
        match step:
            case flow.Rewrite(messages):
                return await chain.rewriter.ainvoke(chat_of(messages), self._config)
            case flow.Retrieve(question):
                documents: Sequence[Document] = await chain.retriever.ainvoke(question, self._config, **self._scores())
                reranker = await run_in_executor(None, chain.reranker.knowing, question)
                if reranker is not None:
                    callbacks = self._config.get("callbacks")
                    documents = await reranker.acompress_documents(documents, question, callbacks)
                return self._found(documents, reranker)
            case flow.Write(messages):
                return chain.writer.astream(chat_of(messages), self._config)
        return await run_in_executor(None, chain.perform, step)

    def _scores(self) -> dict[str, Any]:
        return {"scored": self._scored} if isinstance(self._chain.retriever, LangBertRetriever) else {}

    def _found(self, documents: Sequence[Document], reranker: BaseDocumentCompressor | None) -> list[Candidate]:
        self._documents = list(documents if reranker is not None else documents[: self._chain.k])
        return candidates_of(
            self._documents,
            self._scored,
            known_cosines=self._chain.policy.encoder is not None,
            calibrated=isinstance(reranker, LangBertReranker),
        )

    def output(self, event: str | Answer) -> AddableDict:
        """A piece of the answer; at the end, everything else."""
        if isinstance(event, str):
            return AddableDict(answer=event)
        return AddableDict(
            citations=[citation.to_dict() for citation in event.citations],
            refused=event.refused,
            context=self._documents,
            question=event.question,
            standalone_question=event.standalone_question,
        )


def _asked(inputs: list[RagInput]) -> tuple[str, list[Message]]:
    """The question in whatever came, and the turns before it; streamed pieces of the input are put together.

    Raises:
        ValueError: there is no question in it.
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
    turns = spoken_of(history)
    return str(given) if isinstance(given, str) else given, turns if any(turn.role == "user" for turn in turns) else []
