"""Servers of one encoder, each a process of its own that answers ``POST /v1/embeddings`` or its like."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from langbert.models import resolve

__all__ = ["CONTENDERS", "Server", "started"]

PLAIN = """
import sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu")
app = FastAPI()

class Body(BaseModel):
    model: str
    input: list[str]

@app.get("/health")
def health():
    return {"ready": True}

@app.post("/v1/embeddings")
def embeddings(body: Body):
    vectors = model.encode(body.input, normalize_embeddings=True)
    return {"data": [{"embedding": vector.tolist()} for vector in vectors]}

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


class Server:
    """A running server.

    Attributes:
        port: on loopback.
        model: what it calls the encoder.
        process: whose memory is looked at.
    """

    def __init__(self, port: int, model: str, process: psutil.Process) -> None:
        self.port = port
        self.model = model
        self.process = process

    def megabytes(self) -> float:
        """Resident memory of the process and its children."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_info().rss for each in family) / 1e6


def _langbert(port: int, folder: Path) -> tuple[list[str], str]:
    from langbert import Document, Embedder, Store

    with Store.open(folder / "store", embedder=Embedder("minilm")) as store:  # a server makes one of e5-small
        store.add([Document("first", "A store remembers the encoder of its first document.", "first.txt")])
    serve = [
        sys.executable,
        "-m",
        "langbert",
        "serve",
        "--store",
        str(folder / "store"),
        "--port",
        str(port),
        "--quiet",
    ]
    return serve, "minilm"


def _plain(port: int, folder: Path) -> tuple[list[str], str]:
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
    return [sys.executable, str(folder / "plain.py"), str(resolve("minilm")), str(port)], "minilm"


def _infinity(port: int, folder: Path) -> tuple[list[str], str]:
    """In an environment of its own, whose ``infinity_emb`` INFINITY names: it wants other versions of everything."""
    command = [os.environ["INFINITY"], "v2", "--model-id", str(resolve("minilm")), "--served-model-name", "minilm"]
    options = [
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--engine",
        "torch",
        "--device",
        "cpu",
        "--url-prefix",
        "/v1",
    ]
    return [*command, *options, "--no-bettertransformer", "--no-compile"], "minilm"


CONTENDERS = {"langbert": _langbert, "plain": _plain, "infinity": _infinity}
"""``plain``: sentence-transformers behind FastAPI, an endpoint as one would write it."""


@contextmanager
def started(name: str) -> Iterator[Server]:
    """A contender, ready to answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command, model = CONTENDERS[name](port, Path(folder))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                _wait(port, model, process, Path(folder) / "log")
                yield Server(port, model, psutil.Process(process.pid))
            finally:
                process.terminate()
                process.wait(60)


def _wait(port: int, model: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    end = time.monotonic() + 600
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            body = {"model": model, "input": ["is it ready?"]}
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/embeddings", json=body, timeout=60)
            if answer.status_code == 200:
                return
            if answer.status_code < 500:
                raise RuntimeError(f"the server does not embed: {answer.text}")
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise RuntimeError("the server did not come up in ten minutes")
