"""Results → the generated parts of docs/architectures.md, and its plots."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure
from side_by_side.page import fill_page

from langbert.models.gpt.network import GPT, GPT_SIZES, GPTConfig

from .cost import LENGTHS
from .learning import NEW, PRETRAINED, REFERENCE

Cells = Mapping[str, Mapping[str, Any]]

TITLES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "transformer": "Transformer"}
TITLES |= {PRETRAINED: "BERT", REFERENCE: "`minilm`"}
COLOURS = {"rnn": "tab:gray", "gru": "tab:green", "lstm": "tab:blue", "transformer": "tab:orange"}


def write(cells: Cells, page: Path) -> None:
    """Fill the page; draw what has been measured."""
    parts: dict[str, Callable[[Any], str]] = {
        "quality": quality,
        "pretraining": pretraining,
        "speed": speed,
        "batch": batch,
        "growth": growth,
        "memory": memory,
        "gpt": gpt,
    }
    fill_page(page, dict(cells), parts)
    images = page.parent / "images"
    images.mkdir(exist_ok=True)
    if "lengths" in cells:
        draw_lengths(cells["lengths"], images / "architectures-length.png")
    if runs := _memory_runs(cells):
        draw_memory(runs, images / "architectures-memory.png")


def quality(cells: Cells) -> str:
    """What each architecture learnt; where there are several seeds, mean and spread."""
    head = ("", "weights besides the words", "retrieval nDCG@10", "R@1", "tagging F1", "capitals", "punctuation")
    rows = []
    for name in (*NEW, PRETRAINED, REFERENCE):
        found, tagged = _seeds(cells, f"retrieval {name}"), _seeds(cells, f"tagging {name}")
        if not found and not tagged:
            continue
        sizes = [run["parameters"] - run["word vectors"] for run in tagged if "parameters" in run]
        weights = f"{mean(sizes) / 1e6:.2f} M" if sizes else ""
        scores = [_scores(found, key) for key in ("nDCG@10", "R@1")]
        scores += [_scores(tagged, key) for key in ("F1", "F1 capitals", "F1 punctuation")]
        rows.append((TITLES[name], weights, *scores))
    return _table(head, rows) if rows else ""


def pretraining(cells: Cells) -> str:
    runs = _seeds(cells, "pretraining")
    if not runs:
        return ""
    tokens, loss = (mean(run[key] for run in runs) for key in ("tokens", "mlm_loss"))
    return (
        f"{tokens / 1e6:.2f} million tokens, {_seconds(runs)} of one core; the loss on hidden words of held-out "
        f"paragraphs is then {loss:.2f} nats, where guessing by frequency gives {runs[0]['unigram_entropy']:.2f}."
    )


def speed(cells: Cells) -> str:
    if "speed" not in cells:
        return ""
    found = cells["speed"]
    head = ("", "learns from tokens/s", "encodes passages of 128 tokens/s")
    return _table(
        head,
        [
            (TITLES[name], *(f"{found[key][name]:,.0f}" for key in ("training tokens/s", "passages/s")))
            for name in found["passages/s"]
        ],
    )


def batch(cells: Cells) -> str:
    if "lengths" not in cells:
        return ""
    found = cells["lengths"]
    head = ("ms a batch", "padded", "packed", "quicker")
    rows = [
        (TITLES[name], f"{ways['padded']:.0f}", f"{ways['packed']:.0f}", f"{ways['padded'] / ways['packed']:.1f}×")
        for name, ways in found["batch"].items()
    ]
    return f"{_table(head, rows)}\n\n{found['share of padding']:.0%} of the padded batch is padding."


def growth(cells: Cells) -> str:
    """How many times longer a text twice as long takes, at the long end."""
    if "lengths" not in cells:
        return ""
    curves = cells["lengths"]["milliseconds a text"]
    rows = []
    for name, times in curves.items():
        power = math.log(times[-1] / times[-3]) / math.log(LENGTHS[-1] / LENGTHS[-3])
        rows.append((TITLES[name], *(f"{value:,.1f}" for value in times), f"{power:.2f}"))
    return _table(("ms a text of tokens", *(f"{n:,}" for n in LENGTHS), "power, at the end"), rows)


def memory(cells: Cells) -> str:
    runs = _memory_runs(cells)
    if not runs:
        return ""
    rows = []
    for name, run in runs.items():
        _, length, seed = name.split()
        what = f"memory of {length}" if int(length) else "never had one"
        remembered = f"{run['with']:.1f}" if int(length) else "–"
        rows.append((what, seed, remembered, f"{run['without']:.1f}"))
    return _table(("trained with", "seed", "perplexity with memory", "without"), rows)


def gpt(cells: Cells) -> str:
    """The named sizes, counted on networks without memory for their weights."""
    head = ("`GPTConfig.named(…)`", "layers", "heads", "width", "positions", "tokens", "norm", "parameters")
    rows = []
    for name, size in GPT_SIZES.items():
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in GPT(GPTConfig.named(name)).parameters())
        told = f"{count / 1e9:,.2f} B" if count >= 1e9 else f"{count / 1e6:,.0f} M"
        norm = "before each branch" if size.norm_first else "behind each sum"
        numbers = (size.n_layers, size.n_heads, size.hidden_size, size.context_length, size.vocab_size)
        rows.append((f"`{name}`", *(f"{number:,}" for number in numbers), norm, told))
    return _table(head, rows)


def draw_lengths(found: Mapping[str, Any], file: Path) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, times in found["milliseconds a text"].items():
        left.plot(LENGTHS, times, "o-", color=COLOURS[name], label=TITLES[name], markersize=4)
    left.set(xscale="log", yscale="log", xlabel="tokens of a text", ylabel="milliseconds a text")
    left.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    left.minorticks_off()
    left.legend(frameon=False)
    names = list(found["batch"])
    for offset, way, alpha in ((-0.2, "padded", 0.4), (0.2, "packed", 1.0)):
        heights = [found["batch"][name][way] for name in names]
        places = [i + offset for i in range(len(names))]
        right.bar(places, heights, 0.38, color=[COLOURS[name] for name in names], alpha=alpha)
    right.set_xticks(range(len(names)), [TITLES[name] for name in names])
    right.set(ylabel="milliseconds", title="32 texts of uneven length: padded (pale), packed")
    _bare(left, right)
    figure.savefig(file, dpi=120)


def draw_memory(runs: Cells, file: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    remembering = [run for name, run in runs.items() if name.split()[1] != "0"]
    for way, colour in (("without", "tab:gray"), ("with", "tab:blue")):
        places = [mean(values) for values in zip(*(run[f"{way} by place"] for run in remembering), strict=True)]
        axes.plot(range(1, len(places) + 1), places, color=colour, label=f"{way} memory")
    axes.set(xlabel="place of the guessed token in its segment", ylabel="perplexity")
    axes.legend(frameon=False)
    _bare(axes)
    figure.savefig(file, dpi=120)


def _bare(*panels: Any) -> None:
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)


def _memory_runs(cells: Cells) -> dict[str, Mapping[str, Any]]:
    return {name: found for name, found in cells.items() if name.startswith("memory ")}


def _seeds(cells: Cells, start: str) -> list[Mapping[str, Any]]:
    return [found for name, found in cells.items() if name.rsplit(" ", 1)[0] == start]


def _scores(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    values = [run[key] for run in runs]
    if not values:
        return ""
    spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"


def _seconds(runs: Sequence[Mapping[str, Any]]) -> str:
    return f"{mean(run['cpu seconds'] for run in runs):.0f} seconds"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
