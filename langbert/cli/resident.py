"""A question put to the server of its store, where one runs on this machine: there everything is loaded already.

``langbert serve`` also listens at a Unix socket in the cache folder, in a part that only its owner may enter. The name
says which store, which decoder and which version answer behind it: one of another kind is not found.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from ..errors import LangbertError
from ..models import cache_dir
from ..records import Answer, AnswerMode, Citation, Message, Unsupported

if TYPE_CHECKING:
    from ..answering.rag import Rag
    from ..store import StoreLike

__all__ = ["Resident", "socket_of"]

_LONGEST = 100  # bytes of a socket's path; systems take 104 or 108
_PATIENCE = 600.0  # seconds between two pieces of an answer


def socket_of(store: str, generator: str) -> Path | None:
    """Where a server of this store listens for its owner; None where there can be none.

    Args:
        generator: the name of the decoder that writes.
    """
    from .. import __version__

    folder = cache_dir() / "serving"
    try:
        root = Path(store).resolve()
        files = sorted([*root.glob("*.sqlite"), *root.glob("shard-*/*.sqlite")])
        told = [
            __version__,
            generator,
            *((str(file), file.stat().st_ino) for file in files),
        ]  # one made anew is another
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        found = folder.stat()
        mine = found.st_uid == os.getuid() and not found.st_mode & 0o077
    except (AttributeError, OSError):
        return None
    path = folder / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}.sock"
    fits = hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= _LONGEST
    return path if files and mine and fits else None


class Resident:
    """Answers as a :class:`~langbert.Rag` does, which is made where the server does not.

    Args:
        path: of the server's socket.
        key: for a server that has keys.
        local: makes what answers where the server is not there, is busy, or does not let this key in.
        store: opens the store, to tell which line a quote is on.
    """

    def __init__(self, path: Path, key: str | None, local: Callable[[], Rag], store: Callable[[], StoreLike]) -> None:
        self._path = path
        self._key = key
        self._local = local
        self._open = store

    @cached_property
    def store(self) -> StoreLike:
        return self._open()

    def ask(self, question: str, **options: Any) -> Answer:
        """As :meth:`langbert.Rag.ask`."""
        return next(event for event in self.stream(question, **options) if isinstance(event, Answer))

    def stream(
        self,
        question: str,
        *,
        mode: AnswerMode = "auto",
        where: Mapping[str, Any] | None = None,
        history: Sequence[Message] = (),
        unsupported: Unsupported = "drop",
    ) -> Iterator[str | Answer]:
        """As :meth:`langbert.Rag.stream`."""
        body = {
            "question": question,
            "mode": mode,
            "where": where,
            "history": [{"role": turn.role, "content": turn.content} for turn in history],
            "unsupported": unsupported,
            "stream": True,
        }
        begun = False
        connection = _Connection(self._path)
        try:
            for name, data in _events(connection, body, self._key):
                begun = True
                yield data["text"] if name == "piece" else _answer(data)
            if begun:
                return
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            if begun:
                raise LangbertError(f"the server that was answering is gone ({error}): ask again") from error
        finally:
            connection.close()
        yield from self._local().stream(question, mode=mode, where=where, history=history, unsupported=unsupported)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _events(connection: _Connection, body: Mapping[str, Any], key: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events that the server sends, by name; none where it does not answer this.

    Raises:
        LangbertError: what the question ran into.
        OSError, HTTPException, ValueError: the server is gone.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/api/ask", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != http.client.OK:
        if response.status == http.client.BAD_REQUEST:
            raise _error(json.loads(response.read()))
        return
    name = ""
    while line := response.readline():
        field, _, value = line.decode("utf-8").rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = json.loads(value)
            if name == "error":
                raise _error(data)
            yield name, data
            if name == "answer":
                return
    raise http.client.IncompleteRead(b"")


def _answer(data: Mapping[str, Any]) -> Answer:
    """What the server says of an answer, as one."""
    return Answer(
        text=data["answer"],
        citations=tuple(map(_citation, data["citations"])),
        refused=data["refused"],
        confidence=data["confidence"],
        timings=data["timings"],
        question=data["question"],
        standalone_question=data["standalone_question"],
        unsupported=tuple(data["unsupported"]),
        short=data["short"],
        nearest=tuple(map(_citation, data["nearest_quotes"])),
        missing=tuple(data["missing"]),
    )


def _citation(data: Mapping[str, Any]) -> Citation:
    return Citation(**{**data, "also_in": tuple(map(_citation, data.get("also_in", ())))})


def _error(data: Mapping[str, Any]) -> LangbertError:
    """What the server says went wrong, as whoever computes here would have raised it."""
    kind = getattr(errors, data["error"]["type"], LangbertError)
    if not (isinstance(kind, type) and issubclass(kind, LangbertError)) or kind is errors.MissingExtra:
        kind = LangbertError
    return kind(data["error"]["message"])
