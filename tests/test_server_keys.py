"""A key for one department can neither find, read, cite nor count another's documents, by any endpoint."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_tools import PATIENT, running, until

from langbert import Document, Store
from langbert_server import Key, Keys, Settings, create_app
from langbert_server.keys import KeyFileError

HR, IT, ALL, READER = "hr-secret-0123456789", "it-secret-0123456789", "all-secret-012345678", "reader-secret-01234"
QUESTION = "What is the salary of the director?"
ANSWER = "90,000"


@pytest.fixture(scope="module")
def url(minilm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("keys")
    keys = Keys(
        [
            Key.made("hr", HR, where={"department": "hr"}, rights=("read", "write")),
            Key.made("it", IT, where={"department": "it"}, rights=("read", "write")),
            Key.made("all", ALL, rights=("read", "write")),
            Key.made("reader", READER),
        ]
    )
    store = Store.open(folder / "store", embedder=minilm)
    store.add(
        [
            Document("pay", "The salary of the director is 90,000 euros a year.", "pay.txt", {"department": "hr"}),
            Document("net", "The router of the office stands in room 12.", "net.txt", {"department": "it"}),
        ]
    )
    app = create_app(store, keys=keys, settings=Settings(audit_log=folder / "audit.jsonl"))
    with running(app) as address:
        yield address
    store.close()


def client(url: str, key: str | None) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"} if key else {}, **PATIENT)


ENDPOINTS: list[tuple[str, str, Any]] = [
    ("GET", "/api/stores", None),
    ("GET", "/api/documents", None),
    ("GET", "/api/documents?contains=pay", None),
    ("GET", "/api/documents/pay", None),
    ("GET", "/api/documents/pay/pages/1", None),
    ("GET", "/api/documents/pay/boxes?start=0&end=5", None),
    ("DELETE", "/api/documents/pay", None),
    ("POST", "/api/documents/pay/index", None),
    ("POST", "/api/search", {"question": QUESTION}),
    ("POST", "/api/search", {"question": QUESTION, "mode": "lexical", "rerank": True}),
    ("POST", "/api/search", {"question": QUESTION, "where": {"department": "hr"}}),
    ("POST", "/api/search", {"question": QUESTION, "where": {"$or": [{"department": "hr"}, {"department": "it"}]}}),
    ("POST", "/api/ask", {"question": QUESTION}),
    ("POST", "/api/ask", {"question": QUESTION, "stream": True, "citations": "anthropic"}),
    ("POST", "/api/ask", {"question": QUESTION, "where": {"document_id": "pay"}, "mode": "extract"}),
    ("POST", "/v1/chat/completions", {"model": "langbert/rag", "messages": [{"role": "user", "content": QUESTION}]}),
    (
        "POST",
        "/v1/chat/completions",
        {"model": "langbert/rag", "messages": [{"role": "user", "content": QUESTION}], "where": {"source": "pay.txt"}},
    ),
    ("POST", "/v1/responses", {"model": "langbert/rag", "input": QUESTION}),
    ("GET", "/v1/models", None),
    ("GET", "/metrics", None),
    ("GET", "/info", None),
    ("GET", "/openapi.json", None),
]


@pytest.mark.models
@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS)
def test_no_endpoint_tells_of_another_departments_documents(url: str, method: str, path: str, body: Any) -> None:
    with client(url, IT) as it:
        answer = it.request(method, path, json=body)
    assert answer.status_code < 500
    assert ANSWER not in answer.text
    assert '"pay"' not in answer.text
    with client(url, HR) as hr:
        assert hr.get("/api/documents/pay").status_code == 200  # and nothing was removed


@pytest.mark.models
def test_the_department_itself_is_answered(url: str) -> None:
    with client(url, HR) as hr:
        answer = hr.post("/api/ask", json={"question": QUESTION}).json()
        assert ANSWER in answer["answer"]
        assert answer["citations"][0]["document_id"] == "pay"


@pytest.mark.models
def test_other_places_are_those_that_the_key_sees(minilm) -> None:
    keys = Keys([Key.made("it", IT, where={"department": "it"}), Key.made("all", ALL)])
    notice = "The emergency exit is behind the stairs."
    with Store.open(embedder=minilm) as store:
        store.add([Document(name, notice, f"{name}.txt", {"department": name}) for name in ("it", "hr", "board")])
        with running(create_app(store, keys=keys)) as url:
            for key, elsewhere in ((IT, 0), (ALL, 2)):
                with client(url, key) as one:
                    (hit,) = one.post("/api/search", json={"question": "Where is the emergency exit?"}).json()["hits"]
                assert len(hit["places"]) == elsewhere
                assert len({hit["document_id"], *(place["document_id"] for place in hit["places"])}) == elsewhere + 1
                assert all(place["start"] == 0 and place["end"] == len(notice) for place in hit["places"])


@pytest.mark.models
def test_counts_are_of_what_the_key_sees(url: str) -> None:
    counts = {}
    for key in (HR, IT, ALL):
        with client(url, key) as one:
            counts[key] = one.get("/api/stores").json()["stores"][0]["documents"]
    assert counts == {HR: 1, IT: 1, ALL: 2}
    with client(url, IT) as it:
        assert it.get("/metrics").status_code == 403
        assert it.get("/api/documents/pay").text.replace("pay", "x") == it.get("/api/documents/x").text


@pytest.mark.models
@pytest.mark.parametrize("key", [None, "wrong-secret-0123456"])
def test_without_a_key_nothing_is_told(url: str, key: str | None) -> None:
    with client(url, key) as nobody:
        for method, path, body in [
            *ENDPOINTS,
            ("POST", "/v1/embeddings", {"input": "a", "model": "minilm"}),
            ("POST", "/v1/rerank", {"query": "a", "documents": ["b"]}),
            ("POST", "/v2/rerank", {"query": "a", "documents": ["b"]}),
            ("POST", "/rerank", {"query": "a", "texts": ["b"]}),
            ("POST", "/embed", {"inputs": "a"}),
            ("POST", "/", {"inputs": "a"}),
            ("POST", "/mcp", {}),
            ("POST", "/api/documents", None),
        ]:
            answer = nobody.request(method, path, json=body)
            assert answer.status_code == 401 or path == "/openapi.json", path
        assert nobody.get("/health").status_code == 200


@pytest.mark.models
def test_every_endpoint_is_among_those_that_are_tried(url: str) -> None:
    tried = {path.split("?")[0].replace("pay", "{document_id}").replace("/1", "/{page}") for _, path, _ in ENDPOINTS}
    own = {"/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/embed", "/", "/health", "/ready"}  # no documents
    assert set(httpx.get(f"{url}/openapi.json", **PATIENT).json()["paths"]) - own <= tried


@pytest.mark.models
def test_an_agent_with_a_key_sees_what_the_key_sees(url: str) -> None:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def told(key: str) -> str:
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as agent,
        ):
            results = [
                await agent.call_tool("search", {"question": QUESTION}),
                await agent.call_tool("ask", {"question": QUESTION}),
                await agent.call_tool("read", {"document": "pay"}),
            ]
        return json.dumps([str(result) for result in results])

    assert ANSWER in asyncio.run(told(HR))
    assert ANSWER not in asyncio.run(told(IT))


@pytest.mark.models
def test_an_upload_belongs_to_the_department_of_its_key(url: str) -> None:
    with client(url, HR) as hr, client(url, IT) as it:
        files = {"file": ("plan.txt", b"The party is on Friday.")}
        mine = hr.post("/api/documents", files=files).json()
        theirs = it.post("/api/documents", files={"file": ("plan.txt", b"The update is on Monday.")}).json()
        assert mine["id"] != theirs["id"]
        for one, upload in ((hr, mine), (it, theirs)):
            until(lambda one=one, upload=upload: one.get(f"/api/documents/{upload['id']}").status_code == 200)
        assert hr.get(f"/api/documents/{mine['id']}").json()["metadata"]["department"] == "hr"
        assert "Friday" in hr.get(f"/api/documents/{mine['id']}").json()["text"]
        assert it.get(f"/api/documents/{mine['id']}").status_code == 404
        assert it.delete(f"/api/documents/{mine['id']}").status_code == 404
        assert mine["id"] not in it.get("/api/documents").text
        as_theirs = hr.post("/api/documents", files=files, data={"metadata": '{"department": "it"}'})
        assert as_theirs.status_code == 202  # the key's own value counts
        assert as_theirs.json()["metadata"]["department"] == "hr"
        for one, upload in ((hr, mine), (it, theirs)):
            assert one.delete(f"/api/documents/{upload['id']}").status_code == 200


@pytest.mark.models
def test_a_refused_upload_leaves_the_former_one(minilm, tmp_path: Path) -> None:
    keys = Keys([Key.made("two", HR, where={"department": {"$in": ["hr", "it"]}}, rights=("read", "write"))])
    with (
        Store.open(tmp_path / "store", embedder=minilm) as store,
        running(create_app(store, keys=keys)) as url,
        client(url, HR) as two,
    ):
        files = {"file": ("plan.txt", b"The party is on Friday.")}
        kept = two.post("/api/documents", files=files, data={"metadata": '{"department": "it"}'}).json()
        until(lambda: two.get(f"/api/documents/{kept['id']}").status_code == 200)
        for metadata in ("{}", '{"department": "sales"}'):
            assert two.post("/api/documents", files=files, data={"metadata": metadata}).status_code == 403
        assert "Friday" in two.get(f"/api/documents/{kept['id']}").json()["text"]
        assert two.post(f"/api/documents/{kept['id']}/index").status_code == 202


@pytest.mark.models
def test_a_key_that_reads_writes_nothing(url: str) -> None:
    with client(url, READER) as reader:
        assert reader.post("/api/documents", files={"file": ("a.txt", b"a b c")}).status_code == 403
        assert reader.delete("/api/documents/pay").status_code == 403
        assert reader.post("/api/documents/pay/index").status_code == 403
        assert reader.get("/api/stores").json()["rights"] == ["read"]


@pytest.mark.models
def test_the_audit_log_says_who_asked_what_and_holds_no_key(url: str, tmp_path_factory) -> None:
    with client(url, HR) as hr:
        hr.post("/api/ask", json={"question": QUESTION})
    log = next(tmp_path_factory.getbasetemp().glob("keys*/audit.jsonl")).read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    answered = [line for line in lines if line["did"] == "answered" and line["who"] == "hr"]
    assert answered[-1]["question"] == QUESTION
    assert answered[-1]["documents"] == ["pay"]
    assert not any(secret in log for secret in (HR, IT, ALL, READER))


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    digest = hashlib.sha256(IT.encode()).hexdigest()
    file.write_text(
        json.dumps({"keys": [{"name": "hr", "key": HR, "where": {"d": 1}}, {"name": "it", "sha256": digest}]})
    )
    keys = Keys.from_file(file)
    assert keys.of(HR).where == {"d": 1}
    assert keys.of(IT).name == "it"
    assert keys.of("") is None
    assert HR not in repr(keys.of(HR))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "not JSON of the form"),
        ('{"keys": []}', "there are no keys"),
        ('{"keys": [{"key": "0123456789abcdef"}]}', "an object with a name"),
        ('{"keys": [{"name": "a", "key": "short"}]}', "5 characters, expected at least 16"),
        ('{"keys": [{"name": "a"}]}', "neither a key nor the sha256"),
        ('{"keys": [{"name": "a", "key": "0123456789abcdef", "wher": {}}]}', "has 'wher'"),
        ('{"keys": [{"name": "a", "key": "0123456789abcdef", "rights": ["all"]}]}', "rights are"),
        ('{"keys": [{"name": "a", "key": "0123456789abcdef", "where": {"$nor": []}}]}', "unknown operator"),
        ('{"keys": [{"name": "a", "key": "0123456789abcdef", "where": {"$not": {"page": 1}}}]}', "of passages"),
    ],
)
def test_a_file_of_keys_that_cannot_be_understood(tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(KeyFileError, match=reason) as error:
        Keys.from_file(file)
    assert "0123456789abcdef" not in str(error.value)
