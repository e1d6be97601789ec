"""Filters and what they are put to, for hypothesis to draw."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

KEYS = [
    "n",
    "lang",
    "a.b",
    'quo"te',
    "back\\slash",
    "x[0].$y",
    "语言",
    "source",
    "page",
    "id",
    "document_id",
    "' OR 1=1 --",
]
words = st.sampled_from(["", "a", "b", "zh", "中文", "1", "true", "'; DROP TABLE chunks; --", "é"])
numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.1 + 0.2, 1.5, -0.0, 1e300, 5e-324, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**70, 0.1]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(words, scalars, max_size=2))
ranges = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
    st.one_of(numbers, words, st.just(math.inf)),
    min_size=1,
    max_size=2,
)
operators: st.SearchStrategy[Any] = st.one_of(
    scalars,
    ranges,
    st.fixed_dictionaries({"$in": st.lists(scalars, max_size=4)}),
    st.fixed_dictionaries({"$nin": st.lists(scalars, max_size=4)}),
    st.fixed_dictionaries({"$ne": scalars}),
    st.fixed_dictionaries({"$eq": scalars}),
    st.fixed_dictionaries({"$contains": scalars}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$not": ranges}),
)
conditions: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.sampled_from(KEYS), operators, max_size=3)
wheres: st.SearchStrategy[dict[str, Any]] = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=5,
)
rows = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
        st.sampled_from(["", "a", "b.pdf"]),
        st.sampled_from([None, 1, 2]),
    ),
    min_size=1,
    max_size=6,
)
"""Metadata, source and page of some chunks."""
