"""Attention that slides (Beltagy et al. 2020, "Longformer", §3.1) against windows, in an encoder trained on neither.

    python benchmarks/sliding.py SQUAD.json … [--model e5-small] [--length 1536] [--documents 24] [--questions 150]
    python benchmarks/sliding.py --lengths 512 1024 2048 4096 --plot docs/images/long-texts.png

Each article is one document of so many tokens with one vector, and each question looks for its article. The encoder
has learned 512 positions; for more they are copied end to end, as Longformer begins (§5). "slides" lets a token see 256
on either side in every layer, "full" all of them; "windows" is what ``Embedder`` does. With ``--lengths`` only the CPU
seconds of one text of each length are told, and drawn.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langbert import Embedder
from langbert.evaluation import read_questions
from langbert.models import resolve
from langbert.models.bert.loading import load_bert
from langbert.models.bert.network import Bert
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.layers.attention import MultiHeadAttention

HALF = 256  # tokens that are seen on either side


def attend_sliding(query: Tensor, key: Tensor, value: Tensor, half: int) -> Tensor:
    """Each of ``(B, n_heads, T, d)`` queries looks at the keys at most ``half`` places away: a block of queries at
    its own block of keys and the two beside it, so that time and memory grow with T."""
    batch, n_heads, length, width = query.shape
    n_blocks = -(-length // half)
    query, key, value = (F.pad(part, (0, 0, 0, n_blocks * half - length)) for part in (query, key, value))
    queries = query.view(batch, n_heads, n_blocks, half, width)
    keys, values = (
        F.pad(part, (0, 0, half, half)).unfold(2, 3 * half, half).transpose(-1, -2) for part in (key, value)
    )  # (B, n_heads, n_blocks, 3 · half, d)
    place = torch.arange(half)
    apart = torch.arange(3 * half)[None] - half - place[:, None]
    there = torch.arange(n_blocks)[:, None] * half - half + torch.arange(3 * half)[None]  # (n_blocks, 3 · half)
    mask = (apart.abs() <= half)[None] & ((there >= 0) & (there < length))[:, None]
    mask[:, :, half] |= ~mask.any(dim=2)  # padding looks somewhere
    found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return found.reshape(batch, n_heads, n_blocks * half, width)[:, :, :length]


class SlidingAttention(nn.Module):
    """The same projections as another's, looking no further than ``half`` tokens."""

    def __init__(self, attention: MultiHeadAttention, half: int) -> None:
        super().__init__()
        self.attention, self.reach = attention, half

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, length, width = hidden_states.shape
        heads = self.attention.n_heads
        qkv = self.attention.qkv(hidden_states).view(batch, length, 3, heads, width // heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        context = attend_sliding(query, key, value, self.reach)
        joined: Tensor = self.attention.output(context.transpose(1, 2).reshape(batch, length, width))
        return joined


def long_bert(folder: Path, max_positions: int, half: int | None) -> Bert:
    """The same weights, the positions copied end to end."""
    long = load_bert(folder, pooler=False, low_bit=True)
    learned = long.state_dict()["embeddings.positions.weight"]
    long.config = replace(long.config, max_positions=max_positions)
    long.embeddings.positions = nn.Embedding.from_pretrained(learned.repeat(-(-max_positions // len(learned)), 1))
    if half is not None:
        for layer in long.layers:
            layer.attention = SlidingAttention(cast(MultiHeadAttention, layer.attention), half)
    return long.eval()


class Reader:
    """Texts of any length to vectors, the mean of all tokens, by one pass of a network."""

    def __init__(self, model: str, half: int | None, max_length: int, prompt: str) -> None:
        folder = resolve(model)
        self._tokenizer = TextTokenizer.from_folder(folder)
        self._bert = long_bert(folder, max_length, half)
        self._prompt, self._max_length = prompt, max_length

    @torch.inference_mode()
    def embed(self, texts: list[str]) -> np.ndarray:
        around = len(self._tokenizer.prefix), len(self._tokenizer.suffix)
        found = []
        for encoding in self._tokenizer.encode([self._prompt + text for text in texts]):
            kept = encoding.ids[: self._max_length - sum(around)]
            ids = torch.tensor([[*self._tokenizer.prefix, *kept, *self._tokenizer.suffix]])
            with torch.autocast("cpu", torch.bfloat16):
                states = self._bert(ids)[0]
            found.append(F.normalize(states.float().mean(dim=0), dim=0))
        return torch.stack(found).numpy()


def articles(
    path: Path, n_documents: int, n_questions: int, cut: Callable[[str], str]
) -> tuple[list[str], list[str], list[int]]:
    data = read_questions(path)
    texts: dict[str, str] = {}
    for title, text in data.paragraphs.values():
        texts[title] = texts.get(title, "") + text + "\n\n"
    titles = random.Random(0).sample(sorted(texts), min(n_documents, len(texts)))
    asked = [one for one in data.questions if data.paragraphs[one.paragraph][0] in titles]
    asked = random.Random(0).sample(asked, min(n_questions, len(asked)))
    right = [titles.index(data.paragraphs[one.paragraph][0]) for one in asked]
    return [cut(texts[title]) for title in titles], [one.question for one in asked], right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", type=Path, help="SQuAD JSON files")
    parser.add_argument("--model", default="e5-small")
    parser.add_argument("--length", type=int, default=1536, help="tokens of a document")
    parser.add_argument("--documents", type=int, default=24)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--lengths", type=int, nargs="*", default=[])
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    longest = max([arguments.length, *arguments.lengths])
    windows = Embedder(arguments.model, precision="bfloat16")
    prompt = windows.space.document_prompt
    slides, full = (Reader(arguments.model, half, longest, prompt) for half in (HALF, None))
    cut_off = Embedder(arguments.model, precision="bfloat16", on_overflow="truncate")
    ways = {"windows": windows.embed, "slides": slides.embed, "full": full.embed, "cut off": cut_off.embed}

    if arguments.lengths:
        seconds: dict[str, list[float]] = {way: [] for way in ("windows", "slides", "full")}
        for length in arguments.lengths:
            text = "honey " * (length - 8)
            for way, spent in seconds.items():
                ways[way]([text])
                began = time.process_time()
                ways[way]([text])
                spent.append(time.process_time() - began)
            print(length, {way: round(spent[-1], 3) for way, spent in seconds.items()}, flush=True)
        if arguments.plot:
            draw(arguments.lengths, seconds, arguments.plot)
        return

    def cut(text: str) -> str:
        offsets = windows.token_offsets(text)[: arguments.length - 8]
        return text[: offsets[-1][1]]

    for path in arguments.data:
        texts, questions, right = articles(path, arguments.documents, arguments.questions, cut)
        asked = windows.embed(questions, "query")
        print(f"\n{path.parent.name}: {len(texts)} documents of {arguments.length} tokens, {len(asked)} questions")
        base: np.ndarray | None = None
        for way, embed in ways.items():
            began = time.process_time()
            cosines = asked @ embed(texts).T
            taken = time.process_time() - began
            own = cosines[np.arange(len(asked)), right]
            ranks = 1 / (1 + (cosines > own[:, None]).sum(axis=1))
            base = ranks if base is None else base
            gain, error = (ranks - base).mean(), (ranks - base).std() / len(ranks) ** 0.5
            print(f"{way:10} MRR {ranks.mean():.3f}  {gain:+.3f} ± {error:.3f}  {taken:6.1f} s", flush=True)


def draw(lengths: list[int], seconds: dict[str, list[float]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for way, taken in seconds.items():
        axes.plot(lengths, taken, marker="o", label=way)
    axes.set(xlabel="tokens of a text", ylabel="CPU seconds", ylim=(0, None), xticks=lengths)
    axes.legend(frameon=False)
    figure.savefig(file)


if __name__ == "__main__":
    main()
