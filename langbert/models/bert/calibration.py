"""Sentences of many kinds, from which 8-bit layers learn how far their activations reach."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..files.tokenizer import TextTokenizer

__all__ = ["calibration_sequences"]

_LONGEST = 64
"""Tokens of one sequence. They run as one padded batch, which like lengths keep quick."""


def calibration_sequences(
    tokenizer: TextTokenizer, max_length: int | None = None, texts: Iterable[str] | None = None
) -> list[list[int]]:
    """Token ids with special tokens, for :func:`langbert.models.bert.int8.int8_layers`.

    The package's own sentences, some 1,400 tokens, are prose, questions, code, formulas and tables in a dozen
    languages, single words, and nothing at all: an empty text drives some neurons further than any other.

    Args:
        max_length: the longest sequence the network takes, special tokens included.
        texts: to use instead.
    """
    if texts is None:
        text = Path(__file__).with_name("calibration.txt").read_text(encoding="utf-8")
        texts = ["", *text.splitlines()]
    room = max(0, min(_LONGEST, max_length or _LONGEST) - tokenizer.n_special)
    return [[*tokenizer.prefix, *encoding.ids[:room], *tokenizer.suffix] for encoding in tokenizer.encode(list(texts))]
