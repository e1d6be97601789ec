"""RemoteGenerator: OpenAI's client against a real server on this machine, and what happens when that misbehaves."""

from __future__ import annotations

import json
import pickle
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from generation_tools import save_folder, tiny_llama
from openai_server import KEY, MODEL, State, serving
from store_tools import HashEmbedder

from langbert import Generator, Rag, RemoteGenerator, Store
from langbert.cli import run
from langbert.errors import GenerationError, MissingExtra
from langbert.records import Document, Message

BEES = "Bees make honey from nectar. A bee colony lives in a hive."


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator(save_folder(tiny_llama(), tmp_path_factory.mktemp("llama")), precision="float32", offline=True)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "for somebody else")


@pytest.fixture
def server(generator: Generator) -> Iterator[State]:
    with serving(generator) as state:
        yield state


def remote(server: State, model: str = MODEL, *arguments: Any, **options: Any) -> RemoteGenerator:
    return RemoteGenerator(server.url, model, *arguments, **{"retries": 0, **options})


# --- the text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["the cat", "学习", "where is the hat?"])
def test_the_text_is_that_of_the_model_behind_it(server: State, generator: Generator, question: str) -> None:
    assert remote(server).generate(question, max_tokens=20) == generator.generate(question, max_tokens=20)


def test_a_stream_is_the_text_in_pieces_and_asks_only_when_it_is_read(server: State, generator: Generator) -> None:
    stream = remote(server).stream("the cat", max_tokens=20)
    assert not server.requests
    pieces = list(stream)
    assert len(pieces) > 5
    assert "".join(pieces) == stream.generation.text == generator.generate("the cat", max_tokens=20).text


def test_what_is_sent(server: State) -> None:
    messages = [Message("system", "sat"), Message("user", "cat \ud83d")]
    options: dict[str, Any] = {"max_tokens": 5, "stop": [*"abcdef"], "temperature": 0.5, "top_p": 0.9, "seed": 3}
    remote(server, MODEL, "its key", extra={"top_k": 7}).generate(messages, **options)
    (sent,) = server.requests
    assert sent.pop("messages")[1] == {"role": "user", "content": "cat \ufffd"}
    assert sent == {
        **options,
        "stop": [*"abcd"],
        "top_k": 7,
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    remote(server).generate("cat", max_tokens=1)
    assert server.authorizations == ["Bearer its key", "Bearer none"]  # never the environment's


def test_stop_strings_hold_even_where_the_server_ignores_them(server: State) -> None:
    server.says = ["one t", "wo thr", "ee fo", "ur five"]
    generation = remote(server).generate("count", stop=[*"vwxyz", "three"])
    assert (generation.text, generation.finish_reason) == ("one t", "stop")
    generation = remote(server).generate("count", stop=["five six", "three"])
    assert generation.text == "one two "
    assert remote(server).generate("count", stop=["five six"]).text == "one two three four five"


def test_closing_a_stream_tells_the_server(server: State) -> None:
    server.says = ["word "] * 20_000
    with remote(server).stream("go on") as stream:
        assert next(stream) == "word "
    assert list(stream) == []
    assert server.left.wait(20)
    with pytest.raises(GenerationError, match="not finished"):
        _ = stream.generation


def test_it_travels_to_another_process(server: State) -> None:
    server.key = KEY
    again = pickle.loads(pickle.dumps(remote(server, MODEL, KEY, context_length=150)))
    assert again.context_length == 150
    assert again.generate("cat", max_tokens=3) == remote(server, MODEL, KEY).generate("cat", max_tokens=3)


# --- how long -------------------------------------------------------------------------------------------------------


def test_the_context_is_what_is_given_or_what_the_server_tells(server: State, generator: Generator) -> None:
    assert remote(server, context_length=77).context_length == 77
    assert remote(server).context_length == generator.context_length
    assert remote(server, "other").context_length == 4096
    server.listed = False
    assert remote(server).context_length == 4096


def test_tokens_are_estimated(server: State) -> None:
    one = remote(server)
    assert one.count_tokens("学习机器") == 4
    assert one.count_tokens("twelve chars") == 4
    assert one.count_tokens([Message("system", "abc"), Message("user", "学习")]) == 1 + 2 + 16
    assert not server.requests


def test_a_prompt_that_is_too_long_is_told(server: State) -> None:
    with pytest.raises(GenerationError, match=r"some 336 tokens, is too long for tiny-llama: shorten it.*context"):
        remote(server).generate("the cat " * 123, max_tokens=10)


# --- faults ---------------------------------------------------------------------------------------------------------


def test_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        one = RemoteGenerator(url, MODEL, retries=0)
        with pytest.raises(GenerationError, match=rf"no server answers at {url}.*refused.*is it running"):
            one.generate("cat")
        with pytest.raises(GenerationError, match="no server answers"):
            _ = one.context_length


def test_a_key_that_is_missing_or_wrong(server: State) -> None:
    server.key = KEY
    for key in (None, "open"):
        with pytest.raises(GenerationError, match=r"refuses the key, or wants one \(api_key=…\).*Incorrect API key"):
            remote(server, MODEL, key).generate("cat")
        with pytest.raises(GenerationError, match="refuses the key"):
            _ = remote(server, MODEL, key).context_length
    assert remote(server, MODEL, KEY).generate("cat", max_tokens=3).completion_tokens == 3


def test_a_model_that_is_not_there(server: State) -> None:
    with pytest.raises(GenerationError, match=r"has no model 'tiny-lama'; it has tiny-llama$"):
        remote(server, "tiny-lama").generate("cat")
    with pytest.raises(GenerationError, match=r"it has tiny-llama, other$"):
        remote(server, "q").generate("cat")


def test_an_url_without_its_end(server: State) -> None:
    server.url = server.url.removesuffix("/v1")
    with pytest.raises(GenerationError, match="most such URLs end with /v1"):
        remote(server).generate("cat")


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("silent", "said nothing for 0.3 s"),
        ("mute", "said nothing for 0.3 s"),
        ("cut", "broke off: "),
        ("error", "broke off: out of memory"),
        ("unfinished", "broke off, or what answers there is not OpenAI's API"),
        ("page", "broke off, or what answers there is not OpenAI's API"),
        ("garbage", "sends is not OpenAI's API"),
    ],
)
def test_a_server_that_fails(server: State, fault: str, complaint: str) -> None:
    server.fault, server.says = fault, ["one ", "two"]
    patience = 0.3 if "said nothing" in complaint else 60  # a busy machine may be silent for a while
    stream = remote(server, timeout=patience).stream("cat", max_tokens=5)
    with pytest.raises(GenerationError, match=complaint):
        list(stream)
    with pytest.raises(GenerationError, match="not finished"):
        _ = stream.generation


def test_arguments_out_of_their_range(server: State) -> None:
    one = remote(server)
    for options in ({"max_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"stop": [""]}):
        with pytest.raises(ValueError, match=r"max_tokens|temperature|top_p|empty"):
            one.stream("cat", **options)  # type: ignore[arg-type]
    with pytest.raises(GenerationError, match="no messages"):
        one.stream([])
    for url, model in (("localhost:11434", MODEL), (server.url, "")):
        with pytest.raises(ValueError, match=r"expected something like|model is empty"):
            RemoteGenerator(url, model)


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match=r'pip install "langbert\[remote\]"'):
        RemoteGenerator("http://localhost/v1", MODEL)


# --- in Rag and at the terminal -------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "bees", embedder=HashEmbedder()) as opened:
        opened.add([Document("bees", BEES, "bees.txt")])
        yield opened


def asking(store: Store, one: RemoteGenerator) -> Rag:
    return Rag(store, generator=one, reranker=False, reader=False, threshold=0.0)


def test_it_writes_for_rag_and_is_checked(server: State, store: Store) -> None:
    server.says = ["Bees make honey ", "from nectar. ", "They also sing opera."]
    answer = asking(store, remote(server, context_length=4096)).ask("What do bees make?", mode="generate")
    assert answer.text == "Bees make honey from nectar. [1]"
    assert answer.citations[0].quote == "Bees make honey from nectar."
    assert BEES in server.requests[0]["messages"][1]["content"]


PARAGRAPHS = ["Bees make honey from nectar.\n", "\nA bee colony lives in a hive."]


def test_it_may_write_several_paragraphs(server: State, store: Store) -> None:
    server.says = PARAGRAPHS
    answer = asking(store, remote(server, context_length=4096)).ask("What do bees make?", mode="generate")
    assert answer.text == "Bees make honey from nectar. [1] A bee colony lives in a hive. [2]"
    (sent,) = server.requests
    assert sent["max_tokens"] == 512
    assert "short" not in sent["messages"][0]["content"]


def test_it_answers_as_it_is_told(server: State, store: Store) -> None:
    server.says = PARAGRAPHS
    one = remote(server, context_length=4096)
    rag = Rag(store, generator=one, reranker=False, reader=False, instructions="Rhyme.", max_tokens=9, threshold=0.0)
    assert len(rag.ask("What do bees make?", mode="generate").citations) == 2
    (sent,) = server.requests
    assert sent["max_tokens"] == 9
    assert "Rhyme." in sent["messages"][0]["content"]


def test_what_was_checked_is_kept_when_it_breaks_off(server: State, store: Store) -> None:
    server.fault, server.says = "cut", ["Bees make honey from nectar. A bee", " colony"]
    with pytest.raises(GenerationError, match="broke off") as caught:
        asking(store, remote(server, context_length=4096)).ask("What do bees make?", mode="generate")
    assert caught.value.answer is not None
    assert caught.value.answer.text == "Bees make honey from nectar. [1]"


def test_nothing_is_sent_where_a_quotation_is_wanted(server: State, store: Store) -> None:
    assert asking(store, remote(server)).ask("What do bees make?", mode="extract").citations
    assert not server.requests


@pytest.mark.models
def test_at_the_terminal(
    server: State,
    minilm: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.context = 4096
    folder = tmp_path / "store"
    with Store.open(folder, embedder=minilm) as opened:
        opened.add([Document("bees", BEES, "bees.txt")])
    ask = ["ask", "What do bees make?", "--store", str(folder), "--mode", "generate", "--json", "--quiet"]
    server.key, server.says = KEY, ["Bees make honey from nectar."]
    monkeypatch.setenv("LANGBERT_API_KEY", KEY)
    assert run([*ask, "--base-url", server.url, "--generator", MODEL]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "Bees make honey from nectar. [1]"
    assert run([*ask, "--base-url", server.url, "--generator", "tiny-lama"]) == 1
    assert "it has tiny-llama" in json.loads(capsys.readouterr().out)["error"]
    assert run([*ask, "--base-url", server.url]) == 2
    assert "needs --generator NAME" in capsys.readouterr().out
    assert run([*ask, "--base-url", "localhost:1", "--generator", MODEL]) == 2
    assert "http://localhost:11434/v1" in capsys.readouterr().out
