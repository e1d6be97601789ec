"""Our decoders one sequence at a time: what was read for the last prompts is kept, what may come next is guessed.

Prompts of one application share their head, the system's turn; questions about the same passages share nearly all.
Only what stands at the very beginning can be shared, since each key and value depends on everything before it.

Sums in bfloat16 come out a little different with the number of rows that are multiplied at once. So that an answer does
not depend on what was asked before, prompts are read in parts whose ends are always in the same places, and only whole
parts are shared: then every number is the same with and without.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..layers.kv_cache import KVCache
from ..layers.low_bit_linear import Grid
from .inference import PreparedGPT, Stepper
from .network import GPT

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


class PromptLookup:
    """Guesses at the next tokens: what followed the last ones when they stood there before.

    Answers quote their sources. A step takes its time for reading weights, so a few guessed tokens read along cost
    little, and each one that comes true saves a step (Leviathan et al. 2023, "Fast Inference from Transformers via
    Speculative Decoding", section 2.1; the prompt instead of a smaller model: Saxena 2023, "Prompt Lookup Decoding").

    Args:
        token_ids: what the sequence begins with.
        n_gram: so many last tokens must have stood there before for a guess.
    """

    def __init__(self, token_ids: Iterable[int], n_gram: int = 3) -> None:
        self._n_gram = n_gram
        self._tokens: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}  # the place behind the latest such few tokens
        for token in token_ids:
            self.guess(token, 0)

    def guess(self, token: int, most: int) -> list[int]:
        """Append ``token``; up to ``most`` tokens that may follow it."""
        self._tokens.append(token)
        few = tuple(self._tokens[-self._n_gram :])
        before = self._behind.get(few)
        self._behind[few] = len(self._tokens)
        return [] if before is None else self._tokens[before : before + most]


class GPTDecoder:
    """:class:`~langbert.models.gpt.network.GPT` as a :class:`~langbert.models.decoder.Decoder`.

    Args:
        grids: where they are known already, the grids that the linear layers' weights lie on, by module name.
    """

    def __init__(self, model: GPT, grids: Mapping[str, Grid] | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.grids = grids
        self.prefixes = PrefixCache(0)

    @property
    def context_length(self) -> int:
        return self.model.config.context_length

    def start(self, capacity: int) -> _GPTSession:
        return _GPTSession(self.model, capacity, self.prefixes)


class PreparedDecoder:
    """:class:`~langbert.models.gpt.inference.PreparedGPT` as a :class:`~langbert.models.decoder.Decoder`.

    Args:
        guesses: tokens that a step reads ahead at most; on answers from passages three take a quarter off the time.
    """

    def __init__(self, model: PreparedGPT, prefixes: PrefixCache, guesses: int = 3) -> None:
        self.model, self.prefixes, self.guesses = model, prefixes, guesses

    @property
    def context_length(self) -> int:
        return self.model.config.context_length

    def start(self, capacity: int) -> _PreparedSession:
        return _PreparedSession(self.model, capacity, self.prefixes, self.guesses)


class _GPTSession:
    def __init__(self, model: GPT, capacity: int, prefixes: PrefixCache) -> None:
        self._model, self._prefixes = model, prefixes
        self._cache = model.new_cache(capacity)
        self._device = model.token_embedding.weight.device

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        hidden = _read_on(token_ids, self._cache, self._prefixes, self._hidden)
        return self._model.logits(hidden)

    def _hidden(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._device)  # (1, T)
        return self._model.hidden_states(new, cache=self._cache)[0, -1]


class _PreparedSession:
    """Reads what comes first as a prompt, and what follows in steps, ahead of what is given where that can be guessed.

    A guess that does not come true is forgotten: the logits are those of the tokens that were given, in any case.
    """

    def __init__(self, model: PreparedGPT, capacity: int, prefixes: PrefixCache, guesses: int) -> None:
        self._model, self._capacity, self._prefixes, self._guesses = model, capacity, prefixes, guesses
        self._prompt: KVCache | None = None
        self._stepper: Stepper | None = None
        self._lookup = PromptLookup(())
        self._ahead: deque[tuple[int, Tensor]] = deque()  # tokens read as guesses, and their outputs, (1, D) each

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        if self._prompt is None:
            if len(token_ids) > self._capacity:
                raise ValueError(f"a session for {self._capacity} tokens was given {len(token_ids)}")
            cache = self._prompt = self._model.new_cache(len(token_ids))
            hidden = _read_on(token_ids, cache, self._prefixes, lambda ids: self._model.read(torch.tensor(ids), cache))
            self._lookup = PromptLookup(token_ids)
            return self._model.logits(hidden)[0]
        if self._stepper is None:
            self._stepper = Stepper(self._model, self._prompt, self._capacity)
        return self._model.logits([self._step(token, self._stepper) for token in token_ids][-1])[0]

    def _step(self, token: int, stepper: Stepper) -> Tensor:
        """Append ``token``; its normalised output, (1, D)."""
        guesses = self._lookup.guess(token, self._guesses)
        if self._ahead and self._ahead[0][0] == token:
            return self._ahead.popleft()[1]
        stepper.truncate(stepper.length - len(self._ahead))  # without the guesses that did not come true
        guesses = guesses[: max(0, stepper.capacity - stepper.length - 1)]
        outputs = stepper.read([token, *guesses])
        self._ahead = deque((guess, outputs[i : i + 1]) for i, guess in enumerate(guesses, start=1))
        return outputs[:1]


def _read_on(
    token_ids: Sequence[int], cache: KVCache, prefixes: PrefixCache, read: Callable[[Sequence[int]], Tensor]
) -> Tensor:
    """What ``read`` gives for the end of ``token_ids``; the head of a prompt that is known is not read again."""
    if cache.length or not prefixes.max_bytes:
        return read(token_ids)
    known = prefixes.fill(token_ids, cache)
    last = [read(token_ids[part]) for part in parts(known, len(token_ids))][-1]
    prefixes.keep(token_ids, cache)
    return last
