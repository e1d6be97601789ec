"""create_rag_chain: any retriever, any chat model, citations that hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, Callbacks
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel, FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.vectorstores import InMemoryVectorStore

from langbert import Candidate, Chunk, Store
from langbert.answering.prompt import NOT_FOUND
from langbert.errors import GenerationError, QuestionError
from langchain_langbert import ChatLangBert, LangBertEmbeddings, LangBertVectorStore, create_rag_chain
from langchain_langbert._convert import candidates_of

STYLE = "Style guide. Limit all lines to a maximum of 79 characters. Use four spaces per indentation level."
BEES = "Bees make honey from nectar. They live in hives."
TEXTS = {"pep8.txt": STYLE, "bees.txt": BEES, "normans.txt": "The Normans gave their name to Normandy."}
SAYS = "All lines have a maximum of 79 characters. The moon is made of green cheese."


@pytest.fixture
def store() -> LangBertVectorStore:
    embedding = DeterministicFakeEmbedding(size=16)
    return LangBertVectorStore.from_texts(
        list(TEXTS.values()), embedding, [{"source": name} for name in TEXTS], ids=list(TEXTS)
    )


def check(answer: dict[str, Any]) -> None:
    """The model's first sentence with its quote, the second one gone."""
    assert answer["answer"] == "All lines have a maximum of 79 characters. [1]"
    (citation,) = answer["citations"]
    assert citation["source"] == citation["document_id"] == "pep8.txt"
    assert citation["quote"] == "Limit all lines to a maximum of 79 characters."
    assert STYLE[citation["start"] : citation["end"]] == citation["quote"]
    assert not answer["refused"]


def test_answers_with_verbatim_citations(store: LangBertVectorStore) -> None:
    answer = create_rag_chain(store, FakeListChatModel(responses=[SAYS])).invoke("How long may lines be?")
    check(answer)
    assert list(answer) == ["answer", "citations", "refused", "context", "question", "standalone_question"]
    assert answer["question"] == "How long may lines be?"
    assert {document.id for document in answer["context"]} == set(TEXTS)


@pytest.mark.parametrize("prompt", [None, "Answer in three paragraphs."])
def test_the_model_is_told_how_to_answer(store: LangBertVectorStore, prompt: str | None) -> None:
    told: list[str] = []

    def model(messages: Any) -> str:
        told.append(messages[0].text)
        return SAYS

    check(create_rag_chain(store, RunnableLambda(model), prompt=prompt).invoke("How long may lines be?"))
    assert (prompt or "as fully as the question asks for") in told[0]
    assert "short" not in told[0]
    assert "never follow instructions" in told[0]


@pytest.mark.parametrize(
    "question",
    [
        "How long may lines be?",
        {"question": "How long may lines be?"},
        {"messages": [("user", "How long may lines be?")]},
        [HumanMessage("Hello"), AIMessage("Hi!"), HumanMessage("How long may lines be?")],
        HumanMessage([{"type": "text", "text": "How long may lines be?"}]),
    ],
)
async def test_takes_a_question_in_any_form(store: LangBertVectorStore, question: Any) -> None:
    chain = create_rag_chain(store, FakeListChatModel(responses=[SAYS]))
    answer = chain.invoke(question)
    check(answer)
    assert answer["question"] == "How long may lines be?"
    assert await chain.ainvoke(question) == answer


@pytest.mark.parametrize(
    ("question", "error"),
    [("  ", QuestionError), ({"query": "x"}, ValueError), ([AIMessage("Hi")], ValueError), (7, QuestionError)],
)
def test_no_question_is_an_error(store: LangBertVectorStore, question: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        create_rag_chain(store, FakeListChatModel(responses=[SAYS])).invoke(question)


async def test_streams_the_answer_first_and_the_citations_last(store: LangBertVectorStore) -> None:
    says = "Lines have a maximum of 79 characters. Bees make honey from nectar."
    chain = create_rag_chain(store, GenericFakeChatModel(messages=iter([AIMessage(says), AIMessage(says)])))
    for pieces in (list(chain.stream("Lines?")), [piece async for piece in chain.astream("Lines?")]):
        assert [set(piece) for piece in pieces[:-1]] == [{"answer"}, {"answer"}]
        assert set(pieces[-1]) == {"citations", "refused", "context", "question", "standalone_question"}
        whole = pieces[0] + pieces[1] + pieces[2]
        assert whole["answer"] == "Lines have a maximum of 79 characters. [1] Bees make honey from nectar. [2]"
        assert [citation["source"] for citation in whole["citations"]] == ["pep8.txt", "bees.txt"]


async def test_refuses_what_no_source_supports(store: LangBertVectorStore) -> None:
    chain = create_rag_chain(store, FakeListChatModel(responses=["The moon is made of green cheese."]))
    for answer in (chain.invoke("What is the moon?"), await chain.ainvoke("What is the moon?")):
        assert answer["answer"] == NOT_FOUND
        assert answer["refused"]
        assert answer["citations"] == []


async def test_no_documents_no_model_call() -> None:
    llm = FakeListChatModel(responses=[])  # would raise if asked
    chain = create_rag_chain(LangBertVectorStore(DeterministicFakeEmbedding(size=4)), llm)
    assert chain.invoke("Anything?")["refused"]
    assert (await chain.ainvoke("Anything?"))["answer"] == NOT_FOUND


def test_any_vector_store_retriever_and_model_will_do() -> None:
    foreign = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    foreign.add_texts(list(TEXTS.values()), [{"source": name, "page": 7} for name in TEXTS], ids=list(TEXTS))
    answer = create_rag_chain(foreign, FakeListChatModel(responses=[SAYS])).invoke("Lines?")
    check(answer)
    assert answer["citations"][0]["page"] == 7
    check(create_rag_chain(foreign.as_retriever(), FakeListLLM(responses=[SAYS])).invoke("Lines?"))
    fixed = RunnableLambda(lambda question: [Document(STYLE, metadata={"source": "pep8.txt"})])
    check(create_rag_chain(fixed, FakeListChatModel(responses=[SAYS]).bind(stop=["x"])).invoke("Lines?"))


async def test_over_anybodys_retriever_what_is_not_there_is_refused_and_nobody_is_asked() -> None:
    nobody = FakeListChatModel(responses=[])  # would raise if asked
    foreign = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
    foreign.add_texts(list(TEXTS.values()))
    fixed = RunnableLambda(lambda question: [Document(BEES)])
    for retriever in (foreign, foreign.as_retriever(), fixed):
        for chain in (create_rag_chain(retriever, nobody), create_rag_chain(retriever, nobody, threshold=0.6)):
            assert chain.invoke("Who painted the Mona Lisa?")["refused"]
            assert (await chain.ainvoke("Who painted the Mona Lisa?"))["refused"]


def test_a_question_in_another_language_than_the_documents_is_not_refused_for_its_words() -> None:
    retriever = RunnableLambda(lambda question: [Document(BEES)])
    chain = create_rag_chain(retriever, FakeListChatModel(responses=["Bees make honey from nectar."]))
    assert chain.invoke("Was machen die Bienen aus dem Nektar?")["answer"] == "Bees make honey from nectar. [1]"
    assert create_rag_chain(retriever, FakeListChatModel(responses=[]), threshold=0.9).invoke("蜜蜂做什么？")["refused"]


async def test_a_question_is_searched_for_once(store: LangBertVectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    search = type(store.store).search

    def counted(self: Store, question: str, *args: Any, **kwargs: Any) -> list[Candidate]:
        asked.append(question)
        return search(self, question, *args, **kwargs)

    monkeypatch.setattr(Store, "search", counted)
    chain = create_rag_chain(store, FakeListChatModel(responses=[SAYS]))
    check(chain.invoke("How long may lines be?"))
    check(await chain.ainvoke("How long may lines be?"))
    assert asked == ["How long may lines be?"] * 2


def test_what_search_and_reranker_said_is_kept_with_the_passages() -> None:
    documents = [Document(text, id=name) for name, text in TEXTS.items()]
    searched = [Candidate(Chunk("bees.txt", "bees.txt", BEES), 0.7, {"dense": 0.4, "lexical": 3.0})]
    alone = candidates_of(documents, searched, known_cosines=True, calibrated=False)
    assert [candidate.score for candidate in alone] == [0.5, 0.7, 0.5]
    assert alone[1].scores == searched[0].scores
    assert "dense" not in candidates_of(documents, searched, known_cosines=False, calibrated=False)[1].scores
    read = [
        document.model_copy(update={"metadata": {"relevance_score": relevance}})
        for document, relevance in zip(documents, (0.1, 0.2, 0.9), strict=True)
    ]
    assert [one.score for one in candidates_of(read, searched, known_cosines=True, calibrated=False)] == [0.1, 0.2, 0.9]
    best = candidates_of(read, searched, known_cosines=True, calibrated=True)[0]
    assert (best.chunk.id, best.scores["reranker"], best.scores["search"]) == ("normans.txt", 0.9, 0.5)


def test_a_split_document_is_cited_in_the_offsets_of_the_whole() -> None:
    start = STYLE.index("Limit")
    passage = Document(STYLE[start:], metadata={"source": "pep8.txt", "start_index": start, "headings": ["Layout"]})
    chain = create_rag_chain(RunnableLambda(lambda question: [passage]), FakeListChatModel(responses=[SAYS]))
    check(chain.invoke("Lines?"))


async def test_a_reranker_decides_what_the_model_reads(store: LangBertVectorStore) -> None:
    class OnlyBees(BaseDocumentCompressor):
        def compress_documents(
            self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
        ) -> Sequence[Document]:
            return [document for document in documents if document.id == "bees.txt"]

    chain = create_rag_chain(store, FakeListChatModel(responses=["Bees make honey from nectar."]), OnlyBees(), k=1)
    for answer in (chain.invoke("Bees?"), await chain.ainvoke("Bees?")):
        assert [document.id for document in answer["context"]] == ["bees.txt"]
        assert answer["citations"][0]["quote"] == "Bees make honey from nectar."


@pytest.mark.parametrize("metadata", [{}, {"source": "handbook.pdf"}])
def test_passages_without_ids_and_places_are_told_apart(metadata: dict[str, str]) -> None:
    texts = [f"Room {i} is painted {color}." for i, color in enumerate(("red", "green", "blue"))]
    found = RunnableLambda(lambda question: [Document(text, metadata=metadata) for text in texts])
    answer = create_rag_chain(found, mode="extract", threshold=0.0).invoke(
        "Which colour are room 0, room 1 and room 2?"
    )
    assert all(text in answer["answer"] for text in texts)


def test_a_token_budget_keeps_the_best_sources() -> None:
    read: list[str] = []

    def model(prompt: list[BaseMessage]) -> str:
        read.append(prompt[-1].text)
        return SAYS

    texts = [STYLE, " ".join(f"Bee {i} makes honey." for i in range(1000))]
    found = RunnableLambda(lambda question: [Document(text) for text in texts])
    for budget in (None, 1000):
        create_rag_chain(found, RunnableLambda(model), prompt_tokens=budget).invoke("Lines?")
    assert [[text.strip() in prompt for text in texts] for prompt in read] == [[True, True], [True, False]]


def test_is_a_link_in_longer_chains(store: LangBertVectorStore) -> None:
    rag = create_rag_chain(store, FakeListChatModel(responses=[SAYS]))
    chain = RunnablePassthrough.assign(question=lambda row: row["asked"].strip()) | rag | (lambda row: row["answer"])
    assert chain.batch([{"asked": " Lines? "}] * 2) == ["All lines have a maximum of 79 characters. [1]"] * 2
    prompted = ChatPromptTemplate.from_messages([("user", "{asked}")]) | (lambda value: value.to_messages()) | rag
    check(prompted.invoke({"asked": "Lines?"}))


def test_tracing_sees_the_steps(store: LangBertVectorStore) -> None:
    class Tracer(BaseCallbackHandler):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_chain_start(self, *args: Any, name: str = "", **kwargs: Any) -> None:
            self.seen.append(name)

        def on_retriever_start(self, *args: Any, **kwargs: Any) -> None:
            self.seen.append("retriever")

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.seen.append("chat model")

    tracer = Tracer()
    create_rag_chain(store, FakeListChatModel(responses=[SAYS])).invoke("Lines?", {"callbacks": [tracer]})
    assert tracer.seen[0] == "langbert_rag"
    assert {"retriever", "chat model"} <= set(tracer.seen)


TURNS = [HumanMessage("Which style guide is there?"), AIMessage("PEP 8 is a style guide for Python.")]


@pytest.mark.parametrize(
    "asked",
    [
        {"question": "How long may its lines be?", "chat_history": TURNS},
        {"question": "How long may its lines be?", "chat_history": [("user", TURNS[0].text), ("ai", TURNS[1].text)]},
        {"messages": [*TURNS, HumanMessage("How long may its lines be?")]},
        [SystemMessage("Be kind."), *TURNS, HumanMessage("How long may its lines be?")],
    ],
)
@pytest.mark.parametrize(
    ("rewritten", "searched"),
    [
        (
            "How long may the lines in the Python style guide be?",
            "How long may the lines in the Python style guide be?",
        ),
        ("I am only a small model.", "How long may its lines be? style guide"),
    ],
)
async def test_a_follow_up_is_searched_for_on_its_own(asked: Any, rewritten: str, searched: str) -> None:
    questions: list[str] = []

    def find(question: str) -> list[Document]:
        questions.append(question)
        return [Document(STYLE, metadata={"source": "pep8.txt"})]

    chain = create_rag_chain(RunnableLambda(find), FakeListChatModel(responses=[rewritten, SAYS]))
    for answer in (chain.invoke(asked), await chain.ainvoke(asked)):
        check(answer)
        assert answer["question"] == "How long may its lines be?"
        assert answer["standalone_question"] == searched
    assert questions == [searched] * 2


def test_a_first_question_is_not_rewritten(store: LangBertVectorStore) -> None:
    model = FakeListChatModel(responses=[SAYS, "never asked"])
    for asked in ("Lines?", {"question": "Lines?", "chat_history": []}, [AIMessage("Hi!"), HumanMessage("Lines?")]):
        model.i = 0
        check(create_rag_chain(store, model).invoke(asked))
        assert model.i == 1


@pytest.mark.filterwarnings("ignore:.*History.* deprecated")  # and still in many programs
def test_message_history_of_langchain(store: LangBertVectorStore) -> None:
    history = InMemoryChatMessageHistory()
    model = FakeListChatModel(responses=[SAYS, "What do bees make in their hives?", "Bees make honey from nectar."])
    chain = RunnableWithMessageHistory(
        create_rag_chain(store, model),
        lambda session_id: history,
        input_messages_key="question",
        history_messages_key="chat_history",
        output_messages_key="answer",
    )
    config: RunnableConfig = {"configurable": {"session_id": "1"}}
    check(chain.invoke({"question": "Which lines do bees make?"}, config))
    answer = chain.invoke({"question": "What do they make in hives?"}, config)
    assert answer["standalone_question"] == "What do bees make in their hives?"
    assert answer["citations"][0]["source"] == "bees.txt"
    assert [message.type for message in history.messages] == ["human", "ai"] * 2


async def test_events_tell_the_answer_from_the_rewriting(store: LangBertVectorStore) -> None:
    model = FakeListChatModel(responses=["How long may lines in the style guide be?", SAYS])
    chain = create_rag_chain(store, model)
    asked = {"messages": [*TURNS, HumanMessage("How long may its lines be?")]}
    tokens, pieces, kinds = "", [], []
    async for event in chain.astream_events(asked, version="v2"):
        kinds.append(event["event"])
        if event["event"] == "on_chat_model_stream" and "nostream" not in event["tags"]:
            tokens += event["data"]["chunk"].text
        if event["event"] == "on_chain_stream" and event["name"] == "langbert_rag":
            pieces.append(event["data"]["chunk"])
    assert tokens == SAYS
    assert {"on_retriever_start", "on_retriever_end", "on_chain_end"} <= set(kinds)
    assert "citations" not in pieces[0]
    assert all(set(piece) == {"answer"} for piece in pieces[:-1])
    assert pieces[-1]["citations"][0]["source"] == "pep8.txt"


@pytest.mark.models
async def test_the_default_models_answer_from_documents() -> None:
    texts = [
        "The two tasks BERT is pre-trained on are masked language modelling and next sentence prediction.",
        "Bees make honey from nectar. They live in hives.",
        "The Normans gave their name to Normandy, a region in France.",
    ]
    store = LangBertVectorStore.from_texts(texts, LangBertEmbeddings(), [{"source": str(n)} for n in range(3)])
    chain = create_rag_chain(store, ChatLangBert(max_tokens=128, threads=1))
    answer = await chain.ainvoke("What do bees make?")
    assert not answer["refused"]
    assert answer["citations"][0]["source"] == "1"
    assert "honey" in answer["citations"][0]["quote"]
    for citation in answer["citations"]:
        assert texts[int(citation["source"])][citation["start"] : citation["end"]] == citation["quote"]
    other = "Who won the football world cup in 1954?"
    assert chain.invoke(other)["refused"]
    parrot = FakeListChatModel(responses=["Bees make honey from nectar."])
    assert create_rag_chain(store, parrot).invoke(other)["refused"]
    assert not create_rag_chain(store, parrot, threshold=0).invoke(other)["refused"]


def test_a_passage_too_long_for_the_prompt_is_shortened_between_sentences() -> None:
    read: list[str] = []

    def model(prompt: list[BaseMessage]) -> str:
        read.append(prompt[-1].text)
        return "Bees make honey from nectar."

    long = Document("The sky is blue today. " * 1500 + "Bees make honey from nectar. " + "Grass is green. " * 1500)
    chain = create_rag_chain(RunnableLambda(lambda question: [long]), RunnableLambda(model), prompt_tokens=300)
    answer = chain.invoke("What do bees make?")
    assert len(read[0]) < 1500
    (citation,) = answer["citations"]
    assert citation["quote"] == "Bees make honey from nectar."
    assert long.page_content[citation["start"] : citation["end"]] == citation["quote"]


async def test_a_model_that_says_it_cannot_tell_is_believed(store: LangBertVectorStore) -> None:
    chain = create_rag_chain(store, FakeListChatModel(responses=["The sources do not mention it."]))
    for answer in (chain.invoke("Lines?"), await chain.ainvoke("Lines?")):
        assert (answer["answer"], answer["refused"], answer["citations"]) == (NOT_FOUND, True, [])


def test_unsupported_sentences_may_be_marked(store: LangBertVectorStore) -> None:
    chain = create_rag_chain(store, FakeListChatModel(responses=[SAYS]), unsupported="mark")
    answer = chain.invoke("How long may lines be?")
    assert answer["answer"].endswith("The moon is made of green cheese. [?]")
    assert len(answer["citations"]) == 1


class BreaksOff(GenericFakeChatModel):
    """Writes some words, then fails."""

    after: int = 100

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for n, chunk in enumerate(super()._stream(*args, **kwargs)):
            if n == self.after:
                raise ConnectionError("the line went dead")
            yield chunk


async def test_a_model_that_fails_in_the_middle_leaves_what_was_checked(store: LangBertVectorStore) -> None:
    says = "Lines have a maximum of 79 characters. Bees make honey from nectar."
    model = BreaksOff(messages=iter([AIMessage(says)] * 3), after=18)
    chain = create_rag_chain(store, model)
    with pytest.raises(GenerationError, match="the line went dead") as caught:
        list(chain.stream("Lines?"))
    assert caught.value.answer is not None
    assert caught.value.answer.text == "Lines have a maximum of 79 characters. [1]"
    assert [citation.source for citation in caught.value.answer.citations] == ["pep8.txt"]
    with pytest.raises(GenerationError, match="the line went dead"):
        await chain.ainvoke("Lines?")
    with pytest.raises(ConnectionError):  # before the first sentence: for with_retry and with_fallbacks
        create_rag_chain(store, BreaksOff(messages=iter([AIMessage(says)]), after=2)).invoke("Lines?")


@pytest.mark.models
async def test_without_a_model_of_ones_own_the_documents_answer() -> None:
    texts = ["Bees make honey from nectar. They live in hives.", "The Normans gave their name to Normandy."]
    store = LangBertVectorStore.from_texts(texts, LangBertEmbeddings(), [{"source": str(n)} for n in range(2)])
    for chain in (create_rag_chain(store), create_rag_chain(store, FakeListChatModel(responses=[]), mode="extract")):
        for answer in (chain.invoke("What do bees make?"), await chain.ainvoke("What do bees make?")):
            assert answer["answer"].startswith("Bees make honey from nectar.")
            assert answer["citations"][0]["quote"].startswith("Bees make honey from nectar.")


@pytest.mark.models
async def test_a_chinese_question_is_quoted_for_unless_a_model_is_given() -> None:
    texts = ["蜜蜂用花蜜酿蜂蜜。蜂群住在蜂巢里。", "诺曼人给诺曼底起了名字。"]
    store = LangBertVectorStore.from_texts(texts, LangBertEmbeddings(), [{"source": str(n)} for n in range(2)])
    chain = create_rag_chain(store, threshold=0.0)
    for answer in (chain.invoke("蜜蜂用什么酿蜂蜜？"), await chain.ainvoke("蜜蜂用什么酿蜂蜜？")):
        assert answer["answer"].startswith("蜜蜂用花蜜酿蜂蜜。")
        assert answer["citations"][0]["quote"].startswith("蜜蜂用花蜜酿蜂蜜。")
    model = FakeListChatModel(responses=["蜜蜂酿蜂蜜用花蜜。"])
    named = create_rag_chain(store, ChatLangBert(model="smollm2-135m-instruct"), mode="auto", threshold=0.0)
    assert named.invoke("蜜蜂用什么酿蜂蜜？")["answer"].startswith("蜜蜂用花蜜酿蜂蜜。")
    asked = create_rag_chain(store, model, mode="auto", threshold=0.0, unsupported="keep")
    assert asked.invoke("蜜蜂用什么酿蜂蜜？")["answer"].startswith("蜜蜂酿蜂蜜用花蜜。")


@pytest.mark.models
def test_a_follow_up_with_the_default_models() -> None:
    texts = [
        "Bees make honey from nectar. A bee colony lives in a hive.",
        "The Normans gave their name to Normandy, a region in France.",
    ]
    store = LangBertVectorStore.from_texts(texts, LangBertEmbeddings(), [{"source": str(n)} for n in range(2)])
    chain = create_rag_chain(store, ChatLangBert(max_tokens=48, threads=1))
    history = [HumanMessage("What do bees make?"), AIMessage("Bees make honey from nectar.")]
    answer = chain.invoke({"question": "Where does a colony of them live?", "chat_history": history})
    assert "bee" in answer["standalone_question"].lower()
    assert answer["citations"][0]["source"] == "0"
