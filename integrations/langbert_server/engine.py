"""What a server holds: the store and the models, loaded in the background while it answers that they are coming."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langbert import LangbertError
from langbert.documents import Workers
from langbert.errors import ModelError

from .access import View
from .audit import AuditLog
from .batching import Embeddings, Gate
from .keys import EVERYBODY, Key, Keys
from .settings import Settings
from .uploads import Uploads

if TYPE_CHECKING:
    from langbert import Rag, Reranker, StoreLike
    from langbert.records import GeneratorLike

_LOG = logging.getLogger("langbert")
_LOOKING = 20.0  # seconds that somebody waits for a page
_SMALL_DECODER = "smollm2-135m-instruct"


class NotReady(Exception):
    """The models are not loaded yet, or cannot be."""


@dataclass(frozen=True)
class Loaded:
    """The store and everything over it."""

    store: StoreLike
    rag: Rag
    uploads: Uploads
    embeddings: Embeddings | None
    pages: Workers
    """Who draws pages of PDFs and finds quotes on them: other processes, as strangers made the files."""


class Engine:
    """Opens the store and loads the models in a thread of its own.

    Args:
        store: the store, or what opens it (loading the embedder takes seconds).
        keys: None lets everybody do everything.
        generator: what writes answers, as for :class:`langbert.Rag`; loaded when it is needed.
        offline: touch no network to find a model.
        uploads: whether to take files, and store what an earlier run left.
    """

    def __init__(
        self,
        store: StoreLike | Callable[[], StoreLike],
        *,
        keys: Keys | None,
        settings: Settings,
        generator: GeneratorLike | str | None = None,
        offline: bool | None = None,
        uploads: bool = True,
    ) -> None:
        self._uploads = uploads
        self.settings = settings
        self.keys = keys
        self.audit = AuditLog(settings.audit_log)
        name = generator if isinstance(generator, str) else getattr(generator, "name", None)
        self.generator_name = name or _SMALL_DECODER
        self.gate = Gate(settings.asking, settings.waiting)
        self.began = time.time()
        self._open = store if callable(store) else lambda: store
        self._owns = callable(store)
        self._generator = generator
        self._offline = offline
        self._loaded: Loaded | None = None
        self._error: Exception | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._reranker: Reranker | None = None
        self._making = threading.Lock()

    @property
    def ready(self) -> bool:
        return self._loaded is not None

    @property
    def error(self) -> Exception | None:
        """Why it will never be ready."""
        return self._error

    @property
    def state(self) -> Literal["loading", "ready", "failed"]:
        """How far it is."""
        return "failed" if self._error else "ready" if self.ready else "loading"

    def start(self) -> None:
        """Begin to load."""
        self._thread = threading.Thread(target=self._load, name="langbert-loading", daemon=True)
        self._thread.start()

    def _load(self) -> None:
        try:
            store = self._open()
            folder = self.settings.uploads or _beside(store)
            uploads = Uploads(folder, most_bytes=self.settings.upload_bytes, limits=self.settings.file_limits)
            embeddings = None
            if store.embedder is not None:
                store.embedder.embed(["the first text is slower than the others"])
                embeddings = Embeddings(
                    store.embedder,
                    batch_tokens=self.settings.batch_tokens,
                    queued_tokens=self.settings.queued_tokens,
                )
            from langbert import Rag  # with torch, which nothing needs before

            rag = Rag(store, generator=self._generator, offline=self._offline)
            loaded = Loaded(
                store, rag, uploads, embeddings, Workers(1, replace(self.settings.file_limits, seconds=_LOOKING))
            )
            if self._uploads and not store.read_only:
                uploads.start(View(store, loaded.rag, EVERYBODY, self.audit))
        except Exception as error:
            _LOG.error("the store cannot be served: %s", error, exc_info=not isinstance(error, LangbertError))
            self._error = error
            self._done.set()
            return
        self._loaded = loaded
        self._done.set()
        self._warm(loaded.rag)

    def _warm(self, rag: Rag) -> None:
        """Load what the first question would load."""
        try:
            for load in (rag.retriever_for, rag.reader_for, lambda _: rag.generator):
                if self._stopping:
                    return
                load("Who wrote it?")
        except ModelError as error:
            _LOG.warning("%s", error)
        except Exception:  # the first question that needs it will say so to whoever asks
            _LOG.exception("a model could not be loaded")

    async def loaded(self) -> Loaded:
        """The store and what is over it, waited for.

        Raises:
            NotReady: it takes longer than ``start_seconds``, or failed.
        """
        if self._loaded is None:
            until = time.monotonic() + self.settings.start_seconds
            while not self._done.is_set() and time.monotonic() < until:
                await asyncio.sleep(0.05)
        if self._loaded is None:
            raise NotReady(
                f"the store cannot be served: {self._error}" if self._error else "the models are still being loaded"
            )
        return self._loaded

    async def view(self, key: Key) -> View:
        """The store as a key sees it."""
        loaded = await self.loaded()
        return View(loaded.store, loaded.rag, key, self.audit)

    def reranker(self) -> Reranker:
        """The shipped reranker, loaded when it is first asked for."""
        from langbert import Reranker

        with self._making:
            if self._reranker is None:
                self._reranker = Reranker(offline=self._offline)
            return self._reranker

    async def generator(self) -> GeneratorLike:
        """What writes, loaded if it is not yet."""
        rag = (await self.loaded()).rag

        def generator() -> Any:
            with self._making:
                return rag.generator

        made: GeneratorLike = await asyncio.to_thread(generator)
        return made

    def stop(self) -> None:
        """Finish what is being stored and close a store that was opened here."""
        self._stopping = True
        if self._thread is not None:  # an interpreter that ends while torch loads is aborted
            self._thread.join()
        if self._loaded is not None:
            self._loaded.uploads.stop()
            if self.settings.uploads is None and self._loaded.store.path is None:
                with suppress(OSError):  # a folder that holds what is not stored yet stays
                    self._loaded.uploads.folder.rmdir()
            self._loaded.pages.close()
            if self._owns:
                self._loaded.store.close()


def _beside(store: StoreLike) -> Path:
    if store.path is None:
        import tempfile

        return Path(tempfile.mkdtemp(prefix="langbert-uploads-"))
    folder = store.path.absolute()
    return folder.with_name(f"{folder.name}-uploads")
