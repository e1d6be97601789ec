"""What the networks cost: training and encoding, with the length of a text, and with padding. Timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from langbert.bench.timing import interleaved
from langbert.models.architectures.recurrent import Cell, PreparedRecurrent, RecurrentConfig, RecurrentEncoder
from langbert.models.bert.inference import PreparedBert
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.hardware import resolve_precision
from langbert.models.layers.pooling import pack

from .learning import LENGTH, NEW, PAIRS, VOCABULARY, WIDTH

LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
TEXTS = 4  # read at once where cost with length is measured
ROUNDS = 5

Network = Bert | RecurrentEncoder


def network(architecture: str) -> Network:
    """A network of the sizes that are trained, with room for the longest texts."""
    torch.manual_seed(0)
    if architecture != "transformer":
        cell = cast(Cell, architecture)
        return RecurrentEncoder(RecurrentConfig(VOCABULARY, cell, WIDTH, WIDTH, dropout=0.0))
    config = BertConfig(VOCABULARY, WIDTH, 2, 4, 4 * WIDTH, max(LENGTHS), dropout=0.0, attention_dropout=0.0)
    return Bert(config, pooler=False)


def packed(model: Network) -> Callable[[list[list[int]]], Tensor]:
    return PreparedRecurrent(model) if isinstance(model, RecurrentEncoder) else PreparedBert(model)


def texts(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(5, VOCABULARY, (length,), generator=generator).tolist() for length in sorted(lengths)]


def uneven(n: int, longest: int) -> list[int]:
    """Lengths as paragraphs have them: a few long ones among many short."""
    generator = torch.Generator().manual_seed(0)
    return [max(8, int(longest * draw**2)) for draw in torch.rand(n, generator=generator).tolist()]


def in_turns(calls: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of every call."""
    return {name: timing.median for name, timing in interleaved(calls, rounds).items()}


def speed() -> dict[str, Any]:
    """Tokens learned from in a second, texts being of one length, and passages of 128 tokens encoded in one."""
    read, passages = texts([LENGTH] * PAIRS), texts([128] * 64)
    models = {name: network(name) for name in NEW}
    learnt = in_turns({name: _step(model, read) for name, model in models.items()})
    encoders = {name: packed(model) for name, model in models.items()}
    encoded = in_turns({name: lambda e=encoder: e(passages) for name, encoder in encoders.items()})
    return {
        "training tokens/s": {name: sum(map(len, read)) / seconds for name, seconds in learnt.items()},
        "passages/s": {name: len(passages) / seconds for name, seconds in encoded.items()},
    }


def _step(model: Network, read: list[list[int]]) -> Callable[[], object]:
    ids, mask = padded(read)
    bfloat16 = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            pack(model(ids, mask), mask)[0].float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def lengths() -> dict[str, Any]:
    """Milliseconds a text by its length; and a batch of uneven texts, packed and padded."""
    models = {name: network(name).eval() for name in NEW}
    encoders = {name: packed(model) for name, model in models.items()}
    curves: dict[str, list[float]] = {name: [] for name in NEW}
    for length in LENGTHS:
        read = texts([length] * TEXTS)
        rounds = ROUNDS if length <= 1024 else 3
        found = in_turns({name: lambda e=encoder, r=read: e(r) for name, encoder in encoders.items()}, rounds)
        for name, seconds in found.items():
            curves[name].append(1000 * seconds / TEXTS)
    mixed = texts(uneven(32, 512))
    ids, mask = padded(mixed)
    ways: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        ways[f"{name} packed"] = lambda e=encoders[name]: e(mixed)
        ways[f"{name} padded"] = lambda m=model: _padded_pass(m, ids, mask)
    seconds = in_turns(ways)
    batch = {name: {way: 1000 * seconds[f"{name} {way}"] for way in ("packed", "padded")} for name in NEW}
    return {"milliseconds a text": curves, "batch": batch, "share of padding": 1 - float(mask.float().mean())}


def padded(read: list[list[int]]) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(read), max(map(len, read)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, sequence in enumerate(read):
        ids[i, : len(sequence)] = torch.tensor(sequence)
        mask[i, : len(sequence)] = 1
    return ids, mask


@torch.inference_mode()
def _padded_pass(model: Network, ids: Tensor, mask: Tensor) -> Tensor:
    """As libraries that pad compute it: cells run on over padding, which costs time and, backwards, spoils states."""
    if isinstance(model, Bert):
        return model(ids, mask)
    states: Tensor = model.cells(model.tokens(ids))[0]
    return states
