"""Texts → Labels: the Classifier says which of its labels fits a text, or a pair of texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models import resolve
from ..models.bert.inference import PreparedBert
from ..models.bert.loading import ClassifierCheckpoint, load_classifier, sequence_length
from ..models.configured import Configured
from ..models.files.tokenizer import TextTokenizer, TokenPair
from ..models.hardware import Precision, planned_threads, resolve_device, resolve_precision
from ..models.runner import Runner, Window
from ..records import Progress

log = logging.getLogger("langbert")

TextOrPair = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Label:
    """What a text was found to be.

    Attributes:
        label: the likeliest label.
        score: its probability.
        scores: the probability of every label, the likeliest first; they sum to 1.
    """

    label: str
    score: float
    scores: Mapping[str, float]


class Classifier(Configured):
    """A BERT with one score per label (Devlin et al. 2019, §4.1).

    What is longer than ``max_length`` is cut at its end; of a pair the longer text is cut first. transformers cuts the
    same way, so a model says the same there.

    Args:
        model: a folder, or a name on the hub: what :class:`~langbert.training.classifier.ClassifierTask` saved, or
            any ``BertForSequenceClassification`` that chooses one label of several; or what was loaded of one, in
            evaluation mode, whose encoder is copied.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware multiplies it.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        max_length: tokens that are read, special tokens included; None is what the model was trained with.
        offline: touch no network; None asks the environment.

    Attributes:
        labels: the names of the labels, in the order of the logits.

    Raises:
        ModelNotFound, DownloadError: the model cannot be had.
        CheckpointError: it cannot be loaded, or is no classifier.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        model: str | Path | ClassifierCheckpoint,
        *,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        offline: bool | None = None,
    ) -> None:
        loaded = model if isinstance(model, ClassifierCheckpoint) else load_classifier(resolve(model, offline=offline))
        self.name = "a checkpoint in memory" if isinstance(model, ClassifierCheckpoint) else str(model)
        self.labels = loaded.labels
        self.max_length = sequence_length(max_length, loaded.tokenizer, loaded.network.bert.config.max_positions)
        self._device = resolve_device(device)
        prepared = PreparedBert(
            loaded.network.bert, dtype=resolve_precision(precision, self._device), device=self._device
        )
        self._runner = Runner(prepared, self._device, planned_threads(threads))
        self._classify = nn.Sequential(loaded.network.pooler, loaded.network.classifier).to(self._device)
        self._tokenizer = loaded.tokenizer

    def predict(self, texts: Sequence[TextOrPair], *, progress: Progress | None = None) -> list[Label]:
        """The likeliest label of each text or ``(first, second)`` pair, in their order.

        Args:
            texts: any number, of any length.
            progress: told how many more are done.

        Raises:
            TypeError: ``texts`` is not a sequence of strings or pairs of strings.
        """
        return [best_label(self.labels, row) for row in self.probabilities(texts, progress=progress)]

    def probabilities(self, texts: Sequence[TextOrPair], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """``(n, n_labels)`` float32: how likely each label is; rows in the order of ``texts``, each sums to 1."""
        sequences = self._sequences(_checked(texts))

        def head(first_tokens: Tensor, batch: Sequence[int]) -> list[NDArray[np.float32]]:
            logits: Tensor = self._classify(first_tokens.float())
            return list(logits.softmax(dim=1).cpu().numpy())

        rows = np.zeros((len(sequences), len(self.labels)), dtype=np.float32)
        read = [[Window.first_token(*sequence)] for sequence in sequences]
        for i, probabilities in self._runner.run(read, head, progress=progress):
            rows[i] = probabilities
        return rows

    def _sequences(self, texts: Sequence[tuple[str, str | None]]) -> list[TokenPair]:
        first = self._tokenizer.encode([text for text, _ in texts])
        second = self._tokenizer.encode([pair or "" for _, pair in texts])
        sequences = []
        n_cut = 0
        for one, two, (_, pair) in zip(first, second, texts, strict=True):
            sequence, cut = as_sequence(self._tokenizer, one.ids, None if pair is None else two.ids, self.max_length)
            sequences.append(sequence)
            n_cut += cut
        if n_cut:
            log.warning("%d of %d texts were over %d tokens: cut off", n_cut, len(texts), self.max_length)
        return sequences

    def __repr__(self) -> str:
        return f"Classifier({self.name!r}, labels={list(self.labels)!r:.80}, device={str(self._device)!r})"


def best_label(labels: Sequence[str], probabilities: NDArray[np.float32]) -> Label:
    """``(n_labels,)`` probabilities as a :class:`Label`."""
    order = np.argsort(-probabilities, kind="stable")
    scores = {labels[i]: float(probabilities[i]) for i in order}
    best = labels[int(order[0])]
    return Label(best, scores[best], scores)


def in_order(labels: set[str]) -> list[str]:
    """Labels in the order they are numbered in: numbers by value, ``O`` first."""
    if all(label.isascii() and label.isdigit() for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels, key=lambda label: (label != "O", label))


def as_sequence(
    tokenizer: TextTokenizer, first: Sequence[int], second: Sequence[int] | None, max_length: int
) -> tuple[TokenPair, bool]:
    """One text or two as the network reads them, with special tokens, and whether they had to be cut."""
    if second is None:
        room = max_length - tokenizer.n_special
        ids = [*tokenizer.prefix, *first[:room], *tokenizer.suffix]
        return TokenPair(ids, [0] * len(ids)), len(first) > room
    room = max_length - tokenizer.n_pair_special
    if len(first) + len(second) <= room:
        return tokenizer.pair(first, second), False
    shorter = min(len(first), len(second), room // 2)  # the longer text is cut until both are equal, then both are
    kept = (room - shorter, shorter) if len(first) > len(second) else (shorter, room - shorter)
    return tokenizer.pair(first[: kept[0]], second[: kept[1]]), True


def _checked(texts: Sequence[TextOrPair]) -> list[tuple[str, str | None]]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"expected a list of texts, got one {type(texts).__name__}; put it in a list")
    checked: list[tuple[str, str | None]] = []
    for i, item in enumerate(texts):
        if isinstance(item, str):
            checked.append((item, None))
        elif isinstance(item, (tuple, list)) and len(item) == 2 and all(isinstance(part, str) for part in item):
            checked.append((item[0], item[1]))
        else:
            raise TypeError(f"item {i} is {item!r:.60}, expected a str or a pair of str")
    return checked
