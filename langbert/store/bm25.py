"""The best rows by BM25, without reading all of what nearly every text holds.

A word of every second chunk adds little to any score, and its list is the longest. So the *telling* words rank first.
What the others can add is bounded (``idf · (k1 + 1)`` each), hence only rows whose first score comes near enough to the
``k``-th best whole score can be among the best, and those few are scored by all words. The result is that of reading
everything; where the first ranking does not reach far enough to show it, everything is read. (The idea of MaxScore:
Turtle & Flood, *Query evaluation: strategies and optimizations*, 1995.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tantivy import DocAddress, Occur, Query, Schema, Searcher

from .snapshot import Rows

__all__ = ["ROW", "Clause", "Searched", "Terms", "count_documents"]

ROW = "row"
"""The integer field of the rows."""

_K1 = 1.2  # Tantivy's; it is not configurable
_READ_ALL = 50_000  # documents up to which reading everything takes 1 ms
_ADDED = 0.05  # what the words that are not telling may add, as a share of the highest possible score
_RANKED = 256  # rows ranked by the telling words
_FIRST = 32  # of which so many are scored by all words at once
_NAMED = 1000  # allowed rows up to which naming each is quicker than a set
_SET = 20_000  # allowed rows up to which a set of them is quicker than reading ever deeper
_DEEPEST = 25_000  # hits that are read quicker than a set
_SLACK = 1e-4  # of a score: Tantivy adds in 32 bits, in any order

Hits = list[tuple[float, DocAddress]]


class Clause(NamedTuple):
    """A term that may match, and what its score is multiplied by."""

    field: str
    term: str
    weight: float


class Searched(NamedTuple):
    """Where to look.

    Attributes:
        documents: how many there are, as BM25 counts them; None where that is not known: everything is read then.
    """

    schema: Schema
    searcher: Searcher
    documents: int | None


def count_documents(query: Query, searcher: Searcher, address: DocAddress) -> int | None:
    """The ``N`` of BM25, deleted documents among them, from the explanation of a hit; None if that does not say it."""

    def find(part: Any) -> int | None:
        if str(part.get("description")).startswith("N,"):
            return int(part["value"])
        return next((n for n in map(find, part.get("details", ())) if n is not None), None)

    try:
        return find(json.loads(query.explain(searcher, address).to_json()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class Terms:
    """A question: at least one clause, any of which may match."""

    def __init__(self, clauses: Sequence[Clause], index: Searched) -> None:
        self._clauses = clauses
        self._index = index

    def best(self, k: int, allowed: Rows | None = None) -> tuple[Rows, NDArray[np.float64]]:
        """The ``k`` best rows (of ``allowed``, which ascend) and their scores, in no order; a few more may be there."""
        return self._best(k) if allowed is None else self._best_of(allowed, k)

    def _best(self, k: int) -> tuple[Rows, NDArray[np.float64]]:
        hits = self._shown_best(k)
        return self._rows(hits if hits is not None else self._search(self._union(self._clauses), k))

    def head(self, n: int, allowed: Rows | None = None) -> Rows:
        """About the ``n`` best rows (of ``allowed``, which ascend), in no order: the best by the telling words."""
        telling, _ = self._telling()
        return Terms(telling, self._index._replace(documents=None)).best(n, allowed)[0]

    def among(self, rows: Rows, k: int) -> tuple[Rows, NDArray[np.float64]]:
        """The ``k`` best of ``rows`` and their scores, in no order."""
        return self._rows(self._among(rows.tolist(), k))

    def _best_of(self, rows: Rows, k: int) -> tuple[Rows, NDArray[np.float64]]:
        limit = (2 * k + 16) * self._index.searcher.num_docs // len(rows)  # so deep ``k`` of them are likely to be
        few = len(rows) <= _SET
        if len(rows) <= _NAMED or (few and limit > _DEEPEST):
            return self.among(rows, k)
        while True:
            found, scores = self._best(limit)
            kept = _contains(rows, found)
            if np.count_nonzero(kept) >= k or len(found) < limit:
                return found[kept], scores[kept]
            if few:
                return self.among(rows, k)
            limit *= 8

    def _shown_best(self, k: int) -> Hits | None:
        """None where the first ranking cannot show which are best."""
        telling, added = self._telling()
        if len(telling) == len(self._clauses) or 2 * k > _RANKED:
            return None
        ranked = self._search(self._union(telling), _RANKED)
        first = max(_FIRST, 2 * k)
        hits = self._among(self._row_ids(ranked[:first]), k)
        if len(hits) < k:
            return None
        enough = min(score for score, _ in hits) - added - _SLACK * max(score for score, _ in hits)
        if enough <= 0 or (len(ranked) == _RANKED and ranked[-1][0] >= enough):
            return None
        others = [hit for hit in ranked[first:] if hit[0] >= enough]
        return hits + (self._among(self._row_ids(others), k) if others else [])

    def _telling(self) -> tuple[Sequence[Clause], float]:
        """The telling clauses, and the most that the others can add to a score."""
        n = self._index.documents
        if n is None or n <= _READ_ALL:
            return self._clauses, 0.0
        most = [self._most(clause, n) for clause in self._clauses]
        spare, added = _ADDED * sum(most), 0.0
        telling = list(self._clauses)
        for place in np.argsort(most, kind="stable").tolist():
            if added + most[place] > spare or len(telling) == 1:
                break
            added += most[place]
            telling.remove(self._clauses[place])
        return telling, added

    def _most(self, clause: Clause, n: int) -> float:
        """What a clause can add to a score."""
        found = self._index.searcher.doc_freq(clause.field, clause.term)
        return (_K1 + 1) * math.log(1 + (n - found + 0.5) / (found + 0.5)) * clause.weight if found else 0.0

    def _union(self, clauses: Sequence[Clause]) -> Query:
        schema = self._index.schema
        return Query.boolean_query(
            [
                (
                    Occur.Should,
                    Query.boost_query(Query.term_query(schema, field, term, index_option="freq"), weight),
                )
                for field, term, weight in clauses
            ]
        )

    def _among(self, rows: list[int], k: int) -> Hits:
        schema = self._index.schema
        if len(rows) <= _NAMED:
            named = [(Occur.Should, Query.term_query(schema, ROW, row, index_option="basic")) for row in rows]
            allowed = Query.boolean_query(named)
        else:
            allowed = Query.term_set_query(schema, ROW, rows)
        # a score of 0 for being allowed leaves the order to the words
        both = [(Occur.Must, Query.const_score_query(allowed, 0.0)), (Occur.Must, self._union(self._clauses))]
        return self._search(Query.boolean_query(both), k)

    def _search(self, query: Query, limit: int) -> Hits:
        searcher = self._index.searcher
        hits: Hits = searcher.search(query, max(1, min(limit, searcher.num_docs)), count=False).hits
        return hits

    def _row_ids(self, hits: Hits) -> list[int]:
        found: list[Any] = self._index.searcher.fast_field_values(ROW, [address for _, address in hits])
        return found

    def _rows(self, hits: Hits) -> tuple[Rows, NDArray[np.float64]]:
        scores = np.array([score for score, _ in hits], dtype=np.float64)
        return np.array(self._row_ids(hits), dtype=np.int64), scores


def _contains(rows: Rows, wanted: Rows) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    return np.asarray(rows[places] == wanted, dtype=np.bool_)
