"""Fields as tokens, for engines that filter by keywords: what a field is, holds and exists becomes a hashed word each.

Equality is then strict about types whatever the engine thinks of ``1``, ``1.0`` and ``True``. Numbers are kept beside
them, as far as a float holds them, for ranges; other ranges are looked up by reading all fields (:func:`by_number`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from langbert.store.outside import ChunkRow, Test, fields_in, kind_of, narrowed, word_weights

_EXACT = 2**53  # floats below it hold every whole number


def row_of(*name: str) -> int:
    """A name's number in [0, 2**63); of 10⁸ names two share one with a probability of 0.05 %."""
    return int.from_bytes(_digest(*name), "big") >> 1


def fields_of_row(chunk: ChunkRow) -> dict[str, Any]:
    """What filters see of a chunk."""
    id, document_id, _, _, page, _, source, metadata = chunk.columns
    return {**fields_in(source, page, metadata), "id": id, "document_id": document_id}


def weights_of(chunk: ChunkRow) -> dict[int, float]:
    """Its words' BM25 weights."""
    _, _, text, _, _, headings, source, _ = chunk.columns
    return word_weights(text, "\n".join(json.loads(headings)), source)


def tokens_of(fields: Mapping[str, Any]) -> list[str]:
    found = set()
    for field, value in fields.items():
        found |= {_token(field, "exists"), _token(field, "is a", kind_of(value)), _token(field, "is", *_key(value))}
        if isinstance(value, list):
            found.update(_token(field, "holds", *_key(item)) for item in value)
    return sorted(found)


def numbers_of(fields: Mapping[str, Any]) -> dict[str, float]:
    """Field, hashed → number."""
    numbers = {field: narrowed(value) for field, value in fields.items() if kind_of(value) == "number"}
    return {_token(field): float(number) for field, number in numbers.items()}


def wanted_tokens(test: Test) -> list[str]:
    """Those one of which a chunk must have, for any test but a range."""
    if test.operator == "exists":
        return [_token(test.field, "exists")]
    part = "holds" if test.operator == "contains" else "is"
    return [_token(test.field, part, *_key(value)) for value in test.values]


def a_number(test: Test) -> str:
    """What a chunk has whose field is a number."""
    return _token(test.field, "is a", "number")


def by_number(test: Test) -> tuple[str, list[tuple[str, float]]] | None:
    """A range as hashed field and bounds; None where floats cannot decide it."""
    if any(kind_of(value) != "number" or abs(narrowed(value)) >= _EXACT for value in test.values):
        return None
    numbers = [float(narrowed(value)) for value in test.values]
    return _token(test.field), list(zip(test.bounds, numbers, strict=True))


def _key(value: Any) -> tuple[str, str]:
    kind = kind_of(value)
    if kind == "number":
        number = narrowed(value)
        exact = isinstance(number, float) and abs(number) != float("inf") and number.is_integer()
        return kind, str(int(number) if exact else number)
    return kind, value if kind == "text" else ""


def _token(*parts: str) -> str:
    return _digest(*parts).hex()


def _digest(*parts: str) -> bytes:
    framed = f"{[len(part) for part in parts]}{''.join(parts)}"
    return hashlib.blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=8).digest()
