"""Scores → probabilities (Platt 1999): one slope and one bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import MissingExtra


def logistic(scores: Sequence[float], labels: Sequence[bool]) -> tuple[float, float]:
    """Slope and bias for which ``sigmoid(slope · score + bias)`` fits the labels best."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("scikit-learn", "train", "calibrating scores") from error
    column = np.clip(np.asarray(scores, dtype=np.float64), -1e4, 1e4)[:, None]
    model = LogisticRegression(C=1e4).fit(column, np.asarray(labels))
    return float(model.coef_[0, 0]), float(model.intercept_[0])
