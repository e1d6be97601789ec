"""The best rows, also of those that a filter leaves, are those that reading everything finds, with the same scores."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert.records import Chunk
from langbert.store import Store, lexical
from langbert.store.lexical import LexicalIndex

N = 3000
WORDS = [f"word{i}" for i in range(400)]
CHARACTERS = "的一是不了在人有我他这中大来上个国说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么"


def corpus() -> list[str]:
    """Words as unevenly frequent as in a language, and texts of every length."""
    rng = random.Random(5)
    words, often = [*WORDS, *CHARACTERS], [1 / (i + 1) for i in range(len(WORDS))]
    weights = [*often, *(1 / (i + 1) for i in range(len(CHARACTERS)))]
    return [" ".join(rng.choices(words, weights, k=rng.randrange(1, 60))) for _ in range(N)]


@pytest.fixture(scope="module")
def index() -> LexicalIndex:
    store = Store.open()
    chunks = [Chunk(str(i), str(i), text, source=f"{i % 7}.txt") for i, text in enumerate(corpus())]
    store.add_vectors(chunks, np.ones((N, 2), np.float32))
    store.delete([str(i) for i in range(0, N, 9)])
    store.search("word1", mode="lexical")
    return store.indexes.lexical


def plain(index: LexicalIndex, question: str, k: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """By reading everything, and then as many as asked for."""
    everything, scores = index.search(question, N)
    if rows is not None:
        kept = np.isin(everything, rows)
        everything, scores = everything[kept], scores[kept]
    return everything[:k], scores[:k]


@st.composite
def questions(draw: st.DrawFn) -> str:
    rng = random.Random(draw(st.integers(0, 10_000)))
    n = draw(st.integers(1, 12))
    words = rng.choices([*WORDS[:20], *rng.sample(WORDS, 20), *CHARACTERS[:5]], k=n)
    return " ".join(words) + draw(st.sampled_from(["", " 是不了在", " 3.txt", " unheard"]))


@settings(max_examples=150)
@given(questions(), st.integers(1, 40), st.sampled_from([None, 2, 40, 900, 2000]), st.data())
def test_the_best_are_those_of_reading_everything(
    index: LexicalIndex, question: str, k: int, allowed: int | None, data: st.DataObject
) -> None:
    rows = None
    if allowed is not None:
        chance = np.random.default_rng(data.draw(st.integers(0, 1000)))
        rows = np.sort(chance.choice(index.rows(), allowed, replace=False))
    expected, scores = plain(index, question, k, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexical, "_NAMED", 50)
        patch.setattr(lexical, "_SET", 1000)
        found, values = index.search(question, k, rows)
    np.testing.assert_allclose(values, scores, rtol=1e-5)
    for row, value in zip(found.tolist(), values.tolist(), strict=True):  # which of equal ones, is open
        if row not in expected:
            assert value == pytest.approx(scores[-1], rel=1e-5)
