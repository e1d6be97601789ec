"""How sure one may be that a passage speaks of what is asked, in [0, 1]: the same for every question and every store.

Unrelated texts have a cosine of 0.05 for ``minilm`` and of 0.8 for ``e5-small``; a passage that holds every word of a
question has a BM25 score of 100 where the question is long, of 2 where the store is small. Logistic curves, fitted by
``benchmarks/relevance.py``, make 1/2 of the border between what has to do with each other and what has not.

* Cosines of a shipped encoder have a curve for each kind of script: to ``minilm``, all Chinese is much alike.
* Of any other encoder the range is unknown, but the vectors of its store tell: a tenth of their pairs are less alike
  than ``level``, which counts as 0. Of fewer than eight vectors, unrelated is what stands at right angles.
* Words are weighed as BM25 does, by how few passages hold them: against a passage that holds each of them once.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..text.scripts import has_unspaced
from .engine import Reading

FILE = Path(__file__).with_name("relevance.json")

Script = Literal["spaced", "unspaced"]

_FEW = 8  # vectors
_SAMPLE = 100  # vectors, all pairs of which are compared
_LOW = 0.1  # the share of them that is taken for unrelated, also where a store is all of one subject


class Curve(NamedTuple):
    """Values of at most 1, onto 0 … 1: 1/2 at ``half``, 1 at 1, and steepest at ``half``."""

    slope: float
    half: float

    def __call__(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        odds = np.exp(-self.slope * (np.minimum(values, 1.0).astype(np.float64) - self.half))
        top = 1 / (1 + np.exp(-self.slope * (1 - self.half)))
        risen = 1 / (1 + odds)
        return np.asarray(np.where(risen <= 0.5, risen, 0.5 + 0.5 * (risen - 0.5) / (top - 0.5)), dtype=np.float64)

    def above(self, level: float) -> Curve:
        """The same between ``level`` and 1 instead of 0 and 1."""
        return Curve(self.slope / (1 - level), level + self.half * (1 - level))


class Calibration:
    """Which curve holds for the cosines of a store."""

    def __init__(self) -> None:
        self._level: tuple[int, float] | None = None  # and of how many chunks

    def of(self, snapshot: Reading, question: str) -> Curve:
        """For cosines of ``question``, which may be unknown, with what ``snapshot`` holds."""
        fitted, space = _fitted(), snapshot.space
        known = fitted["encoders"].get(space.fingerprint) if space is not None else None
        if known is not None:
            return Curve(**known[script_of(question)])
        if snapshot.n_chunks < _FEW or snapshot.dimension is None:
            return Curve(**fitted["few"])
        counted, level = self._level or (0, 0.0)
        if not counted / 2 < snapshot.n_chunks <= 2 * counted:
            rows = snapshot.sample_rows(_SAMPLE, random.Random(0))  # noqa: S311 - no secret
            try:
                level = level_of(snapshot.vectors(rows))
            except StoreError:  # one is damaged, or was deleted in between: a search does not depend on it
                return Curve(**fitted["few"])
            self._level = snapshot.n_chunks, level
        return Curve(**fitted["others"]).above(level)


def of_words(scores: NDArray[np.float64], full: float) -> NDArray[np.float64]:
    """Of BM25 scores, where ``full`` is that of a passage that holds every word once."""
    return Curve(**_fitted()["words"])(scores / full) if full > 0 else np.zeros(len(scores))


def level_of(vectors: NDArray[np.float32]) -> float:
    """The cosine that a tenth of the pairs of ``vectors`` ``(n, dim)`` does not reach."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    pairs = (units @ units.T)[np.triu_indices(len(units), 1)]
    return min(float(np.quantile(pairs, _LOW)), 0.99) if len(pairs) else 0.0


def script_of(question: str) -> Script:
    return "unspaced" if has_unspaced(question) else "spaced"


@cache
def _fitted() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found
