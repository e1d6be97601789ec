"""Token classification: a label for every word, as for named entities or parts of speech (Devlin et al. 2019, §5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingExtra
from ..labels.classifier import in_order
from ..labels.tagger import Tagger, word_pieces, word_windows
from ..models.bert.heads import IGNORED, TokenClassifier, token_loss
from ..models.bert.loading import TaggerCheckpoint, WordKind, new_tagger, save_tagger, sequence_length
from ..models.files.tokenizer import TokenPair
from .adapters import merged
from .architectures import NEW_LENGTH, Architecture, Sizes, base_encoder, new_encoder, settings_for
from .batching import padded_pairs, padded_rows
from .bio import all_bio, as_bio, has_entity_tags
from .labelled import TaggedSentence, read_tagged, split
from .settings import Bounds, Count, Holdout, TrainSettings
from .task import Batch, Task, seeded


class _Example(NamedTuple):
    """A window as the network reads it, with special tokens; ``labels[i]`` is that of ``ids[i]``, or ``IGNORED``."""

    ids: list[int]
    labels: list[int]


class TaggerTask(Task):
    """Learn to label words; the tags are those found in the data.

    The first piece of a word carries its label, the others none (§5.3). Sentences over the limit are read in
    overlapping windows, each word labelled in one of them. Entity tags may be BIO, IOB1, BIOES, BMES or BILOU, and
    become BIO; a tag that continues nothing is refused. If every word of the data is a single character, as is usual
    for Chinese, :class:`~langbert.labels.tagger.Tagger` will cut texts by character too.

    Saved as a whole ``BertForTokenClassification`` (adapters merged): :class:`~langbert.labels.tagger.Tagger` loads
    it, and, unless it is a recurrent network, so does transformers.

    Args:
        data: a CoNLL file (``word … tag`` by spaces or TABs, a blank line between sentences), or JSON lines of
            ``{"tokens": […], "tags": […]}`` in a ``.jsonl``.
        base: the encoder to start from. With an ``architecture``: whose tokenizer and word vectors the new network
            begins with; ``"scratch"`` makes a vocabulary of ``data``.
        architecture: a new network instead of the base's.
            A bidirectional LSTM without the conditional random field is the tagger of Huang et al. 2015, §2.2.
        dev: another such file, to evaluate on; nothing of ``data`` is held out then.
        column: of a CoNLL file: which one holds the tag, from 0; -1 is the last.
        max_length: tokens that are read at once, or as many as ``base`` has positions for.
        holdout: the share of sentences kept for evaluation; copies of one sentence stay together.
        n_layers: of a new network: by default one for recurrent networks, two for a Transformer.
        hidden_size: of a new network: by default 256, or the base's for a Transformer that takes its words.
        n_heads: of a new Transformer.
        vocab_size: from scratch: pieces in the vocabulary.
        lowercase: from scratch: whether the vocabulary knows no capital letters, which names are told by.
        seed: of the holdout and of new weights.
    """

    name = "tagger"
    metric = "f1"
    heads = ("head",)
    defaults = TrainSettings(epochs=4, batch_size=32, learning_rate=1e-4)

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "minilm",
        architecture: Architecture | None = None,
        dev: str | Path | None = None,
        column: int = -1,
        max_length: Count = NEW_LENGTH,
        holdout: Holdout = 0.1,
        n_layers: Count | None = None,
        hidden_size: Count | None = None,
        n_heads: Count = 4,
        vocab_size: Annotated[int, Bounds(100)] = 8000,
        lowercase: bool = False,
        seed: int = 0,
    ) -> None:
        sentences = read_tagged(data, column=column)
        self._entities = has_entity_tags(sentences)
        if self._entities:
            sentences = as_bio(sentences, data)
        else:
            self.metric = "accuracy"  # parts of speech: words are all there is to count
        tags = {tag for sentence in sentences for tag in sentence.tags}
        if len(tags) < 2:
            raise DataError(f"{data}: expected two different tags or more, got {sorted(tags)}")
        self.labels = in_order(all_bio(tags) if self._entities else tags)
        self._words: WordKind = (
            "characters" if all(len(word) == 1 for sentence in sentences for word in sentence.words) else "words"
        )
        if dev is None:
            sentences, self._held = split(sentences, holdout, seed, key=lambda sentence: sentence.words)
        else:
            self._held = self._read_dev(dev, column)
        self.base, self.architecture = base, architecture
        self._name = Path(data).name
        if architecture is None:
            encoder, self._tokenizer = base_encoder(base)
        else:
            sizes = Sizes(n_layers, hidden_size, n_heads, vocab_size, lowercase)
            texts = [" ".join(sentence.words) for sentence in sentences]
            encoder, self._tokenizer = new_encoder(
                architecture, base, lambda: texts, sizes, max_length=max_length, seed=seed
            )
        positions = encoder.config.max_positions
        self._max_length = sequence_length(min(max_length, positions or max_length), self._tokenizer, positions)
        with seeded(seed):
            self.network: nn.Module = new_tagger(encoder, len(self.labels))
        self._examples = self._prepared(sentences)

    @classmethod
    def settings_for(cls, options: Mapping[str, Any]) -> TrainSettings:
        return settings_for(options, cls.defaults)

    def _read_dev(self, dev: str | Path, column: int) -> list[TaggedSentence]:
        sentences = read_tagged(dev, column=column)
        if self._entities:
            sentences = as_bio(sentences, dev)
        for sentence in sentences:
            for tag, line in zip(sentence.tags, sentence.lines, strict=True):
                if tag not in self.labels:
                    raise DataError(
                        f"{dev}:{line}: tag {tag}; expected one of the training data's {self.labels!r:.200}"
                    )
        return sentences

    def _prepared(self, sentences: Sequence[TaggedSentence]) -> list[_Example]:
        number = {label: i for i, label in enumerate(self.labels)}
        prefix, suffix = self._tokenizer.prefix, self._tokenizer.suffix
        room = self._max_length - self._tokenizer.n_special
        pieces = word_pieces(self._tokenizer, [sentence.words for sentence in sentences])
        examples = []
        for sentence, words in zip(sentences, pieces, strict=True):
            for window in word_windows(words, room):
                labels = [IGNORED] * len(window.ids)
                for word, place in zip(window.words, window.places, strict=True):
                    labels[place] = number[sentence.tags[word]]
                ids = [*prefix, *window.ids, *suffix]
                examples.append(_Example(ids, [IGNORED] * len(prefix) + labels + [IGNORED] * len(suffix)))
        return examples

    def lengths(self) -> Sequence[int]:
        return [len(example.ids) for example in self._examples]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        rows = [self._examples[i] for i in examples]
        batch = padded_pairs([TokenPair(row.ids, [0] * len(row.ids)) for row in rows])
        return {**batch, "labels": padded_rows([row.labels for row in rows], IGNORED)}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        logits = network(batch["token_ids"], batch["attention_mask"], batch["segment_ids"])
        return token_loss(logits, batch["labels"])

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Of the held-out sentences: the share of right tags, and for entity tags precision, recall and F1 of whole
        entities, as conlleval counts them."""
        if not self._held:
            return {}
        try:
            from seqeval.metrics import f1_score, precision_score, recall_score
            from sklearn.metrics import accuracy_score
        except ImportError as error:
            raise MissingExtra("seqeval and scikit-learn", "train", "measuring a tagger") from error
        plain = cast(TokenClassifier, merged(network))
        checkpoint = TaggerCheckpoint(plain, self._tokenizer, tuple(self.labels))
        tagger = Tagger(checkpoint, precision="float32", device=device, max_length=self._max_length)
        found = tagger.tag([sentence.words for sentence in self._held])
        truth = [list(sentence.tags) for sentence in self._held]
        scores = {
            "accuracy": float(accuracy_score([t for tags in truth for t in tags], [t for tags in found for t in tags]))
        }
        if self._entities:
            for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
                scores[name] = float(score(truth, found, zero_division=0))
        return scores

    def save(self, network: nn.Module, folder: Path) -> None:
        save_tagger(cast(TokenClassifier, merged(network)), self.labels, folder, words=self._words)
        self._tokenizer.save(folder, max_length=self._max_length)

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            **({} if self.architecture is None else {"architecture": self.architecture}),
            "tags": ", ".join(self.labels),
            "labelled": self._words,
            "held-out sentences": len(self._held),
        }
