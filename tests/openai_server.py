"""A small real server that speaks OpenAI's API over loopback: a generator of ours behind it, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langbert import Generator
from langbert.errors import GenerationError
from langbert.records import Message

MODEL = "tiny-llama"
KEY = "sesame"
SAMPLING = ("max_tokens", "stop", "temperature", "top_p", "seed")


@dataclass
class State:
    """What the server has seen, and how it shall behave.

    Attributes:
        fault: "silent" sends nothing, "page" HTML; after the first piece "mute" sends nothing more, "cut" closes the
            connection, "unfinished" ends without a reason, "error" sends one, "garbage" what is not JSON.
        says: pieces to send instead of what the generator writes.
    """

    context: int
    url: str = ""
    fault: str = ""
    key: str | None = None
    listed: bool = True
    says: list[str] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(generator: Generator) -> Iterator[State]:
    state = State(context=generator.context_length)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path != "/v1/models" or not state.listed:
                self.refuse(404, "no such page")
            elif self.allowed():
                about = {"id": MODEL, "object": "model", "max_model_len": state.context}
                self.answer(200, {"object": "list", "data": [about, {"id": "other", "object": "model"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(asked)
            state.authorizations.append(self.headers.get("Authorization"))
            if self.path != "/v1/chat/completions":
                return self.refuse(404, "no such page")
            if not self.allowed():
                return None
            if asked["model"] != MODEL:
                return self.refuse(404, f"The model `{asked['model']}` does not exist.")
            if state.fault == "silent":
                state.released.wait(20)
                return None
            if state.fault == "page":
                return self.answer(200, "<html>Welcome</html>", "text/html")
            stream = None
            if state.says is None:
                messages = [Message(turn["role"], turn["content"]) for turn in asked["messages"]]
                sampling = {name: asked[name] for name in SAMPLING if name in asked}
                try:
                    stream = generator.stream(messages, **sampling)
                except GenerationError as error:
                    return self.refuse(400, f"This model's maximum context length is exceeded: {error}")
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for count, piece in enumerate(stream or state.says or ()):
                    if count == 1 and state.fault:
                        return self.fail()
                    self.event({"delta": {"content": piece}, "index": 0, "finish_reason": None})
                reason = stream.generation.finish_reason if stream else "stop"
                self.event({"delta": {}, "index": 0, "finish_reason": reason})
                if stream:
                    read, written = stream.generation.prompt_tokens, stream.generation.completion_tokens
                    used = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
                    self.chunk({"choices": [], "usage": used})
                self.raw("data: [DONE]\n\n")
                self.raw("")
            except OSError:  # the other side has had enough
                state.left.set()
                self.close_connection = True
            return None

        def fail(self) -> None:
            """In the middle of an answer."""
            if state.fault == "mute":
                state.released.wait(20)
            elif state.fault == "unfinished":
                self.raw("data: [DONE]\n\n")
                self.raw("")
            elif state.fault == "error":
                self.raw('data: {"error": {"message": "out of memory", "code": 500}}\n\n')
            elif state.fault == "garbage":
                self.raw("data: {no JSON\n\n")
            self.close_connection = True

        def allowed(self) -> bool:
            if state.key is None or self.headers.get("Authorization") == f"Bearer {state.key}":
                return True
            self.refuse(401, "Incorrect API key provided.")
            return False

        def event(self, choice: dict[str, Any]) -> None:
            self.chunk({"choices": [choice]})

        def chunk(self, fields: dict[str, Any]) -> None:
            about = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": MODEL}
            self.raw(f"data: {json.dumps({**about, **fields})}\n\n")

        def raw(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def refuse(self, status: int, message: str) -> None:
            self.answer(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}})

        def answer(self, status: int, body: object, kind: str = "application/json") -> None:
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
