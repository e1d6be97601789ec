"""Guesses at the next tokens: what followed the last ones when they stood there before.

Answers quote their sources. A decoder's step takes its time for reading weights, so a few guessed tokens read along
cost little, and each one that comes true saves a step (Leviathan et al. 2023, "Fast Inference from Transformers via
Speculative Decoding", section 2.1; the prompt instead of a smaller model: Saxena 2023, "Prompt Lookup Decoding").
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["PromptLookup"]


class PromptLookup:
    """The tokens of a sequence so far, and where each few of them last stood.

    Args:
        token_ids: what the sequence begins with.
        n_gram: so many last tokens must have stood there before for a guess.
    """

    def __init__(self, token_ids: Iterable[int], n_gram: int = 3) -> None:
        self._n_gram = n_gram
        self._tokens: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}  # the place behind the latest such few tokens
        for token in token_ids:
            self.guess(token, 0)

    def guess(self, token: int, most: int) -> list[int]:
        """Append ``token``; up to ``most`` tokens that may follow it."""
        self._tokens.append(token)
        few = tuple(self._tokens[-self._n_gram :])
        before = self._behind.get(few)
        self._behind[few] = len(self._tokens)
        return [] if before is None else self._tokens[before : before + most]
