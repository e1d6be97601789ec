"""The networks of the three GPT papers, by name.

* GPT-1 (Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", §4.1): the decoder of
  Vaswani et al. 2017 without cross-attention: norms behind each residual sum, 512 learned positions, GELU, and 40,000
  byte-pair merges over characters.
* GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", §2.3): norms before each branch and
  one behind the last block, residual branches that begin smaller, byte-level pairs (50,257 tokens), 1,024 positions.
* GPT-3 (Brown et al. 2020, "Language Models are Few-Shot Learners", §2.1 and table 2.1): the same made larger, 2,048
  positions. In every other layer the paper's attention is sparse (Child et al. 2019); here all of it is dense.
  Its table has two rows that cannot be: XL with 24 heads of 128 at a width of 2,048 (here 16 heads), 13B with 40
  heads of 128 at 5,140 (here 5,120); with the sizes here the parameters are as many as it says.

Feed-forward networks are four times as wide as the network, in all of them.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GPT_SIZES", "Size"]


class Size(NamedTuple):
    """Fields of :class:`.network.GPTConfig`; papers and released code say what dropout there was in training."""

    vocab_size: int
    context_length: int
    n_layers: int
    n_heads: int
    hidden_size: int
    norm_first: bool
    dropout: float


def _gpt2(n_layers: int, n_heads: int, hidden_size: int) -> Size:
    return Size(50_257, 1024, n_layers, n_heads, hidden_size, norm_first=True, dropout=0.1)


def _gpt3(n_layers: int, n_heads: int, hidden_size: int) -> Size:
    return Size(50_257, 2048, n_layers, n_heads, hidden_size, norm_first=True, dropout=0.0)


GPT_SIZES = {
    "gpt1": Size(40_478, 512, 12, 12, 768, norm_first=False, dropout=0.1),  # 117 million parameters
    "gpt2": _gpt2(12, 12, 768),  # 124 million; the paper's own counts (117, 345, 762, 1542) were wrong, its authors say
    "gpt2-medium": _gpt2(24, 16, 1024),  # 355 million
    "gpt2-large": _gpt2(36, 20, 1280),  # 774 million
    "gpt2-xl": _gpt2(48, 25, 1600),  # 1.56 billion
    "gpt3-small": _gpt3(12, 12, 768),  # 125 million
    "gpt3-medium": _gpt3(24, 16, 1024),  # 350 million
    "gpt3-large": _gpt3(24, 16, 1536),  # 760 million
    "gpt3-xl": _gpt3(24, 16, 2048),  # 1.3 billion
    "gpt3-2.7b": _gpt3(32, 32, 2560),
    "gpt3-6.7b": _gpt3(32, 32, 4096),
    "gpt3-13b": _gpt3(40, 40, 5120),
    "gpt3-175b": _gpt3(96, 96, 12_288),
}
"""What :meth:`langbert.models.gpt.network.GPTConfig.named` takes."""
