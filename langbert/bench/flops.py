"""The arithmetic a BERT, or a GPT, cannot do without: matrix products over real tokens."""

from __future__ import annotations

from collections.abc import Iterable

from ..models.bert.network import BertConfig
from ..models.gpt.network import GPTConfig


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


def gpt_flops(config: GPTConfig, length: int) -> int:
    """The same to read a prompt of ``length`` tokens, each of which looks back only, and to choose what follows it."""
    width, heads = config.hidden_size, config.n_heads * config.head_dim
    groups = config.n_kv_heads * config.head_dim
    joined = 3 if config.feed_forward == "swiglu" else 2
    weights = width * (2 * heads + 2 * groups) + joined * width * config.intermediate_size
    attention = 4 * heads * (length * (length + 1) // 2)
    return config.n_layers * (2 * length * weights + attention) + 2 * width * config.vocab_size
