"""From files to a store on many machines, by Ray Data: some actors read and cut files, others embed what they cut.

Only the process that asked writes. It compares the files with the store first and takes what comes back in any order,
document by document, each a commit of its own: so a worker that dies costs the files it had, which Ray gives to
another, and a driver that dies costs those that were on their way. Nothing is kept outside the store.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langbert import Chunk, Chunker, Document, Embedder, open_store
from langbert.documents import Limits, Reading, Task, Workers, read_in_order
from langbert.errors import MissingExtra, StoreError, StoreMismatch
from langbert.indexing import Batch, Changes, SyncOptions, SyncReport
from langbert.records import EmbeddingSpace, Progress, Role
from langbert.store.outside import chunking_key

if TYPE_CHECKING:
    from ray.data import Dataset
    from typing_extensions import Self

_FILES = 4  # that go to an actor together, and are done again where it dies
_MOST_BLOCKS = 5_000  # that Ray is to keep account of
_READERS = 0.25  # for each actor that embeds: reading and cutting take a tenth to a fifth of the time of embedding
_CORES = 0.25  # that an actor asks Ray for: its machine gone, it is started anew beside others, or would wait for ever


def embed(
    dataset: Dataset,
    *,
    model: str = "e5-small",
    column: str = "text",
    to: str = "embedding",
    role: Role = "document",
    concurrency: int | None = None,
    batch_size: int | None = 256,
    **options: Any,
) -> Dataset:
    """A Ray dataset with a column of vectors more, made by a pool of actors that have an encoder each.

    Args:
        model: by name, as for :class:`langbert.Embedder`, whose ``options`` follow. Every machine must be able to find
            it, and have langbert installed; with ``space=`` it must make vectors of that :class:`EmbeddingSpace`.
        column: of texts, or of lists of texts.
        to: the column of vectors, ``(dimension,)`` float32 each, or ``(n, dimension)`` for a list of ``n`` texts.
        concurrency: encoders at a time. By default one for each GPU of the cluster, or else for each core.
        batch_size: rows that are embedded together; None takes them as Ray has them in a block.

    Raises:
        MissingExtra: ``langbert[ray]`` is not installed.
    """
    ray = _ray("embed")
    cluster = ray.cluster_resources()
    gpus = int(cluster.get("GPU", 0))
    encoders = concurrency or _encoders(cluster)
    if not gpus:
        options.setdefault("threads", 1)
    return dataset.map_batches(
        _Encoder,
        fn_constructor_args=(model, column, to, role, options),
        batch_format="numpy",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=encoders),
        num_cpus=min(_CORES, max(0, cluster.get("CPU", 1) - 1) / encoders),  # tasks before and after need a whole core
        num_gpus=1 if gpus else None,
    )


def index(
    paths: str | Path | Iterable[str | Path],
    place: str | Path,
    *,
    embedder: Embedder | None = None,
    address: str | None = None,
    concurrency: int | None = None,
    precision: str = "auto",
    options: SyncOptions | None = None,
    prune: bool = False,
    progress: Progress | None = None,
    **opening: Any,
) -> SyncReport:
    """:func:`langbert.sync` on a cluster: what has changed is read, cut, embedded there and stored from here.

    Files that cannot be read are rows of the report. Stopped, or killed, it is called again, and does what is missing.

    Args:
        paths: files and folders, which every machine sees under the same names.
        place: of the store, a folder or a URL; see :func:`langbert.open_store`, which gets ``opening`` too.
        embedder: by default as the store was made, or ``Embedder()``.
        address: ``HOST:PORT`` of a Ray cluster, or ``"auto"``; by default this machine's cores become one for the
            time being.
        concurrency: as for :func:`embed`.
        precision: of the encoders; see :class:`langbert.Embedder`.
        options, prune, progress: as for :func:`langbert.sync`.

    Raises:
        MissingExtra: ``langbert[ray]`` is not installed.
        DocumentError: a path does not exist.
        StoreError: see :meth:`langbert.Store.add`; what was stored before stays so.
    """
    options = replace(options or SyncOptions(), pictures=opening.get("image_embedder") is not None)
    if embedder is None:
        embedder = _as_before(place)
    with (
        Cluster(
            embedder, address=address, concurrency=concurrency, precision=precision, limits=options.limits
        ) as cluster,
        open_store(place, embedder=cluster.made, chunker=cluster.made, **opening) as store,
        Changes(paths, store, options) as changes,
    ):
        changes.elsewhere = cluster.read
        for batch in changes.batches():
            changes.add(batch, store)
            cluster.made.forget(batch)
            if progress is not None:
                progress(len(batch.files))
        if prune:
            changes.prune(store)
    return changes.report


def _as_before(place: str | Path) -> Embedder:
    try:
        with open_store(place, create=False, read_only=True) as store:
            space = store.space
    except StoreError:  # there is none yet, or whoever opens it will hear why
        space = None
    return Embedder() if space is None else Embedder(space.model, **space.options)


class Cluster:
    """A Ray cluster that reads, cuts and embeds. Close it after use.

    Args:
        embedder: says which vectors; here it embeds nothing.
        address, concurrency, precision: as for :func:`index`.
        limits: of what a file may cost.

    Attributes:
        made: the embedder and the chunker of the store that what comes back is added to.

    Raises:
        MissingExtra: ``langbert[ray]`` is not installed.
        StoreError: there is no cluster at ``address``.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        address: str | None = None,
        concurrency: int | None = None,
        precision: str = "auto",
        limits: Limits | None = None,
    ) -> None:
        self.made = Made(embedder)
        self._ray = _ray("indexing on Ray", alone=address in (None, "local"))
        self._mine = not self._ray.is_initialized()
        if self._mine:
            _connect(self._ray, address)
        self._encoders = concurrency or _encoders(self._ray.cluster_resources())
        self._precision = precision
        self._limits = limits or Limits()

    def close(self) -> None:
        if self._mine:
            self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self, tasks: list[Task]) -> Iterator[tuple[int, Reading]]:
        """What became of each, in any order; ``made`` has the chunks and vectors of those that became documents."""
        if not tasks:
            return
        data = self._ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        space = self.made.space
        rows = [{"i": i, "task": json.dumps(task.to_json())} for i, task in enumerate(tasks)]
        read = data.from_items(rows, override_num_blocks=min(-(-len(rows) // _FILES), _MOST_BLOCKS)).map_batches(
            _Reader,
            fn_constructor_kwargs={"space": space, "limits": self._limits},
            batch_size=None,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=max(1, round(_READERS * self._encoders))),
            num_cpus=_CORES,
        )
        embedded = embed(
            read,
            model=space.model,
            column="texts",
            to="vectors",
            concurrency=self._encoders,
            batch_size=None,
            space=space,
            precision=self._precision,
            **space.options,
        )
        yield from map(self.made.taken, embedded.iter_rows())


class Made:
    """What others have cut and embedded, as the embedder and the chunker of the store that it is put into."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.space: EmbeddingSpace = embedder.space
        self.dimension: int = embedder.dimension
        self.fingerprint = chunking_key(Chunker.for_embedder(embedder))
        self._documents: dict[str, tuple[list[list[Any]], dict[str, NDArray[np.float32]]]] = {}  # by source
        self._vectors: dict[str, NDArray[np.float32]] = {}  # of the texts of documents that are being added

    def taken(self, row: Mapping[str, Any]) -> tuple[int, Reading]:
        """What came of a file, whose number is first; the chunks and vectors are kept until it is added."""
        reading = Reading.from_json(json.loads(row["reading"]))
        if reading.document is not None:
            vectors = dict(zip(map(str, row["texts"]), row["vectors"], strict=True))
            self._documents[reading.document.source] = json.loads(row["chunks"]), vectors
        return int(row["i"]), reading

    @property
    def waiting(self) -> int:
        """How many documents are not added yet."""
        return len(self._documents)

    def forget(self, batch: Batch) -> None:
        self._vectors.clear()
        for file in batch.files:
            self._documents.pop(file.source, None)

    def split(self, document: Document) -> list[Chunk]:
        chunks, vectors = self._documents[document.source]
        self._vectors.update(vectors)
        return [
            Chunk(
                document.id + end_of_id,
                document.id,
                document.text[start:end],
                start,
                page=page,
                headings=tuple(headings),
                source=document.source,
                metadata=document.metadata,
            )
            for end_of_id, start, end, page, headings in chunks
        ]

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        found = np.array([self._vectors[text] for text in texts], dtype=np.float32).reshape(-1, self.dimension)
        if progress is not None:
            progress(len(texts))
        return found

    @property
    def span_space(self) -> EmbeddingSpace:
        raise ValueError("late chunking reads a document as a whole, which the cluster does not: index it without Ray")

    def token_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return self._embedder.token_offsets(text)

    def room(self, role: Role = "document") -> int:
        return self._embedder.room(role)


class _Reader:
    """An actor: tasks → readings, as JSON, with the chunks of those that became documents."""

    def __init__(self, space: EmbeddingSpace, limits: Limits) -> None:
        self._workers = Workers(1, limits)  # a file that crashes its reader is not to crash the actor, time and again
        self._chunker = Chunker.for_embedder(Embedder(space.model, threads=1, **space.options))

    def close(self) -> None:
        self._workers.close()

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        tasks = [Task(**json.loads(task)) for task in batch["task"]]
        readings = read_in_order(((task, 0) for task in tasks), self._workers)
        for i, reading in zip(batch["i"], readings, strict=True):
            chunks = self._chunker.split(reading.document) if reading.document is not None else []
            cut = [
                [each.id.removeprefix(each.document_id), each.start, each.end, each.page, each.headings]
                for each in chunks
            ]
            yield {
                "i": [i],
                "reading": [json.dumps(reading.to_json())],
                "chunks": [json.dumps(cut)],
                "texts": [[each.contextual_text for each in chunks]],
            }


class _Encoder:
    """An actor: texts → vectors."""

    def __init__(self, model: str, column: str, to: str, role: Role, options: dict[str, Any]) -> None:
        given = {name: value for name, value in options.items() if name != "space"}
        self._embedder = Embedder(model, **given)
        self._column, self._to, self._role = column, to, role
        if "space" in options and (differences := options["space"].differences(self._embedder.space)):
            raise StoreMismatch(f"{model} is another one on this machine: {'; '.join(differences)}")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        texts = batch[self._column]
        if all(isinstance(text, str) for text in texts):
            return {**batch, self._to: self._embedder.embed(list(texts), self._role)}
        flat = [str(text) for row in texts for text in row]
        vectors = self._embedder.embed(flat, self._role) if flat else np.zeros((0, self._embedder.dimension))
        ends = np.cumsum([len(row) for row in texts])
        made = np.empty(len(texts), dtype=object)
        made[:] = np.split(vectors.astype(np.float32), ends[:-1])
        return {**batch, self._to: made}


def _ray(purpose: str, *, alone: bool = False) -> Any:
    """
    Args:
        alone: on this machine only. Ray listens on all of its addresses even so; nobody else has the token, which Ray
            reads when it is imported.
    """
    if alone and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what went wrong is said by exceptions
    try:
        import ray
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
    except ModuleNotFoundError as error:
        raise MissingExtra("ray", "ray", purpose) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """
    Raises:
        StoreError: there is no cluster.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None or address == "local":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ray.init("local", num_cpus=cores, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StoreError(
            f"there is no Ray cluster at {address} ({error}): start one with `ray start --head`"
        ) from error


def _encoders(cluster: Mapping[str, float]) -> int:
    return max(1, int(cluster.get("GPU", 0)) or int(cluster.get("CPU", 1)))
