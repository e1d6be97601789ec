"""Texts → Labels: the Classifier says which of its labels fits a text, or a pair of texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..models import resolve
from ..models.batching import computed
from ..models.bert.cross_encoder import CrossEncoder
from ..models.bert.label_folder import load_classifier, sequence_length
from ..models.bert.packed import PackedBert
from ..models.files.tokenizer import TextTokenizer, TokenPair
from ..models.hardware import Precision, planned_threads, resolve_device, resolve_precision
from ..records import Progress

__all__ = ["Classifier", "Label", "TextOrPair", "as_sequence", "best_label", "in_order"]

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


class Classifier:
    """A BERT with one score per label (Devlin et al. 2019, §4.1).

    What is longer than ``max_length`` is cut at its end; of a pair the longer text is cut first. transformers cuts the
    same way, so a model says the same there.

    Args:
        model: a folder, or a name on the hub: what :class:`~langbert.training.classifier.ClassifierTask` saved, or
            any ``BertForSequenceClassification`` that chooses one label of several.
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
        model: str | Path,
        *,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        offline: bool | None = None,
    ) -> None:
        folder = resolve(model, offline=offline)
        loaded = load_classifier(folder)
        tokenizer = TextTokenizer.from_folder(folder)
        self.name = str(model)
        self.max_length = sequence_length(max_length, tokenizer, loaded.network.bert.config.max_positions)
        target = resolve_device(device)
        self._prepare(loaded.network, loaded.labels, tokenizer, resolve_precision(precision, target), target, threads)

    @classmethod
    def of(
        cls,
        network: CrossEncoder,
        labels: Sequence[str],
        tokenizer: TextTokenizer,
        device: torch.device,
        *,
        max_length: int,
    ) -> Classifier:
        """A classifier over a network in evaluation mode that is being trained, in float32; good until it changes."""
        classifier = cls.__new__(cls)
        classifier.name, classifier.max_length = "in training", max_length
        classifier._prepare(network, labels, tokenizer, torch.float32, device, None)
        return classifier

    def _prepare(
        self,
        network: CrossEncoder,
        labels: Sequence[str],
        tokenizer: TextTokenizer,
        dtype: torch.dtype,
        device: torch.device,
        threads: int | None,
    ) -> None:
        self.labels = tuple(labels)
        self._packed = PackedBert(network.bert, dtype=dtype, device=device)
        self._network = network.to(device)
        self._tokenizer = tokenizer
        self._device, self._threads = device, planned_threads(threads)

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
        rows = np.zeros((len(sequences), len(self.labels)), dtype=np.float32)

        def work(batch: Sequence[int]) -> NDArray[np.float32]:
            probabilities = self._logits([sequences[i] for i in batch]).softmax(dim=1)
            return np.asarray(probabilities.cpu().numpy(), dtype=np.float32)

        lengths = [len(sequence.ids) for sequence in sequences]
        for batch, found in computed(work, lengths, self._device.type, self._threads):
            rows[batch] = found
            if progress is not None:
                progress(len(batch))
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

    def _logits(self, sequences: Sequence[TokenPair]) -> torch.Tensor:
        """``(n, n_labels)`` float32."""
        return self._network.classify(
            self._packed.first_tokens([s.ids for s in sequences], [s.segments for s in sequences])
        )

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
