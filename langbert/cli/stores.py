"""Opening a store from the command line: with the embedder it was made with, unless another one is named."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import LangbertError, StoreError
from .output import Output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..embedding.embedder import Embedder
    from ..reading import Reader
    from ..records import AnswerMode, EmbeddingSpace, GeneratorLike, Progress, Role, SpanEmbedderLike
    from ..reranking import Reranker
    from ..store.base import BaseStore

DEFAULT_EMBEDDER = "e5-small"
DEFAULT_GENERATOR = "smollm2-135m-instruct"


def exists(place: str | Path) -> bool:
    """Whether there is something at ``place`` that can only be a store (an empty folder can still become one)."""
    if is_url(place):
        try:
            open_store(place, create=False).close()
        except StoreError:  # whoever makes one will hear why it cannot be reached
            return False
        return True
    path = Path(place)
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def open_plain(place: str | Path) -> BaseStore:
    """The store at ``place`` without an embedder: enough to list, delete and search by words.

    Raises:
        StoreError: there is no store, with what to type to make one.
    """
    if is_url(place):
        return open_store(place, create=False)
    if not exists(place):
        raise StoreError(f"there is no store at {place}; make one with `langbert index FOLDER --store {place}`")
    # Where it may be written, a store whose writer was killed is brought up to date once and for all.
    return open_store(place, create=False, read_only=not os.access(place, os.W_OK))


def open_existing(place: str | Path, output: Output) -> BaseStore:
    """The store at ``place`` with the embedder it was made with."""
    with open_plain(place) as plain:
        space, read_only = plain.space, plain.read_only
    embedder = embedder_of(space, output)
    with output.waiting("opening the store"):
        return open_store(place, embedder=embedder, create=False, read_only=read_only)


def is_url(place: str | Path) -> bool:
    """Whether a store lies in an engine outside."""
    return "://" in str(place)


def open_store(place: str | Path, **options: Any) -> BaseStore:
    """:func:`langbert.open_store`, imported when it is needed."""
    from ..store import open_store as opened

    return opened(place, **options)


def embedder_of(space: EmbeddingSpace | None, output: Output, **options: Any) -> Embedder:
    """The embedder that makes vectors for ``space``, from what a store remembers of it."""
    if space is None:
        return make_embedder(DEFAULT_EMBEDDER, output, **options)
    with _without_remarks():  # on choices that were remarked upon when the store was made
        return make_embedder(space.model, output, **space.options, **options)


def make_embedder(name: str, output: Output, **options: Any) -> Embedder:
    """An embedder by name; its model is fetched first, before everybody's eyes, if it is not here."""
    output.model(name)
    with output.waiting(f"loading {name}"):
        with importing():
            from ..embedding.embedder import Embedder

        try:
            return Embedder(label(name), offline=True, **options)
        except LangbertError:
            raise
        except ValueError as error:  # an option out of its range
            raise typer.BadParameter(str(error)) from error


@contextmanager
def importing() -> Iterator[None]:
    """Importing torch leaves no garbage: an eighth of the time goes into looking for it, and later on as much again."""
    first = "torch" not in sys.modules
    if first:
        gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
            gc.enable()


def make_reranker(name: str, output: Output) -> Reranker:
    """A reranker by name; what it needs is fetched first, before everybody's eyes, if it is not here."""
    fetch(name, output)
    with output.waiting(f"loading {name}"):
        from ..reranking import Reranker

        return Reranker(label(name), offline=True)


def make_reader(name: str, output: Output) -> Reader:
    """A reader by name, had in the same way."""
    fetch(name, output)
    with output.waiting(f"loading {name}"):
        from ..reading import Reader

        return Reader(label(name), offline=True)


def writer_for(mode: AnswerMode, name: str, output: Output) -> str:
    """What :class:`~langbert.Rag` is given as its generator: fetched now, while a bar can be shown, and loaded when it
    is needed."""
    from ..answering.flow import SMALL_DECODER

    if mode == "generate" or (mode == "auto" and name != SMALL_DECODER):
        fetch(name, output)
    return name


def writer_behind(base_url: str, name: str | None, api_key: str | None) -> GeneratorLike:
    """A generator behind a URL, which is not asked for anything yet.

    Raises:
        MissingExtra: ``langbert[remote]`` is not installed.
    """
    from ..generation.remote import RemoteGenerator

    if name is None:
        raise typer.BadParameter(f"--base-url {base_url} needs --generator NAME: which of its models shall write?")
    try:
        return RemoteGenerator(base_url, name, api_key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def fetch(name: str, output: Output) -> None:
    """See to it that a model is here, and the one that it is only adapters for."""
    from ..models import BY_LLAMA_CPP
    from ..models.files.adapters import base_name

    if base := base_name(output.model(name.removeprefix(BY_LLAMA_CPP))):
        output.model(base)


class WatchedEmbedder:
    """An embedder somebody watches: ``watch`` hears, as texts are embedded, how many more are done, and of how many."""

    def __init__(self, embedder: SpanEmbedderLike) -> None:
        self._embedder = embedder
        self.watch: Callable[[int, int], None] = lambda count, of: None

    @property
    def space(self) -> EmbeddingSpace:
        return self._embedder.space

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    @property
    def tokens(self) -> int:
        """How many tokens were read so far; 0 where the embedder does not count them."""
        return int(getattr(self._embedder, "tokens", 0))

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        def both(count: int) -> None:
            self.watch(count, len(texts))
            if progress:
                progress(count)

        return self._embedder.embed(texts, role, progress=both)

    @property
    def span_space(self) -> EmbeddingSpace:
        return self._embedder.span_space

    def embed_spans(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], *, progress: Progress | None = None
    ) -> list[NDArray[np.float32]]:
        total = sum(map(len, spans))

        def both(count: int) -> None:
            self.watch(count, total)
            if progress:
                progress(count)

        return self._embedder.embed_spans(texts, spans, progress=both)

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return self._embedder.token_offsets(text)

    def room(self, role: Role = "document") -> int:
        return self._embedder.room(role)


def label(name: str) -> str:
    """What the store shall remember: a folder by its full path, so that it is found from anywhere."""
    from ..models import local_path

    path = os.path.abspath(os.path.expanduser(name))
    return path if str(local_path(name)) == path else name  # "minilm" beside a folder of that name is still the model


@contextmanager
def _without_remarks() -> Iterator[None]:
    log = logging.getLogger("langbert")
    level = log.level
    log.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        log.setLevel(level)
