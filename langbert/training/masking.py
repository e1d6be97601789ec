"""Which tokens a masked language model has to guess, and what it sees in their place.

Pure functions of their arguments: Devlin et al. 2019, §3.1 and appendix A.1; whole words as in the authors' later
release, and for Chinese as in Cui et al. 2019 ("Pre-Training with Whole Word Masking for Chinese BERT", §2.1).
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence

from ..errors import MissingExtra
from ..text.scripts import HAN

_HAN_RUN = re.compile(f"[{HAN}]{{2,}}")


def continued(text: str, offsets: Sequence[tuple[int, int]], word_ids: Sequence[int | None]) -> list[bool]:
    """For each token of ``text``, whether it goes on with the word of the token before it.

    Word pieces do (``##ing``), and so do Chinese characters that make one word, which a BERT tokenizer takes apart.

    Args:
        offsets, word_ids: of the tokens, as ``tokenizers`` gives them.

    Raises:
        MissingExtra: the text has Chinese words and there is no segmenter.
    """
    goes_on = [i > 0 and word is not None and word == word_ids[i - 1] for i, word in enumerate(word_ids)]
    inside = _inside_words(text)
    if inside:
        for i in range(1, len(offsets)):
            adjacent = offsets[i - 1][1] == offsets[i][0]
            goes_on[i] = goes_on[i] or (adjacent and offsets[i][0] in inside)
    return goes_on


def _inside_words(text: str) -> set[int]:
    """Offsets of Chinese characters that are not the first of their word."""
    inside: set[int] = set()
    for run in _HAN_RUN.finditer(text):
        try:
            import rjieba
        except ImportError as error:
            raise MissingExtra(
                "rjieba", "train", "masking whole Chinese words (masking='token' does without)"
            ) from error
        start = run.start()
        for word in rjieba.cut(run.group()):
            inside.update(range(start + 1, start + len(word)))
            start += len(word)
    return inside


def words_of(token_ids: Sequence[int], goes_on: Sequence[bool | int], special_ids: Collection[int]) -> list[list[int]]:
    """The positions of each word, in order; special tokens belong to none.

    Args:
        goes_on: for each token, whether it belongs to the word before it; whatever it says of special tokens is
            not heard.
    """
    words: list[list[int]] = []
    after_special = True
    for i, token in enumerate(token_ids):
        if token in special_ids:
            after_special = True
        elif goes_on[i] and not after_special:
            words[-1].append(i)
        else:
            words.append([i])
            after_special = False
    return words


def choose(words: Sequence[Sequence[int]], share: float, rng: random.Random) -> list[int]:
    """The positions to guess, ascending: ``share`` of all tokens, whole words only, at least one word.

    Words are drawn at random, and left alone if they would make it more than ``share`` (as the authors' code does).
    """
    if not words:
        return []
    budget = max(1, round(share * sum(map(len, words))))
    chosen: list[int] = []
    for word in rng.sample(words, len(words)):
        if len(chosen) + len(word) <= budget:
            chosen += word
        if len(chosen) == budget:
            break
    if not chosen:  # every word is longer than that
        shortest = min(len(word) for word in words)
        chosen += next(word for word in words if len(word) == shortest)
    return sorted(chosen)


def seen_instead(token_id: int, draw: float, mask_id: int, random_id: int) -> int:
    """What stands for a chosen token: of the draws in [0, 1), 80 % show the mask, 10 % ``random_id``, 10 % itself."""
    if draw < 0.8:
        return mask_id
    return random_id if draw < 0.9 else token_id


def corrupt(
    token_ids: Sequence[int], chosen: Sequence[int], mask_id: int, ordinary_ids: Sequence[int], rng: random.Random
) -> list[int]:
    """``token_ids`` with the chosen ones replaced, each by a draw of its own; random tokens are ``ordinary_ids``."""
    seen = list(token_ids)
    for i in chosen:
        seen[i] = seen_instead(seen[i], rng.random(), mask_id, rng.choice(ordinary_ids))
    return seen
