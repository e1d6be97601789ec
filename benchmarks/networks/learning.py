"""Every architecture trained on the same examples, and measured on the same others."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langbert import Embedder, Tagger
from langbert.models.files.weights import read_tensors
from langbert.training import Step, train

from .data import Files, Search, Tagged

RECURRENT = ("rnn", "gru", "lstm")
NEW = (*RECURRENT, "transformer")
PRETRAINED = "bert"
REFERENCE = "minilm"

WIDTH, VOCABULARY, LENGTH = 128, 8000, 96
PAIRS, PARAGRAPHS = 48, 4  # examples in a step
RETRIEVAL_STEPS, TAGGING_STEPS = 150, 400
PRETRAINING = {"max_steps": 600, "batch_size": 12, "learning_rate": 1e-3}
SETTINGS: dict[str, Any] = {"dropout": 0.0, "save_every": 0, "epochs": 99}
SIZES: dict[str, Any] = {"hidden_size": WIDTH, "vocab_size": VOCABULARY, "max_length": LENGTH}


class Clock:
    """Tokens and seconds of the processor, step by step; the first step, which allocates, is left out."""

    def __init__(self) -> None:
        self._began: tuple[int, float] | None = None
        self.tokens, self.seconds = 0, 0.0

    def __call__(self, step: Step) -> None:
        now = time.process_time()
        if self._began is None:
            self._began = (step.tokens, now)
        if not step.metrics:  # an evaluation would count, too
            self.tokens, self.seconds = step.tokens - self._began[0], now - self._began[1]


def start(architecture: str, seed: int, work: Path) -> dict[str, Any]:
    """What a run begins with: a new network, a network that has read (:func:`pretrain`), or the reference."""
    if architecture in NEW:
        return {"base": "scratch", "architecture": architecture, **SIZES, "learning_rate": 1e-3}
    base = str(work / f"bert-{seed}" / "model") if architecture == PRETRAINED else REFERENCE
    return {"base": base, "max_length": LENGTH, "learning_rate": 1e-3 if architecture == PRETRAINED else 1e-4}


def pretrain(files: Files, work: Path, seed: int) -> dict[str, Any]:
    """The Transformer made a BERT: hidden words of the same paragraphs are guessed first."""
    folder, clock = _fresh(work / f"bert-{seed}"), Clock()
    sizes = {"layers": 2, "hidden": WIDTH, "attention_heads": 4, "vocab_size": VOCABULARY, "max_length": LENGTH}
    options = {**SETTINGS, **PRETRAINING, "base": "scratch", "next_sentence": False, "seed": seed, **sizes}
    report = train("mlm", files.texts, folder, **options, watch=clock)
    return {"tokens": clock.tokens, "cpu seconds": clock.seconds, **report.metrics}


def retrieval(architecture: str, files: Files, held_out: Search, work: Path, seed: int) -> dict[str, Any]:
    """Questions and paragraphs contrastively, then unseen questions over unseen paragraphs."""
    clock = Clock()
    if architecture == REFERENCE:
        model: str | Path = REFERENCE  # as it is: it has been trained for this on a billion pairs
    else:
        folder = _fresh(work / f"retrieval-{architecture}-{seed}")
        options = {
            **SETTINGS,
            "lora": None,
            "max_steps": RETRIEVAL_STEPS,
            "batch_size": PAIRS,
            "holdout": 0.0,
            "seed": seed,
        }
        began = start(architecture, seed, work)
        model = train("embedder", files.pairs, folder, **options, **began, pooling="mean", watch=clock).folder
    embedder = Embedder(model, precision="float32", threads=1, max_length=LENGTH)
    passages, questions = embedder.embed(held_out.paragraphs), embedder.embed(held_out.questions, "query")
    similarities = questions @ passages.T
    right = similarities[np.arange(len(questions)), held_out.right]
    ranks = (similarities > right[:, None]).sum(axis=1) + 1
    return {
        "nDCG@10": float(np.mean([1 / math.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks])),
        "R@1": float(np.mean(ranks == 1)),
        **_costs(embedder.name, clock),
    }


def tagging(architecture: str, files: Files, held_out: Sequence[Tagged], work: Path, seed: int) -> dict[str, Any]:
    """Capitals and punctuation put back."""
    folder, clock = _fresh(work / f"tagging-{architecture}-{seed}"), Clock()
    options = {**SETTINGS, "max_steps": TAGGING_STEPS, "batch_size": PARAGRAPHS, "holdout": 0.0, "seed": seed}
    options |= start(architecture, seed, work)
    model = train("tagger", files.tagged, folder, **options, watch=clock).folder
    tagger = Tagger(model, precision="float32", threads=1)
    found = [tag for tags in tagger.tag([sentence.tokens for sentence in held_out]) for tag in tags]
    truth = [tag for sentence in held_out for tag in sentence.tags]
    return {
        "F1": f1([tag != "O" and tag for tag in found], [tag != "O" and tag for tag in truth]),
        "F1 capitals": f1([_case(tag) for tag in found], [_case(tag) for tag in truth]),
        "F1 punctuation": f1([_mark(tag) for tag in found], [_mark(tag) for tag in truth]),
        **_costs(str(model), clock),
    }


def f1(found: Sequence[str | bool], truth: Sequence[str | bool]) -> float:
    """Of whatever is to be put back, all kinds together: the harmonic mean of precision and recall."""
    hits = sum(a == b for a, b in zip(found, truth, strict=True) if b)
    return 2 * hits / max(1, sum(map(bool, found)) + sum(map(bool, truth)))


def _case(tag: str) -> str | bool:
    return tag.startswith(("Title", "UPPER")) and tag.rstrip(".,")


def _mark(tag: str) -> str | bool:
    return tag[-1] in ".," and tag[-1]


def _costs(model: str, clock: Clock) -> dict[str, Any]:
    found: dict[str, Any] = {"tokens": clock.tokens, "cpu seconds": clock.seconds}
    if model != REFERENCE:
        sizes = {name: tensor.numel() for name, tensor in read_tensors(model).items()}
        found["parameters"] = sum(sizes.values())
        found["word vectors"] = max(sizes.values())
    return found


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
