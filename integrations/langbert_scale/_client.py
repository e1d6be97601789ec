"""Engines without transactions, reached through one client: what their databases have in common."""

from __future__ import annotations

import contextlib
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qs, urlsplit

from langbert.errors import LangbertError, StoreError
from langbert.records import Chunk, EmbeddingSpace
from langbert.store.outside import OutsideDatabase, OutsideReading, OutsideWriting

from ._tokens import row_of

_NAME = "langbert"


class ClientReading(OutsideReading):
    """What is kept as records and by the numbers of names, whatever the engine."""

    def meta(self, key: str) -> str | None:
        return self.records("meta", [key]).get(key)

    def chunks_by_id(self, ids: Iterable[str]) -> dict[str, Chunk]:
        return {chunk.id: chunk for chunk in self.chunks(row_of("chunk", id) for id in ids).values()}


class ClientWriting(ClientReading, OutsideWriting):
    """Changes, each at once."""

    @abstractmethod
    def make_chunks(self, dimension: int | None) -> None:
        """The collection of chunks, anew; with vectors, if they have a dimension."""

    def set_meta(self, key: str, value: str | None) -> None:
        if value is None:
            self.delete_records("meta", [key])
        else:
            self.put_records("meta", {key: value})

    def set_space(self, dimension: int | None, space: EmbeddingSpace | None) -> None:
        if dimension is not None and self.dimension is None:
            self.make_chunks(dimension)
        super().set_space(dimension, space)


class ClientDatabase(OutsideDatabase):
    """The collections of one store; a URL without a host is the client's own engine, of one process.

    Attributes:
        local: whether it is that.
        collection: what the names of its collections begin with.
        client: the engine's, made by the subclass.
    """

    scheme: ClassVar[str]
    states: ClassVar[tuple[type[OutsideReading], type[OutsideWriting]]]
    client: Any

    def __init__(self, url: str, *, read_only: bool) -> None:
        self._parts: SplitResult = urlsplit(url)
        self.name = f"{self.scheme}://{self._parts.netloc.rpartition('@')[2]}{self._parts.path}"
        self.read_only = read_only
        self.local = not self._parts.hostname
        self.collection = _NAME if self.local else self._parts.path.strip("/") or _NAME
        self._lock = threading.RLock()  # the local engines are for one thread, and one client writes at a time

    def _address(self, port: int) -> str:
        """Where the server is; ``port`` where the URL names none."""
        scheme = "https" if parse_qs(self._parts.query).get("https") else "http"
        return f"{scheme}://{self._parts.hostname}:{self._parts.port or port}"

    def _missing(self) -> StoreError:
        return StoreError(f"there is no store in {self.name}: make one with `langbert index`")

    def close(self) -> None:
        self.client.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Any]:
        with self._errors(), self._lock if self.local else contextlib.nullcontext():
            yield self.states[0](self)  # type: ignore[call-arg]

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        if self.read_only:
            raise StoreError(f"{self.name} was opened with read_only=True: open it without to change it")
        with self._errors(), self._lock:
            yield self.states[1](self)  # type: ignore[call-arg]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever the client and its transport raise, in our words."""
        try:
            yield
        except (LangbertError, ValueError, TypeError, KeyError):
            raise
        except Exception as error:
            raise StoreError(f"{self.name}: {str(error).splitlines()[0] if str(error) else error!r}") from error
