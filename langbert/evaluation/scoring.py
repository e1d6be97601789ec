"""How right an answer is: exact match and F1 as SQuAD and CMRC 2018 define them, and whether it holds the answer.

English is compared by words without case, punctuation and articles (Rajpurkar et al. 2016, §6.1). Chinese, which has no
spaces, is compared by characters; its F1 counts the longest run that both have (Cui et al. 2019, §4, as their script).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from ..text.scripts import HAN, has_han

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CHINESE_PUNCTUATION = str.maketrans("", "", string.punctuation + "，。：？！“”；‘’《》…·、「」『』（）－—～【】")
_CHINESE_SEGMENT = re.compile(rf"[{HAN}]|[^\s{HAN}]+")


class AnswerScore(NamedTuple):
    """Both in [0, 1]."""

    exact: float
    f1: float


def best_over_answers(predicted: str, answers: Sequence[str]) -> AnswerScore:
    """The best score of ``predicted`` over the accepted ``answers``; 0 where none is given."""
    scores = [_score(predicted, answer) for answer in answers]
    return AnswerScore(max((score.exact for score in scores), default=0.0), max((s.f1 for s in scores), default=0.0))


def holds_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether ``text`` holds one of the ``answers`` word by word (Chinese: character by character)."""
    for answer in answers:
        chinese = has_han(answer)
        wanted = segments(answer, chinese=chinese)
        if wanted and f" {' '.join(wanted)} " in f" {' '.join(segments(text, chinese=chinese))} ":
            return True
    return False


def segments(text: str, *, chinese: bool) -> list[str]:
    """What is compared: words, or characters and the words between them."""
    if chinese:
        return _CHINESE_SEGMENT.findall(text.lower().translate(_CHINESE_PUNCTUATION))
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _score(predicted: str, answer: str) -> AnswerScore:
    chinese = has_han(predicted + answer)
    guess, truth = segments(predicted, chinese=chinese), segments(answer, chinese=chinese)
    exact = float(guess == truth)
    if not guess or not truth:
        return AnswerScore(exact, exact)
    if chinese:
        common = SequenceMatcher(None, guess, truth, autojunk=False).find_longest_match().size
    else:
        common = sum((Counter(guess) & Counter(truth)).values())
    return AnswerScore(exact, 2 * common / (len(guess) + len(truth)))
