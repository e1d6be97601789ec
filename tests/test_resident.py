"""``langbert ask`` where a server of the store runs on this machine: the same answers, out of what is loaded there."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from server_tools import until

from langbert import Document, LangbertError, Store
from langbert.cli import run
from langbert.cli.resident import socket_of
from langbert.cli.stores import DEFAULT_GENERATOR
from langbert_server import Key, Keys, create_app
from langbert_server.listening import Server, listening

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(sys.platform == "win32", reason="asyncio has no Unix sockets there"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, minilm) -> Path:
    place = tmp_path_factory.mktemp("resident") / "store"
    documents = [
        Document(
            "pep8", "PEP 8 was written by Guido van Rossum. Limit lines to 79 characters.", "pep_8.txt", {"by": "a"}
        ),
        Document("bees", "Bees make honey from nectar. 蜜蜂用花蜜酿蜜。", "bees.txt", {"by": "b"}),
    ]
    with Store.open(place, embedder=minilm) as opened:
        opened.add(documents)
    return place


@contextmanager
def resident(folder: Path, minilm: Any, keys: Keys | None = None) -> Iterator[Any]:
    """The application, while a server of the store listens for its owner."""
    app = create_app(lambda: Store.open(folder, embedder=minilm, create=False), keys=keys, offline=True)
    path = socket_of(str(folder), DEFAULT_GENERATOR)
    assert path is not None
    with listening("127.0.0.1", 0, path) as sockets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        server = Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=(sockets,))
        thread.start()
        try:
            until(lambda: app.state.engine.ready)
            yield app
        finally:
            server.should_exit = True
            thread.join()
    assert not path.exists()


def ask(folder: Path, *arguments: str) -> int:
    return run(["ask", *arguments, "--store", str(folder), "--offline", "--quiet"])


def answered(app: Any) -> float:
    """How many questions the server has answered."""
    return sum(
        sample.value
        for metric in app.state.metrics.requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels == {"path": "/api/ask", "status": "200"}
    )


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    said = json.loads(capsys.readouterr().out)
    assert said.pop("timings")
    return said  # type: ignore[no-any-return]


def test_the_server_says_what_would_be_said_here(folder: Path, minilm, capsys: pytest.CaptureFixture[str]) -> None:
    with resident(folder, minilm) as app:
        for number, question in enumerate(("Who wrote PEP 8?", "How tall is the Eiffel tower?"), 1):
            assert ask(folder, question, "--json") == 0
            there = told(capsys)
            assert answered(app) == number
            assert ask(folder, question, "--json", "--no-server") == 0
            assert there == told(capsys)
        assert ask(folder, "Who wrote PEP 8?", "--json", "--refuse", "rarely") == 0
        assert answered(app) == 2  # that is answered otherwise there
        capsys.readouterr()
        assert ask(folder, "Who wrote PEP 8?") == 0
        assert "pep_8.txt, line 1" in capsys.readouterr().out


def test_a_conversation_and_what_goes_wrong(
    folder: Path, minilm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with resident(folder, minilm) as app:
        monkeypatch.setattr("sys.stdin", io.StringIO("What is the limit it sets for lines?\n\n"))
        assert ask(folder, "Who wrote PEP 8?", "--chat", "--format", "plain") == 0
        assert "79 characters" in capsys.readouterr().out
        assert answered(app) == 2
        assert ask(folder, "Who?", "--where", '$or={"a": 1}', "--json") == 1
        there = json.loads(capsys.readouterr().out)
        assert ask(folder, "Who?", "--where", '$or={"a": 1}', "--json", "--no-server") == 1
        assert there == json.loads(capsys.readouterr().out)


def test_keys_count_there_too(
    folder: Path, minilm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys([Key.made("b", "a long secret of b", where={"by": "b"})])
    with resident(folder, minilm, keys) as app:
        assert ask(folder, "Who wrote PEP 8?", "--json") == 0  # who has no key asks the folder
        assert not told(capsys)["refused"]
        assert answered(app) == 0
        monkeypatch.setenv("LANGBERT_API_KEY", "a long secret of b")
        assert ask(folder, "Who wrote PEP 8?", "--json") == 0
        assert told(capsys)["refused"]
        assert answered(app) == 1


def test_where_nobody_listens_it_is_answered_here(folder: Path, minilm, capsys: pytest.CaptureFixture[str]) -> None:
    path = socket_of(str(folder), DEFAULT_GENERATOR)
    assert path is not None
    with listening("127.0.0.1", 0, path):
        pass  # as if it had been killed
    assert path.exists()
    assert ask(folder, "Who wrote PEP 8?", "--json") == 0
    assert not told(capsys)["refused"]
    with resident(folder, minilm) as app, listening("127.0.0.1", 0, path) as others:  # takes the place of a dead one
        assert len(others) == 1  # and is left alone by a second server
        assert ask(folder, "Who wrote PEP 8?", "--json") == 0
        assert answered(app) == 1


def test_a_socket_is_of_one_store_as_it_is_one_decoder_and_one_version(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {socket_of(str(folder), DEFAULT_GENERATOR), socket_of(str(folder), "another")}
    for _ in range(2):
        Store.open(tmp_path / "store").close()
        paths.add(socket_of(str(tmp_path / "store"), DEFAULT_GENERATOR))
        (tmp_path / "store").rename(tmp_path / f"old-{len(paths)}")
    monkeypatch.setattr("langbert.__version__", "0")
    paths.add(socket_of(str(folder), DEFAULT_GENERATOR))
    assert len(paths - {None}) == 5
    assert socket_of(str(tmp_path / "nothing"), DEFAULT_GENERATOR) is None
    assert socket_of("postgresql://localhost/a", DEFAULT_GENERATOR) is None


def test_asking_a_server_loads_nothing(folder: Path, minilm) -> None:
    arguments = ["ask", "Who wrote PEP 8?", "--store", str(folder), "--json", "--offline"]
    code = (
        f"import sys; from langbert.cli import run; code = run({arguments!r}); "
        "sys.exit(code or ','.join({'torch', 'tokenizers', 'transformers', 'numpy'} & set(sys.modules)) or None)"
    )
    with resident(folder, minilm):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout)["short"] == "Guido van Rossum"


def test_a_store_that_the_server_makes_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "new"

    def not_here(*_: object) -> None:
        raise LangbertError("the server is to answer")

    def answered() -> bool:
        capsys.readouterr()
        return ask(store, "Who wrote PEP 8?", "--json") == 0

    arguments = ["serve", "--store", str(store), "--port", "0", "--offline", "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "langbert", *arguments]) as server:
        try:
            until(lambda: store.exists() and (path := socket_of(str(store), DEFAULT_GENERATOR)) and path.exists())
            monkeypatch.setattr("langbert.cli.stores.open_existing", not_here)
            until(answered)
        finally:
            server.terminate()
    assert told(capsys)["refused"]
