"""From a source to the likeliest target: greedily, or by beam search with a length penalty."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from .encoder_decoder import Seq2Seq, Source

__all__ = ["Hypothesis", "beam_search", "greedy"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A target that was written.

    Attributes:
        ids: its tokens, without start and end.
        log_probability: of all of them, the end included where it was reached, in nats.
        score: ``log_probability`` over the length penalty.
    """

    ids: list[int]
    log_probability: float
    score: float


@torch.no_grad()
def greedy(
    model: Seq2Seq,
    source_ids: Tensor,
    source_mask: Tensor | None = None,
    *,
    max_tokens: int,
    end_ids: Collection[int],
) -> list[list[int]]:
    """The likeliest next token, again and again, for every source of a batch.

    Args:
        source_ids: (B, S) int64; ``source_mask`` is 0 or False at padding, which is on the right.
        max_tokens: the most tokens of a target, its end included.
        end_ids: tokens that end one.

    Returns:
        Of each source its target's tokens, without start and end.
    """
    batch, device = len(source_ids), source_ids.device
    source = model.read(source_ids, source_mask)
    cache = model.new_cache(max_tokens, batch=batch)
    ends = torch.tensor(sorted(end_ids), device=device)
    tokens = torch.full((batch, 1), model.config.start_id, device=device)
    chosen: list[list[int]] = [[] for _ in range(batch)]
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    for _ in range(max_tokens):
        tokens = model.logits(model.decode(tokens, source, cache=cache)[:, -1]).argmax(-1, keepdim=True)
        done |= torch.isin(tokens[:, 0], ends)
        for target, token, finished in zip(chosen, tokens[:, 0].tolist(), done.tolist(), strict=True):
            if not finished:
                target.append(token)
        if done.all():
            break
    return chosen


@torch.no_grad()
def beam_search(
    model: Seq2Seq,
    source_ids: Tensor,
    *,
    beams: int,
    max_tokens: int,
    end_ids: Collection[int],
    length_penalty: float = 0.6,
) -> list[Hypothesis]:
    """The ``beams`` likeliest beginnings are followed side by side until as many have ended.

    A finished target Y is worth log P(Y) / lp(Y), where lp(Y) = ((5 + |Y|) / 6)^length_penalty (Wu et al. 2016,
    "Google's Neural Machine Translation System", §7, equation 14); without it short targets would mostly win. One beam
    chooses as :func:`greedy` does.

    Args:
        source_ids: (S,) int64, one source.
        beams: how many are followed.
        max_tokens: the most tokens of a target, its end included; one that gets there counts as finished.
        end_ids: tokens that end a target.
        length_penalty: α; 0 compares log probabilities as they are.

    Returns:
        Up to ``beams`` hypotheses, best first.

    Raises:
        ValueError: ``beams``, ``max_tokens`` or ``length_penalty`` is out of its range.
    """
    if beams < 1 or max_tokens < 1 or length_penalty < 0:
        raise ValueError(
            f"beams {beams}, max_tokens {max_tokens}, length_penalty {length_penalty}: expected 1, 1 and 0 or more"
        )
    alone = model.read(source_ids[None])
    source = Source([(k.expand(beams, -1, -1, -1), v.expand(beams, -1, -1, -1)) for k, v in alone.keys_values], None)
    cache = model.new_cache(max_tokens, batch=beams)
    sums = torch.full((beams,), -torch.inf, device=source_ids.device)
    sums[0] = 0.0  # all begin alike: only one of them counts
    tokens = torch.full((beams, 1), model.config.start_id, device=source_ids.device)
    written: list[list[int]] = [[] for _ in range(beams)]
    finished: list[Hypothesis] = []
    for length in range(1, max_tokens + 1):
        logits = model.logits(model.decode(tokens, source, cache=cache)[:, -1]).float()
        totals = sums[:, None] + logits.log_softmax(-1)  # (beams, vocab_size)
        n_best = min(beams * (1 + len(end_ids)), totals.numel())  # so that enough are left where others end
        values, places = totals.flatten().topk(n_best)
        going_on: list[tuple[int, int, float]] = []  # (beam, token, sum)
        for rank, (value, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            beam, token = divmod(place, totals.shape[1])
            if value == -torch.inf:
                break
            if token in end_ids or length == max_tokens:
                if rank < beams:
                    ids = written[beam] if token in end_ids else [*written[beam], token]
                    finished.append(Hypothesis(ids, value, value / _penalty(length, length_penalty)))
            elif len(going_on) < beams:
                going_on.append((beam, token, value))
        if len(finished) >= beams or not going_on or _settled(finished, going_on[0][2], max_tokens, length_penalty):
            break
        going_on += [(0, 0, -torch.inf)] * (beams - len(going_on))  # rows of the batch that count for nothing
        parents = [beam for beam, _, _ in going_on]
        written = [[*written[beam], token] for beam, token, _ in going_on]
        tokens = torch.tensor([[token] for _, token, _ in going_on], device=source_ids.device)
        sums = torch.tensor([total for _, _, total in going_on], device=source_ids.device)
        cache.select(parents)
    return sorted(finished, key=lambda hypothesis: -hypothesis.score)[:beams]


def _penalty(length: int, alpha: float) -> float:
    return math.pow((5 + length) / 6, alpha)


def _settled(finished: list[Hypothesis], best_sum: float, max_tokens: int, alpha: float) -> bool:
    """Whether nothing unfinished can still win: its log probability only falls, its penalty ends at the longest's."""
    attainable = best_sum / _penalty(max_tokens, alpha)
    return any(hypothesis.score >= attainable for hypothesis in finished)
