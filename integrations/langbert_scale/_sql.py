"""PostgreSQL's tables, and filters as conditions of its SQL with parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langbert.store.outside import RANGES, Condition, Group, Not, Test, kind_of, narrowed

Clause = tuple[str, list[Any]]
"""SQL and its parameters."""

# What a search reads lies in the row itself (MAIN); texts move out of line first.
TABLES = """
CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE documents (
    id text COLLATE "C" PRIMARY KEY,
    source text NOT NULL,
    text text NOT NULL,
    metadata text NOT NULL,            -- JSON, as it was given
    page_starts text NOT NULL,
    headings text NOT NULL,
    content_hash bytea NOT NULL,
    chunking text NOT NULL,
    fields jsonb NOT NULL              -- what filters and policies see
);
CREATE TABLE chunks (
    row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    document_id text COLLATE "C" NOT NULL,
    text text NOT NULL,
    start integer NOT NULL,
    page integer,
    headings text NOT NULL,
    source text NOT NULL,
    metadata text NOT NULL,
    record_hash bytea NOT NULL,
    index_hash bytea NOT NULL,
    embedded_hash bytea NOT NULL,
    fields jsonb NOT NULL,
    word_ids integer[] STORAGE MAIN NOT NULL,
    words sparsevec(1000000000) STORAGE MAIN NOT NULL  -- BM25 weights
);
CREATE INDEX ON chunks (document_id);
CREATE INDEX ON chunks USING gin (fields jsonb_path_ops);
CREATE INDEX ON chunks USING gin (word_ids) WITH (fastupdate = off);
CREATE TABLE word_counts (word integer PRIMARY KEY, chunks bigint NOT NULL) WITH (fillfactor = 70);
CREATE TABLE records (
    kind text COLLATE "C", key text COLLATE "C", value text NOT NULL, PRIMARY KEY (kind, key)
);
"""

_FEW = 16  # values that an index is asked for one by one
_MOST_INDEXED = 2000  # dimensions; beyond them every search is exact


def vector_column(dimension: int) -> str:
    return f"ALTER TABLE chunks ADD COLUMN embedding vector({int(dimension)}) STORAGE MAIN"


def hnsw_index(dimension: int) -> str | None:
    """None where pgvector makes none."""
    if dimension > _MOST_INDEXED:
        return None
    return "CREATE INDEX chunks_hnsw ON chunks USING hnsw (embedding vector_cosine_ops)"


def json_of(fields: dict[str, Any]) -> str:
    """Fields as jsonb compares them: whole numbers written as such, however large."""
    return json.dumps(_exact(fields), ensure_ascii=False)


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    value = narrowed(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def clause(condition: Condition, fields: str = "fields") -> Clause:
    """SQL that is true or false, never null."""
    if isinstance(condition, Group):
        parts = [clause(part, fields) for part in condition.parts]
        joined = f" {condition.word} ".join(sql for sql, _ in parts)
        return f"({joined or ('TRUE' if condition.word == 'AND' else 'FALSE')})", [p for _, some in parts for p in some]
    if isinstance(condition, Not):
        sql, parameters = clause(condition.part, fields)
        return f"(NOT {sql})", parameters
    return _test(condition, fields)


def _test(test: Test, fields: str) -> Clause:
    field = test.field
    if test.operator == "exists":
        return f"({fields} ? %s)", [field]
    if test.operator == "contains":
        return f"({fields} @> %s::jsonb)", [json_of({field: list(test.values)})]
    if test.operator == "range":
        parts = [_compared(field, bound, value, fields) for bound, value in zip(test.bounds, test.values, strict=True)]
        return f"({' AND '.join(sql for sql, _ in parts)})", [p for _, some in parts for p in some]
    return _one_of(field, [value for value in test.values if not _is_endless(value)], fields)


def _one_of(field: str, values: Sequence[Any], fields: str) -> Clause:
    if not values:
        return "FALSE", []
    if len(values) <= _FEW:  # what the GIN index can look up
        return f"({' OR '.join([f'{fields} @> %s::jsonb'] * len(values))})", [json_of({field: one}) for one in values]
    return f"coalesce(({fields} -> %s) = ANY(%s::jsonb[]), FALSE)", [field, [json.dumps(_exact(one)) for one in values]]


def _compared(field: str, bound: str, value: Any, fields: str) -> Clause:
    """Numbers with numbers, text with text by code point; CASE, for SQL may look at both sides of an AND."""
    if kind_of(value) == "number":
        kind, stored, given = "number", f"({fields} ->> %s)::numeric", "%s::numeric"
        value = str(_exact(value))
    else:
        kind, stored, given = "string", f'({fields} ->> %s) COLLATE "C"', "%s"
    sql = f"CASE WHEN jsonb_typeof({fields} -> %s) = '{kind}' THEN {stored} {RANGES[bound]} {given} ELSE FALSE END"
    return f"coalesce({sql}, FALSE)", [field, field, value]


def _is_endless(value: Any) -> bool:
    return isinstance(value, float) and value in (float("inf"), float("-inf"))
