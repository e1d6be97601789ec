"""The server's own API: answers, passages, documents; what it refuses; and what survives being killed."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_tools import PATIENT, answers, running, until

from langbert import Document, Store, sync
from langbert.cli import run
from langbert.documents import Limits
from langbert_server import Settings, create_app, serve
from langbert_server.uploads import Refused, checked_metadata, checked_name

EXAMPLES = Path(__file__).parent.parent / "examples" / "documents"


@pytest.fixture(scope="module")
def url(minilm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    store = Store.open(folder / "store", embedder=minilm)
    sync([EXAMPLES / "pep-0020.rst", EXAMPLES / "pep-0572.pdf"], store)
    store.add([Document("zh", "前言🐝\n\n诺曼人定居在法国北部，那里因此得名诺曼底。", "诺曼人.txt", {"lang": "zh"})])
    with running(create_app(store, settings=Settings(upload_bytes=100_000, body_bytes=50_000, texts=8))) as address:
        yield address
    store.close()


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, **PATIENT) as client:
        yield client


def documents(client: httpx.Client, contains: str = "") -> list[dict[str, Any]]:
    return client.get("/api/documents", params={"contains": contains}).json()["documents"]


@pytest.mark.models
def test_a_quote_is_what_stands_at_its_place(client: httpx.Client) -> None:
    answer = client.post("/api/ask", json={"question": "Who wrote the Zen of Python?"}).json()
    assert "Tim Peters" in answer["answer"]
    cited = answer["citations"][0]
    place = {"start": cited["start"], "end": cited["end"]}
    assert client.get(f"/api/documents/{cited['document_id']}", params=place).json()["text"] == cited["quote"]
    assert answer["answered_by"] == "quotation"


@pytest.mark.models
def test_a_chinese_question_and_offsets_that_count_characters(client: httpx.Client) -> None:
    hit = client.post("/api/search", json={"question": "诺曼人住在哪里？", "k": 1, "where": {"lang": "zh"}}).json()[
        "hits"
    ][0]
    place = {"start": hit["start"], "end": hit["end"]}
    assert client.get("/api/documents/zh", params=place).json()["text"] == hit["text"]


@pytest.mark.models
def test_a_refusal_shows_the_nearest_passages(client: httpx.Client) -> None:
    answer = client.post("/api/ask", json={"question": "How tall is the Eiffel tower?"}).json()
    assert answer["refused"]
    assert answer["citations"] == []
    assert len(answer["nearest"]) == 3


@pytest.mark.models
def test_the_page_of_a_quote_is_drawn_and_its_boxes_are_on_it(client: httpx.Client) -> None:
    hit = client.post(
        "/api/search", json={"question": "assignment expressions", "k": 1, "where": {"format": "pdf"}}
    ).json()["hits"][0]
    place = {"start": hit["start"], "end": hit["end"]}
    pages = client.get(f"/api/documents/{hit['document_id']}/boxes", params=place).json()["pages"]
    assert pages[0]["page"] == hit["page"]
    for box in pages[0]["boxes"]:
        assert 0 <= box["left"] <= box["left"] + box["width"] <= 1
        assert 0 <= box["top"] <= box["top"] + box["height"] <= 1
    assert pages[0]["boxes"]
    picture = client.get(f"/api/documents/{hit['document_id']}/pages/{hit['page']}")
    assert picture.content.startswith(b"\x89PNG")
    assert client.get(f"/api/documents/{hit['document_id']}/pages/99").status_code == 400
    assert client.get("/api/documents/zh/pages/1").status_code == 409


@pytest.mark.models
def test_an_upload_is_found_replaced_read_again_and_removed(client: httpx.Client) -> None:
    def upload(text: bytes) -> str:
        sent = client.post(
            "/api/documents", files={"file": ("../../bees.md", text)}, data={"metadata": '{"year": 2024}'}
        )
        assert sent.status_code == 202
        until(lambda: documents(client, "bees")[0]["state"] == "indexed")
        return str(sent.json()["id"])

    def found() -> str:
        body = {"question": "What do bees make?", "where": {"year": 2024}, "k": 1}
        hits = client.post("/api/search", json=body).json()["hits"]
        return str(hits[0]["text"]) if hits else ""

    name = upload(b"# Bees\n\nBees make honey.")
    assert "honey" in found()
    assert upload(b"# Bees\n\nBees make wax.") == name
    until(lambda: "wax" in found())
    assert [row["source"] for row in documents(client, "bees")] == ["bees.md"]
    assert client.post(f"/api/documents/{name}/index").json()["state"] == "queued"
    until(lambda: documents(client, "bees")[0]["state"] == "indexed")
    assert client.delete(f"/api/documents/{name}").json()["chunks"] == 1
    assert found() == ""
    assert client.delete(f"/api/documents/{name}").status_code == 404


@pytest.mark.models
def test_a_file_that_cannot_be_read_says_why(client: httpx.Client) -> None:
    client.post("/api/documents", files={"file": ("broken.pdf", b"no PDF at all")})
    until(lambda: documents(client, "broken")[0]["state"] == "skipped")
    assert "no PDF" in documents(client, "broken")[0]["reason"]
    assert client.delete(f"/api/documents/{documents(client, 'broken')[0]['id']}").status_code == 200
    assert documents(client, "broken") == []


@pytest.mark.models
def test_a_server_over_a_store_in_memory_leaves_no_folder_behind(
    minilm, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with running(create_app(Store.open(embedder=minilm))) as url:
        assert httpx.get(f"{url}/api/documents", **PATIENT).status_code == 200
        assert any(tmp_path.glob("langbert-uploads-*"))
    assert not any(tmp_path.glob("langbert-uploads-*"))


@pytest.mark.models
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_file_that_crashes_its_reader_or_hangs_is_refused_and_the_server_lives(
    minilm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langbert.documents.workers._READER", "hostile_reader")
    settings = Settings(uploads=tmp_path, file_limits=Limits(seconds=3))
    with running(create_app(Store.open(embedder=minilm), settings=settings)) as url:

        def upload(name: str, text: str) -> httpx.Response:
            return httpx.post(
                f"{url}/api/documents", params={"wait": True}, files={"file": (name, text.encode())}, timeout=120
            )

        reasons = {}
        for told in ("CRASH", "HANG", "EXIT"):
            answer = upload(f"{told}.txt", told)
            assert answer.status_code == 422
            reasons[told] = answer.json()["error"]["message"]
        assert reasons == {
            "CRASH": "its reader crashed (SIGSEGV); is it damaged?",
            "HANG": "reading it took longer than 3 s",
            "EXIT": "its reader crashed (exit code 3); is it damaged?",
        }
        assert upload("bees.txt", "Bees make honey.").json()["state"] == "indexed"
        rows = httpx.get(f"{url}/api/documents", **PATIENT).json()["documents"]
        assert {row["source"]: row["state"] for row in rows} == {
            "CRASH.txt": "skipped",
            "HANG.txt": "skipped",
            "EXIT.txt": "skipped",
            "bees.txt": "indexed",
        }


@pytest.mark.models
@pytest.mark.parametrize(
    ("request_of", "status", "says"),
    [
        ({"files": {"file": ("a.exe", b"MZ")}}, 415, ".exe"),
        ({"files": {"file": ("a.txt", b"")}}, 400, "empty"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"metadata": '{"path": "/etc/passwd"}'}}, 400, "reserved"),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"metadata": "[1]"}}, 400, "no JSON object"),
        ({"files": {"file": ("a.txt", b"a" * 150_000)}}, 413, "100,000"),
        ({"files": {"file": ("a.txt", b"a" * 300_000)}}, 413, "limit"),
    ],
)
def test_an_upload_that_is_refused(client: httpx.Client, request_of: Any, status: int, says: str) -> None:
    answer = client.post("/api/documents", **request_of)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert documents(client, "a.txt") == []


@pytest.mark.models
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/ask", {"question": "  "}, 400),
        ("/api/ask", {}, 422),
        ("/api/ask", {"question": "a" * 60_000}, 413),
        ("/api/search", {"question": "a", "where": {"year": {"$near": 1}}}, 400),
        ("/api/search", {"question": "a", "k": 0}, 422),
        ("/v1/embeddings", {"model": "minilm", "input": ["a"] * 9}, 400),
        ("/v1/chat/completions", {"model": "langbert/rag", "messages": [{"role": "assistant", "content": "a"}]}, 400),
        (
            "/v1/chat/completions",
            {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "word " * 9000}]},
            400,
        ),
    ],
)
def test_what_cannot_be_answered_says_so(client: httpx.Client, path: str, body: Any, status: int) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.models
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 40_000,
        b"\xff\xfe",
        b'{"question": "\\u0000\\u001b"}',
        b'{"question": "\\ud83d"}',
        b'{"question": "a", "where": {"\\ud83d": 1}}',
        b'{"question": "a", "where": ' + b'{"$not": ' * 200 + b"{}" + b"}" * 200 + b"}",
        b'{"question": "a", "where": {"a": NaN}}',
    ],
)
def test_a_hostile_body_is_no_error_of_the_server(client: httpx.Client, body: bytes) -> None:
    for path in ("/api/search", "/api/ask", "/v1/chat/completions", "/v1/embeddings", "/embed", "/rerank"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (path, answer.text)
        answer.json()


class Endless:
    """A generator that writes until it is closed."""

    name = "endless"
    context_length = 1000

    def __init__(self) -> None:
        self.begun = self.closed = 0

    def count_tokens(self, messages: object) -> int:
        return 1

    def stream(self, messages: object, *, max_tokens: int, **options: object) -> Iterator[str]:
        self.begun += 1
        try:
            while True:
                time.sleep(0.02)
                yield "word "
        finally:
            self.closed += 1


@pytest.mark.models
def test_what_a_client_that_goes_has_asked_for_stops(minilm) -> None:
    writer = Endless()
    chat: dict[str, Any] = {"model": "endless", "messages": [{"role": "user", "content": "Tell a story."}]}
    with Store.open(embedder=minilm) as store:
        store.add([Document("bees", "Bees make honey from nectar.", "bees.txt")])
        with running(create_app(store, settings=Settings(asking=1), generator=writer)) as url:
            with httpx.stream(
                "POST", f"{url}/v1/chat/completions", json={**chat, "stream": True}, **PATIENT
            ) as response:
                assert "word" in next(response.iter_text())
            until(lambda: writer.closed == 1)
            while writer.begun == 1:  # a busy server may not have begun when the client goes
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(f"{url}/v1/chat/completions", json=chat, timeout=httpx.Timeout(60, read=0.5))
            until(lambda: writer.closed == writer.begun)
            asked = {"question": "What do bees make?", "mode": "extract"}
            assert httpx.post(f"{url}/api/ask", json=asked, **PATIENT).status_code == 200


@pytest.mark.models
def test_pages_of_other_sites_are_not_answered(client: httpx.Client) -> None:
    assert client.get("/api/stores", headers={"Host": "evil.example"}).status_code == 421
    files = {"file": ("a.txt", b"a")}
    assert client.post("/api/documents", files=files, headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/api/stores", headers={"Origin": str(client.base_url)}).status_code == 200
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": str(client.base_url)}).headers


@pytest.mark.models
def test_every_response_forbids_foreign_scripts(client: httpx.Client) -> None:
    for path in ("/", "/health", "/nothing", "/page/app.js"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/page/../app.py").status_code == 404
    assert client.get("/page/%2e%2e/app.py").status_code == 404


@pytest.mark.models
def test_a_limit_of_requests(minilm) -> None:
    store = Store.open(embedder=minilm)
    with (
        running(create_app(store, settings=Settings(requests_per_minute=10))) as url,
        httpx.Client(**PATIENT) as client,
    ):
        statuses = [client.get(f"{url}/api/stores", timeout=60) for _ in range(20)]
        refused = [answer for answer in statuses if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1
    store.close()


@pytest.mark.parametrize("name", ["", "..", "/", "a/..", "\x00", None, "x" * 300 + ".txt"])
def test_a_name_that_is_none(name: str | None) -> None:
    with pytest.raises(Refused):
        checked_name(name)


def test_names_lose_their_folders_and_control_characters() -> None:
    assert checked_name("../../etc/pass\x1bwd.txt") == "passwd.txt"
    assert checked_name("C:\\docs\\诺曼人.PDF") == "诺曼人.PDF"
    with pytest.raises(Refused, match="reserved"):
        checked_metadata({"$or": 1})
    with pytest.raises(Refused, match="is dict"):
        checked_metadata({"a": {}})


def test_a_server_for_everybody_has_to_be_meant() -> None:
    with pytest.raises(ValueError, match="--api-key-file"):
        serve(lambda: Store.open(), host="0.0.0.0")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["serve", "--store", "store", "--host", "0.0.0.0"], 2, "--api-key-file"),
        (["serve", "--store", "store", "--api-key-file", "keys.json"], 2, "there are no keys"),
        (["mcp", "--store", "nothing"], 1, "langbert index FOLDER"),
    ],
)
def test_what_the_commands_refuse(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys.json").write_text('{"keys": []}')
    assert run([*arguments, "--base-url", "http://127.0.0.1:9/v1", "--generator", "any"]) == code
    assert says in capsys.readouterr().err.replace("\n", " ")
    assert not Path("store").exists()


def test_without_the_extra_the_pip_command_is_said() -> None:
    code = "import sys; sys.modules['fastapi'] = None; import langbert_server; langbert_server.create_app"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "langbert[server]"' in done.stderr


# --- as a program ----------------------------------------------------------------------------------------------------


class Program:
    """``langbert serve`` in a process of its own."""

    def __init__(self, store: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        arguments = ["-m", "langbert", "serve", "--store", str(store), "--port", str(port), "--offline", "--quiet"]
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
            # whatever runs in the background of a shell is deaf to Ctrl-C, and so would be what it starts
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def get(self, path: str) -> Any:
        try:
            return httpx.get(self.url + path, **PATIENT).json()
        except httpx.TransportError:
            return {}

    def end(self, how: int) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(60)


@pytest.mark.models
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    with Program(tmp_path / "store") as first:
        until(lambda: first.get("/health").get("ready"))
        ids = []
        for i in range(12):
            text = f"Lamp {i} is green. " * 400  # seconds of embedding: most of them wait when the server is killed
            files = {"file": (f"lamp-{i}.txt", text.encode())}
            sent = httpx.post(f"{first.url}/api/documents", files=files, **PATIENT)
            ids.append(sent.json()["id"])
        assert first.end(signal.SIGKILL) != 0
    with Program(tmp_path / "store") as again:
        until(lambda: again.get("/health").get("ready"))
        until(lambda: {row["state"] for row in again.get("/api/documents")["documents"]} == {"indexed"})
        assert {row["id"] for row in again.get("/api/documents")["documents"]} == set(ids)
        assert again.end(signal.SIGTERM) == -signal.SIGTERM  # as uvicorn ends, when all is done


@pytest.mark.models
def test_ctrl_c_while_the_models_are_loaded_ends_it_well(tmp_path: Path) -> None:
    with Program(tmp_path / "store") as program:
        until(lambda: program.get("/health"))
        assert program.end(signal.SIGINT) == 130


@pytest.mark.models
def test_health_is_answered_before_the_models_are_loaded(minilm) -> None:
    may = threading.Event()

    def opened() -> Store:
        may.wait(60)
        return Store.open(embedder=minilm)

    settings = Settings(start_seconds=0.2)
    with running(create_app(opened, settings=settings), wait=False) as url:
        until(lambda: answers(url))
        assert httpx.get(f"{url}/health", **PATIENT).json()["ready"] is False
        assert httpx.get(f"{url}/ready", **PATIENT).status_code == 503
        refused = httpx.get(f"{url}/api/stores", **PATIENT)
        assert refused.status_code == 503
        assert "still being loaded" in refused.json()["error"]["message"]
        may.set()
        until(lambda: httpx.get(f"{url}/ready", **PATIENT).status_code == 200)


FIRST_ANSWER = """
import json, os, socket, sys, threading, time, urllib.request
from importlib.abc import MetaPathFinder

answered = threading.Event()

class Watched(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "tokenizers", "transformers", "mcp") and not answered.is_set():
            if threading.current_thread() is threading.main_thread():
                print(json.dumps({"imported before the first answer": name}), flush=True)
                os._exit(1)
            answered.wait(60)

def ask():
    while True:
        try:
            said = urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read().decode()
        except OSError:
            time.sleep(0.05)
        else:
            print(said, flush=True)
            os._exit(0)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
sys.meta_path.insert(0, Watched())
threading.Thread(target=ask).start()
from langbert.cli import run
from langbert.documents import Limits
run(["serve", "--store", sys.argv[1], "--port", str(port), "--quiet"])
"""


@pytest.mark.models
def test_nothing_heavy_is_imported_before_the_first_answer(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_ANSWER, str(tmp_path / "store")], capture_output=True, text=True, timeout=120
    )
    assert json.loads(done.stdout)["state"] == "loading"


@pytest.mark.models
def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no store")
    with running(create_app(lambda: Store.open(tmp_path / "file")), wait=False) as url:
        until(lambda: answers(url))
        until(lambda: httpx.get(f"{url}/health", **PATIENT).json()["status"] == "failed")
        refused = httpx.get(f"{url}/api/stores", **PATIENT)
        assert refused.status_code == 503
        assert "file" in refused.json()["error"]["message"]


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(900)
def test_whatever_the_schema_allows_is_no_error_of_the_server(minilm, tmp_path: Path) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings

    with Store.open(tmp_path / "store", embedder=minilm) as store:
        store.add([Document("bees", "Bees make honey from nectar.", "bees.txt")])
        with running(create_app(store)) as url:
            schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
            failed = []
            for result in schema.get_all_operations():
                operation = result.ok()

                @given(case=operation.as_strategy())
                @settings(
                    max_examples=25,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                def tried(case: Any) -> None:
                    answer = case.call(timeout=120)
                    if answer.status_code >= 500 and answer.status_code != 503:
                        failed.append((case.method, case.path, case.body, answer.content[:200]))

                tried()
            assert not failed, json.dumps(failed[:3], default=str)
