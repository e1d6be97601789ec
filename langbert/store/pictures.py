"""The pictures of a store's documents, and a second vector space, in which words and pictures lie together.

They are rows of the same database, so they come and go with commits of it. A picture counts only while its document is
stored as it was when the picture was taken: its caption is characters of that text.

What a text says of a picture and what the picture shows are told by two models whose scores have nothing to do with
each other; even within one space texts lie apart from pictures (Liang et al. 2022, "Mind the Gap"). So rankings are
fused by ranks (:func:`langbert.store.fusion.reciprocal_ranks`).
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..documents import Picture
from ..errors import StoreCorrupt, StoreError, StoreMismatch
from ..records import Candidate, EmbeddingSpace, SearchMode
from .checks import checked_vectors
from .encoding import Vector, vector_from, vector_to
from .filters import Where
from .fusion import reciprocal_ranks
from .snapshot import Mark, Snapshot
from .transaction import Transaction

if TYPE_CHECKING:
    from .database import Database
    from .store import Store

BLOCK = 16
"""Pictures that are held in memory at a time."""

StoredPicture = tuple[Picture, Vector]
"""A picture, and its vector."""

SPACE = "image_space"
"""Where the metadata of a store tell what made the vectors of its pictures."""

COLUMNS = 'id, document_id, png, caption, start, "end", page'
"""A picture's, in the order of its fields."""

_DEPTH = 50  # of each ranking that is fused
_THERE = (
    "FROM pictures JOIN documents ON documents.id = pictures.document_id "
    "AND documents.content_hash = pictures.content_hash"
)


class ImageEmbedderLike(Protocol):
    """What makes the vectors; :class:`langbert.ImageEmbedder` does."""

    @property
    def space(self) -> EmbeddingSpace: ...

    def embed_images(self, pictures: Sequence[bytes], /) -> NDArray[np.float32]:
        """``(n, dimension)`` float32 of the bytes of picture files."""
        ...

    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """``(n, dimension)`` float32, in the same space."""
        ...


class FoundPicture(NamedTuple):
    """A picture, and what the list is ordered by, in [0, 1]."""

    picture: Picture
    score: float


class _Vectors(NamedTuple):
    """All pictures that count, of one commit: ids, where their captions stand, unit vectors ``(n, dim)``."""

    ids: list[str]
    places: list[tuple[str, int, int]]
    matrix: NDArray[np.float32]


class Pictures:
    """The pictures of one store. Made by :attr:`langbert.Store.pictures`."""

    def __init__(self, store: Store, database: Database, embedder: ImageEmbedderLike | None) -> None:
        self.embedder = embedder
        self._store = store
        self._database = database
        self._lock = threading.Lock()
        self._held: tuple[Mark, _Vectors] | None = None

    def __len__(self) -> int:
        with self._database.reading() as state:
            return count(state)

    @property
    def space(self) -> EmbeddingSpace | None:
        """What made the vectors of the pictures; None before the first one."""
        with self._database.reading() as state:
            return space_of(state)

    def info(self, state: Snapshot) -> dict[str, Any]:
        """How many there are and what made their vectors, as JSON values; nothing where there are none."""
        space = space_of(state)
        return {} if space is None else {"pictures": count(state), "image_space": asdict(space)}

    def check(self) -> None:
        """
        Raises:
            StoreError: there is no image embedder.
            StoreMismatch: the stored pictures were embedded in another space.
        """
        self._needed()
        with self._database.reading() as state:
            self._check(state)

    def add(self, pictures: Iterable[Picture]) -> list[str]:
        """Adds pictures of stored documents, in one commit; an id that is there is updated.

        Returns:
            Their ids.

        Raises:
            StoreError: there is no image embedder, a document is not stored, or a caption is not its text's.
            StoreMismatch: the stored pictures were embedded in another space.
            DocumentError: the image embedder cannot read a picture.
        """
        added = list(pictures)
        embedder = self._needed()
        vectors = checked_vectors(embedder.embed_images([one.png for one in added]), len(added))
        with self._database.writing() as transaction:
            self._check(transaction)
            set_space(transaction, embedder.space)
            put(transaction, zip(added, map(vector_to, vectors), strict=True))
        return [one.id for one in added]

    def embed_anew(self) -> int:
        """Gives all pictures vectors of this image embedder, whichever made those they have, in one commit.

        Returns:
            How many there are.

        Raises:
            StoreError: there is no image embedder.
        """
        embedder = self._needed()
        vectors: dict[tuple[str, int], Vector] = {}  # by id and the checksum of the one before

        def embed(state: Snapshot) -> list[tuple[str, int]]:
            query = f"SELECT pictures.id, checksum {_THERE} ORDER BY pictures.id"
            keys = state.sql.execute(query).fetchall() if state.has_table("pictures") else []
            missing = [key for key in keys if key not in vectors]
            for begin in range(0, len(missing), BLOCK):
                block = missing[begin : begin + BLOCK]
                some = _pictures(state, [id for id, _ in block]).values()
                made = checked_vectors(embedder.embed_images([one.png for one in some]), len(some))
                vectors.update(zip(block, map(vector_to, made), strict=True))
            return keys

        with self._database.reading() as state:  # nearly all, while others may write
            embed(state)
        with self._database.writing() as transaction:
            keys = embed(transaction)
            set_space(transaction, embedder.space)
            transaction.drop_pictures()  # whose vectors stay as they are, also where their documents come back
            transaction.set_picture_vectors((*vectors[key], key[0]) for key in keys)
        return len(keys)

    def get(self, ids: Iterable[str]) -> list[Picture]:
        """Those of ``ids`` that are there, in their order."""
        names = list(ids)
        with self._database.reading() as state:
            found = _pictures(state, names)
        return [found[name] for name in names if name in found]

    def of(self, document_id: str, start: int = 0, end: int | None = None) -> list[Picture]:
        """Those of a document whose captions share characters with ``start`` to ``end``, as a citation's: what to show
        beside it."""
        with self._database.reading() as state:
            if not state.has_table("pictures"):
                return []
            query = f'SELECT pictures.id {_THERE} WHERE document_id = ? AND start < ? AND "end" > ? ORDER BY start'
            last = 2**62 if end is None else end
            ids = [id for (id,) in state.sql.execute(query, (document_id, last, start))]
            return list(_pictures(state, ids).values())

    def search(self, query: str | bytes, k: int = 10, *, where: Where | None = None) -> list[FoundPicture]:
        """The ``k`` best pictures, best first, for words or for a picture (the bytes of its file).

        For words, what the pictures show and what the passages with their captions say are two rankings, fused.

        Args:
            where: only pictures whose captions stand in passages that satisfy this filter.

        Raises:
            FilterError: ``where`` cannot be understood.
            StoreError: there is no image embedder.
            StoreMismatch: the stored pictures were embedded in another space.
        """
        held = self._vectors()
        allowed = self._allowed(held, where)
        near = self._nearest(query, held, allowed)
        told = self._told(query, held, where) if isinstance(query, str) else []
        fused = _fused(near, told, 0.5 if told else 1.0)[:k]
        pictures = self.get(held.ids[i] for i, _ in fused)
        scores = {held.ids[i]: score for i, score in fused}
        return [FoundPicture(picture, scores[picture.id]) for picture in pictures]

    def passages(self, picture: bytes, k: int = 10, *, where: Where | None = None) -> list[Candidate]:
        """The ``k`` best passages for a picture (the bytes of its file): those that hold the captions of the pictures
        most like it, fused with those that the best caption finds.

        Args:
            where: only passages that satisfy this filter, and the pictures in them.

        Raises:
            FilterError, StoreError, StoreMismatch: as in :meth:`search`.
        """
        held = self._vectors()
        near = self._nearest(picture, held, self._allowed(held, where))
        if not near:
            return []
        with self._database.reading() as state:
            rows = list(dict.fromkeys(row for i in near for row in _rows_at(state, *held.places[i])))
            if where is not None:
                passing = set(state.matching(where).tolist())
                rows = [row for row in rows if row in passing]
            known = state.chunks(rows)
            beside = [known[row] for row in rows if row in known]
        caption = self.get([held.ids[near[0]]])[0].caption
        said = self._found(caption, where) if caption.strip() else []
        chunks = {chunk.id: chunk for chunk in [*(one.chunk for one in said), *beside]}
        number = {id: i for i, id in enumerate(chunks)}
        fused = _fused([number[chunk.id] for chunk in beside], [number[one.chunk.id] for one in said], 0.5)
        listed = list(chunks.values())
        return [Candidate(listed[i], score, {"picture": score}) for i, score in fused[:k]]

    def _needed(self) -> ImageEmbedderLike:
        if self.embedder is None:
            raise StoreError("pictures need an image embedder: Store.open(path, image_embedder=ImageEmbedder(…))")
        return self.embedder

    def _check(self, state: Snapshot) -> None:
        made_by = space_of(state)
        if made_by is not None and (differences := made_by.differences(self._needed().space)):
            raise StoreMismatch(
                f"the pictures of {self._database.name} were embedded in another space (stored != given): "
                f"{'; '.join(differences)}. Open it with the image embedder they were made with; "
                "`langbert store migrate --image-embedder NAME` gives them the vectors of another"
            )

    def _vectors(self) -> _Vectors:
        with self._lock, self._database.reading() as state:
            if self._held is not None and self._held[0] == state.mark:
                return self._held[1]
            self._check(state)
            held = _Vectors([], [], np.empty((0, 0), np.float32))
            if state.has_table("pictures"):
                columns = 'pictures.id, document_id, start, "end", vector, checksum'
                query = f"SELECT {columns} {_THERE} ORDER BY pictures.id"
                with closing(state.sql.execute(query)) as found:
                    rows = found.fetchall()
                if any(zlib.crc32(row[4]) != row[5] for row in rows):
                    raise StoreCorrupt("the vector of a picture fails its checksum: add the pictures again")
                if rows:
                    matrix = vector_from((row[4] for row in rows), len(rows[0][4]) // 4)
                    held = _Vectors([row[0] for row in rows], [row[1:4] for row in rows], matrix)
            self._held = state.mark, held
            return held

    def _allowed(self, held: _Vectors, where: Where | None) -> list[int]:
        """Numbers of the pictures whose captions stand in passages that satisfy ``where``."""
        if where is None:
            return list(range(len(held.ids)))
        with self._database.reading() as state:
            passing = set(state.matching(where).tolist())
            return [i for i, place in enumerate(held.places) if not passing.isdisjoint(_rows_beside(state, *place))]

    def _nearest(self, query: str | bytes, held: _Vectors, allowed: Sequence[int]) -> list[int]:
        """Numbers of the nearest of the ``allowed`` pictures, best first."""
        embedder = self._needed()
        if not allowed:
            return []
        vector = embedder.embed_texts([query]) if isinstance(query, str) else embedder.embed_images([query])
        matrix = held.matrix[allowed]
        norms = np.linalg.norm(matrix, axis=1)
        order = np.argsort(-(matrix @ vector[0]) / np.maximum(norms, 1e-12), kind="stable")
        return [allowed[i] for i in order[:_DEPTH]]

    def _told(self, question: str, held: _Vectors, where: Where | None) -> list[int]:
        """Numbers of the pictures whose captions stand in the passages that the question finds, in their order."""
        numbers = (
            i
            for one in self._found(question, where)
            for i, (document, start, end) in enumerate(held.places)
            if document == one.document_id and start < one.chunk.end and end > one.chunk.start
        )
        return list(dict.fromkeys(numbers))

    def _found(self, words: str, where: Where | None) -> list[Candidate]:
        """The passages for them."""
        mode: SearchMode = "lexical" if self._store.embedder is None else "hybrid"
        return self._store.search(words, _DEPTH, mode=mode, where=where)


def set_space(transaction: Transaction, space: EmbeddingSpace) -> None:
    """What made the vectors of all pictures."""
    transaction.set_meta(SPACE, json.dumps(asdict(space)))


def space_of(state: Snapshot) -> EmbeddingSpace | None:
    """What made the vectors of the pictures; None before the first one."""
    return state.space_called(SPACE)


def count(state: Snapshot) -> int:
    """How many pictures count."""
    return len(_ids(state))


def stored(state: Snapshot) -> Iterator[StoredPicture]:
    """All pictures that count, by id."""
    for id in _ids(state):
        columns = ", ".join(f"pictures.{name}" for name in COLUMNS.split(", "))
        query = f"SELECT {columns}, vector, checksum {_THERE} WHERE pictures.id = ?"
        *fields, vector, checksum = state.sql.execute(query, (id,)).fetchone()
        yield Picture(*fields), (vector, checksum)


def put(transaction: Transaction, pictures: Iterable[StoredPicture]) -> None:
    """Enters them, in the place of those of the same ids.

    Raises:
        StoreError: a document is not stored, or a caption is not its text's.
    """
    rows = []
    for one, vector in pictures:
        document = transaction.document(one.document_id)
        if document is None or document.text[one.start : one.end] != one.caption:
            raise StoreError(
                f"picture {one.id!r}: its caption is not characters {one.start} to {one.end} of a stored "
                f"document {one.document_id!r}: add the document first, then its pictures"
            )
        rows.append((one.id, one.document_id, one.png, one.caption, one.start, one.end, one.page, *vector))
    transaction.put_pictures(rows)


def _ids(state: Snapshot) -> list[str]:
    if not state.has_table("pictures"):
        return []
    return [id for (id,) in state.sql.execute(f"SELECT pictures.id {_THERE} ORDER BY pictures.id")]


def _pictures(state: Snapshot, ids: Sequence[str]) -> dict[str, Picture]:
    if not state.has_table("pictures"):
        return {}
    columns = ", ".join(f"pictures.{name}" for name in COLUMNS.split(", "))
    query = f"SELECT {columns} {_THERE} WHERE pictures.id = ?"
    rows = (state.sql.execute(query, (id,)).fetchone() for id in ids)
    return {row[0]: Picture(*row) for row in rows if row is not None}


def _rows_at(state: Snapshot, document_id: str, start: int, end: int) -> list[int]:
    """The chunks that share characters with a place."""
    query = "SELECT row_id FROM chunks WHERE document_id = ? AND start < ? AND start + length(text) > ? ORDER BY start"
    return [row for (row,) in state.sql.execute(query, (document_id, max(end, start + 1), start))]


def _rows_beside(state: Snapshot, document_id: str, start: int, end: int) -> list[int]:
    """The chunks at a place; all of the document where none stands there, as beside a picture without a caption."""
    query = "SELECT row_id FROM chunks WHERE document_id = ?"
    return _rows_at(state, document_id, start, end) or [row for (row,) in state.sql.execute(query, (document_id,))]


def _fused(first: Sequence[int], second: Sequence[int], weight: float) -> list[tuple[int, float]]:
    """Two rankings of numbers, each best first, as one with scores in [0, 1]; ``weight`` is the first one's."""
    numbers = sorted({*first, *second})
    places = [{number: rank for rank, number in enumerate(ranking)} for ranking in (first, second)]
    ranks = [np.array([place.get(number, -1) for number in numbers], dtype=np.int64) for place in places]
    scores = reciprocal_ranks(ranks[0], ranks[1], weight)
    return [(numbers[i], float(scores[i])) for i in np.argsort(-scores, kind="stable").tolist()]
