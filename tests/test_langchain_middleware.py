"""GroundingMiddleware: agents' answers, in English and Chinese, checked against what their tools returned."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.messages.content import create_citation, create_text_block
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool

from langbert.answering import claims
from langbert.records import Candidate, Chunk, Unsupported
from langchain_langbert import GroundingMiddleware, LangBertSearchTool, LangBertVectorStore
from langchain_langbert._annotated import annotated

LINES = "Limit all lines to a maximum of 79 characters."
LEAVE = "员工每年有十天年假。申请须提前三天提交给主管。"


class Scripted(GenericFakeChatModel):
    """A chat model that says what it was told to, and takes tools."""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self


def call(name: str, **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call-{name}", "type": "tool_call"}])


@pytest.fixture(scope="module")
def search() -> LangBertSearchTool:
    store = LangBertVectorStore.from_texts(
        [LINES, "Bees make honey from nectar.", LEAVE],
        DeterministicFakeEmbedding(size=16),
        [{"source": "https://example.org/style", "page": 3}, {"source": "bees.txt"}, {"source": "手册.txt"}],
        ids=["style", "bees", "leave"],
    )
    return LangBertSearchTool(store=store, k=3)


@tool
def weather(city: str) -> str:
    """The weather."""
    return f"In {city} it is 21 degrees and cloudy."


def answered(
    says: str | AIMessage, asked: str, tools: list[BaseTool], *calls: AIMessage, unsupported: Unsupported = "mark"
) -> AIMessage:
    model = Scripted(messages=iter([*calls, says if isinstance(says, AIMessage) else AIMessage(says)]))
    agent = create_agent(model, tools, middleware=[GroundingMiddleware(unsupported=unsupported)])
    messages = agent.invoke({"messages": [HumanMessage(asked)]})["messages"]
    assert isinstance(messages[-1], AIMessage)
    assert sum(isinstance(message, AIMessage) for message in messages) == len(calls) + 1
    return messages[-1]


def annotations(answer: AIMessage) -> list[dict[str, Any]]:
    return [note for block in answer.content_blocks for note in block.get("annotations", [])]  # type: ignore[attr-defined]


EN = "Lines have at most 79 characters. The moon is made of cheese."
ZH = "申请须提前三天提交给主管。员工每年有二十天年假。"


@pytest.mark.parametrize(
    ("unsupported", "english", "chinese"),
    [
        ("mark", f"{EN} [?]", f"{ZH} [?]"),
        ("drop", "Lines have at most 79 characters.", "申请须提前三天提交给主管。"),
        ("keep", EN, ZH),
    ],
)
def test_what_becomes_of_a_sentence_that_nothing_supports(
    search: LangBertSearchTool, unsupported: Unsupported, english: str, chinese: str
) -> None:
    for says, asked, expected, quote, place in (
        (EN, "How long may a line be?", english, LINES, ("style", 3, "https://example.org/style")),
        (ZH, "怎么申请年假？", chinese, "申请须提前三天提交给主管。", ("leave", None, "手册.txt")),
    ):
        answer = answered(says, asked, [search], call(search.name, query=asked), unsupported=unsupported)
        assert answer.text == expected
        (cited,) = annotations(answer)
        assert cited["type"] == "citation"
        assert cited["cited_text"] == cited["extras"]["quote"] == quote
        document, page, source = place
        assert (cited["extras"]["document_id"], cited["extras"].get("page"), cited["title"]) == (document, page, source)
        assert cited.get("url") == (source if page else None)
        text = LINES if page else LEAVE
        assert text[cited["extras"]["start"] : cited["extras"]["end"]] == quote
        assert 0.5 < cited["extras"]["score"] <= 1
        said = answer.text[cited["start_index"] : cited["end_index"]]
        assert says.startswith(said)
        assert said[-1] in ".。"
        (wrong,) = answer.response_metadata["langbert"]["unsupported"]
        assert says.endswith(wrong)


@pytest.mark.parametrize(
    ("asked", "says", "expected"),
    [
        ("Who wrote it?", "Tim Peters wrote it.", "This is not in these documents."),
        ("谁写的？", "是李明写的。", "这些文档里没有答案。"),
    ],
)
def test_where_nothing_is_left_the_answer_says_so(
    search: LangBertSearchTool, asked: str, says: str, expected: str
) -> None:
    answer = answered(says, asked, [search], call(search.name, query=asked), unsupported="drop")
    assert answer.text == expected
    assert annotations(answer) == []


def test_a_tool_that_returns_text_is_cited_by_its_call(search: LangBertSearchTool) -> None:
    answer = answered("It is 21 degrees in Paris.", "How warm is Paris?", [weather], call("weather", city="Paris"))
    (cited,) = annotations(answer)
    assert cited["title"] == "weather"
    assert cited["extras"]["document_id"] == "call-weather"
    assert cited["cited_text"] == "In Paris it is 21 degrees and cloudy."


def test_what_a_failed_tool_said_supports_nothing() -> None:
    error = ToolMessage("In Paris it is 40 degrees.", tool_call_id="1", status="error")
    messages = [HumanMessage("How warm is Paris?"), call("broken"), error, AIMessage("In Paris it is 40 degrees.")]
    updated = GroundingMiddleware().after_agent({"messages": messages}, None)  # type: ignore[arg-type]
    assert updated is not None
    assert updated["messages"][0].text == "In Paris it is 40 degrees. [?]"


def test_a_conversation_keeps_what_was_found_before(search: LangBertSearchTool) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    replies = [
        call(search.name, query="line length"),
        AIMessage("At most 79 characters."),
        AIMessage("Yes, 79 characters at most."),
    ]
    agent = create_agent(
        Scripted(messages=iter(replies)), [search], middleware=[GroundingMiddleware()], checkpointer=InMemorySaver()
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [HumanMessage("How long may a line be?")]}, config)
    again = agent.invoke({"messages": [HumanMessage("Are you sure about lines?")]}, config)["messages"]
    assert [len(annotations(m)) for m in again if isinstance(m, AIMessage) and not m.tool_calls] == [1, 1]


def test_markdown_keeps_its_shape(search: LangBertSearchTool) -> None:
    says = (
        "Here is what I found:\n\n"
        "- **Lines** have at most 79 characters.\n- Cheese is old. It is yellow.\n- Bees make honey. They sing.\n\n"
        "| what | who |\n|---|---|\n| bees | honey |\n| cheese | 12 cows |\n\n```\nx = 1\n```\n\nAnything else?"
    )
    question = "What about lines and bees?"
    run = (says, question, [search], call(search.name, query=question))
    assert answered(*run, unsupported="drop").text == (
        "Here is what I found:\n\n"
        "- **Lines** have at most 79 characters.\n- Bees make honey.\n\n"
        "| what | who |\n|---|---|\n| bees | honey |\n\n```\nx = 1\n```\n\nAnything else?"
    )
    marked = answered(*run).text
    assert "- Cheese is old. [?] It is yellow. [?]\n" in marked
    assert "| cheese | 12 cows [?] |\n" in marked
    assert marked.replace(" [?]", "") == says


def test_a_models_own_annotations_move_along_and_other_blocks_stay(search: LangBertSearchTool) -> None:
    text = "The moon is made of cheese. Lines have at most 79 characters. See the style guide."
    own = [
        create_citation(url="https://example.org", start_index=text.index("Lines"), end_index=text.index("See") - 1),
        create_citation(url="https://moon.example", start_index=0, end_index=27),
    ]
    reasoning = {"type": "reasoning", "reasoning": "The moon has 12 holes."}
    says = AIMessage(content_blocks=[reasoning, create_text_block(text, annotations=own)])  # type: ignore[list-item]
    answer = answered(says, "How long?", [search], call(search.name, query="lines"), unsupported="drop")
    first, second = annotations(answer)
    assert answer.content_blocks[0] == reasoning
    for note in (first, second):
        assert answer.text[note["start_index"] : note["end_index"]] == "Lines have at most 79 characters."
    assert first["url"] == "https://example.org"
    assert own[0]["start_index"] == text.index("Lines")


async def test_asynchronously_the_same(search: LangBertSearchTool) -> None:
    async def asked() -> AIMessage:
        model = Scripted(messages=iter([call(search.name, query="lines"), AIMessage(EN)]))
        agent = create_agent(model, [search], middleware=[GroundingMiddleware()])
        return (await agent.ainvoke({"messages": [HumanMessage("How long may a line be?")]}))["messages"][-1]

    for answer in await asyncio.gather(asked(), asked()):
        assert answer.text == f"{EN} [?]"
        assert len(annotations(answer)) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [HumanMessage("Hello")],
        [HumanMessage("Hello"), AIMessage("")],
        [HumanMessage("Hello"), call("search")],  # stopped by a limit of calls
        [HumanMessage("Hello"), call("search"), ToolMessage("found", tool_call_id="call-search")],
    ],
)
def test_without_an_answer_nothing_is_changed(messages: list[Any]) -> None:
    assert GroundingMiddleware().after_agent({"messages": messages}, None) is None  # type: ignore[arg-type]


def test_a_structured_answer_is_left_alone() -> None:
    state: Any = {"messages": [HumanMessage("?"), AIMessage('{"n": 80}')], "structured_response": {"n": 80}}
    assert GroundingMiddleware().after_agent(state, None) is None  # type: ignore[arg-type]


def test_the_messages_given_are_not_changed(search: LangBertSearchTool) -> None:
    answer = AIMessage(EN, id="1")
    before = answer.model_dump_json()
    updated = GroundingMiddleware().after_agent({"messages": [HumanMessage("?"), answer]}, None)  # type: ignore[arg-type]
    assert answer.model_dump_json() == before
    assert updated is not None
    assert updated["messages"][0].id == "1"


def test_a_provider_gets_its_own_form_back(search: LangBertSearchTool) -> None:
    """What was annotated is standard content: langchain-openai sends it on as text."""
    from langchain_openai import ChatOpenAI

    answer = answered(EN, "How long?", [search], call(search.name, query="lines"))
    payload = ChatOpenAI(model="any", api_key="none")._get_request_payload([HumanMessage("How long?"), answer])
    assert payload["messages"][1]["content"] == [{"type": "text", "text": f"{EN} [?]"}]
    assert json.loads(answer.model_dump_json())["content"][0]["annotations"]


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ValueError, match="'hide' is unknown; expected one of drop, mark, keep"):
        GroundingMiddleware(unsupported="hide")  # type: ignore[arg-type]


def test_without_the_extra_the_pip_command_is_said() -> None:
    absent = "import sys; sys.modules['langchain.agents.middleware'] = None"
    code = f"{absent}; import langchain_langbert; langchain_langbert.GroundingMiddleware"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'langbert[agents]'" in done.stderr


SOURCE = [Candidate(Chunk("c", "d", f"{LINES} {LEAVE}"), 0.5)]
PIECES = st.sampled_from(
    [
        LINES,
        "Tim has 12 cows.",
        "申请须提前三天提交给主管。",
        "是李明写的。",
        "Sure!",
        "a",
        " ",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "| ",
        " |",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["mark", "drop", "keep"]))
def test_whatever_the_answer_is_citations_point_at_its_sentences(text: str, unsupported: Unsupported) -> None:
    found = claims.checked(text, SOURCE)
    block = annotated(create_text_block(text), found, unsupported)
    held = [text[claim.start : claim.end] for claim in found if claim.evidence]
    assert [block["text"][n["start_index"] : n["end_index"]] for n in block["annotations"]] == held  # type: ignore[typeddict-item]
    if unsupported == "mark":
        assert block["text"].replace(" [?]", "") == text
    elif unsupported == "keep":
        assert block["text"] == text
    else:
        assert "cows" not in block["text"] or "cows" not in "".join(text[c.start : c.end] for c in found)
