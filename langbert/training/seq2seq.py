"""Text to text: an encoder–decoder learns to write a target for a source, by teacher forcing.

Vaswani et al. 2017, §5; Raffel et al. 2020, §2.4: every task is one text in, one text out.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError, DataError
from ..generation.chat import ChatFormat
from ..models import resolve
from ..models.architectures.encoder_decoder import Seq2Seq, Seq2SeqConfig, greedy, save_seq2seq
from ..models.decoder import load_decoder
from ..models.files.json_files import write_json
from ..models.files.tokenizer import end_token_ids
from ..models.transformers_models import TransformersSeq2SeqDecoder, written_greedily
from .adapters import merged
from .batching import IGNORED, padded, padded_rows
from .conversations import Conversation, read_conversations
from .data import held_out
from .decoders import END_OF_TEXT, byte_pairs, trainable
from .settings import Bounds, Count, Holdout, Share, TrainSettings
from .task import SCRATCH, Batch, Task, seeded

log = logging.getLogger("langbert")

_HELD_BATCH = 16


class _Example(NamedTuple):
    source: list[int]
    target: list[int]  # its end token included


class Seq2SeqTask(Task):
    """Teach an encoder–decoder to write targets for sources, one of them answers for questions over passages.

    Adapters are merged when saving.

    Args:
        data: JSON lines of ``{"source", "target"}`` (or ``{"prompt", "answer"}``, or conversations that end in an
            answer), or a SQuAD ``.json`` file, whose questions are put as :class:`langbert.Rag` puts them, passages
            with them. Lines with the same ``"group"`` are all trained on or all held out.
        base: the T5 (or other encoder–decoder of transformers') to go on with; ``"scratch"`` for a small Transformer
            with a byte-level BPE vocabulary of ``data``.
        max_length: tokens of a source; examples with a longer one are left out.
        max_target: tokens of a target; likewise.
        label_smoothing: the share of probability that goes to all tokens alike (Vaswani et al. 2017, §5.4: 0.1).
        sources: of SQuAD files: the most passages a question is asked over.
        unanswerable: of SQuAD files: the share of questions whose passage is withheld, so that the right answer is the
            pipeline's refusal.
        positions: from scratch: ``"sinusoidal"`` or ``"learned"``.
        vocab_size: from scratch: tokens in the vocabulary, fewer where the data do not give as many.
        n_layers: from scratch: layers of encoder and decoder each.
        n_heads: from scratch: attention heads.
        hidden_size: from scratch: width.
        holdout: the share of examples (or groups) kept for evaluation.
        max_held: evaluate at most so many of them.
        seed: of the held-out examples and of new weights.
    """

    name = "seq2seq"
    metric = "loss"
    higher_is_better = False
    defaults: ClassVar[TrainSettings] = TrainSettings(batch_size=8, accumulation=2, learning_rate=3e-4)

    def __init__(
        self,
        data: str | Path,
        *,
        base: str = "google/flan-t5-small",
        max_length: Count = 1024,
        max_target: Count = 128,
        label_smoothing: Share = 0.0,
        sources: Count = 4,
        unanswerable: Share = 0.25,
        positions: Literal["sinusoidal", "learned"] = "sinusoidal",
        vocab_size: Annotated[int, Bounds(257)] = 8192,
        n_layers: Count = 4,
        n_heads: Count = 4,
        hidden_size: Annotated[int, Bounds(8)] = 256,
        holdout: Holdout = 0.05,
        max_held: Count = 200,
        seed: int = 0,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}, expected 0 or more and less than 1")
        self.base, self._smoothing, self._max_target, self._name = base, label_smoothing, max_target, Path(data).name
        rows = list(_ending_in_answers(data, sources, unanswerable, seed))
        held = held_out((row.group for row in rows), holdout, seed)
        if base == SCRATCH:
            learnt = [row for row in rows if row.group not in held]
            tokenizer = _tokenizer(learnt, vocab_size)
            config = Seq2SeqConfig(
                vocab_size=tokenizer.get_vocab_size(),
                n_layers=n_layers,
                n_decoder_layers=n_layers,
                n_heads=n_heads,
                hidden_size=hidden_size,
                intermediate_size=4 * hidden_size,
                positions=positions,
                context_length=max_length + max_target,  # a generator counts prompt and answer together
                start_id=_end_id(tokenizer),
            )
            with seeded(seed):
                self.network: nn.Module = Seq2Seq(config)
            self._start, self._tokenizer, template = config.start_id, tokenizer, None
            self._tokens: Mapping[str, str] = dict.fromkeys(("eos_token", "pad_token"), END_OF_TEXT)
            self._ends = end_token_ids(tokenizer, [])
        else:
            checkpoint = load_decoder(resolve(base), dtype=torch.float32, device=torch.device("cpu"))
            if not isinstance(checkpoint.decoder, TransformersSeq2SeqDecoder):
                raise CheckpointError(f"{base}: not a T5; a decoder alone is trained by `langbert train sft`")
            self.network, self._start = trainable(checkpoint.decoder.model), checkpoint.decoder.start_id
            self._tokenizer, template = checkpoint.tokenizer, checkpoint.chat_template
            self._tokens, self._ends = checkpoint.tokens, checkpoint.end_ids
        self._chat = ChatFormat(self._tokenizer, template, self._tokens)
        self._train: list[_Example] = []
        self._held: list[_Example] = []
        self._left_out = 0
        for row in rows:
            example = self._example(row)
            if len(example.source) > max_length or len(example.target) > max_target:
                self._left_out += 1
            else:
                (self._held if row.group in held else self._train).append(example)
        if self._left_out:
            limits = (self._left_out, len(rows), max_length, max_target)
            log.warning("%s: %d of %d are longer than %d tokens, or their targets than %d: left out", data, *limits)
        if not self._train:
            raise DataError(f"{data}: no example of at most {max_length} and {max_target} tokens is left to train on")
        random.Random(seed).shuffle(self._held)  # noqa: S311
        self._held = sorted(self._held[:max_held], key=lambda example: len(example.source))

    def _example(self, row: Conversation) -> _Example:
        """Source and target ids, the source exactly as a :class:`langbert.Generator` reads it."""
        target = self._chat.encode_text(row.messages[-1].content)
        ended = target[-1:] and target[-1] in self._ends
        return _Example(self._chat.encode(row.messages[:-1]), target if ended else [*target, min(self._ends)])

    def lengths(self) -> Sequence[int]:
        return [len(example.source) + len(example.target) for example in self._train]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        return self._batch([self._train[i] for i in examples])

    def _batch(self, examples: Sequence[_Example]) -> Batch:
        """Padded on the right: sources and their mask, (B, S); targets one place later, and what comes next, (B, T)."""
        targets = [[self._start, *example.target[:-1]] for example in examples]
        sources = padded([example.source for example in examples])
        return {
            "source_ids": sources["token_ids"],
            "attention_mask": sources["attention_mask"],
            "target_ids": padded_rows(targets, self._start),
            "labels": padded_rows([example.target for example in examples], IGNORED),
        }

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(*self._scored(network, batch), label_smoothing=self._smoothing)

    def _scored(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits ``(n, vocab_size)`` float32 and labels ``(n,)`` of the target tokens, row by row."""
        scored = batch["labels"] != IGNORED
        sources, mask, targets = batch["source_ids"], batch["attention_mask"], batch["target_ids"]
        if isinstance(self.network, Seq2Seq):
            logits: Tensor = network(sources, targets, source_mask=mask, at=scored)
        else:
            output = network(input_ids=sources, attention_mask=mask, decoder_input_ids=targets, use_cache=False)
            logits = output.logits[scored]
        return logits.float(), batch["labels"][scored]

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Of the held-out examples: the loss in nats a token (not smoothed), its perplexity, and the share of targets
        that greedy writing gives word for word.
        """
        if not self._held:
            return {}
        model = cast(nn.Module, getattr(network, "get_base_model", lambda: network)())  # adapters stay in place
        total, tokens, exact = 0.0, 0, 0
        for start in range(0, len(self._held), _HELD_BATCH):
            examples = self._held[start : start + _HELD_BATCH]
            batch = {name: tensor.to(device) for name, tensor in self._batch(examples).items()}
            logits, labels = self._scored(model, batch)
            total, tokens = total + float(F.cross_entropy(logits, labels, reduction="sum")), tokens + len(labels)
            write = greedy if isinstance(self.network, Seq2Seq) else written_greedily
            sources = (batch["source_ids"], batch["attention_mask"])
            written = write(cast(Any, model), *sources, max_tokens=self._max_target, end_ids=self._ends)
            exact += sum(self._text(ids) == self._text(e.target) for ids, e in zip(written, examples, strict=True))
        loss = total / tokens
        return {"loss": loss, "perplexity": math.exp(min(loss, 100.0)), "exact": exact / len(self._held)}

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return " ".join(text.split())

    def save(self, network: nn.Module, folder: Path) -> None:
        plain = merged(network)
        if isinstance(plain, Seq2Seq):
            ends = sorted(self._ends)
            start = dict.fromkeys(("decoder_start_token_id", "pad_token_id"), self._start)
            save_seq2seq(plain, folder, {**start, "eos_token_id": ends[0] if len(ends) == 1 else ends})
        else:
            cast(Any, plain).save_pretrained(folder)
        self._tokenizer.save(str(folder / "tokenizer.json"))
        about = {"tokenizer_class": "PreTrainedTokenizerFast", **self._tokens, "clean_up_tokenization_spaces": False}
        write_json(about, folder / "tokenizer_config.json")

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            "held-out examples": len(self._held),
            "left out as too long": self._left_out,
            "vocabulary": self._tokenizer.get_vocab_size(),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
        }


def _tokenizer(rows: Sequence[Conversation], vocab_size: int) -> Tokenizer:
    """A byte-level BPE vocabulary of sources and targets; its one control token ends every text."""
    texts = {message.content for row in rows for message in row.messages}
    tokenizer = byte_pairs(sorted(texts), vocab_size)
    ends = [(END_OF_TEXT, _end_id(tokenizer))]
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END_OF_TEXT}", special_tokens=ends)
    return tokenizer


def _end_id(tokenizer: Tokenizer) -> int:
    return int(tokenizer.get_vocab()[END_OF_TEXT])


def _ending_in_answers(data: str | Path, sources: int, unanswerable: float, seed: int) -> Iterator[Conversation]:
    """The conversations of ``data``; raises DataError where one has no source, or does not end in an answer."""
    for number, row in read_conversations(data, sources=sources, unanswerable=unanswerable, seed=seed):
        *asked, last = row.messages
        if not asked or last.role != "assistant" or not all(turn.content.strip() for turn in asked):
            raise DataError(f'{data}:{number}: expected a "source" and a "target", or turns that end in an answer')
        yield row
