"""What a decoder has read is kept for the next prompt that begins with the same tokens.

Prompts of one application share their head, the system's turn; questions about the same passages share nearly all.
Only what stands at the very beginning can be shared, since each key and value depends on everything before it.

Sums in bfloat16 come out a little different with the number of rows that are multiplied at once. So that an answer does
not depend on what was asked before, prompts are read in parts whose ends are always in the same places, and only whole
parts are shared: then every number is the same with and without.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..layers.kv_cache import KVCache

__all__ = ["PrefixCache", "parts", "whole_parts"]

_FIRST, _PART = 64, 128
"""Tokens in the first part, about a system turn, and in others: fewer would be multiplied slower."""


def whole_parts(n_tokens: int) -> int:
    """How many of so many tokens are in whole parts."""
    return 0 if n_tokens < _FIRST else n_tokens - (n_tokens - _FIRST) % _PART


def parts(start: int, end: int) -> Iterator[slice]:
    """The parts from ``start``, which is the end of one, to ``end``; the last one may be shorter."""
    while start < end:
        stop = min(end, start + (_PART if start else _FIRST))
        yield slice(start, stop)
        start = stop


class _Read(NamedTuple):
    """A prompt and its keys and values, which nobody changes any more."""

    token_ids: NDArray[np.int64]
    cache: KVCache


class PrefixCache:
    """The keys and values of the last prompts, as many as fit; safe to use from several threads.

    Args:
        max_bytes: of keys and values in all; what was used longest ago goes first.

    Raises:
        ValueError: ``max_bytes`` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}, expected 0 (keep nothing) or more")
        self.max_bytes = max_bytes
        self._kept: list[_Read] = []  # the last one was used last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many prompts are kept."""
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        """What is kept at present."""
        with self._lock:
            return sum(read.cache.n_bytes for read in self._kept)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._kept.clear()

    def fill(self, token_ids: Sequence[int], cache: KVCache) -> int:
        """Copy into the empty ``cache`` what is known of the head of ``token_ids``.

        Returns:
            How many tokens that are, in whole parts; all but the last at most, since something must be read to go on.
        """
        wanted = np.asarray(token_ids, dtype=np.int64)
        with self._lock:
            lengths = [_common(read.token_ids, wanted) for read in self._kept]
            length = whole_parts(min(max(lengths, default=0), len(wanted) - 1))
            if not length:
                return 0
            found = self._kept.pop(lengths.index(max(lengths)))
            self._kept.append(found)
        cache.copy_from(found.cache, length)
        return length

    def keep(self, token_ids: Sequence[int], cache: KVCache) -> None:
        """Remember the whole parts of ``token_ids``, whose keys and values are in ``cache``, or as many as fit.

        ``cache`` itself is kept, if it has no more room than for its prompt, and must not change afterwards; else a
        copy.
        """
        most = self.max_bytes * cache.capacity // max(1, cache.n_bytes)
        length = whole_parts(min(len(token_ids), most))
        if not length:
            return
        if cache.capacity > min(len(token_ids), most):
            cache = cache.head(length)
        read = np.asarray(token_ids[:length], dtype=np.int64)
        with self._lock:
            for i, other in enumerate(self._kept):
                if _common(other.token_ids, read) == length:  # known, perhaps with more behind it
                    self._kept.append(self._kept.pop(i))
                    return
            self._kept = [o for o in self._kept if _common(o.token_ids, read) < len(o.token_ids)]
            self._kept.append(_Read(read, cache))
            while sum(o.cache.n_bytes for o in self._kept) > self.max_bytes:
                self._kept.pop(0)


def _common(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """How many tokens at the beginning are the same."""
    length = min(len(first), len(second))
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else length
