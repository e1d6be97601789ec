"""The lexical index: BM25 by Tantivy, derived from the database.

On disk it is shared: whoever searches and finds it behind may bring it up to date, one process at a time. Tantivy
commits atomically; the commit itself carries, as a document no question can find, the :class:`Mark` it stands for. A
reader that may not write, or whose disk is full, brings a private copy up to date instead. Segment files end in a
CRC-32 that is checked when the index is opened; whatever is damaged, incomplete or of another history is rebuilt.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from tantivy import (
    Document,
    FieldType,
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

from ..errors import StoreCorrupt, is_fault
from ..text.terms import ANALYSIS_VERSION, word_analyzer
from .lexical_files import Unusable, check_segments, held_open, sweep_deletions
from .postings import Rows
from .snapshot import Mark, Snapshot
from .words import BODY, CHARACTERS, EXACT, TITLE, Held, chunk_fields, question_words

_LOG = logging.getLogger("langbert")

_ROW, _MARKER = "row", "marker"
_LOCK_SECONDS = 10.0
_NAMED = 1000  # allowed rows up to which naming each is quicker than a set
_SET = 20_000  # allowed rows up to which a set of them is quicker than reading ever deeper
_DEEPEST = 25_000  # hits that are read quicker than a set


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

    Attributes:
        distrusted: why the folder was last not used as it was, in words; empty where it was.
    """

    def __init__(self, folder: Path | None, *, read_only: bool = False) -> None:
        self.distrusted = ""
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

    def refresh(self, snapshot: Snapshot, *, wait: bool = True) -> None:
        """Absorbs what ``snapshot`` has and this has not; what is ahead of it stays.

        Args:
            wait: False leaves it to another process, if one is at it.
        """
        if self.mark.change >= snapshot.mark.change:
            return
        with self._lock:
            if self.mark.change >= snapshot.mark.change:
                return
            if self._state is not None and not snapshot.knows(self._state.mark):
                self._state = None  # what it has not seen is not recorded any more
            if self._folder is None:
                self._state = self._absorbed_in_memory(self._state, snapshot)
                return
            with held_open(self._folder):
                state = self._on_disk(snapshot)
                if state is None or state.mark.change < snapshot.mark.change:
                    state = self._catch_up_on_disk(snapshot, _LOCK_SECONDS if wait else 0)
                if state is not None or wait:
                    self._state = state or self._catch_up_privately(snapshot)

    def _on_disk(self, snapshot: Snapshot) -> _State | None:
        """The folder's index as it is now; None where there is none to trust."""
        try:
            return self._opened(snapshot) if self._state is None else _reopened(self._state.index)
        except Unusable as reason:
            self.distrusted = str(reason)
            _LOG.info("the lexical index in %s is of no use: %s", self._folder, reason)
            self._state = None
            return None

    def _opened(self, snapshot: Snapshot) -> _State | None:
        folder = self._folder
        if folder is None or not (folder / "meta.json").exists():
            return None
        check_segments(folder)
        with _tantivy_errors():
            index = _with_analyzers(Index.open(str(folder)))
            if index.schema != self._schema:
                raise Unusable("its fields are others than those of this version")
            state = _state_of(index)
        if not snapshot.knows(state.mark):
            raise Unusable("it belongs to another history")
        return state

    def _catch_up_on_disk(self, snapshot: Snapshot, seconds: float = _LOCK_SECONDS) -> _State | None:
        """None where the folder may not or cannot be written, or another process has been at it for ``seconds``."""
        folder = self._folder
        if folder is None or (self._read_only and self._private is None):
            return None
        try:
            folder.parent.mkdir(folder.parent.parent.stat().st_mode & 0o777, exist_ok=True)
            with FileLock(folder.with_name(folder.name + ".lock"), timeout=seconds):
                state = self._on_disk(snapshot)  # somebody may have done the work while this one waited
                if state is None:
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir()
                    state = self._created(folder)
                sweep_deletions(folder)
                return self._absorbed(state, snapshot)
        except Timeout:
            _LOG.info("another process is working on %s", folder)
        except (OSError, Unusable) as error:
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
        except Unusable as error:  # there is nowhere else to go: it is what should be indexed that is at fault
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

    def search(
        self, question: str, k: int, rows: Rows | None = None, held: Held | None = None
    ) -> tuple[Rows, NDArray[np.float64]]:
        """The ``k`` best rows by BM25, best first, equal scores by row; only rows that share a term with the question.

        Args:
            rows: only these, ascending; as many come back as match, up to ``k``.
            held: which chunks tell how rare a word is, where they are more than those of this index.
        """
        state, terms_of_question = self._state, question_words(question)
        if state is None or not terms_of_question or (rows is not None and len(rows) == 0):
            return np.empty(0, np.int64), np.empty(0, np.float64)
        if held is not None:  # Tantivy weighs by what it holds itself
            rarity, own = held.rarity(terms_of_question), self.held(question).rarity(terms_of_question)
            terms_of_question = {word: weight * rarity[word] / own[word] for word, weight in terms_of_question.items()}
        query = self._any_of(terms_of_question)
        try:
            with _tantivy_errors():
                found, scores = _best(state, query, k) if rows is None else self._best_of(state, query, k, rows)
        except Unusable as error:
            raise StoreCorrupt(f"the lexical index cannot be searched ({error}): run `langbert doctor`") from error
        order = np.lexsort((found, -scores))[:k]
        return found[order], scores[order]

    def _any_of(self, terms_of_question: Mapping[tuple[str, str], float]) -> Query:
        def weighted(field: str, term: str, weight: float) -> Query:
            return Query.boost_query(Query.term_query(self._schema, field, term, index_option="freq"), weight)

        each = [(Occur.Should, weighted(field, term, weight)) for (field, term), weight in terms_of_question.items()]
        return Query.boolean_query(each)

    def _best_of(self, state: _State, query: Query, k: int, rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Of ``rows`` only. Few are named in the query; of many, a ranking so deep that it is likely to hold ``k`` of
        them is sifted, and one deeper still where it does not."""
        limit = (k + k // 2 + 16) * state.searcher.num_docs // len(rows)
        few = len(rows) <= _SET
        if len(rows) <= _NAMED or (few and limit > _DEEPEST):
            return self._best_named(state, query, k, rows)
        while True:
            found, scores = _best(state, query, limit)
            kept = np.isin(found, rows)
            if np.count_nonzero(kept) >= k or len(found) < limit:
                return found[kept], scores[kept]
            if few:
                return self._best_named(state, query, k, rows)
            limit *= 8

    def _best_named(self, state: _State, query: Query, k: int, rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
        if len(rows) <= _NAMED:
            each = [Query.term_query(self._schema, _ROW, row, index_option="basic") for row in rows.tolist()]
            named = Query.boolean_query([(Occur.Should, one) for one in each])
        else:
            named = Query.term_set_query(self._schema, _ROW, rows.tolist())
        # a score of 0 for being named leaves the order to the words
        both = [(Occur.Must, Query.const_score_query(named, 0.0)), (Occur.Must, query)]
        return _best(state, Query.boolean_query(both), k)

    def held(self, question: str) -> Held:
        """How many chunks there are, and how many of them hold each word of the question."""
        state = self._state
        if state is None:
            return Held(0, {})
        searcher = state.searcher
        return Held(searcher.num_docs, {word: searcher.doc_freq(*word) for word in question_words(question)})

    def full_score(self, question: str) -> float:
        """The BM25 score of a passage of average length that holds each of the question's words once; 0 where there is
        nothing to look up, or nothing to find it in. A word that no passage holds counts most."""
        return self.held(question).full_score(question)

    def has_terms(self, question: str) -> bool:
        """Whether there is anything to look up in it."""
        return bool(question_words(question))

    def rows(self) -> Rows:
        """All rows, ascending; reads them all."""
        state = self._state
        if state is None:
            return np.empty(0, dtype=np.int64)
        everything = Query.range_query(self._schema, _ROW, FieldType.Integer, 0, 2**62)
        hits = state.searcher.search(everything, max(1, state.searcher.num_docs), count=False).hits
        found = state.searcher.fast_field_values(_ROW, [address for _, address in hits])
        return np.sort(np.array(found, dtype=np.int64))


def _best(state: _State, query: Query, limit: int) -> tuple[Rows, NDArray[np.float64]]:
    """The best rows and their scores; which of equal ones, is open."""
    hits = state.searcher.search(query, max(1, min(limit, state.searcher.num_docs)), count=False).hits
    rows = state.searcher.fast_field_values(_ROW, [address for _, address in hits])
    return np.array(rows, dtype=np.int64), np.array([score for score, _ in hits], dtype=np.float64)


def _schema() -> Schema:
    builder = SchemaBuilder()
    builder.add_integer_field(_ROW, indexed=True, fast=True)  # signed: deleting by an unsigned term finds nothing
    builder.add_text_field(BODY, tokenizer_name="words", index_option="position")
    builder.add_text_field(TITLE, tokenizer_name="words", index_option="position")
    builder.add_text_field(EXACT, tokenizer_name="blanks", index_option="freq")
    builder.add_text_field(CHARACTERS, tokenizer_name="blanks", index_option="freq")
    builder.add_text_field(_MARKER, stored=True, tokenizer_name="raw", index_option="basic")
    return builder.build()


def _document(row: int, text: str, headings: str, source: str) -> Document:
    document = Document()
    document.add_integer(_ROW, row)
    for field, parts in chunk_fields(text, headings, source).items():
        for part in parts:
            document.add_text(field, part)
    return document


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
        Unusable: it does not carry the marker of a whole index of this version.
    """
    searcher = index.searcher()
    marker = Query.term_query(index.schema, _MARKER, _MARKER, index_option="basic")
    hits = searcher.search(marker, 2).hits
    if len(hits) != 1:
        raise Unusable("its commit does not say what it stands for")
    said = json.loads(searcher.doc(hits[0][1]).get_all(_MARKER)[1])
    if said["analysis"] != ANALYSIS_VERSION:
        raise Unusable(f"it was made by analysis version {said['analysis']}")
    if searcher.num_docs != said["chunks"] + 1:
        raise Unusable(f"it holds {searcher.num_docs - 1} chunks, its commit says {said['chunks']}")
    return _State(index, searcher, Mark(said["change"], said["token"]))


@contextmanager
def _tantivy_errors() -> Iterator[None]:
    """Whatever Tantivy raises over damaged files or a full disk, its panics too, as :class:`Unusable`."""
    try:
        yield
    except Unusable:
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        raise Unusable(str(error)) from error
