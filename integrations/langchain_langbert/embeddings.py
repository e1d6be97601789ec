"""``LangBertEmbeddings``: :class:`langbert.Embedder` as LangChain ``Embeddings``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from ._fields import check_fields

if TYPE_CHECKING:
    from langbert import Embedder

_FOREIGN = ("model_name", "model_kwargs", "encode_kwargs", "query_encode_kwargs", "cache_folder", "multi_process")


class LangBertEmbeddings(BaseModel, Embeddings):
    """Text to vectors with a BERT encoder on this machine.

    ``embed_documents`` and ``embed_query`` use the two roles of the model: where its configuration (or
    ``query_prompt`` / ``document_prompt``) names a prompt for one, it is put before the text. A text that comes twice
    in a call is embedded once. The async methods work in a worker thread, which stops after the batch in progress
    when the caller is cancelled.

    Example:
        >>> from langchain_langbert import LangBertEmbeddings
        >>> embeddings = LangBertEmbeddings(model="e5-small", pooling="mean")  # doctest: +SKIP
        >>> len(embeddings.embed_query("Which tasks is BERT pre-trained on?"))  # doctest: +SKIP
        384

    Attributes:
        model: a catalogue name, a hub id or a folder.
        pooling: ``"cls"``, ``"mean"``, ``"max"`` …; None = what the checkpoint was trained with.
        normalize: unit-length vectors; None = what the checkpoint says.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"int8"``: what the encoder computes in.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` …
        threads: CPU threads; None = all that help.
        max_length: tokens the encoder reads at once; None = the checkpoint's limit.
        on_overflow: what happens to longer texts: embedded in pieces, cut, or a ``TextTooLong`` error. How many there
            were stands in :attr:`overflowed`.
        dimensions: keep the first so many dimensions (Matryoshka models).
        query_prompt: put before questions; None = what the checkpoint says.
        document_prompt: put before documents; None = what the checkpoint says.
        offline: True never touches the network.
        trust_remote_code: let transformers run the code a checkpoint brings along. Read that code first.
        encoding: what comes out. ``"float32"``: ``dimension`` floats. ``"int8"``: ``dimension`` whole numbers from -127
            to 127, the values of unit vectors times 127; cosines of these stay within 0.015 of the exact ones.
            ``"binary"``: ``dimension / 8`` whole numbers from -128 to 127, eight signs in each, for indexes that
            compare by Hamming distance and for nothing else. See :func:`langbert.embedding.int8` and ``binary`` there.
            ``LangBertVectorStore`` takes float32 from the encoder whatever stands here.
        show_progress: a bar on stderr, with texts per second.
        cache: keep vectors on disk, so that no text is embedded twice, by any process: a folder, or True for
            langbert's cache folder. Another model, pooling or precision never sees these vectors.
        cache_bytes: the most the cache may take; the oldest vectors make room.

    The arguments of ``HuggingFaceEmbeddings`` are understood too: ``model_name``; ``model_kwargs`` with ``device`` and
    ``trust_remote_code``; ``encode_kwargs`` and ``query_encode_kwargs`` with ``normalize_embeddings``, ``prompt``
    and ``batch_size`` (batches are planned by tokens here, so it has no effect; nor have ``cache_folder`` and
    ``multi_process``).

    Raises:
        ModelNotFound: no such model; the message lists near names.
        CheckpointError: the checkpoint does not fit.
    """

    model: str | Path = "e5-small"
    pooling: str | None = None
    normalize: bool | None = None
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    device: str = "auto"
    threads: int | None = None
    max_length: int | None = None
    on_overflow: Literal["split", "truncate", "error"] = "split"
    dimensions: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    offline: bool | None = None
    trust_remote_code: bool = False
    encoding: Literal["float32", "int8", "binary"] = "float32"
    show_progress: bool = False
    cache: bool | str | Path = False
    cache_bytes: int = Field(default=1 << 30, ge=1)

    model_config = ConfigDict(extra="forbid", frozen=True)
    _embedder: Embedder = PrivateAttr()
    _encode: Callable[[Any], Any] | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _read_other_peoples_names(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.keys() & set(_FOREIGN):
            return check_fields(cls, values)
        own = {key: value for key, value in values.items() if key not in _FOREIGN}
        for key, value in _translated(values).items():
            if own.setdefault(key, value) != value:
                raise ValueError(f"{key} came twice: {own[key]!r} and {value!r}")
        return check_fields(cls, own)

    def model_post_init(self, context: Any, /) -> None:
        # Loaded here, so that a misspelt model name is an error where it was typed.
        from langbert import Embedder
        from langbert.embedding import binary, int8

        ours = self.model_dump(exclude={"encoding", "show_progress", "cache", "cache_bytes"})
        self._encode = {"float32": None, "int8": int8, "binary": binary}[self.encoding]
        self._embedder = Embedder(**ours, cache=self._cache())
        if self.encoding == "int8" and not self._embedder.normalize:
            raise ValueError('encoding="int8" scales vectors of length 1: leave out normalize=False')

    def _cache(self) -> Any:
        if self.cache is False:
            return None
        from langbert import EmbeddingCache

        return EmbeddingCache(None if self.cache is True else self.cache, max_bytes=self.cache_bytes)

    @property
    def embedder(self) -> Embedder:
        """The core object, for what LangChain's interface has no name for."""
        return self._embedder

    @property
    def overflowed(self) -> int:
        """How many texts so far were longer than the encoder reads at once."""
        return self._embedder.overflowed

    @property
    def model_name(self) -> str:
        """The model, under the name other integrations have for it."""
        return str(self.model)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text, encoded as ``encoding`` says."""
        return self._embed(texts, "document", Event())

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self._embed([text], "query", Event())[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """:meth:`embed_documents` in a worker thread."""
        return await self._in_thread(texts, "document")

    async def aembed_query(self, text: str) -> list[float]:
        """:meth:`embed_query` in a worker thread."""
        return (await self._in_thread([text], "query"))[0]

    async def _in_thread(self, texts: list[str], role: Literal["document", "query"]) -> list[list[float]]:
        left = Event()
        try:
            return await run_in_executor(None, self._embed, texts, role, left)
        finally:
            left.set()

    def _embed(self, texts: Iterable[str], role: Literal["document", "query"], left: Event) -> list[list[float]]:
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, got one str: give [{texts[:40]!r}]")
        texts = list(texts)
        with _bar(len(texts), self.show_progress and role == "document") as advance:

            def progress(done: int) -> None:
                if left.is_set():
                    raise RuntimeError("embedding was cancelled")  # unwinds the worker; its reader is gone
                advance(done)

            vectors = self._embedder.embed(texts, role, progress=progress)
        encoded = vectors if self._encode is None else self._encode(vectors)
        rows: list[list[float]] = encoded.tolist()
        return rows


def _translated(values: dict[str, Any]) -> dict[str, Any]:
    """``HuggingFaceEmbeddings``' arguments by our names.

    Raises:
        ValueError: one of them has no counterpart here.
    """
    found: dict[str, Any] = {} if "model_name" not in values else {"model": values["model_name"]}
    documents = dict(values.get("encode_kwargs") or {})
    tables = (
        (
            "model_kwargs",
            values.get("model_kwargs") or {},
            {"device": "device", "trust_remote_code": "trust_remote_code"},
        ),
        ("encode_kwargs", documents, {"normalize_embeddings": "normalize", "prompt": "document_prompt"}),
        ("query_encode_kwargs", values.get("query_encode_kwargs") or documents, {"prompt": "query_prompt"}),
    )
    for argument, given, names in tables:
        without_effect = {"batch_size", "normalize_embeddings", "show_progress_bar"} if "encode" in argument else set()
        unknown = sorted(given.keys() - names.keys() - without_effect)
        if unknown:
            raise ValueError(f"{argument} holds {', '.join(unknown)}: only {', '.join(names)} mean something here")
        found |= {ours: given[theirs] for theirs, ours in names.items() if theirs in given}
    return found


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """A function to report how many more texts are done to; drawn on stderr if ``shown``."""
    if not shown:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed_text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("embedding", total=total, speed_text="")

        def advance(done: int) -> None:
            bars.advance(task, done)
            now = bars.tasks[0]
            bars.update(task, speed_text=f"{now.completed / max(now.elapsed or 0, 1e-3):.0f} texts/s")

        yield advance
