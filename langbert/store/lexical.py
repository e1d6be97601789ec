"""The lexical index: BM25 by Tantivy, derived from the truth.

On disk it is shared: whoever searches and finds it behind may bring it up to date, one process at a time. Tantivy
commits atomically; the commit itself carries, as a document no question can find, the :class:`Mark` it stands for. A
reader that may not write, or whose disk is full, brings a private copy up to date instead. Segment files end in a
CRC-32 that is checked when the index is opened; whatever is damaged, incomplete or of another history is rebuilt.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tantivy import (
    Document,
    Index,
    IndexWriter,
    Occur,
    Query,
    Schema,
    SchemaBuilder,
    Searcher,
    TextAnalyzerBuilder,
    Tokenizer,
)

from ..errors import StoreCorrupt
from .analysis import (
    ANALYSIS_VERSION,
    asked_about,
    characters,
    identifiers,
    question_identifiers,
    spaced,
    terms,
    word_analyzer,
)
from .snapshot import Mark, Rows, Snapshot

__all__ = ["LexicalIndex"]

_LOG = logging.getLogger("langbert")

_BODY, _TITLE, _EXACT, _CHARACTERS = "body", "title", "exact", "characters"
# Measured on SQuAD (English) and CMRC 2018 (Chinese): nDCG@10 changes by < 0.003 between a third and three times these.
_BOOSTS = {_BODY: 1.0, _TITLE: 0.5, _EXACT: 1.0, _CHARACTERS: 0.5}
_MARKER = "marker"
_ROW = "row"
_MOST_TERMS = 256  # distinct terms of a question that are looked up, the first ones
_FEW_ROWS = 20_000  # allowed rows up to which they are part of the query; beyond, hits are sifted afterwards
_LOCK_SECONDS = 10.0


class _Unusable(Exception):
    """The files cannot be trusted or do not belong here; the message says why."""


@dataclass(frozen=True, slots=True)
class _State:
    """An open index at one of its commits."""

    index: Index
    searcher: Searcher
    mark: Mark


class LexicalIndex:
    """BM25 over chunk texts, their headings and sources, with stemming, CJK pairs and exact identifiers.

    Thread-safe; searches run beside each other.

    Args:
        folder: where the index lives; None keeps it in memory.
        read_only: never write to the folder.
    """

    def __init__(self, folder: Path | None, *, read_only: bool = False) -> None:
        self._folder = folder
        self._read_only = read_only
        self._schema = _schema()
        self._lock = threading.RLock()
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._state: _State | None = None

    @property
    def mark(self) -> Mark:
        return self._state.mark if self._state else Mark()

    def close(self) -> None:
        with self._lock:
            self._state = None
            if self._private is not None:
                self._private.cleanup()
                self._private = None

    # --- keeping up --------------------------------------------------------------------------------------------------

    def refresh(self, snapshot: Snapshot) -> None:
        """Absorbs what ``snapshot`` has and this has not; what is ahead of it stays."""
        if (seen := self._state) is not None and seen.mark.change >= snapshot.mark.change:
            return
        with self._lock:
            if self._state is not None and self._state.mark.change >= snapshot.mark.change:
                return
            if self._state is not None and not snapshot.knows(self._state.mark):
                self._state = None  # what it has not seen is not recorded any more
            if self._folder is None:
                self._state = self._absorbed_in_memory(self._state, snapshot)
                return
            with _held_open(self._folder):
                state = self._on_disk(snapshot)
                if state is None or state.mark.change < snapshot.mark.change:
                    state = self._catch_up_on_disk(snapshot)
                self._state = state or self._catch_up_privately(snapshot)

    def _on_disk(self, snapshot: Snapshot) -> _State | None:
        """The folder's index as it is now; None where there is none to trust."""
        try:
            return self._opened(snapshot) if self._state is None else _reopened(self._state.index)
        except _Unusable as reason:
            _LOG.info("the lexical index in %s is of no use: %s", self._folder, reason)
            self._state = None
            return None

    def _opened(self, snapshot: Snapshot) -> _State | None:
        folder = self._folder
        if folder is None or not (folder / "meta.json").exists():
            return None
        _check_segments(folder)
        with _tantivy_errors():
            state = _state_of(_with_analyzers(Index.open(str(folder))))
        if not snapshot.knows(state.mark):
            raise _Unusable("it belongs to another history")
        return state

    def _catch_up_on_disk(self, snapshot: Snapshot) -> _State | None:
        """None where the folder may not or cannot be written."""
        folder = self._folder
        if folder is None or (self._read_only and self._private is None):
            return None
        try:
            folder.parent.mkdir(folder.parent.parent.stat().st_mode & 0o777, exist_ok=True)
            with FileLock(folder.with_name(folder.name + ".lock"), timeout=_LOCK_SECONDS):
                state = self._on_disk(snapshot)  # somebody may have done the work while this one waited
                if state is None:
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    state = self._created(folder)
                _sweep(folder)
                return self._absorbed(state, snapshot)
        except Timeout:
            _LOG.info("another process is working on %s; searching a private copy", folder)
        except (OSError, _Unusable) as error:
            _LOG.warning("could not write %s (%s); searching a private copy", folder, error)
        return None

    def _catch_up_privately(self, snapshot: Snapshot) -> _State:
        """A copy of the folder's index, or an empty one, brought up to date where nobody else looks."""
        if self._private is None and self._folder is not None:
            self._private = tempfile.TemporaryDirectory(prefix="langbert-", ignore_cleanup_errors=True)
            source, self._folder = self._folder, Path(self._private.name) / "lexical"
            self._state = None
            try:
                self._folder.mkdir()
                for file in source.iterdir():
                    if file.suffix != ".lock":
                        shutil.copyfile(file, self._folder / file.name)  # contents only: the modes may forbid writing
            except OSError as error:  # none there yet, or its owner is changing it right now
                _LOG.debug("no copy of %s: %s", source, error)
            if state := self._catch_up_on_disk(snapshot):
                return state
        self._folder = None  # not even a temporary folder can be written
        return self._absorbed_in_memory(None, snapshot)

    def _absorbed_in_memory(self, state: _State | None, snapshot: Snapshot) -> _State:
        try:
            return self._absorbed(state or self._created(None), snapshot)
        except _Unusable as error:  # there is nowhere else to go: it is what should be indexed that is at fault
            raise StoreCorrupt(f"the words of the store cannot be indexed ({error}): run `langbert doctor`") from error

    def _created(self, folder: Path | None) -> _State:
        with _tantivy_errors():
            index = _with_analyzers(Index(self._schema, None if folder is None else str(folder), reuse=False))
            return _State(index, index.searcher(), Mark())

    def _absorbed(self, state: _State, snapshot: Snapshot) -> _State:
        """Everything up to ``snapshot`` in one Tantivy commit, its mark with it."""
        since = state.mark.change
        if since >= snapshot.mark.change:
            return state
        many = snapshot.count_since(since) > 4096
        with _tantivy_errors():
            writer = state.index.writer(128_000_000 if many else 15_000_000, 0 if many else 1)
        try:
            for row in snapshot.removed_since(since).tolist():
                with _tantivy_errors():
                    writer.delete_documents_by_term(_ROW, row)
            for row, text, headings, source in snapshot.texts_since(since):
                document = _document(row, text, headings, source)
                with _tantivy_errors():
                    writer.add_document(document)
            with _tantivy_errors():
                self._put_marker(writer, snapshot)
                writer.commit()
                writer.wait_merging_threads()
        except BaseException:
            with suppress(ValueError):
                writer.rollback()  # dropped without a commit, the writer leaves nothing behind
            raise
        return _reopened(state.index)

    def _put_marker(self, writer: IndexWriter, snapshot: Snapshot) -> None:
        writer.delete_documents_by_term(_MARKER, _MARKER)
        said = {
            "change": snapshot.mark.change,
            "token": snapshot.mark.token,
            "chunks": snapshot.n_chunks,
            "analysis": ANALYSIS_VERSION,
        }
        document = Document()
        document.add_text(_MARKER, _MARKER)
        document.add_text(_MARKER, json.dumps(said))
        writer.add_document(document)

    # --- searching ---------------------------------------------------------------------------------------------------

    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Rows, NDArray[np.float64]]:
        """The ``k`` best rows by BM25, best first, equal scores by row; only rows that share a term with the question.

        Args:
            rows: only these, ascending; as many come back as match, up to ``k``.
        """
        state = self._state
        query = self._query(question)
        if state is None or query is None or (rows is not None and len(rows) == 0):
            return np.empty(0, np.int64), np.empty(0, np.float64)
        if rows is not None and len(rows) <= _FEW_ROWS:
            # a score of 0 for being allowed leaves the order to the words
            allowed = Query.const_score_query(Query.term_set_query(self._schema, _ROW, rows.tolist()), 0.0)
            query = Query.boolean_query([(Occur.Must, allowed), (Occur.Must, query)])
            rows = None
        limit = k if rows is None else 4 * k
        while True:
            found, scores = _hits(state.searcher, query, limit)
            exhausted = len(found) < limit
            if rows is not None:
                kept = _contains(rows, found)
                found, scores = found[kept], scores[kept]
            if len(found) >= k or exhausted:
                break
            limit *= 8
        order = np.lexsort((found, -scores))[:k]
        return found[order], scores[order]

    def _query(self, question: str) -> Query | None:
        """The question's terms, any of which may match; nothing in it is syntax."""
        prepared = spaced(question)
        wanted = Counter[tuple[str, str]]()
        for term in terms(question):
            wanted[_BODY, term] += 1
            wanted[_TITLE, term] += 1
        wanted.update((_EXACT, name) for name in question_identifiers(prepared))
        single = characters(asked_about(question)) or characters(question)
        wanted.update((_CHARACTERS, character) for character in single.split())
        clauses = [
            (
                Occur.Should,
                Query.boost_query(
                    Query.term_query(self._schema, field, term, index_option="freq"), _BOOSTS[field] * count
                ),
            )
            for (field, term), count in list(wanted.items())[: 2 * _MOST_TERMS]
        ]
        return Query.boolean_query(clauses) if clauses else None


def _schema() -> Schema:
    builder = SchemaBuilder()
    builder.add_integer_field(_ROW, indexed=True, fast=True)  # signed: deleting by an unsigned term finds nothing
    builder.add_text_field(_BODY, tokenizer_name="words", index_option="position")
    builder.add_text_field(_TITLE, tokenizer_name="words", index_option="position")
    builder.add_text_field(_EXACT, tokenizer_name="blanks", index_option="freq")
    builder.add_text_field(_CHARACTERS, tokenizer_name="blanks", index_option="freq")
    builder.add_text_field(_MARKER, stored=True, tokenizer_name="raw", index_option="basic")
    return builder.build()


def _document(row: int, text: str, headings: str, source: str) -> Document:
    body, title = spaced(text), spaced(f"{headings}\n{source}")
    document = Document()
    document.add_integer(_ROW, row)
    document.add_text(_BODY, body)
    document.add_text(_TITLE, title)
    if names := identifiers(body) + identifiers(title):
        document.add_text(_EXACT, " ".join(names))
    if single := characters(text):
        document.add_text(_CHARACTERS, single)
    return document


def _hits(searcher: Searcher, query: Query, limit: int) -> tuple[Rows, NDArray[np.float64]]:
    hits = searcher.search(query, max(1, min(limit, searcher.num_docs)), count=False).hits
    rows = searcher.fast_field_values(_ROW, [address for _, address in hits])
    return np.array(rows, dtype=np.int64), np.array([score for score, _ in hits], dtype=np.float64)


def _contains(rows: Rows, wanted: Rows) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    return np.asarray(rows[places] == wanted, dtype=np.bool_)


@contextmanager
def _held_open(folder: Path) -> Iterator[None]:
    """Takes the slow part of letting go of files away from other threads.

    A searcher maps its files, which the next commit deletes; the file system frees them when the mapping goes, which
    can take a tenth of a second, and Python drops a searcher with every other thread at a stand. While the files are
    open here too, it is closing them that frees them, and that stops nobody.
    """
    handles: list[int] = []
    try:
        if os.name == "posix":  # elsewhere an open file cannot be deleted
            with suppress(OSError):  # somebody deletes them at this moment, or there is no folder yet
                for file in os.scandir(folder):
                    handles.append(os.open(file.path, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 - kept if one fails
        yield
    finally:
        for handle in handles:
            os.close(handle)


# --- trusting what is on disk ----------------------------------------------------------------------------------------


def _with_analyzers(index: Index) -> Index:
    index.register_tokenizer("words", word_analyzer())
    index.register_tokenizer("blanks", TextAnalyzerBuilder(Tokenizer.whitespace()).build())
    return index


def _reopened(index: Index) -> _State:
    with _tantivy_errors():
        index.reload()
        return _state_of(index)


def _state_of(index: Index) -> _State:
    """The last commit of ``index``.

    Raises:
        _Unusable: it does not carry the marker of a whole index of this version.
    """
    searcher = index.searcher()
    hits = searcher.search(Query.term_query(index.schema, _MARKER, _MARKER, index_option="basic"), 2).hits
    if len(hits) != 1:
        raise _Unusable("its commit does not say what it stands for")
    said = json.loads(searcher.doc(hits[0][1]).get_all(_MARKER)[1])
    if said["analysis"] != ANALYSIS_VERSION:
        raise _Unusable(f"it was made by analysis version {said['analysis']}")
    if searcher.num_docs != said["chunks"] + 1:
        raise _Unusable(f"it holds {searcher.num_docs - 1} chunks, its commit says {said['chunks']}")
    return _State(index, searcher, Mark(said["change"], said["token"]))


_FOOTER = struct.Struct("<II")
_FOOTER_MAGIC = 1337
_SEGMENT_FILES = ("idx", "pos", "term", "fast", "fieldnorm", "store")


def _check_segments(folder: Path) -> None:
    """Compares every file that ``meta.json`` names with the CRC-32 in its footer.

    Raises:
        _Unusable: one is missing, cut off or changed.
    """
    try:
        segments = json.loads((folder / "meta.json").read_bytes())["segments"]
        for segment in segments:
            name = segment["segment_id"].replace("-", "")
            for ending in _SEGMENT_FILES:
                _check_footer(folder / f"{name}.{ending}")
            if segment["deletes"]:
                _check_footer(folder / f"{name}.{segment['deletes']['opstamp']}.del")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise _Unusable(str(error)) from error


def _sweep(folder: Path) -> None:
    """Removes the lists of deletions that a killed writer left without committing them: Tantivy would give the next
    writer's the same name, and refuse. Under the lock, so nobody is writing one."""
    try:
        segments = json.loads((folder / "meta.json").read_bytes())["segments"]
    except FileNotFoundError:  # nothing has been committed yet
        return
    deletes = [(segment["segment_id"].replace("-", ""), segment["deletes"]) for segment in segments]
    committed = {f"{name}.{found['opstamp']}.del" for name, found in deletes if found}
    for file in folder.glob("*.del"):
        if file.name not in committed:
            file.unlink()


def _check_footer(file: Path) -> None:
    """Tantivy's layout: content, JSON with its CRC-32, length of the JSON, magic."""
    content = memoryview(file.read_bytes())
    length, magic = _FOOTER.unpack(content[-_FOOTER.size :])
    end = len(content) - _FOOTER.size - length
    if magic != _FOOTER_MAGIC or end < 0:
        raise _Unusable(f"{file.name} is cut off")
    if zlib.crc32(content[:end]) != json.loads(bytes(content[end : -_FOOTER.size]))["crc"]:
        raise _Unusable(f"{file.name} fails its checksum")


@contextmanager
def _tantivy_errors() -> Iterator[None]:
    """Whatever Tantivy raises over damaged files or a full disk, its panics too, as :class:`_Unusable`."""
    try:
        yield
    except (_Unusable, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise _Unusable(str(error)) from error
    except BaseException as error:  # pyo3's PanicException is not an Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _Unusable(str(error)) from error
