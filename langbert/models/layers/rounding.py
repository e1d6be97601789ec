"""Rounding a weight to integers so that what it is given comes out right, not each number by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .int8_projection import Limits

_DAMPING = 0.1
"""Added to the inputs' variances, of their mean: what a thousand tokens say of a thousand channels is partly chance.
With a hundredth, as in the paper, texts that were not calibrated on came out a fifth worse."""

_BLOCK = 32
"""Columns between two updates of all that are to come."""


def rounded(weight: Tensor, scales: Tensor, inputs: Tensor, limits: Limits) -> Tensor:
    """The levels of a weight, column after column, each taking up what rounding those before it did to the outputs.

    Frantar et al. 2022, "GPTQ", §3.3, over the inputs' covariance: what rounding does to the mean goes into the bias.

    Args:
        weight: ``(out, in)`` float32.
        scales: what 1 stands for in each row, ``(out,)``.
        inputs: ``(n, in)``, as they are usually.
        limits: that the levels keep to.

    Returns:
        ``(out, in)`` int8.
    """
    width = weight.shape[1]
    each = limits.each if limits.pairs(width) else min(limits.each, limits.pair // 2)
    moments = torch.cov(inputs.T, correction=0).double()
    moments.diagonal().add_(_DAMPING * moments.diagonal().mean().clamp(min=1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))
    influence = torch.linalg.cholesky(inverse, upper=True).float()  # of a column on later ones
    rest = weight / scales[:, None]
    levels = torch.empty_like(rest)
    for start in range(0, width, _BLOCK):
        stop = min(start + _BLOCK, width)
        errors = torch.empty(len(rest), stop - start)
        for i in range(start, stop):
            levels[:, i] = rest[:, i].round().clamp(-each, each)
            if i % 2:
                before = levels[:, i - 1]
                levels[:, i].clamp_(-limits.pair - before, limits.pair - before)
            error = (rest[:, i] - levels[:, i]) / influence[i, i]
            rest[:, i + 1 : stop].addr_(error, influence[i, i + 1 : stop], alpha=-1)
            errors[:, i - start] = error
        rest[:, stop:].addmm_(errors, influence[start:stop, stop:], alpha=-1)
    return levels.to(torch.int8)
