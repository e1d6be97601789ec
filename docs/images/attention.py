"""Draws ``attention.png``: where four heads of a real BERT look in one sentence.

    python docs/images/attention.py

Needs matplotlib: ``pip install "langbert[train]"``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor

from langbert.models import resolve
from langbert.models.bert.loading import load_bert
from langbert.models.bert.network import Bert
from langbert.models.files.tokenizer import TextTokenizer

mpl.use("Agg")  # a file, no window

from matplotlib import pyplot as plt

SENTENCE = "The beekeeper takes honey from the hive."
HEADS = {
    (0, 2): "the token before",
    (1, 8): "the token after",
    (0, 1): "honey and hive find the bee",
    (4, 5): "nothing to do: almost all rests on [CLS]",
}
"""``(layer, head)``, counted from 0 → what one sees there."""


def attention_weights(bert: Bert, token_ids: Tensor) -> Tensor:
    """softmax(QKᵀ/√d) of every head (Vaswani et al. 2017, §3.2.1).

    Args:
        bert: the encoder.
        token_ids: ``(1, T)`` int64, special tokens included.

    Returns:
        ``(n_layers, n_heads, T, T)`` float32: how much each token (row) takes from each token (column).
    """
    hidden = bert.embeddings(token_ids, torch.zeros_like(token_ids), torch.arange(token_ids.shape[1])[None])
    weights = []
    for layer in bert.layers:
        heads = layer.attention.qkv(hidden).view(token_ids.shape[1], 3, bert.config.n_heads, -1)
        queries, keys, _ = heads.permute(1, 2, 0, 3)  # each (n_heads, T, d)
        weights.append(torch.softmax(queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5, dim=-1))
        hidden = layer(hidden, None)
    return torch.stack(weights)


def draw(weights: Tensor, tokens: list[str], output: Path) -> None:
    """One panel for each of :data:`HEADS`: rows look, columns are looked at, darker is more."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 10), layout="constrained", sharex=True, sharey=True)
    places = range(len(tokens))
    for axis, ((layer, head), title) in zip(axes.flat, HEADS.items(), strict=True):
        image = axis.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
        axis.set_title(f"layer {layer}, head {head}\n{title}", fontsize=12)
        axis.set_xticks(places, tokens, rotation=60, ha="right", rotation_mode="anchor", fontsize=11)
        axis.set_yticks(places, tokens, fontsize=11)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.supylabel("this token …", fontsize=12)
    figure.supxlabel("… looks at this one", fontsize=12)
    bar = figure.colorbar(image, ax=axes, shrink=0.5, label="attention weight; each row sums to 1")
    bar.outline.set_visible(False)
    figure.savefig(output, dpi=100)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    options = parser.parse_args()

    folder = resolve("minilm")
    tokenizer = TextTokenizer.from_folder(folder)
    text = tokenizer.encode([SENTENCE])[0]
    token_ids = torch.tensor([[*tokenizer.prefix, *text.ids, *tokenizer.suffix]])
    with torch.inference_mode():
        weights = attention_weights(load_bert(folder), token_ids)
    draw(weights, ["[CLS]", *text.tokens, "[SEP]"], options.output)


if __name__ == "__main__":
    main()
