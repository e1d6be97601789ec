"""Exact match and F1 of an answer, as SQuAD defines them (Rajpurkar et al. 2016, §6.1), by torchmetrics.

Chinese, which has no spaces, is compared character by character, as CMRC 2018 does (Cui et al. 2019, §4).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import MissingExtra

__all__ = ["AnswerScore", "best_over_answers"]

_CHINESE = re.compile("([\u4e00-\u9fff])")


class AnswerScore(NamedTuple):
    """Both in [0, 1]."""

    exact: float
    f1: float


def best_over_answers(predicted: str, answers: Sequence[str]) -> AnswerScore:
    """The best score of ``predicted`` over the accepted ``answers``."""
    try:
        from torchmetrics.functional.text.squad import _compute_exact_match_score, _compute_f1_score
    except ImportError as error:
        raise MissingExtra("torchmetrics", "eval", "scoring answers") from error
    guess = _spaced(predicted)
    accepted = [_spaced(answer) for answer in answers]
    exact = max(float(_compute_exact_match_score(guess, answer)) for answer in accepted)
    return AnswerScore(exact, max(float(_compute_f1_score(guess, answer)) for answer in accepted))


def _spaced(text: str) -> str:
    return _CHINESE.sub(r" \1 ", text)
