"""What a Transformer-XL's memory is worth: perplexity on held-out long texts with it and without, place by place."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch

from langbert.models.architectures.transformer_xl import TransformerXLDecoder
from langbert.models.decoder import load_decoder
from langbert.training import train
from langbert.training.lm import LmTask
from langbert.training.recurrence import segment_losses

SEGMENT, MEMORY = 32, 96
SIZES: dict[str, Any] = {
    "base": "scratch",
    "architecture": "transformer-xl",
    "vocab_size": 2048,
    "n_layers": 4,
    "n_heads": 4,
    "hidden_size": 128,
    "max_length": 256,
    "segment_length": SEGMENT,
    "holdout": 0.05,
}
SETTINGS: dict[str, Any] = {
    "batch_size": 8,
    "accumulation": 1,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "precision": "float32",
    "save_every": 100,
}


def sample(documents: Path, folder: Path, n: int) -> Path:
    """Every so-manyth of the documents, ``n`` of them, in a folder of their own."""
    files = sorted(path for path in documents.iterdir() if path.is_file())
    chosen = files[:: max(1, len(files) // n)][:n]
    folder.mkdir(parents=True, exist_ok=True)
    for file in chosen:
        shutil.copyfile(file, folder / file.name)
    return folder


def measure(documents: Path, work: Path, seed: int, memory_length: int) -> dict[str, Any]:
    """Train one network (or go on training it) and read the held-out documents with it.

    Returns:
        perplexities with and without memory, and at each place of a segment.
    """
    options = {**SIZES, "memory_length": memory_length}
    output = work / f"transformer-xl-{memory_length}-{seed}"
    if not (output / "model" / "README.md").is_file():  # the card is written last
        train("lm", documents, output, **options, **SETTINGS, seed=seed, resume=True)
    decoder = load_decoder(output / "model", dtype=torch.float32, device=torch.device("cpu")).decoder
    if not isinstance(decoder, TransformerXLDecoder):
        raise TypeError(f"{output} holds a {type(decoder).__name__}")
    task = LmTask(documents, **options, seed=seed)  # splits as the run did
    with torch.inference_mode():
        sums = [segment_losses(decoder.model, task.held_out, torch.device("cpu"), forget=f) for f in (False, True)]
    found: dict[str, Any] = {"tokens": len(task.held_out) - 1, "steps": len(task) // SETTINGS["batch_size"]}
    for name, (nats, counts) in zip(("with", "without"), sums, strict=True):
        found[name] = math.exp(float(nats.sum() / counts.sum()))
        found[f"{name} by place"] = (nats / counts).exp().tolist()
    return found
