"""Losses that place vectors: pure functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ranking_loss(
    queries: Tensor, passages: Tensor, targets: Tensor, allowed: Tensor | None = None, *, scale: float = 20.0
) -> Tensor:
    """Multiple negatives ranking: each query picks its passage out of all passages of the batch.

    Henderson et al. 2017 ("Efficient Natural Language Response Suggestion", §4.4), with cosines; the same as InfoNCE
    (van den Oord et al. 2018, §2.3) with temperature ``1 / scale``.

    Args:
        queries: ``(B, D)``.
        passages: ``(N, D)``, right ones and hard negatives of all queries.
        targets: ``(B,)`` int64, which passage is right.
        allowed: ``(B, N)`` bool, False where a passage is another right one and must not be pushed away.
    """
    logits = scale * F.normalize(queries, dim=-1) @ F.normalize(passages, dim=-1).T
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    return F.cross_entropy(logits, targets)


def cosine_loss(first: Tensor, second: Tensor, scores: Tensor) -> Tensor:
    """The squared error of cosines against scores (Reimers and Gurevych 2019, "Sentence-BERT", §3).

    Args:
        first, second: ``(B, D)``.
        scores: ``(B,)``, usually in [0, 1].
    """
    return F.mse_loss(F.cosine_similarity(first, second), scores)


def cosent_loss(first: Tensor, second: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """``log(1 + Σ exp(scale (cos_j - cos_i)))`` over all i, j with ``score_i > score_j`` (Su 2022, "CoSENT").

    Only the order of the scores counts. Arguments as for :func:`cosine_loss`.
    """
    cosines = scale * F.cosine_similarity(first, second)
    differences = (cosines[None, :] - cosines[:, None])[scores[:, None] > scores[None, :]]  # [i, j] is j's minus i's
    return torch.logsumexp(torch.cat([differences.new_zeros(1), differences]), dim=0)


def list_scores(queries: Tensor, passages: Tensor, lists: Tensor, *, scale: float = 20.0) -> Tensor:
    """Each query's scaled cosines with the passages on its own list.

    Args:
        queries: ``(B, D)``.
        passages: ``(N, D)``.
        lists: ``(B, K)`` int64 rows of ``passages``.

    Returns:
        ``(B, K)``.
    """
    return scale * torch.einsum("bd,bkd->bk", F.normalize(queries, dim=-1), F.normalize(passages, dim=-1)[lists])


def margin_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """MarginMSE (Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models", §3.2).

    By how much the first passage leads is learned, not the scores themselves.

    Args:
        scores, teacher: ``(B, K)``, the first of each list against the K - 1 others.
    """
    return F.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])


def listwise_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence of the teacher's softmax over each list from the student's (Hinton et al. 2015; Lin et al. 2021).

    Args:
        scores, teacher: ``(B, K)`` logits.
    """
    return F.kl_div(F.log_softmax(scores, dim=1), F.softmax(teacher, dim=1), reduction="batchmean")


def matryoshka(loss: Callable[..., Tensor], vectors: Sequence[Tensor], dimensions: Sequence[int]) -> Tensor:
    """``loss`` summed over vectors cut to each of ``dimensions`` (Kusupati et al. 2022, eq. 1, with equal weights).

    Args:
        loss: takes as many tensors as ``vectors`` has.
        vectors: each ``(…, D)``.
        dimensions: how many of the first values to keep; empty keeps all of them.
    """
    if not dimensions:
        return loss(*vectors)
    return torch.stack([loss(*(tensor[..., :size] for tensor in vectors)) for size in dimensions]).sum()
