"""Pre-training as BERT has it: guess hidden words, and tell whether one text follows another.

Devlin et al. 2019, §3.1 and appendix A. From scratch, or going on from a checkpoint with the user's own documents
(Gururangan et al. 2020, "Don't Stop Pretraining").
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import DataError, require_choice
from ..models import resolve
from ..models.bert.heads import PreTrainingBert, PreTrainingLogits, pretraining_loss
from ..models.bert.loading import load_pretraining, save_pretraining
from ..models.bert.network import Bert, BertConfig
from ..models.files.tokenizer import TextTokenizer, TokenPair
from .adapters import merged
from .batching import padded_pairs
from .corpus import Corpus, Stretch, read_texts
from .masking import choose, corrupt, words_of
from .settings import Bounds, Count, Holdout, TrainSettings
from .task import SCRATCH, Batch, Task, seeded
from .vocabulary import train_vocabulary, wordpiece_tokenizer, write_vocabulary

Masking = Literal["token", "word"]
"""What is hidden together: nothing, or all pieces of a word (for Chinese: all characters of it)."""

_HELD_BATCH = 32
_MOST_HELD = 1024  # sequences an evaluation reads


class MlmTask(Task):
    """Learn a language, or a trade's part of it, from nothing but its documents.

    Examples are sequences of whole sentences of one document. Which words are hidden, and which texts stand beside each
    other, is drawn anew each time (Liu et al. 2019, "RoBERTa", §4.1). Adapters are merged when saving.

    Args:
        data: a folder of documents, or a text file of documents with a blank line after each.
        base: the BERT to go on from; ``"scratch"`` for a new one, with a vocabulary made of ``data``.
        masking: ``"word"`` hides all pieces of a word together, ``"token"`` each by itself.
        next_sentence: also learn to tell whether one text follows another; needs two documents or more.
        max_length: tokens of a sequence, special ones included.
        share: of the tokens, how many are to be guessed.
        holdout: the share of documents kept for evaluation; two at least, or none at 0.
        seed: of the held-out documents and of new weights.
        layers: of a new BERT, from scratch; a checkpoint has its own.
        hidden: likewise: the width.
        attention_heads: likewise.
        vocab_size: likewise: pieces in the vocabulary.
        lowercase: likewise: no capital letters.
    """

    name = "mlm"
    metric = "mlm_loss"
    higher_is_better = False
    heads = ("masked_head", "next_head", "pooler")
    defaults = TrainSettings(epochs=3, batch_size=32, learning_rate=1e-4)

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "minilm",
        masking: Masking = "word",
        next_sentence: bool = True,
        max_length: Annotated[int, Bounds(16)] = 128,
        share: Annotated[float, Bounds(0.01, 0.9)] = 0.15,
        holdout: Holdout = 0.05,
        seed: int = 0,
        layers: Count = 4,
        hidden: Annotated[int, Bounds(8)] = 128,
        attention_heads: Count = 2,
        vocab_size: Annotated[int, Bounds(100)] = 8000,
        lowercase: bool = True,
    ) -> None:
        require_choice("masking", masking, get_args(Masking))
        if not 0 < share < 1 or not 0 <= holdout < 1:
            raise ValueError(f"share must be in (0, 1) and holdout in [0, 1), got {share} and {holdout}")
        self.base, self._name, self._masking, self._share = base, Path(data).name, masking, share
        self._next_sentence, self._lowercase = next_sentence, lowercase
        train, held = _split(data, holdout, 2 if next_sentence else 1, seed)
        self._pieces = train_vocabulary(train, vocab_size, lowercase=lowercase) if base == SCRATCH else []
        with seeded(seed):
            if self._pieces:
                self._tokenizer = wordpiece_tokenizer(self._pieces, lowercase=lowercase)
                config = BertConfig(
                    vocab_size=len(self._pieces),
                    hidden_size=hidden,
                    n_layers=layers,
                    n_heads=attention_heads,
                    intermediate_size=4 * hidden,
                    max_positions=max_length,
                )
                network = PreTrainingBert(Bert(config), next_sentence=next_sentence)
            else:
                folder = resolve(base)
                self._tokenizer = TextTokenizer.from_folder(folder)
                network = load_pretraining(folder, next_sentence=next_sentence)
        self.network: nn.Module = network
        self._config = network.bert.config
        self._mask_id, self._ordinary = _vocabulary_roles(self._tokenizer, base)
        self._pack(train, held, max_length)

    def _pack(self, train: Sequence[str], held: Sequence[str], max_length: int) -> None:
        """Tokenise the documents and cut them into sequences."""
        least = 2 if self._next_sentence else 1  # sentences in a sequence, and documents to draw them from
        special = self._tokenizer.n_pair_special if self._next_sentence else self._tokenizer.n_special
        room = max_length - special
        if max_length > self._config.max_positions or room < 8 * least:
            raise ValueError(
                f"max_length {max_length} is out of range: {self.base} takes {special + 8 * least} to "
                f"{self._config.max_positions} tokens"
            )
        self._train, self._held = (
            Corpus.of(texts, self._tokenizer, room // least, whole_words=self._masking == "word")
            for texts in (train, held)
        )
        self._examples = self._train.stretches(room, least)
        if not self._examples or len(self._train) < least:
            raise DataError(
                f"{self._name}: a document of {least} sentences or more is needed, beside others; join the lines that "
                "belong together (a blank line begins a new document)"
                + (", or train with next_sentence=False" * (least > 1))
            )
        self._held_examples = _spread(self._held.stretches(room, least), _MOST_HELD) if len(self._held) >= least else []
        self._entropy = math.nan

    def lengths(self) -> Sequence[int]:
        return [self._train.size(stretch.start, stretch.stop) for stretch in self._examples]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        return self._collated(self._train, [self._examples[i] for i in examples], random.Random(seed))  # noqa: S311

    def _collated(self, corpus: Corpus, stretches: Sequence[Stretch], rng: random.Random) -> Batch:
        """Beside the padded tokens: the flat positions ``chosen``, what stood there, and 1 for a random second text."""
        rows: list[TokenPair] = []
        places: list[list[int]] = []
        targets: list[int] = []
        unrelated: list[int] = []
        for stretch in stretches:
            drawn = corpus.pair(stretch, rng) if self._next_sentence else corpus.whole(stretch)
            texts = list(corpus.texts(drawn))
            ids, segments = self._joined([ids for ids, _ in texts])
            goes_on, _ = self._joined([goes_on for _, goes_on in texts])
            chosen = choose(words_of(ids, goes_on, self._tokenizer.special_ids), self._share, rng)
            rows.append(TokenPair(corrupt(ids, chosen, self._mask_id, self._ordinary, rng), segments))
            places.append(chosen)
            targets += [ids[i] for i in chosen]
            unrelated.append(int(not drawn.follows))
        batch = padded_pairs(rows)
        length = batch["token_ids"].shape[1]
        flat = [row * length + i for row, chosen in enumerate(places) for i in chosen]
        batch["chosen"], batch["targets"] = (torch.tensor(values, dtype=torch.int64) for values in (flat, targets))
        if self._next_sentence:
            batch["unrelated"] = torch.tensor(unrelated)
        return batch

    def _joined(self, texts: Sequence[Sequence[int]]) -> TokenPair:
        """One or two texts' values with the special tokens' ids between them."""
        if len(texts) == 2:
            return self._tokenizer.pair(*texts)
        ids = [*self._tokenizer.prefix, *texts[0], *self._tokenizer.suffix]
        return TokenPair(ids, [0] * len(ids))

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return pretraining_loss(_logits(network, batch), batch["targets"], batch.get("unrelated"))

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Held-out documents, always with the same words hidden.

        ``mlm_loss`` in nats and its exponential, the perplexity; how often the hidden token, and the next-sentence
        question, is answered rightly; and ``unigram_entropy``, the loss of a guesser who knows nothing but how
        frequent each token is in the training documents.
        """
        if not self._held_examples:
            return {}
        loss, right, right_next = 0.0, 0, 0
        every: list[int] = []
        ordered = sorted(self._held_examples, key=lambda stretch: self._held.size(stretch.start, stretch.stop))
        for start in range(0, len(ordered), _HELD_BATCH):
            batch = self._collated(self._held, ordered[start : start + _HELD_BATCH], random.Random(start))  # noqa: S311
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = _logits(network, batch)
            loss += float(F.cross_entropy(logits.tokens.float(), batch["targets"], reduction="sum"))
            right += int((logits.tokens.argmax(-1) == batch["targets"]).sum())
            if logits.pairs is not None:
                right_next += int((logits.pairs.argmax(-1) == batch["unrelated"]).sum())
            every += batch["targets"].tolist()
        mean = loss / max(len(every), 1)
        metrics = {"mlm_loss": mean, "perplexity": math.exp(min(mean, 700)), "mlm_accuracy": right / max(len(every), 1)}
        if self._next_sentence:
            metrics["nsp_accuracy"] = right_next / len(ordered)
        if math.isnan(self._entropy):
            self._entropy = self._unigram_entropy(every)
        return {**metrics, "unigram_entropy": self._entropy}

    def _unigram_entropy(self, targets: Sequence[int]) -> float:
        """Mean ``-ln p`` of the targets, p from the training tokens, each counted once more than it occurs."""
        counts = np.bincount(self._train.token_ids, minlength=self._config.vocab_size) + 1
        surprise = math.log(counts.sum()) - np.log(counts)
        return float(sum(n * surprise[token] for token, n in Counter(targets).items()) / max(len(targets), 1))

    def save(self, network: nn.Module, folder: Path) -> None:
        save_pretraining(cast(PreTrainingBert, merged(network)), folder)
        if self._pieces:
            write_vocabulary(self._pieces, folder, lowercase=self._lowercase)
        longest = self._tokenizer.model_max_length or self._config.max_positions
        self._tokenizer.save(folder, max_length=min(longest, self._config.max_positions))

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            "documents": len(self._train),
            "held-out documents": len(self._held),
            "tokens": len(self._train.token_ids),
            "vocabulary": self._config.vocab_size,
            "masking": f"{self._masking}, {self._share:.0%}",
        }


def _logits(network: nn.Module, batch: Batch) -> PreTrainingLogits:
    names = ("token_ids", "attention_mask", "segment_ids", "chosen")
    logits: PreTrainingLogits = network(*(batch[name] for name in names))
    return logits


def _split(data: str | Path, holdout: float, least: int, seed: int) -> tuple[list[str], list[str]]:
    """Training and held-out documents, ``least`` of each; nothing is held out at 0."""
    texts = read_texts(data)
    n_held = max(least, round(holdout * len(texts))) if holdout else 0
    if len(texts) - n_held < least:
        raise DataError(
            f"{data}: {len(texts)} documents; expected at least {least} to train on and {n_held} held out. In a text "
            "file a blank line separates documents; holdout=0 keeps none"
            + (", and next_sentence=False does with one" if least > 1 else "")
        )
    held = set(random.Random(seed).sample(range(len(texts)), n_held))  # noqa: S311
    return [text for i, text in enumerate(texts) if i not in held], [texts[i] for i in sorted(held)]


def _vocabulary_roles(tokenizer: TextTokenizer, base: str) -> tuple[int, list[int]]:
    """The id that hides, and the ids a random token may have."""
    if tokenizer.mask_id is None:
        raise DataError(f"{base}: its tokenizer has no mask token; expected a BERT, whose has [MASK]")
    return tokenizer.mask_id, [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids]


def _spread(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """At most ``most`` of them, from all over."""
    step = max(1, -(-len(stretches) // most))
    return list(stretches[::step])
