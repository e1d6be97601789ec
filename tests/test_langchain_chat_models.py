"""ChatLangBert: LangChain's standard tests on the real default model, and what they leave open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import ValidationError

from langbert.records import Message
from langchain_langbert import ChatLangBert
from langchain_langbert._convert import messages_of
from langchain_langbert._threads import iterate_in_thread


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatLangBert]:
        return ChatLangBert


@pytest.mark.models
class TestIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatLangBert]:
        return ChatLangBert

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"max_tokens": 6, "threads": 1}

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "smollm2"


@pytest.fixture(scope="module")
def chat() -> ChatLangBert:
    return ChatLangBert(max_tokens=8, threads=1)  # one thread: tests run side by side


QUESTION = "Count from one to ten in words."


@pytest.mark.models
def test_streaming_says_the_same_as_invoke(chat: ChatLangBert) -> None:
    whole = chat.invoke(QUESTION)
    pieces = list(chat.stream(QUESTION))
    assert len(pieces) > 4
    together = pieces[0]
    for piece in pieces[1:]:
        together = together + piece
    assert isinstance(together, AIMessageChunk)
    assert together.text == whole.text
    assert together.usage_metadata == whole.usage_metadata
    assert together.response_metadata == whole.response_metadata


@pytest.mark.models
def test_usage_and_response_metadata(chat: ChatLangBert) -> None:
    answer = chat.invoke(QUESTION)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 8
    assert answer.usage_metadata["input_tokens"] == chat.get_num_tokens_from_messages([HumanMessage(QUESTION)])
    assert answer.response_metadata["finish_reason"] == "length"
    assert "smollm2" in answer.response_metadata["model_name"].lower()


@pytest.mark.models
def test_stop_strings_end_the_answer_and_are_not_in_it(chat: ChatLangBert) -> None:
    whole = chat.invoke(QUESTION).text
    middle = whole[len(whole) // 2 :][:4]
    stopped = ChatLangBert(max_tokens=8, stop=[middle], threads=1).invoke(QUESTION)
    assert stopped.text == whole[: whole.index(middle)]
    assert stopped.response_metadata["finish_reason"] == "stop"
    streamed = chat.bind(stop=[middle]).stream(QUESTION)
    assert "".join(piece.text for piece in streamed) == stopped.text


@pytest.mark.models
def test_sampling_is_repeatable_with_a_seed(chat: ChatLangBert) -> None:
    hot = chat.bind(temperature=3.0, max_tokens=5)
    first = hot.invoke(QUESTION, seed=1).text
    assert hot.invoke(QUESTION, seed=1).text == first
    assert hot.invoke(QUESTION, seed=2).text != first


@pytest.mark.models
def test_callbacks_see_every_token(chat: ChatLangBert) -> None:
    class Listener(BaseCallbackHandler):
        heard = ""

        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            self.heard += token

    listener = Listener()
    answer = ChatLangBert(max_tokens=4, streaming=True, threads=1).invoke(QUESTION, {"callbacks": [listener]})
    assert listener.heard == answer.text


@pytest.mark.models
async def test_astream_says_the_same_and_leaves_the_loop_free(chat: ChatLangBert) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticker = asyncio.create_task(tick())
    text = "".join([piece.text async for piece in chat.astream(QUESTION)])
    ticker.cancel()
    assert text == chat.invoke(QUESTION).text
    assert ticks > 3


@pytest.mark.models
def test_leaving_a_stream_stops_the_decoder(chat: ChatLangBert, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    decode = chat.generator._decode
    monkeypatch.setattr(chat.generator, "_decode", lambda ids: written.append(len(ids)) or decode(ids))

    async def leave() -> None:
        async for _ in chat.astream("Write a very long story.", max_tokens=1500):
            break

    async def cancel() -> None:
        async def read() -> None:
            async for _ in chat.astream("Write a very long story.", max_tokens=1500):
                reading.set()

        reading = asyncio.Event()
        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for stop_early in (leave, cancel):
        written.clear()
        asyncio.run(stop_early())  # returns only when the worker threads are done
        assert 0 < len(written) < 150  # of 1500


@pytest.mark.models
def test_leaving_a_sync_stream_and_cancelling_ainvoke_stop_the_decoder(chat: ChatLangBert) -> None:
    story = "Write a very long story."
    written: list[str] = []
    decode = chat.generator._decode
    chat.generator._decode = lambda ids: written.append("") or decode(ids)  # type: ignore[method-assign, func-returns-value]
    try:
        pieces = chat.stream(story, max_tokens=400)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert len(written) < 20

        async def cancelled() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(chat.ainvoke(story, max_tokens=1500), 1)

        asyncio.run(cancelled())  # returns only when the worker threads are done
        at_end = len(written)
        time.sleep(0.3)
        assert len(written) == at_end
        assert at_end < 700
    finally:
        del chat.generator._decode


@pytest.mark.models
async def test_batches_say_what_single_calls_say(chat: ChatLangBert) -> None:
    questions = ["Count to three.", "Name a colour.", "Say hello.", "What is honey?"]
    expected = [chat.invoke(question).text for question in questions]
    assert [answer.text for answer in chat.batch(questions)] == expected
    assert [answer.text for answer in await chat.abatch(questions, {"max_concurrency": 2})] == expected
    hot = chat.bind(temperature=2.0, top_p=0.9, seed=7, max_tokens=5)
    assert len({answer.text for answer in hot.batch(["Name a colour."] * 3)}) == 1


@pytest.mark.models
async def test_streams_tell_callbacks_of_each_token_once(chat: ChatLangBert) -> None:
    class Listener(BaseCallbackHandler):
        def __init__(self) -> None:
            self.heard = ""

        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            self.heard += token

    for run in ("stream", "astream"):
        listener = Listener()
        if run == "stream":
            text = "".join(piece.text for piece in chat.stream(QUESTION, {"callbacks": [listener]}))
        else:
            text = "".join([piece.text async for piece in chat.astream(QUESTION, {"callbacks": [listener]})])
        assert listener.heard == text != ""


@pytest.mark.models
async def test_ainvoke_says_the_same_with_the_same_metadata(chat: ChatLangBert) -> None:
    ours, theirs = chat.invoke(QUESTION), await chat.ainvoke(QUESTION)
    assert (theirs.text, theirs.usage_metadata) == (ours.text, ours.usage_metadata)
    assert theirs.response_metadata == ours.response_metadata
    assert type(theirs) is type(ours) is AIMessage


def test_model_name_is_model() -> None:
    named = ChatLangBert(model_name="smollm2", max_tokens=3)  # type: ignore[call-arg]
    assert (named.model, named.model_name) == ("smollm2", "smollm2")
    with pytest.raises(ValidationError, match="model_name"):
        ChatLangBert(model="a", model_name="b")  # type: ignore[call-arg]


@pytest.mark.models
def test_the_cache_tells_options_apart() -> None:
    cache = InMemoryCache()
    short = ChatLangBert(max_tokens=2, cache=cache, threads=1)
    first, again = short.invoke(QUESTION), short.invoke(QUESTION)
    assert again.text == first.text
    assert len(cache._cache) == 1
    longer = ChatLangBert(max_tokens=4, cache=cache, threads=1).invoke(QUESTION)
    assert len(longer.text) > len(first.text)
    assert len(cache._cache) == 2


@pytest.mark.models
def test_instances_share_the_weights() -> None:
    assert ChatLangBert(threads=1).generator is ChatLangBert(threads=1, temperature=1.0).generator


async def test_an_abandoned_iterator_is_closed() -> None:
    closed = Event()

    def numbers() -> Iterator[int]:
        try:
            for number in range(10**9):
                time.sleep(0.001)
                yield number
        finally:
            closed.set()

    reader = iterate_in_thread(numbers)
    assert [await anext(reader), await anext(reader)] == [0, 1]
    await reader.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(closed.wait, 60)


async def test_an_error_in_the_thread_reaches_the_reader() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    reader = iterate_in_thread(broken)
    assert await anext(reader) == 1
    with pytest.raises(LookupError, match="no more"):
        await anext(reader)


def test_messages_become_turns() -> None:
    messages: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "Hel"}, "lo"], name="ann"),
        AIMessage([{"type": "text", "text": "Hi."}]),
        ChatMessage(role="user", content="Bye"),
    ]
    assert messages_of(messages) == [
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("assistant", "Hi."),
        Message("user", "Bye"),
    ]


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}]), "image_url"),
        (ToolMessage("42", tool_call_id="1"), "ToolMessage"),
        (AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}]), "tool_calls"),
        (ChatMessage(role="critic", content="Hm"), "ChatMessage"),
    ],
)
def test_what_it_cannot_read_is_an_error(message: BaseMessage, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        messages_of([message])


def test_unknown_options_are_errors() -> None:
    with pytest.raises(ValidationError, match=r"max_token'.*max_tokens"):
        ChatLangBert(max_token=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="does not know tools"):
        ChatLangBert(threads=1).invoke("hi", tools=[])
    with pytest.raises(NotImplementedError):
        ChatLangBert().bind_tools([])


def test_tracing_fields_follow_the_call() -> None:
    chat = ChatLangBert(stop=["\n"])
    assert chat._llm_type == "langbert-chat"
    assert chat._get_ls_params() == {
        "ls_provider": "langbert",
        "ls_model_type": "chat",
        "ls_model_name": "smollm2-135m-instruct",
        "ls_temperature": 0.0,
        "ls_max_tokens": 256,
        "ls_stop": ["\n"],
    }
    assert chat._get_ls_params(stop=["x"], max_tokens=3)["ls_stop"] == ["x"]
    assert chat._get_ls_params(max_tokens=3)["ls_max_tokens"] == 3
