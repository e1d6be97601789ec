"""The arithmetic a BERT cannot do without: matrix products over real tokens."""

from __future__ import annotations

from collections.abc import Iterable

from ..nn.bert import BertConfig

__all__ = ["bert_flops"]


def bert_flops(config: BertConfig, lengths: Iterable[int]) -> int:
    """Floating-point operations to encode sequences of these lengths; a multiplication with its addition counts as two.

    A layer multiplies each token with ``4 H² + 2 H I`` weights (queries, keys, values, output; up, down), and each
    token with each of its sequence twice over ``H`` (scores, weighted sum). Look-ups, norms, the activation and padding
    are not counted: a network that pads does more, and is not given credit for it.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    total = squares = 0
    for length in lengths:
        total += length
        squares += length * length
    linear = 2 * total * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 4 * squares * hidden
    return config.n_layers * (linear + attention)
