"""Log-odds and probabilities."""

from __future__ import annotations

import math

__all__ = ["log_odds", "sigmoid"]

_SURE = 1e-6  # no share is nearer to 0 or 1


def sigmoid(log_odds: float) -> float:
    """The probability that has these log-odds, in [0, 1]; of any number, however large."""
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds > -700 else 0.0


def log_odds(share: float) -> float:
    """The log-odds of a share in [0, 1], finite at its ends too."""
    share = min(max(share, _SURE), 1 - _SURE)
    return math.log(share / (1 - share))
