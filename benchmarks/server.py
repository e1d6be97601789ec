"""Servers of embeddings side by side, and one server under load for long.

    python benchmarks/server.py compare --seconds 8 [--contender infinity]
    python benchmarks/server.py soak --minutes 30 --clients 16

``compare``: requests of one text each, short or long, by 1, 8 and 64 clients; the contenders take turns. Clients and
servers share the processor. ``soak``: asking, searching and embedding while a writer uploads; every status that is not
200, 202 or 429 is an error. Needs ``langbert[server,bench]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from servers.clients import Request, Result, as_json, load
from servers.contenders import CONTENDERS, Server, started

TEXTS = Path(__file__).parent.parent / "examples" / "documents" / "pep-0008.rst"
CLIENTS = (1, 8, 64)


def sentences() -> tuple[list[str], list[str]]:
    """Short texts of about 10 words and long ones of about 100, of a real document: none is over the limit."""
    words = TEXTS.read_text(encoding="utf-8").split()
    return (
        [" ".join(words[i : i + 10]) for i in range(0, len(words) - 10, 7)],
        [" ".join(words[i : i + 100]) for i in range(0, len(words) - 100, 13)],
    )


def embedding(server: Server, texts: list[str], number: int) -> tuple[str, Request]:
    body = as_json({"model": server.model, "input": [texts[number % len(texts)]]})
    return "embed", ("POST", "/v1/embeddings", body, "application/json")


def compare(names: list[str], seconds: float) -> list[dict[str, Any]]:
    """One row for each contender, number of clients and length."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        servers = {name: stack.enter_context(started(name)) for name in names}
        for kind, texts in zip(("short", "long"), sentences(), strict=True):
            for n in CLIENTS:
                for name, server in servers.items():
                    result = asyncio.run(
                        load(server.port, n, seconds, lambda i, s=server, t=texts: embedding(s, t, i))  # type: ignore[misc]
                    )
                    rows.append(
                        {
                            "server": name,
                            "texts": kind,
                            "clients": n,
                            "per_second": round(result.per_second, 1),
                            "p50_ms": round(result.percentile(0.5), 1),
                            "p95_ms": round(result.percentile(0.95), 1),
                            "not_200": result.statuses,
                        }
                    )
                    print(json.dumps(rows[-1]), flush=True)
    return rows


QUESTIONS = ["What is the maximum line length?", "How are imports grouped?", "Who wrote PEP 8?", "When are tabs used?"]


def soak_request(server: Server, texts: list[str], number: int) -> tuple[str, Request]:
    """Of 20 requests 12 embed, 5 search, 2 ask and 1 uploads; the uploads take the place of one another by and by."""
    question = QUESTIONS[number % len(QUESTIONS)]
    turn = number % 20
    if turn == 0:
        name, text = f"note-{number // 20 % 50}.txt", f"{number}. {texts[number % len(texts)]}"
        form = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n{text}\r\n--b--\r\n'
        return "upload", ("POST", "/api/documents", form.encode(), "multipart/form-data; boundary=b")
    if turn in (1, 11):
        return "ask", ("POST", "/api/ask", as_json({"question": question, "mode": "extract"}), "application/json")
    if turn % 4 == 2:
        return "search", ("POST", "/api/search", as_json({"question": question}), "application/json")
    return embedding(server, texts, number)


def soak(minutes: float, n_clients: int) -> dict[str, Any]:
    """Minute by minute: requests, statuses, milliseconds and memory."""
    short, long = sentences()
    texts, rows, whole = [*short, *long[:40]], list[dict[str, Any]](), Result()
    with started("langbert") as server:
        began = time.monotonic()
        while time.monotonic() - began < 60 * minutes:
            result = asyncio.run(load(server.port, n_clients, 60, lambda i: soak_request(server, texts, i)))
            for kind, seconds in result.seconds.items():
                whole.seconds.setdefault(kind, []).extend(seconds)
            for status, count in result.statuses.items():
                whole.statuses[status] = whole.statuses.get(status, 0) + count
            whole.elapsed += result.elapsed
            rows.append(
                {"minute": len(rows) + 1, "per_second": round(result.per_second, 1), "mb": round(server.megabytes())}
            )
            print(json.dumps(rows[-1]), flush=True)
    kinds = {
        kind: {
            "requests": len(seconds),
            "p50_ms": round(whole.percentile(0.5, kind)),
            "p95_ms": round(whole.percentile(0.95, kind)),
        }
        for kind, seconds in whole.seconds.items()
    }
    return {"minutes": rows, "kinds": kinds, "not_200": whole.statuses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compare", "soak"])
    parser.add_argument("--seconds", type=float, default=8.0, help="a cell")
    parser.add_argument("--contender", action="append", choices=sorted(CONTENDERS), help="default: langbert, plain")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if options.what == "compare":
        result: Any = compare(options.contender or ["langbert", "plain"], options.seconds)
    else:
        result = soak(options.minutes, options.clients)
        print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
