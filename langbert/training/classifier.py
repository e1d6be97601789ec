"""Sequence classification: one label for a text, or for a pair of texts (Devlin et al. 2019, §4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingExtra
from ..labels.classifier import Classifier, as_sequence, in_order
from ..models import resolve
from ..models.bert.heads import CrossEncoder
from ..models.bert.loading import ClassifierCheckpoint, load_bert, new_classifier, save_classifier, sequence_length
from ..models.files.tokenizer import TextTokenizer, TokenPair
from .adapters import merged
from .batching import padded_pairs
from .labelled import LabelledText, read_labelled, split
from .settings import Count, Holdout, TrainSettings
from .task import Batch, Task, seeded


class ClassifierTask(Task):
    """Learn to tell what a text is, or how two texts stand to each other; the labels are those found in the data.

    Saved as a whole ``BertForSequenceClassification`` (adapters merged):
    :class:`~langbert.labels.classifier.Classifier` loads it, and so does transformers.

    Args:
        data: JSON lines of ``{"text", "label"}`` or ``{"text", "pair", "label"}`` in a ``.jsonl`` (pairs may also be
            called as in :func:`.labelled.read_labelled`); otherwise lines ``text<TAB>label`` or
            ``text<TAB>pair<TAB>label``.
        base: the encoder to start from.
        dev: another such file, to evaluate on; nothing of ``data`` is held out then.
        max_length: tokens that are read, or as many as ``base`` has positions for; what
            is longer is cut at its end, of a pair the longer text first.
        holdout: the share of each label's texts kept for evaluation; copies of one text stay together.
        seed: of the holdout and of the new layers.
    """

    name = "classifier"
    metric = "macro_f1"
    heads = ("pooler", "classifier")
    defaults = TrainSettings(epochs=4, batch_size=32, learning_rate=1e-4)

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "minilm",
        dev: str | Path | None = None,
        max_length: Count = 256,
        holdout: Holdout = 0.1,
        seed: int = 0,
    ) -> None:
        rows = read_labelled(data)
        self.labels = in_order({row.label for row in rows})
        if dev is None:
            rows, self._held = split(rows, holdout, seed, key=lambda row: row[:2], stratum=lambda row: row.label)
        else:
            self._held = read_labelled(dev)
            if unknown := sorted({row.label for row in self._held} - set(self.labels)):
                raise DataError(f"{dev}: expected the labels of {data}, {', '.join(self.labels)}; got {unknown[0]} too")
        folder = resolve(base)
        self.base = base
        self._name = Path(data).name
        bert = load_bert(folder)
        self._tokenizer = TextTokenizer.from_folder(folder)
        positions = bert.config.max_positions
        self._max_length = sequence_length(min(max_length, positions), self._tokenizer, positions)
        with seeded(seed):
            self.network: nn.Module = new_classifier(bert, len(self.labels))
        self._sequences, self._n_cut = self._prepared(rows)
        number = {label: i for i, label in enumerate(self.labels)}
        self._targets = [number[row.label] for row in rows]

    def _prepared(self, rows: Sequence[LabelledText]) -> tuple[list[TokenPair], int]:
        """The texts as the network reads them, and how many had to be cut."""
        first = self._tokenizer.encode([row.text for row in rows])
        second = self._tokenizer.encode([row.pair or "" for row in rows])
        prepared = [
            as_sequence(self._tokenizer, one.ids, None if row.pair is None else two.ids, self._max_length)
            for row, one, two in zip(rows, first, second, strict=True)
        ]
        return [sequence for sequence, _ in prepared], sum(cut for _, cut in prepared)

    def lengths(self) -> Sequence[int]:
        return [len(sequence.ids) for sequence in self._sequences]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        batch = padded_pairs([self._sequences[i] for i in examples])
        return {**batch, "labels": torch.tensor([self._targets[i] for i in examples])}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        logits = network(batch["token_ids"], batch["attention_mask"], batch["segment_ids"])
        return nn.functional.cross_entropy(logits.float(), batch["labels"])

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Accuracy, and F1 as the mean over labels, of the held-out texts."""
        if not self._held:
            return {}
        try:
            from sklearn.metrics import accuracy_score, f1_score
        except ImportError as error:
            raise MissingExtra("scikit-learn", "train", "measuring a classifier") from error
        plain = cast(CrossEncoder, merged(network))
        checkpoint = ClassifierCheckpoint(plain, self._tokenizer, tuple(self.labels))
        classifier = Classifier(checkpoint, precision="float32", device=device, max_length=self._max_length)
        found = classifier.predict([row.text if row.pair is None else (row.text, row.pair) for row in self._held])
        truth, guesses = [row.label for row in self._held], [label.label for label in found]
        macro = f1_score(truth, guesses, average="macro", zero_division=0)
        return {"accuracy": float(accuracy_score(truth, guesses)), "macro_f1": float(macro)}

    def save(self, network: nn.Module, folder: Path) -> None:
        save_classifier(cast(CrossEncoder, merged(network)), self.labels, folder)
        self._tokenizer.save(folder, max_length=self._max_length)

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            "labels": ", ".join(self.labels),
            "held-out texts": len(self._held),
            "texts cut off": self._n_cut,
        }
