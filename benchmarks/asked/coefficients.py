"""Fitting a few numbers, and putting them where the product reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from langbert.answering.fitted import FILE


def logistic(
    rows: Sequence[Sequence[float]],
    labels: Sequence[bool],
    weights: Sequence[float] | None = None,
    offsets: NDArray[np.float64] | float = 0.0,
) -> list[float]:
    """The coefficients of a logistic model of ``rows`` ``(n, f)`` in their own units, and the bias last.

    None is negative: every row speaks for the label or says nothing, so that more of it never lowers the outcome.
    ``offsets`` ``(n,)`` are logits that are there already.
    """
    features = np.array(rows, float)
    centre, spread = features.mean(0), features.std(0) + 1e-9
    scaled = np.hstack([(features - centre) / spread, np.ones((len(features), 1))])
    signs = np.where(np.array(labels), 1.0, -1.0)
    shares = np.ones(len(features)) if weights is None else np.array(weights)

    def loss(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (scaled @ coefficients + offsets)
        slopes = coefficients * ([1.0] * features.shape[1] + [0.0])
        pull = -shares * signs * expit(-margins)
        return float(shares @ np.logaddexp(0, -margins) + slopes @ slopes / 2), pull @ scaled + slopes

    bounds = [(0.0, None)] * features.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    slopes = found[:-1] / spread
    return [*slopes.tolist(), float(found[-1] - slopes @ centre)]


def write_fitted(model: str, coefficients: Any) -> None:
    """Puts them where :func:`langbert.answering.fitted.fitted` reads them."""
    everything = json.loads(FILE.read_text(encoding="utf-8"))
    everything[model] = coefficients
    FILE.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
