"""Saving what can be saved of a damaged store into a new one beside it; the damaged one is never written to.

Only what proves to be what was stored is taken over: documents and chunks whose hashes fit, vectors whose checksums
fit. A chunk with a damaged text is restored from its document where that is whole. What is lost is named.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...documents import Picture
from ...errors import StoreCorrupt, StoreError
from ...records import EmbeddingSpace
from .. import pictures
from ..checks import STORE_FILE
from ..encoding import CHUNK_COLUMNS, DOCUMENT_COLUMNS, DocumentRow, Vector, encode_chunk
from ..snapshot import Snapshot, StoredChunk, StoredText
from ..store import Store
from .copying import Watch, blocks_of, new_store, unwatched
from .scanning import UNREADABLE, Table, is_sound_vector, label, sound_chunk, sound_document

_NAMED = 1000
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT = CHUNK_COLUMNS.split(", ").index("text")


@dataclass(slots=True)
class Rescue:
    """What was saved, and what was not.

    Attributes:
        path: the new store.
        lost_documents: ids (or rows) of documents whose text is damaged.
        lost_chunks: ids (or rows) of chunks whose text, or vector, is damaged. Where their document was saved, adding
            it again cuts and embeds it again.
        lost_pictures: ids (or rows) of those that are damaged, or whose document is lost.
        restored: chunks whose damaged text could be taken from their document.
        remarks: what else could not be read.
    """

    path: Path
    documents: int = 0
    chunks: int = 0
    restored: int = 0
    pictures: int = 0
    lost_documents: list[str] = field(default_factory=list)
    lost_chunks: list[str] = field(default_factory=list)
    lost_pictures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that ``langbert doctor --repair --json`` prints."""
        said = asdict(self)
        lost = {name: names[:_NAMED] for name, names in said.items() if name.startswith("lost_")}
        return {**said, **lost, "path": str(self.path)}


def rescue(folder: str | Path, target: str | Path | None = None, *, watch: Watch | None = None) -> Rescue:
    """Writes a new store from what can still be read of the one in ``folder``.

    Args:
        target: where; by default beside it, ``my-index-rescued``.

    Raises:
        StoreCorrupt: not even the tables can be found.
        StoreError: ``target`` cannot be written.
    """
    folder = Path(folder)
    result = Rescue(_free_place(folder) if target is None else Path(target))
    sql = _raw_connection(folder / STORE_FILE)
    try:
        _Salvage(sql, result, watch or unwatched).run()
    except sqlite3.Error as error:
        raise StoreCorrupt(
            f"{folder / STORE_FILE} cannot be read at all ({error}): restore it from a backup, or index again"
        ) from error
    finally:
        sql.close()
    return result


def _free_place(folder: Path) -> Path:
    whole = folder.absolute()
    place, number = whole.with_name(f"{whole.name}-rescued"), 2
    while place.exists():
        place, number = whole.with_name(f"{whole.name}-rescued-{number}"), number + 1
    return place


def _raw_connection(file: Path) -> sqlite3.Connection:
    """Without the checks that a store has to pass to be opened."""
    sql = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30, isolation_level=None)
    sql.execute("PRAGMA trusted_schema = OFF")
    sql.execute("PRAGMA cell_size_check = ON")
    sql.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return sql


class _Salvage:
    def __init__(self, sql: sqlite3.Connection, result: Rescue, tell: Watch) -> None:
        self._sql = sql
        self._result = result
        self._tell = tell
        last = self._value("SELECT max(change) FROM commits")
        self._most = last if isinstance(last, int) else 0
        self._expected = {name: self._meta(name) for name in ("documents", "chunks")}

    def run(self) -> None:
        self._sql.execute("BEGIN")
        self._sql.execute("SELECT count(*) FROM sqlite_master").fetchone()  # not even that: there is nothing to save
        try:
            dimension, space = self._dimension(), self._space("space", "the vectors")
            with new_store(self._result.path) as store:
                self._save_documents(store)
                self._save_chunks(store, dimension)
                with store.transaction() as transaction:
                    transaction.set_space(dimension, space)
                    transaction.forget_chunking(self._incomplete)
                self._save_ledger(store)
                self._save_pictures(store)
                self._tell("indexes", 0, 1)
            self._tell("indexes", 1, 1)
        finally:
            self._sql.execute("ROLLBACK")
        for name, saved, lost in (
            ("documents", self._result.documents, self._result.lost_documents),
            ("chunks", self._result.chunks, self._result.lost_chunks),
        ):
            expected = self._expected[name]
            if isinstance(expected, int) and expected > saved + len(lost):
                self._result.remarks.append(f"{expected - saved - len(lost)} {name} left no trace, not even an id")

    # --- about the store ---------------------------------------------------------------------------------------------

    def _value(self, query: str) -> Any:
        with suppress(sqlite3.Error):
            row = self._sql.execute(query).fetchone()
            return row[0] if row else None
        return None

    def _meta(self, key: str) -> Any:
        return self._value(f"SELECT value FROM meta WHERE key = '{key}'")  # noqa: S608

    def _dimension(self) -> int | None:
        """What meta says, or else what most vectors have."""
        said = self._meta("dimension")
        if isinstance(said, int) and said > 0:
            return said
        lengths = Counter[int]()
        for _, length in Table(self._sql, "vectors", "length(vector)", self._most).rows():
            if isinstance(length, int) and length and length % 4 == 0:
                lengths[length] += 1
        return lengths.most_common(1)[0][0] // 4 if lengths else None

    def _space(self, key: str, of: str) -> EmbeddingSpace | None:
        said = self._meta(key)
        try:
            return None if said is None else EmbeddingSpace(**json.loads(said))
        except UNREADABLE:
            self._result.remarks.append(f"which model made {of} can no longer be read")
            return None

    # --- what it holds -----------------------------------------------------------------------------------------------

    def _save_documents(self, store: Store) -> None:
        for block in blocks_of(self._documents(), 64):
            with store.transaction() as transaction:
                for row, chunking in block:
                    transaction.put_document(row, chunking)
            self._result.documents += len(block)
            self._tell("documents", self._result.documents, self._total("documents", self._result.documents))

    def _documents(self) -> Iterator[StoredText]:
        table = Table(self._sql, "documents", f"{DOCUMENT_COLUMNS}, content_hash, chunking")
        seen: set[str] = set()
        for row_id, *columns, content_hash, chunking in table.rows():
            if sound_document((*columns, content_hash)) or columns[0] in seen:
                self._result.lost_documents.append(label(columns[0], row_id))
                continue
            seen.add(columns[0])
            known = chunking if isinstance(chunking, str) and _is_unicode(chunking) else ""
            yield DocumentRow(columns[0], tuple(columns), content_hash), known
        self._result.remarks += [f"table documents: {problem}" for problem in table.problems]

    def _save_chunks(self, store: Store, dimension: int | None) -> None:
        self._seen: set[str] = set()
        self._incomplete: set[str] = set()  # documents of which a chunk is lost
        columns = f"{CHUNK_COLUMNS}, record_hash, index_hash, embedded_hash"
        table = Table(self._sql, "chunks", columns, self._most)
        for block in blocks_of(table.rows()):
            kept = [chunk for row in block if (chunk := self._chunk(store, row, dimension)) is not None]
            with store.transaction() as transaction:
                transaction.insert_chunks(kept)
            self._result.chunks += len(kept)
            self._tell("chunks", self._result.chunks, self._total("chunks", self._result.chunks))
        self._result.remarks += [f"table chunks: {problem}" for problem in table.problems]
        expected = self._expected["chunks"]
        if table.problems or self._result.chunks != expected:  # any document may lack one
            with store.snapshot() as snapshot:
                self._incomplete.update(snapshot.document_ids())

    def _chunk(self, store: Store, row: Sequence[Any], dimension: int | None) -> StoredChunk | None:
        row_id, *columns, embedded_hash = row
        chunk = sound_chunk(columns)[0]
        if chunk is None and (text := self._text_from_document(store, columns)) is not None:
            columns[_TEXT] = text
            chunk = sound_chunk(columns)[0]
            self._result.restored += chunk is not None
        vector = None if dimension is None else self._vector(row_id, dimension)
        lost = chunk is None or chunk.id in self._seen or not isinstance(embedded_hash, bytes)
        if chunk is None or lost or (dimension is not None and vector is None):
            self._result.lost_chunks.append(label(columns[0], row_id))
            if isinstance(columns[1], str):
                self._incomplete.add(columns[1].encode("utf-8", "replace").decode())
            return None
        self._seen.add(chunk.id)
        return replace(encode_chunk(chunk), embedded_hash=embedded_hash), vector

    def _text_from_document(self, store: Store, columns: Sequence[Any]) -> str | None:
        """What stands in the saved document where the chunk's text stood, if its length can be told."""
        _, document_id, text, start = columns[:4]
        if not (isinstance(document_id, str) and isinstance(text, str) and isinstance(start, int)):
            return None
        if not _is_unicode(document_id) or (document := store.document(document_id)) is None or start < 0:
            return None
        for length in (len(text), len(text) - 1, len(text) + 1, len(text) - 2, len(text) - 3):
            found = document.text[start : start + length]
            if length > 0 and sound_chunk([*columns[:_TEXT], found, *columns[_TEXT + 1 :]])[0] is not None:
                return found
        return None

    def _vector(self, row_id: int, dimension: int) -> Vector | None:
        query = "SELECT vector, checksum FROM vectors WHERE row_id = ?"
        try:
            blob, checksum = self._sql.execute(query, (row_id,)).fetchone()
        except (sqlite3.Error, TypeError):
            return None
        return (blob, checksum) if is_sound_vector(blob, checksum) and len(blob) == 4 * dimension else None

    def _save_ledger(self, store: Store) -> None:
        try:
            rows = list(Snapshot(self._sql).ledger_entries())
        except (sqlite3.Error, *UNREADABLE) as error:
            self._result.remarks.append(f"the ledger cannot be read ({error}): outside sources will be indexed again")
            return
        lost = set(self._result.lost_chunks)
        with store.transaction() as transaction:
            transaction.put_ledger(row for row in rows if _is_ledger(row) and row[1] not in lost)

    def _save_pictures(self, store: Store) -> None:
        """Those that are whole; whoever reads the files again takes the others again."""
        if self._value("SELECT 1 FROM sqlite_master WHERE name = 'pictures'") is None:
            return
        if (space := self._space(pictures.SPACE, "the vectors of the pictures")) is None:
            self._result.remarks.append("pictures are not saved: `langbert index --image-embedder` takes them again")
            return
        table = Table(self._sql, "pictures", f"{pictures.COLUMNS}, content_hash, vector, checksum", self._most)
        size = 0  # of a vector, as the first that is whole has it
        for row_id, *columns, content_hash, vector, checksum in table.rows():
            with store.snapshot() as snapshot:
                now = snapshot.document_states([columns[1]]) if _is_text(columns[1]) else {}
            if now and now[columns[1]][0] != content_hash:  # the document is another since
                continue
            is_whole = is_sound_vector(vector, checksum) and len(vector) == (size or len(vector))
            if not (now and is_whole and _is_png(columns[2]) and self._put_picture(store, columns, vector, checksum)):
                self._result.lost_pictures.append(label(columns[0], row_id))
                continue
            size = len(vector)
            self._result.pictures += 1
        self._result.remarks += [f"table pictures: {problem}" for problem in table.problems]
        if self._result.pictures:
            with store.transaction() as transaction:
                pictures.set_space(transaction, space)

    def _put_picture(self, store: Store, columns: Sequence[Any], vector: bytes, checksum: int) -> bool:
        """Whether it fits its document, in which it is now."""
        try:
            with store.transaction() as transaction:
                pictures.put(transaction, [(Picture(*columns), (vector, checksum))])
        except (StoreError, sqlite3.Error, *UNREADABLE):
            return False
        return True

    def _total(self, name: str, done: int) -> int:
        expected = self._expected[name]
        return max(expected, done) if isinstance(expected, int) else done


def _is_ledger(row: Sequence[Any]) -> bool:
    namespace, key, group, at = row
    texts = (namespace, key, "" if group is None else group)
    return isinstance(at, float) and all(isinstance(text, str) and _is_unicode(text) for text in texts)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _is_unicode(value)


def _is_png(data: object) -> bool:
    """Whether every chunk of a PNG fits its checksum."""
    if not isinstance(data, bytes) or not data.startswith(_PNG):
        return False
    at, name = len(_PNG), b""
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name, end = data[at + 4 : at + 8], at + 8 + length
        if zlib.crc32(data[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        at = end + 4
    return name == b"IEND"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
