"""Logits → the next token: greedy, or drawn at random from a narrowed distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor


class StreamOptions(TypedDict, total=False):
    """The keywords of any generator's ``stream``."""

    max_tokens: int
    stop: Sequence[str]
    temperature: float
    top_p: float
    seed: int | None


class OwnOptions(StreamOptions, total=False):
    """And those of one whose logits are at hand."""

    top_k: int
    repetition_penalty: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token; above it, logits are divided by it before one is drawn.
        top_p: draw from the smallest set of tokens whose probability reaches this (Holtzman et al. 2020, section 3.1).
        top_k: draw from the this many likeliest tokens (Fan et al. 2018, section 5.4); 0 does not narrow.
        repetition_penalty: divides the logit of a token already read or written (Keskar et al. 2019, section 4.1).
        seed: the same seed draws the same tokens from the same logits; None takes a fresh one.

    Raises:
        ValueError: a setting is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}, expected 0 (greedy) or more")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}, expected more than 0 and at most 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}, expected 0 (all tokens) or more")
        if not 0.0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty is {self.repetition_penalty}, expected more than 0; 1 is none")


class Sampler:
    """Chooses the tokens of one generation; its randomness is its own, so generations do not disturb each other."""

    def __init__(self, sampling: Sampling, prompt_ids: list[int]) -> None:
        self._sampling = sampling
        self._seen = torch.tensor(sorted(set(prompt_ids)), dtype=torch.long)
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """The next token's id, given ``logits`` (vocab_size,) of any floating dtype, on any device."""
        logits = logits.float().cpu()
        if self._sampling.repetition_penalty != 1.0:
            logits = self._penalised(logits)
        # numpy finds the largest of a vocabulary in a fraction of torch's time
        token = int(logits.numpy().argmax()) if self._sampling.temperature == 0.0 else self._drawn(logits)
        if self._sampling.repetition_penalty != 1.0:
            self._seen = torch.cat((self._seen, torch.tensor([token])))
        return token

    def _penalised(self, logits: Tensor) -> Tensor:
        seen = logits[self._seen]
        penalty = self._sampling.repetition_penalty
        return logits.index_copy(0, self._seen, torch.where(seen > 0, seen / penalty, seen * penalty))

    def _drawn(self, logits: Tensor) -> int:
        top_k = self._sampling.top_k or len(logits)
        # float64: a tiny temperature must not push the likeliest logits to infinity
        scores, tokens = (logits.double() / self._sampling.temperature).topk(min(top_k, len(logits)))
        probabilities = scores.softmax(0)
        if self._sampling.top_p < 1.0:
            before = probabilities.cumsum(0) - probabilities  # the first token is always kept
            probabilities = probabilities.masked_fill(before >= self._sampling.top_p, 0.0)
        return int(tokens[torch.multinomial(probabilities, 1, generator=self._random)])
