"""How fast a store answers, and how much of the truth its dense index finds, by questions made of its own chunks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..records import Candidate, Chunk, EmbedderLike, EmbeddingSpace, Progress, Role, SearchMode
from ..store.base import BaseStore
from .timing import Timing

SearchKind = Literal["dense", "lexical", "hybrid", "dense filtered", "lexical filtered", "hybrid filtered"]
"""A mode, among all chunks or among those that a filter lets through."""

_WORDS = 8
_CHARACTERS = 12  # of a text without spaces
_NOISE = 0.5  # the length that a chunk's own vector is pushed by where nobody embeds
_WARM_UPS = 3
_TIE = 1e-6


@dataclass(frozen=True, slots=True)
class StoreQuestion:
    """A question that a chunk of the store could answer.

    Attributes:
        text: words of the chunk.
        vector: ``(dim,)`` float32; None where the store has no vectors.
        chunk: the one it is made of.
    """

    text: str
    vector: NDArray[np.float32] | None
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class SearchSpeed:
    """One kind of search over all the questions.

    Attributes:
        timing: of every search, in the order of the questions; of each, the median of the rounds.
        hits: candidates a search, on average.
        recall: the share of the true ``k`` nearest that was found, on average; None where it was not looked for.
    """

    kind: SearchKind
    timing: Timing
    hits: float
    recall: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.timing.latency(), "hits": self.hits, "recall": self.recall}


class PreparedEmbedder:
    """Has the vectors of some questions at hand, so that a search is timed without what makes them.

    Args:
        space: what made the vectors.
        vectors: by text, ``(dim,)`` float32.
    """

    def __init__(self, space: EmbeddingSpace, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        self.space = space
        self.dimension = space.dimension
        self._vectors = dict(vectors)

    def embed(
        self, texts: Sequence[str], role: Role = "document", *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """``(n, dim)`` float32.

        Raises:
            KeyError: a text was not prepared.
        """
        return np.stack([self._vectors[text] for text in texts])

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        raise NotImplementedError("a prepared embedder cuts nothing")

    def room(self, role: Role = "document") -> int:
        raise NotImplementedError("a prepared embedder cuts nothing")


def make_questions(
    store: BaseStore, n: int, *, embedder: EmbedderLike | None = None, seed: int = 0, progress: Progress | None = None
) -> list[StoreQuestion]:
    """At most ``n`` questions, each a few words out of a chunk chosen by chance.

    Args:
        embedder: makes their vectors. Without one, a vector is the chunk's own pushed aside by half its length: nearer
            to what is stored than real questions are.
        progress: told how many more are made.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    noise = np.random.default_rng(seed)
    has_vectors = store.dimension is not None
    questions = []
    for chunk in store.sample(n, seed=seed):
        if not chunk.text.strip():
            continue
        text = _some_words(chunk.text, chance)
        vector = None
        if embedder is not None:
            vector = embedder.embed([text], "query")[0]
        elif has_vectors:
            (own,) = store.vectors([chunk.id])
            aside = noise.standard_normal(len(own), dtype=np.float32)
            vector = own + _NOISE * float(np.linalg.norm(own)) / float(np.linalg.norm(aside)) * aside
        questions.append(StoreQuestion(text, vector, chunk))
        if progress is not None:
            progress(1)
    return questions


def measure_search(
    store: BaseStore,
    questions: Sequence[StoreQuestion],
    k: int = 10,
    *,
    repeats: int = 3,
    exact: int = 50,
    where: Mapping[str, Any] | None = None,
    progress: Callable[[SearchKind], None] | None = None,
) -> list[SearchSpeed]:
    """Every kind of search the store is able to, over all questions.

    Args:
        store: opened with something that has the questions' vectors (:class:`PreparedEmbedder`), for hybrid search.
        repeats: rounds that count; the kinds take turns in them.
        exact: of how many questions the recall is measured, by comparing with every vector; 0 for none.
        where: of the filtered searches; by default the source of the question's own chunk (or its document).
        progress: told when a round of a kind is done.

    Raises:
        ValueError: there are no questions.
    """
    if not questions:
        raise ValueError("expected questions to ask, got none: the store has no chunks with text")
    if repeats < 1 or exact < 0:
        raise ValueError(f"expected at least one round and no negative sample, got repeats={repeats}, exact={exact}")
    kinds = [kind for kind in get_args(SearchKind) if _able(store, questions, kind)]
    seconds: dict[SearchKind, list[list[float]]] = {kind: [] for kind in kinds}
    found: dict[SearchKind, list[list[Candidate]]] = {}
    for kind in kinds:
        for question in questions[:_WARM_UPS]:
            _ask(store, question, k, kind, where)
    for turn in range(repeats):
        for place in range(len(kinds)):
            kind = kinds[(place + turn) % len(kinds)]
            taken, answers = [], []
            for question in questions:
                start = time.perf_counter()
                answers.append(_ask(store, question, k, kind, where))
                taken.append(time.perf_counter() - start)
            seconds[kind].append(taken)
            found[kind] = answers
            if progress is not None:
                progress(kind)
    sample = min(exact, len(questions)) if "dense" in kinds else 0
    recall = _recall(store, questions[:sample], found["dense"][:sample], k) if sample else None
    speeds = []
    for kind in kinds:
        timing = Timing(tuple(np.median(np.array(seconds[kind]), axis=0).tolist()))
        hits = sum(map(len, found[kind])) / len(questions)
        speeds.append(SearchSpeed(kind, timing, hits, recall if kind == "dense" else None))
    return speeds


def _able(store: BaseStore, questions: Sequence[StoreQuestion], kind: SearchKind) -> bool:
    if kind.startswith("lexical"):
        return True
    if any(question.vector is None for question in questions):
        return False
    return kind.startswith("dense") or store.embedder is not None


def _ask(
    store: BaseStore, question: StoreQuestion, k: int, kind: SearchKind, where: Mapping[str, Any] | None
) -> list[Candidate]:
    mode, _, filtered = kind.partition(" ")
    wanted: Mapping[str, Any] | None = None
    if filtered:
        chunk = question.chunk
        own = {"source": chunk.source} if chunk.source else {"document_id": chunk.document_id}
        wanted = own if where is None else where
    if mode == "dense" and question.vector is not None:
        return store.search_vector(question.vector, k, where=wanted)
    modes: dict[str, SearchMode] = {"lexical": "lexical", "hybrid": "hybrid"}
    return store.search(question.text, k, mode=modes[mode], where=wanted)


def _recall(
    store: BaseStore, questions: Sequence[StoreQuestion], found: Sequence[Sequence[Candidate]], k: int
) -> float | None:
    """The share of the true ``k`` nearest that was found; chunks as near as the last of them count as it does."""
    queries = np.stack([question.vector for question in questions if question.vector is not None])
    queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for vectors in store.vector_blocks():
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = queries @ (vectors / np.where(lengths > 0, lengths, 1)).T
        best = -np.sort(-np.concatenate([best, cosines], axis=1), axis=1)[:, :k]
    right = wanted = 0
    for question, near, candidates in zip(queries, best, found, strict=True):
        n = int(np.isfinite(near).sum())
        wanted += n
        own = store.vectors([candidate.chunk.id for candidate in candidates])
        cosines = own @ question / np.maximum(np.linalg.norm(own, axis=1), 1e-30)
        right += min(n, int((cosines >= near[n - 1] - _TIE).sum())) if n else 0
    return right / wanted if wanted else None


def _some_words(text: str, chance: random.Random) -> str:
    """Words that follow each other; of a text without spaces, characters."""
    words = text.split()
    if len(words) >= _WORDS or len(text) < 2 * _CHARACTERS:
        start = chance.randint(0, max(0, len(words) - _WORDS))
        return " ".join(words[start : start + _WORDS])
    stripped = text.strip()
    start = chance.randint(0, max(0, len(stripped) - _CHARACTERS))
    return stripped[start : start + _CHARACTERS].strip() or stripped
