"""Chunks without end, made up the same way everywhere: clustered unit vectors, texts of Zipf-distributed words.

They come in blocks that can be made in any order and none of which needs another, so that a million of them are never
in memory at once.

- Vectors lie about sub-topics, those about topics, some topics being much larger than others. What tells neighbours
  apart has a spectrum that falls, as that of embeddings does, turned so that no single number stands out.
- A text has 20 to 200 words, 60 in the middle, out of 50,000 whose frequencies fall as in English; a fifth of them are
  words of its sub-topic.
- ``shelf``, 0 to 99, is chance: one in a hundred chunks stands on each.
- Questions are drawn as chunks are, and are not among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
BLOCK = 5_000
SHELVES = 100
N_QUERIES = 200
K = 10

_TOPICS = 256
_WORDS = 50_000
_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC835
_QUESTIONS = 2**31  # the number of the block that questions are drawn from

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Consecutive chunks.

    Attributes:
        vectors: ``(n, 384)`` float32 of length 1.
        shelves: ``(n,)``, 0 to 99.
        names: ids that are not their own.
    """

    start: int
    vectors: Floats
    shelves: Rows
    texts: list[str]
    names: list[str] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def ids(self) -> list[str]:
        return self.names or [id_of(row) for row in range(self.start, self.start + len(self))]

    @property
    def metadatas(self) -> list[dict[str, str | int]]:
        rows = range(self.start, self.start + len(self))
        return [
            {"id": id, "shelf": shelf, "source": f"volume-{row // 50}.txt"}
            for id, shelf, row in zip(self.ids, self.shelves.tolist(), rows, strict=True)
        ]

    def part(self, start: int, n: int) -> Block:
        """``n`` of them, from the ``start``-th on."""
        cut = slice(start, start + n)
        return Block(self.start + start, self.vectors[cut], self.shelves[cut], self.texts[cut])


@dataclass(frozen=True)
class Questions:
    """What is asked, and what an exhaustive search answers.

    Attributes:
        texts: eight words each.
        vectors: ``(200, 384)`` float32 of length 1.
        nearest: ``(200, 10)`` rows, best first.
        nearest_on_shelf: the same on the shelf ``i % 100`` for question ``i``; -1 where there are no more.
    """

    texts: list[str]
    vectors: Floats
    nearest: Rows
    nearest_on_shelf: Rows

    def shelf(self, question: int) -> int:
        return question % SHELVES


@dataclass(frozen=True)
class Corpus:
    """``n`` chunks and those beyond them, which are for adding later."""

    n: int
    seed: int = 7

    @cached_property
    def _turn(self) -> Floats:
        """A rotation, its columns scaled by a falling spectrum; rows of chance times this have length 1 on average."""
        chance = np.random.default_rng([self.seed, 1])
        spectrum = (1 + np.arange(DIMENSION)) ** -0.5
        rotation = np.linalg.qr(chance.standard_normal((DIMENSION, DIMENSION)))[0]
        return np.asarray(spectrum[:, None] * rotation / np.linalg.norm(spectrum), dtype=np.float32)

    @cached_property
    def _centres(self) -> Floats:
        """Of the sub-topics, a hundredth as many as chunks."""
        chance = np.random.default_rng([self.seed, 2])
        topics = unit(chance.standard_normal((_TOPICS, DIMENSION), dtype=np.float32) @ self._turn)
        n = max(64, self.n // 100)
        near = np.minimum(chance.exponential(_TOPICS / 5, n).astype(np.int64), _TOPICS - 1)
        return unit(topics[near] + 0.8 * chance.standard_normal((n, DIMENSION), dtype=np.float32) @ self._turn)

    @cached_property
    def _words(self) -> NDArray[np.object_]:
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        n = len(syllables)
        words = [*syllables, *(a + b for a in syllables for b in syllables)]
        words += [syllables[i % n] + syllables[i // n % n] + syllables[i // n // n % n] for i in range(_WORDS)]
        return np.array(words[:_WORDS], dtype=np.object_)

    @cached_property
    def _frequencies(self) -> NDArray[np.float64]:
        weights = (np.arange(_WORDS) + 2.7) ** -1.07
        return np.cumsum(weights / weights.sum())

    def block(self, number: int, n: int = BLOCK, *, words: bool = True) -> Block:
        """Chunks ``number * 5,000`` on; ``words=False`` makes empty texts, which takes a tenth of the time."""
        chance = np.random.default_rng([self.seed, 3, number])
        clusters = chance.integers(len(self._centres), size=n)
        noise = chance.standard_normal((n, DIMENSION), dtype=np.float32) @ self._turn
        vectors = unit(self._centres[clusters] + 0.7 * noise)
        shelves = chance.integers(SHELVES, size=n)
        texts = self._texts(chance, clusters) if words else [""] * n
        return Block(number * BLOCK, vectors, shelves, texts)

    def blocks(self, start: int = 0, *, words: bool = True) -> Iterator[Block]:
        """The blocks of the first ``n`` chunks, from chunk ``start`` (a multiple of 5,000) on."""
        for first in range(start, self.n, BLOCK):
            block = self.block(first // BLOCK, words=words)
            yield block.part(0, self.n - first) if self.n - first < BLOCK else block

    def beyond(self, n: int) -> Block:
        """``n`` chunks that are not among the first; at most 5,000 of them come from one block."""
        start = -(-self.n // BLOCK)
        blocks = [self.block(start + i) for i in range(-(-n // BLOCK))]
        texts = [text for block in blocks for text in block.texts]
        vectors = np.concatenate([block.vectors for block in blocks])
        shelves = np.concatenate([block.shelves for block in blocks])
        return Block(start * BLOCK, vectors, shelves, texts).part(0, n)

    def _texts(self, chance: np.random.Generator, clusters: Rows) -> list[str]:
        lengths = np.clip(chance.lognormal(np.log(60), 0.45, len(clusters)).astype(np.int64), 20, 200)
        ends = np.cumsum(lengths)
        ranks = np.searchsorted(self._frequencies, chance.random(ends[-1]))
        own = chance.random(ends[-1]) < 0.2
        told = np.repeat(clusters, lengths)[own]
        ranks[own] = (told * 7919 + chance.integers(20, size=len(told)) * 104729) % (_WORDS - 300) + 300
        words = self._words[np.minimum(ranks, _WORDS - 1)].tolist()
        return [
            " ".join(words[end - length : end]) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]

    def questions(self, file: Path) -> Questions:
        """From the file, where they are; else made, answered by exhaustive search, and put there."""
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            made = self._make_questions()
            partial = file.with_suffix(".partial.npz")
            np.savez(
                partial,
                texts=np.array(made.texts),
                vectors=made.vectors,
                nearest=made.nearest,
                nearest_on_shelf=made.nearest_on_shelf,
            )
            partial.replace(file)
        with np.load(file, allow_pickle=False) as kept:
            return Questions(kept["texts"].tolist(), kept["vectors"], kept["nearest"], kept["nearest_on_shelf"])

    def _make_questions(self) -> Questions:
        drawn = self.block(_QUESTIONS, N_QUERIES)
        chance = np.random.default_rng([self.seed, 4])
        texts = [" ".join(chance.choice(text.split(), 8, replace=False)) for text in drawn.texts]
        wanted = np.arange(N_QUERIES) % SHELVES
        best, best_on_shelf = _Best(N_QUERIES), _Best(N_QUERIES)
        for block in self.blocks(words=False):
            cosines = drawn.vectors @ block.vectors.T
            best.add(cosines, block.start)
            cosines[block.shelves[None] != wanted[:, None]] = -np.inf
            best_on_shelf.add(cosines, block.start)
        return Questions(texts, drawn.vectors, best.rows, best_on_shelf.rows)


class _Best:
    """The ten best rows of each question so far."""

    def __init__(self, n: int) -> None:
        self.rows = np.full((n, K), -1, dtype=np.int64)
        self._cosines = np.full((n, K), -np.inf, dtype=np.float32)

    def add(self, cosines: Floats, start: int) -> None:
        """Args:
        cosines: ``(questions, rows)``; -inf for rows that do not count.
        start: the first row.
        """
        k = min(K, cosines.shape[1])
        places = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(cosines, places, axis=1)
        rows = np.concatenate([self.rows, np.where(np.isfinite(found), places + start, -1)], axis=1)
        values = np.concatenate([self._cosines, found], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :K]
        self.rows = np.take_along_axis(rows, order, axis=1)
        self._cosines = np.take_along_axis(values, order, axis=1)


def id_of(row: int) -> str:
    """A UUID, as one of the peers wants; rows that follow each other have ids that do not."""
    return str(UUID(int=(row + 1) * _MIX % 2**128))


def unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
