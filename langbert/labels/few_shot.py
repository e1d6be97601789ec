"""Classification from a handful of examples a class: logistic regression on frozen embeddings.

The encoder stays as it is, so nothing is trained but one small layer; Tunstall et al. 2022 ("SetFit") begin with this
head (§3) and also tune the encoder by contrastive pairs, which is not done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..embedding.embedder import Embedder
from ..errors import CheckpointError, DataError, MissingExtra
from ..models.files.json_files import read_json, write_json
from ..models.files.weights import read_tensors, save_tensors
from ..records import EmbedderLike
from .classifier import Label, best_label, in_order

_CONFIG, _HEAD = "few-shot.json", "head.safetensors"


class FewShotClassifier:
    """Tells texts apart after a few examples of each class: eight are a good beginning.

    >>> classifier = FewShotClassifier(embedder).fit(texts, labels)  # doctest: +SKIP
    >>> classifier.predict(["Which way to the station?"])[0].label  # doctest: +SKIP

    Args:
        embedder: makes the vectors; it is not changed.
        strength: the inverse of the regularisation (scikit-learn's ``C``); larger fits the examples closer, and makes
            the scores more decided. Vectors of length 1 ask for more than scikit-learn's 1: on SQuAD's topics 100 gave
            the best accuracy, by little, and scores that are far nearer to it.
    """

    def __init__(self, embedder: EmbedderLike, *, strength: float = 100.0) -> None:
        if strength <= 0:
            raise ValueError(f"strength must be more than 0, got {strength}")
        self.embedder = embedder
        self.strength = strength
        self.labels: tuple[str, ...] = ()
        self._weight: NDArray[np.float32] = np.zeros((0, embedder.dimension), dtype=np.float32)  # (n_labels, dim)
        self._bias: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> FewShotClassifier:
        """Learn from examples; what was learnt before is forgotten. Every class counts the same, however many it has.

        Raises:
            DataError: there are not as many labels as texts, or not two different ones.
        """
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingExtra("scikit-learn", "train", "learning from a few examples") from error
        if len(texts) != len(labels):
            raise DataError(f"expected a label for each text, got {len(texts)} texts and {len(labels)} labels")
        if len(set(labels)) < 2:
            raise DataError(f"expected two different labels or more, got {sorted(set(labels))}")
        names = in_order(set(labels))
        number = {label: i for i, label in enumerate(names)}
        model = LogisticRegression(C=self.strength, class_weight="balanced", max_iter=1000)
        model.fit(self.embedder.embed(texts), [number[label] for label in labels])
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # two classes: scikit-learn keeps the second one's odds only
            weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
        self.labels = tuple(names)
        self._weight, self._bias = weight.astype(np.float32), bias.astype(np.float32)
        return self

    def predict(self, texts: Sequence[str]) -> list[Label]:
        """The likeliest label of each text. Scores from few examples are a ranking rather than true probabilities.

        Raises:
            DataError: nothing was learnt yet.
        """
        self._check_fitted()
        logits = self.embedder.embed(texts) @ self._weight.T + self._bias  # (n, n_labels)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return [best_label(self.labels, row) for row in odds / odds.sum(axis=1, keepdims=True)]

    def save(self, folder: str | Path) -> None:
        """Write ``few-shot.json`` and ``head.safetensors``; the embedder is kept by name only.

        Raises:
            DataError: nothing was learnt yet.
        """
        self._check_fitted()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        head = {"weight": torch.from_numpy(self._weight), "bias": torch.from_numpy(self._bias)}
        save_tensors(head, folder / _HEAD)
        space = self.embedder.space
        config = {"labels": self.labels, "embedder": space.model, "space": space.fingerprint, "strength": self.strength}
        write_json(config, folder / _CONFIG)

    def _check_fitted(self) -> None:
        if not self.labels:
            raise DataError("this classifier has seen no examples; call fit(texts, labels) first")

    @classmethod
    def load(cls, folder: str | Path, embedder: EmbedderLike | None = None) -> FewShotClassifier:
        """What :meth:`save` wrote.

        Args:
            embedder: the one it was fitted with; None loads it by its name.

        Raises:
            CheckpointError: the files are damaged, or the embedder's vectors are not those it was fitted on.
        """
        folder = Path(folder)
        config = read_json(folder / _CONFIG)
        head = read_tensors(folder / _HEAD)
        try:
            labels, name, space = tuple(config["labels"]), str(config["embedder"]), config["space"]
            weight, bias = (head[part].float().numpy() for part in ("weight", "bias"))
            strength = float(config["strength"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}: no whole few-shot classifier: {error!r}") from error
        embedder = embedder or Embedder(name)
        if embedder.space.fingerprint != space:
            raise CheckpointError(
                f"{folder}: was fitted on vectors of {name}, and {embedder.space.model} makes others; fit it again, or "
                "load it with the embedder it was fitted with"
            )
        if weight.shape != (len(labels), embedder.dimension) or bias.shape != (len(labels),):
            raise CheckpointError(
                f"{folder / _HEAD}: weight {weight.shape} and bias {bias.shape} do not fit {len(labels)} labels and "
                f"vectors of {embedder.dimension}"
            )
        classifier = cls(embedder, strength=strength)
        classifier.labels, classifier._weight, classifier._bias = labels, weight, bias
        return classifier
