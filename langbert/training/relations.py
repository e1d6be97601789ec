"""Entities and relations in one step, by linking pairs of tokens (Wang et al. 2020, "TPLinker")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..evaluation.relations import best_thresholds
from ..labels.extractor import Extraction, Extractor
from ..labels.pieces import Pieces, pieces
from ..models import local_path
from ..models.bert.checkpoint import parse_config
from ..models.bert.linking import (
    HEADS,
    MOST_SIZE,
    LinkerCheckpoint,
    Links,
    TokenPairLinker,
    link_loss,
    save_whole_linker,
    write_labels,
)
from ..models.bert.loading import load_bert, sequence_length
from ..models.files.adapters import base_of
from ..models.files.json_files import read_json
from ..models.files.tokenizer import TextTokenizer
from ..text.sentences import sentences
from .adapters import merged, save_adapters, starting_point
from .annotated import AnnotatedTexts, read_annotated
from .batching import padded
from .labelled import split
from .settings import Bounds, Count, Holdout, LoraSettings, TrainSettings
from .task import Batch, Task, seeded

_LOW = -3.0  # the lowest threshold that is tried


class _Example(NamedTuple):
    """A window and the pairs of its tokens that are linked: ``(label, first, second)``."""

    window: Pieces
    entities: list[tuple[int, int, int]]
    heads: list[tuple[int, int, int]]
    tails: list[tuple[int, int, int]]


class RelationsTask(Task):
    """Learn to find entities and how they are related; types and relations are those found in the data.

    A text over the limit is learnt in windows of whole sentences. :class:`~langbert.Extractor` will read as many at a
    time as nine of ten texts have. Saved as adapters on the base, a few megabytes.

    Args:
        data: texts with entities, triples, or both: JSON lines of ``{"text", "triples", "entities"}``, or the files of
            CoNLL04, WebNLG, CLUENER, WNUT17 as they are; see :func:`~langbert.training.annotated.read_annotated`.
        base: the encoder to start from: a BERT.
        dev: another such file, to evaluate on; nothing of ``data`` is held out then.
        max_length: tokens that are read at once.
        size: of the two vectors that a token has in each table of links.
        holdout: the share of texts kept for evaluation; copies of one text stay together.
        seed: of the holdout and of new weights.
    """

    name = "relations"
    metric = "relation_f1"
    heads = HEADS
    defaults = TrainSettings(
        epochs=10, batch_size=4, learning_rate=1e-3, dropout=0.0, lora=LoraSettings(dropout=0.0, first_layer=6)
    )

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "e5-small",
        dev: str | Path | None = None,
        max_length: Count = 160,
        size: Annotated[int, Bounds(2, MOST_SIZE)] = 64,
        holdout: Holdout = 0.1,
        seed: int = 0,
    ) -> None:
        if size % 2:
            raise ValueError(f"size is {size}, expected an even one")
        annotated = read_annotated(data)
        texts = annotated.texts
        self.types = sorted({one.label for text in texts for one in text.entities})
        self.relations = sorted({one.relation for text in texts for one in text.triples})
        if not self.relations:
            self.metric = "entity_f1"
        if dev is None:
            texts, held = split(texts, holdout, seed, key=lambda text: text.text)
            self._held = AnnotatedTexts(held, annotated.located)
        else:
            self._held = read_annotated(dev)
        self.base, folder, self.start = starting_point(base)
        bert = load_bert(folder, pooler=False, low_bit=True)
        self._tokenizer = TextTokenizer.from_folder(folder)
        positions = bert.config.max_positions
        self._max_length = sequence_length(min(max_length, positions), self._tokenizer, positions)
        self._size = size
        self._thresholds = (0.0, 0.0)  # what `save` keeps: the loop evaluates what it saves
        with seeded(seed):
            self.network: nn.Module = TokenPairLinker(bert, len(self.types), len(self.relations), size)
        self._name = Path(data).name
        counts = sorted(len(sentences(text.text)) for text in texts)
        self._max_sentences = max(1, counts[int(0.9 * (len(counts) - 1))])
        self._examples = [
            self._example(text, window)
            for text, windows in zip(texts, self._cut(texts), strict=True)
            for window in windows
        ]

    @classmethod
    def settings_for(cls, options: Mapping[str, Any]) -> TrainSettings:
        """The upper half of the layers is adapted: nothing is computed backwards through the others."""
        folder = local_path(options.get("base", "e5-small"))
        if folder is None or cls.defaults.lora is None:
            return cls.defaults
        n_layers = parse_config(read_json(base_of(folder) / "config.json"), folder).n_layers
        return replace(cls.defaults, lora=replace(cls.defaults.lora, first_layer=n_layers // 2))

    def _cut(self, texts: Sequence[Extraction]) -> list[list[Pieces]]:
        return pieces(self._tokenizer, [text.text for text in texts], self._max_length)

    def _example(self, text: Extraction, window: Pieces) -> _Example:
        """What of a text's entities and triples lies in the window."""
        example = _Example(window, [], [], [])
        for one in text.entities:
            if found := window.tokens(one.start, one.end):
                example.entities.append((self.types.index(one.label), *found))
        for triple in text.triples:
            subject = window.tokens(triple.subject.start, triple.subject.end)
            object_ = window.tokens(triple.object.start, triple.object.end)
            if subject and object_:
                relation = self.relations.index(triple.relation)
                example.heads.append((relation, subject[0], object_[0]))
                example.tails.append((relation, subject[1], object_[1]))
        return example

    def lengths(self) -> Sequence[int]:
        return [len(example.window.ids) for example in self._examples]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        rows = [self._examples[i] for i in examples]
        batch = padded([row.window.ids for row in rows])
        allowed = torch.zeros_like(batch["token_ids"], dtype=torch.bool)
        for i, row in enumerate(rows):
            allowed[i, row.window.places] = True
        tables: dict[str, Tensor] = {
            name: torch.tensor(
                sorted({(i, *pair) for i, row in enumerate(rows) for pair in getattr(row, name)}), dtype=torch.int64
            ).view(-1, 4)
            for name in Links._fields
        }
        return {**batch, "allowed": allowed, **tables}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        links: Links = network(batch["token_ids"], batch["attention_mask"])
        losses = [link_loss(getattr(links, name), batch[name], batch["allowed"]) for name in Links._fields]
        return sum(losses, losses[0].new_zeros(()))

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Of the held-out texts: F1, precision and recall of whole entities and of whole triples, with the thresholds
        that are best for them."""
        texts, located = self._held
        if not texts:
            return {}
        checkpoint = LinkerCheckpoint(
            cast(TokenPairLinker, merged(network)),
            self._tokenizer,
            tuple(self.types),
            tuple(self.relations),
            self._max_length,
            self._max_sentences,
        )
        extractor = Extractor(checkpoint, precision="float32", device=device, threshold=_LOW)
        self._thresholds, report = best_thresholds(extractor, texts, located=located)
        scores = {f"entity_{name}": getattr(report.entities, name) for name in ("f1", "precision", "recall")}
        if self.relations:
            triples = report.triples
            for name in ("f1", "precision", "recall"):
                scores[f"relation_{name}"] = getattr(triples, name) if triples else 0.0
        return scores

    def save(self, network: nn.Module, folder: Path) -> None:
        if hasattr(network, "merge_and_unload"):
            save_adapters(network, folder, base=self.base)
        else:
            save_whole_linker(cast(TokenPairLinker, network), folder)
            self._tokenizer.save(folder, max_length=self._max_length)
        write_labels(
            folder,
            types=self.types,
            relations=self.relations,
            size=self._size,
            max_length=self._max_length,
            max_sentences=self._max_sentences,
            thresholds=self._thresholds,
        )

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            "entity types": ", ".join(self.types),
            "relations": ", ".join(self.relations),
            "held-out texts": len(self._held.texts),
        }
