"""Clients that know nothing of langbert drive the server: openai, langchain-openai, Hugging Face, an MCP agent."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from server_tools import PATIENT, running

from langbert import Document, Store
from langbert_server import create_app

pytestmark = pytest.mark.models

TEXT = "Notes.\n\nBees make honey from nectar. 🐝 They dance to tell where it is."
QUESTION = "What do bees make?"
PASSAGE = "Bees make honey from nectar."
QUOTE = "Bees make honey from nectar. 🐝 They dance to tell where it is."


@pytest.fixture(scope="module")
def folder(minilm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients") / "store"
    with Store.open(folder, embedder=minilm) as store:
        store.add(
            [Document("bees", TEXT, "bees.txt", {"kind": "insects"}), Document("cars", "A car has wheels.", "cars.txt")]
        )
    return folder


@pytest.fixture(scope="module")
def url(folder: Path, minilm) -> Iterator[str]:
    with Store.open(folder, embedder=minilm) as store, running(create_app(store)) as address:
        yield address


@pytest.fixture
def openai(url: str) -> Iterator[Any]:
    from openai import OpenAI

    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


# --- openai ----------------------------------------------------------------------------------------------------------


def test_openai_embeds(openai: Any, minilm) -> None:
    wanted = minilm.embed(["a bee", "a car"])
    for encoding in ("float", "base64"):
        found = openai.embeddings.create(model="minilm", input=["a bee", "a car"], encoding_format=encoding)
        rows = [
            np.frombuffer(base64.b64decode(row.embedding), "<f4") if isinstance(row.embedding, str) else row.embedding
            for row in found.data
        ]
        np.testing.assert_allclose(rows, wanted, atol=1e-5)
    assert found.usage.prompt_tokens == 4
    short = openai.embeddings.create(model="minilm", input="a bee", dimensions=8).data[0].embedding
    np.testing.assert_allclose(short, wanted[0][:8] / np.linalg.norm(wanted[0][:8]), atol=1e-5)


def test_openai_is_told_what_is_wrong(openai: Any) -> None:
    from openai import BadRequestError, NotFoundError

    with pytest.raises(NotFoundError, match="'minilm'"):
        openai.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(NotFoundError, match="langbert/rag"):
        openai.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "a"}])
    with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False"):
        openai.embeddings.create(model="minilm", input=[[1, 2, 3]])
    with pytest.raises(BadRequestError, match="expected 1 to 384"):
        openai.embeddings.create(model="minilm", input="a", dimensions=999)
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(BadRequestError, match="tools are not called"):
        openai.chat.completions.create(model="langbert/rag", messages=[{"role": "user", "content": "a"}], tools=[tool])


def test_openai_lists_the_models(openai: Any) -> None:
    assert {model.id for model in openai.models.list()} == {
        *("langbert/rag", "smollm2-135m-instruct", "minilm-reranker", "minilm")
    }


def test_openai_chats_with_the_decoder(openai: Any, smollm2) -> None:
    messages: list[Any] = [{"role": "user", "content": "Name a colour."}]
    whole = openai.chat.completions.create(model="smollm2-135m-instruct", messages=messages, max_tokens=12)
    from langbert import Message

    alone = smollm2.generate([Message("user", "Name a colour.")], max_tokens=12)
    assert whole.choices[0].message.content == alone.text
    assert whole.choices[0].finish_reason == alone.finish_reason
    assert whole.usage.completion_tokens == alone.completion_tokens
    stream = openai.chat.completions.create(
        model="smollm2-135m-instruct",
        messages=messages,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == alone.text
    assert chunks[-1].usage.completion_tokens == alone.completion_tokens


def test_openai_asks_the_documents(openai: Any) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    message = openai.chat.completions.create(model="langbert/rag", messages=messages).choices[0].message
    assert "honey" in message.content
    cited = message.annotations[0]
    assert message.content[cited.url_citation.start_index : cited.url_citation.end_index] == "[1]"
    assert "#/source/bees/" in cited.url_citation.url
    start, end = cited.model_extra["start"], cited.model_extra["end"]
    assert TEXT[start:end] == cited.model_extra["quote"] == QUOTE
    stream = openai.chat.completions.create(model="langbert/rag", messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == message.content


def test_openai_searches_files_by_responses(openai: Any) -> None:
    tools: Any = [{"type": "file_search", "vector_store_ids": ["any"]}]
    response = openai.responses.create(model="langbert/rag", input=QUESTION, tools=tools)
    assert "honey" in response.output_text
    note = response.output[1].content[0].annotations[0]
    assert (note.type, note.file_id, note.filename) == ("file_citation", "bees", "bees.txt")
    assert response.output[0].results[0].text == QUOTE
    events = list(openai.responses.create(model="langbert/rag", input=QUESTION, stream=True))
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta") == response.output_text
    )
    assert events[-1].response.output_text == response.output_text


# --- langchain-openai ------------------------------------------------------------------------------------------------


def test_langchain_openai_embeds(url: str, minilm) -> None:
    from langchain_openai import OpenAIEmbeddings

    embeddings = OpenAIEmbeddings(
        model="minilm", base_url=f"{url}/v1", api_key="none", check_embedding_ctx_length=False
    )
    np.testing.assert_allclose(embeddings.embed_documents(["a", "b"]), minilm.embed(["a", "b"]), atol=1e-5)
    np.testing.assert_allclose(embeddings.embed_query("a"), minilm.embed(["a"])[0], atol=1e-5)


def test_langchain_openai_chats(url: str) -> None:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="langbert/rag", base_url=f"{url}/v1", api_key="none", max_retries=0)
    whole = chat.invoke(QUESTION)
    assert "honey" in str(whole.content)
    assert "".join(str(chunk.content) for chunk in chat.stream(QUESTION)) == whole.content


# --- TEI, Jina, Cohere, Anthropic ------------------------------------------------------------------------------------


def test_hugging_face_embeds_as_from_tei(url: str, minilm) -> None:
    from huggingface_hub import InferenceClient

    for place in (url, f"{url}/embed"):  # langchain-huggingface's class takes no address any more, its client does
        vector = InferenceClient(model=place).feature_extraction("a bee", normalize=True)
        np.testing.assert_allclose(vector, minilm.embed(["a bee"]), atol=1e-5)


def test_rerankers_of_three_kinds(url: str) -> None:
    from langbert import Reranker

    texts = ["A car has wheels.", PASSAGE]
    scores = Reranker().score(QUESTION, texts)
    for path in ("/v1/rerank", "/v2/rerank"):
        body = {"model": "minilm-reranker", "query": QUESTION, "documents": texts, "return_documents": True, "top_n": 1}
        results = httpx.post(url + path, json=body, **PATIENT).json()["results"]
        assert [(result["index"], result["document"]["text"]) for result in results] == [(1, PASSAGE)]
        assert results[0]["relevance_score"] == pytest.approx(scores[1], abs=1e-4)
    ranks = httpx.post(f"{url}/rerank", json={"query": QUESTION, "texts": texts, "raw_scores": True}, **PATIENT).json()
    assert [rank["index"] for rank in ranks] == [1, 0]
    assert ranks[0]["score"] == pytest.approx(np.log(scores[1] / (1 - scores[1])), abs=1e-2)


def test_langchain_cohere_reranks(url: str) -> None:
    from cohere import ClientV2
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document as Passage

    passages = [Passage("A car has wheels.", metadata={"n": 1}), Passage(PASSAGE, metadata={"n": 2})]
    with httpx.Client(timeout=120) as connection:  # as base_url=url does, whose connection nobody closes
        client = ClientV2("none", base_url=url, httpx_client=connection)
        reranker = CohereRerank(client=client, model="minilm-reranker", top_n=1)
        (best,) = reranker.compress_documents(passages, QUESTION)
    assert (best.page_content, best.metadata["n"]) == (PASSAGE, 2)
    assert 0.5 < best.metadata["relevance_score"] <= 1


def test_citations_in_anthropics_form(url: str) -> None:
    answer = httpx.post(f"{url}/api/ask", json={"question": QUESTION, "citations": "anthropic"}, **PATIENT).json()
    cited = answer["content"][0]["citations"][0]
    assert cited["type"] == "char_location"
    assert TEXT[cited["start_char_index"] : cited["end_char_index"]] == cited["cited_text"]


# --- MCP -------------------------------------------------------------------------------------------------------------


async def used(agent: Any) -> None:
    """What an agent does: look what there is, search, ask, and read around what was cited."""
    tools = (await agent.list_tools()).tools
    assert {tool.name for tool in tools} == {"search", "ask", "read"}
    assert all(tool.annotations.read_only_hint for tool in tools)
    found = (await agent.call_tool("search", {"question": QUESTION, "k": 1})).structured_content
    assert found["passages"][0]["document"] == "bees"
    answer = (await agent.call_tool("ask", {"question": QUESTION})).structured_content
    cited = answer["citations"][0]
    place = {"document": cited["document"], "start": cited["start"], "end": cited["end"]}
    assert (await agent.call_tool("read", place)).structured_content["text"] == cited["quote"] == QUOTE
    assert (await agent.call_tool("read", {"document": "nothing"})).is_error


async def test_an_agent_over_http(url: str) -> None:
    from mcp import Client

    async with Client(f"{url}/mcp") as agent:
        await used(agent)


async def test_an_agent_over_stdio(folder: Path) -> None:
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "langbert", "mcp", "--store", str(folder), "--offline"],
        env=dict(os.environ),
    )
    with (folder.parent / "stderr").open("w") as said:
        async with Client(stdio_client(command, errlog=said)) as agent:
            await used(agent)


def test_server_sent_events_are_pieces_and_then_the_answer(url: str) -> None:
    body = {"question": QUESTION, "stream": True}
    with httpx.stream("POST", f"{url}/api/ask", json=body, **PATIENT) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        parts = [part.split("\n") for part in response.read().decode().strip().split("\n\n")]
    names = [lines[0].removeprefix("event: ") for lines in parts]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in parts]
    assert names == ["piece"] * (len(names) - 1) + ["answer"]
    assert "".join(each["text"] for each in data[:-1]) == data[-1]["answer"]
