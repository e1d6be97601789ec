"""Uploaded files: on disk for good before they are acknowledged, then read, cut, embedded and stored one by one.

A folder an upload, named by digests, so that no file name can lead anywhere::

    uploads/SCOPE/NAME-DIGEST/record.json          what counts: the name, which content, the metadata, who
    uploads/SCOPE/NAME-DIGEST/CONTENT-DIGEST.pdf   the bytes as they came

``record.json`` is replaced in one step after the bytes are safe, so an upload is there or it is not. What was not yet
stored when the server stopped, or was killed, is stored when it starts again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import queue
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from langbert import Document, LangbertError
from langbert.documents import Limits, Task, Workers, supported_suffixes
from langbert.errors import DocumentError
from langbert.files import install, private_folder, replacing, sync_folder

from .access import Forbidden, View
from .keys import Key

RESERVED = ("path", "format", "modified", "sha256", "remarks", "document_id", "source", "id", "page")
"""Metadata that reading a file makes, or that filters take for something else: an upload cannot set them."""

_LOG = logging.getLogger("langbert")
_BLOCK = 1 << 20
_LONGEST = 200  # characters of a name

State = Literal["queued", "indexed", "skipped"]


class Refused(ValueError):
    """An upload that is not taken, with the reason.

    Attributes:
        status: how HTTP says it.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A file somebody gave.

    Attributes:
        id: of the document it becomes.
        name: what it is called in citations.
        file: its bytes, in the folder of the upload.
        state: ``queued``, ``indexed``, or ``skipped`` for the ``reason``.
    """

    id: str
    name: str
    file: str
    sha256: str
    size: int
    by: str
    scope: str
    uploaded: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    state: State = "queued"
    reason: str = ""


class Uploads:
    """The uploads of a store, and the thread that puts them into it.

    Args:
        folder: made when the first file comes.
        most_bytes: of one file.
        limits: what reading a file may cost the process that does it.
    """

    def __init__(self, folder: Path, *, most_bytes: int, limits: Limits) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._workers = Workers(1, limits)
        self._queue: queue.Queue[tuple[View, Path, Future[Upload | None]] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()

    # --- taking ------------------------------------------------------------------------------------------------------

    def receive(
        self, key: Key, name: str | None, content: BinaryIO, metadata: Mapping[str, Any]
    ) -> tuple[Upload, Path]:
        """Put a file on disk for good; the record of it, and its folder. It is not in the store yet.

        Raises:
            Refused: its name, type, size or metadata.
            OSError: it cannot be written.
        """
        name = checked_name(name)
        stamped = {**checked_metadata(metadata), **checked_metadata(key.stamp())}
        folder = self.folder / key.scope / hashlib.sha256(name.encode()).hexdigest()[:24]
        document_id = f"up-{key.scope[:8]}-{folder.name}"
        if not key.sees(document_id, name, stamped):  # before anything takes the place of what is there
            raise Refused("this key would not see the document: give it metadata that match the key's filter", 403)
        folder.mkdir(parents=True, exist_ok=True)
        for made in (folder, folder.parent, self.folder, self.folder.parent):
            sync_folder(made)
        with private_folder(folder / "upload") as apart:
            fresh = apart / "content"
            fresh.touch(0o600)
            with fresh.open("wb") as file:
                digest, size = self._copied(content, file)
            stored = f"{digest[:32]}{PurePosixPath(name).suffix.lower()}"
            install(fresh, folder / stored)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        upload = Upload(document_id, name, stored, digest, size, key.name, key.scope, uploaded=now, metadata=stamped)
        self._write(folder, upload)
        return upload, folder

    def _copied(self, content: BinaryIO, file: Any) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        while block := content.read(_BLOCK):
            size += len(block)
            if size > self._most_bytes:
                raise Refused(f"the file has more than {self._most_bytes:,} bytes, which is the limit here", 413)
            digest.update(block)
            file.write(block)
        if not size:
            raise Refused("the file is empty")
        return digest.hexdigest(), size

    def _write(self, folder: Path, upload: Upload) -> None:
        """The record, in one step; then the bytes of former uploads under this name go."""
        with self._changing:
            with replacing(folder / "record.json") as fresh:
                fresh.write_text(json.dumps(asdict(upload), ensure_ascii=True), encoding="utf-8")
            for other in folder.iterdir():
                if other.name not in ("record.json", upload.file) and not other.name.startswith("."):
                    other.unlink(missing_ok=True)

    # --- looking up --------------------------------------------------------------------------------------------------

    def of(self, key: Key) -> Iterator[Upload]:
        """The uploads whose documents a key sees, or would see."""
        for folder in self._folders():
            upload = _record(folder)
            if upload is not None and key.sees(upload.id, upload.name, upload.metadata):
                yield upload

    def find(self, document_id: str) -> tuple[Upload, Path] | None:
        """The upload that a document came from, and its folder."""
        for folder in self._folders():
            if document_id.endswith(folder.name) and (upload := _record(folder)) and upload.id == document_id:
                return upload, folder
        return None

    def remove(self, document_id: str) -> None:
        """Forget an upload, its bytes too."""
        if found := self.find(document_id):
            with self._changing:
                (found[1] / "record.json").unlink(missing_ok=True)  # from here on it is not there
                shutil.rmtree(found[1], ignore_errors=True)

    def _folders(self) -> list[Path]:
        return [record.parent for record in sorted(self.folder.glob("*/*/record.json"))]

    # --- storing -----------------------------------------------------------------------------------------------------

    def start(self, view: View) -> None:
        """Begin to store what is queued, first what an earlier run left."""
        for folder in self._folders():
            if (upload := _record(folder)) and upload.state == "queued":
                self.enqueue(view, folder)
        self._thread = threading.Thread(target=self._work, name="langbert-uploads", daemon=True)
        self._thread.start()

    def enqueue(self, view: View, folder: Path) -> Future[Upload | None]:
        """Store an upload when its turn comes. What became of it; None where nothing did, yet or any more."""
        done: Future[Upload | None] = Future()
        self._queue.put((view, folder, done))
        return done

    def again(self, view: View, document_id: str) -> Upload | None:
        """Read an upload anew; None where the document is none."""
        if (found := self.find(document_id)) is None:
            return None
        upload = replace(found[0], state="queued", reason="")
        self._write(found[1], upload)
        self.enqueue(view, found[1])
        return upload

    def stop(self) -> None:
        """Finish the one that is being stored; the others wait on disk."""
        if self._thread is not None:
            with contextlib.suppress(queue.Empty):
                while (item := self._queue.get_nowait()) is not None:
                    item[2].set_result(None)
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._workers.close()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            view, folder, done = item
            try:
                done.set_result(self._store(view, folder))
            except Exception as error:  # it stays queued on disk, and the next one is not held up
                _LOG.exception("an upload could not be stored; it is tried again at the next start")
                done.set_exception(error)

    def _store(self, view: View, folder: Path) -> Upload | None:
        upload = _record(folder)
        if upload is None or upload.state != "queued":
            return None
        try:
            document = self._read(upload, folder)
            view.add(document)
        except (LangbertError, Forbidden) as error:
            if not isinstance(error, DocumentError):
                _LOG.warning("%s: %s", upload.name, error)
            done = replace(upload, state="skipped", reason=str(error))
        else:
            done = replace(upload, state="indexed", reason=str(document.metadata.get("remarks", "")))
        if _record(folder) == upload:  # not replaced or removed meanwhile
            self._write(folder, done)
            return done
        if _record(folder) is None and done.state == "indexed":
            view.delete(upload.id)
        return None

    def _read(self, upload: Upload, folder: Path) -> Document:
        """The document in an uploaded file, read by another process: who sends one need not mean well.

        Raises:
            DocumentError: there is none in it, or reading it crashes, or takes too long or too much memory.
        """
        reading = self._workers.submit(Task(str((folder / upload.file).absolute()), upload.name)).result()
        if reading.document is None:
            raise DocumentError(reading.reason)
        return as_uploaded(reading.document, upload)


def as_uploaded(document: Document, upload: Upload) -> Document:
    """What was read of an upload, under its own name, id and metadata."""
    metadata = {**document.metadata, **upload.metadata, "uploaded": upload.uploaded, "sha256": upload.sha256}
    return replace(document, id=upload.id, source=upload.name, metadata=metadata)


def checked_name(name: str | None) -> str:
    """A file's name without folders and control characters.

    Raises:
        Refused: nothing is left of it, or files of its type are not read.
    """
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    kept = (
        "".join(character for character in last if character.isprintable()).strip().encode("utf-8", "ignore").decode()
    )
    if not kept.strip(". "):
        raise Refused("the file has no name: send it as multipart/form-data with a filename")
    if len(kept) > _LONGEST:
        raise Refused(f"the file's name has {len(kept)} characters, expected at most {_LONGEST}")
    suffix = PurePosixPath(kept).suffix.lower()
    if suffix not in supported_suffixes():
        known = " ".join(each[1:] for each in supported_suffixes())
        raise Refused(f"{suffix or 'files without a suffix'}: not read here; read are {known}", 415)
    return kept


def checked_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What an upload says of itself, if it may.

    Raises:
        Refused: a name is reserved or no name, or a value is no text, number, bool, null or list of such.
    """
    for name, value in metadata.items():
        if name in RESERVED or name.startswith("$") or not name:
            raise Refused(
                f"metadata cannot be called {name!r}; reserved are {', '.join(RESERVED)} and what begins with $"
            )
        values = value if isinstance(value, list) else [value]
        if not all(part is None or isinstance(part, str | int | float | bool) for part in values):
            raise Refused(f"metadata {name!r} is {type(value).__name__}, expected a text, number, bool, null or a list")
    return dict(metadata)


def _record(folder: Path) -> Upload | None:
    try:
        return Upload(**json.loads((folder / "record.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
