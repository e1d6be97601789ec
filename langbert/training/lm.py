"""Language modelling: predict every token from those before it (Radford et al. 2018, §3.1)."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError, require_choice
from ..models.architectures.transformer_xl import TransformerXLConfig
from ..models.gpt.network import GPTConfig
from .batching import Scored, collated, scored_logits
from .data import texts_in
from .decoders import END_OF_TEXT, base_decoder, byte_pairs, fresh_decoder, pieces, save_trained
from .recurrence import stream_loss
from .settings import Bounds, Count, Holdout, TrainSettings
from .task import SCRATCH, Batch, Task

Architecture = Literal["gpt", "transformer-xl"]

_TOGETHER = 64  # pieces of text tokenized in one call
_HELD_BATCH = 4  # sequences
_DROPOUT = 0.1  # of a network from scratch (Radford et al. 2018, §4.1); the settings of a run may say otherwise


class LmTask(Task):
    """Go on learning to write from documents of one's own, or learn it from nothing.

    Documents stand end to end, an end-of-text token before each and after the last, cut into sequences of
    ``max_length`` (Brown et al. 2020, "Language Models are Few-Shot Learners", §2 and appendix B).

    Args:
        data: a text file, or a folder of documents in any format langbert reads, in any language.
        base: the decoder to go on with; ``"scratch"`` makes one in the manner of GPT-2 (learned positions,
            LayerNorm, GELU) with a byte-level BPE vocabulary of the documents' own.
        architecture: from scratch: what is made. A ``"transformer-xl"`` (Dai et al. 2019) reads a sequence segment by
            segment and remembers those before, so ``max_length`` is no limit of what it reads afterwards. Every
            training sequence begins with an empty memory: batches can come in any order, and a run can be resumed.
        max_length: tokens of a sequence; from scratch also the longest context a GPT will have.
        reset_at_documents: let no document see another one that shares its sequence; not with a memory.
        vocab_size: from scratch: tokens in the vocabulary, fewer where the documents do not give as many.
        n_layers: from scratch: blocks of attention and feed-forward network.
        n_heads: from scratch: attention heads of a block.
        hidden_size: from scratch: width of the network, a multiple of ``n_heads``.
        segment_length: of a Transformer-XL: tokens read at once, fewer than ``max_length``.
        memory_length: of a Transformer-XL: the most tokens remembered from before a segment.
        holdout: the share of the text, in whole documents, kept for evaluation; of a single document its end.
    """

    name = "lm"
    metric = "loss"
    higher_is_better = False
    defaults: ClassVar[TrainSettings] = TrainSettings(batch_size=4, accumulation=4, learning_rate=2.5e-4)

    def __init__(
        self,
        data: str | Path,
        *,
        base: str | Path = "smollm2-135m-instruct",
        architecture: Architecture = "gpt",
        max_length: Annotated[int, Bounds(8)] = 512,
        reset_at_documents: bool = False,
        vocab_size: Annotated[int, Bounds(300)] = 8192,
        n_layers: Count = 6,
        n_heads: Count = 6,
        hidden_size: Annotated[int, Bounds(8)] = 384,
        segment_length: Count = 128,
        memory_length: Annotated[int, Bounds(0)] = 128,
        holdout: Holdout = 0.05,
        seed: int = 0,
    ) -> None:
        require_choice("architecture", architecture, get_args(Architecture))
        self._remembers = architecture == "transformer-xl"
        if self._remembers:
            _check_memory(base, reset_at_documents, max_length, segment_length)
        self.base, self._max_length, self._reset = base, max_length, reset_at_documents
        self._name = Path(data).name
        texts, held = _split(texts_in(data), holdout, seed)
        network: nn.Module
        if base != SCRATCH:
            network, self._checkpoint = base_decoder(base)
            if not 1 <= max_length <= (longest := network.config.context_length):
                raise ValueError(f"max_length is {max_length}; {base} reads 1 to {longest} tokens")
        else:
            tokenizer = byte_pairs(texts, vocab_size)
            sizes: dict[str, Any] = {
                "vocab_size": tokenizer.get_vocab_size(),
                "n_layers": n_layers,
                "n_heads": n_heads,
                "hidden_size": hidden_size,
                "intermediate_size": 4 * hidden_size,
                "dropout": _DROPOUT,
            }
            config = (
                TransformerXLConfig(**sizes, segment_length=segment_length, memory_length=memory_length)
                if self._remembers
                else GPTConfig(**sizes, context_length=max_length, n_kv_heads=n_heads)
            )
            network, self._checkpoint = fresh_decoder(config, tokenizer, seed)
        self.network: nn.Module = network
        self._checkpoint.tokenizer.encode_special_tokens = True  # control tokens in a document are only its words
        self._end = self._end_of_text()
        self._train, self._held = self._stream(texts), self._stream(held)
        self._held_characters = sum(map(len, held))

    def _end_of_text(self) -> int:
        tokenizer = self._checkpoint.tokenizer
        names = (END_OF_TEXT, "<|end_of_text|>", self._checkpoint.tokens.get("eos_token", END_OF_TEXT))
        found = next((i for name in names if (i := tokenizer.token_to_id(name)) is not None), None)
        if found is None:
            raise CheckpointError(f"{self.base}: no token ends a text: tokenizer_config.json names no eos_token")
        return found

    def _stream(self, texts: Sequence[str]) -> Tensor:
        """All texts as one run of tokens, (n,) int32."""
        tokenizer = self._checkpoint.tokenizer
        begin: list[int] = tokenizer.encode("").ids  # what the tokenizer puts before a text, usually nothing
        parts = [torch.tensor([self._end], dtype=torch.int32)]
        for text in texts:
            cut = list(pieces(text))
            ids = list(begin)
            for start in range(0, len(cut), _TOGETHER):
                for encoding in tokenizer.encode_batch(cut[start : start + _TOGETHER], add_special_tokens=False):
                    ids += encoding.ids
            parts.append(torch.tensor([*ids, self._end], dtype=torch.int32))
        return torch.cat(parts)

    def __len__(self) -> int:
        return self._sequences(self._train)

    def _sequences(self, stream: Tensor) -> int:
        return -(-(len(stream) - 1) // self._max_length)

    def lengths(self) -> Sequence[int]:
        last = (len(self._train) - 1) % self._max_length or self._max_length
        return [self._max_length] * (len(self) - 1) + [last]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        return self._batch(self._train, examples)

    def _batch(self, stream: Tensor, numbers: Sequence[int]) -> Batch:
        """Sequences of ``stream``: every token but the first is predicted once."""
        rows = []
        for number in numbers:
            start = number * self._max_length
            tokens = stream[start : start + self._max_length + 1].tolist()
            rows.append(self._documents(tokens) if self._reset else [Scored(tokens[:-1], tokens[1:])])
        return collated(rows)

    def _documents(self, tokens: Sequence[int]) -> list[Scored]:
        """The documents of one sequence, each with the end-of-text token before it."""
        n = len(tokens) - 1
        starts = [0, *(i for i in range(1, n) if tokens[i] == self._end)]
        return [Scored(tokens[i:j], tokens[i + 1 : j + 1]) for i, j in zip(starts, [*starts[1:], n], strict=True)]

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(*scored_logits(network, batch))

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Of the held-out text: the loss in nats a token, its perplexity, and bits a character.

        Only the last can be compared between vocabularies. A Transformer-XL remembers all along the held-out text; its
        ``perplexity_without_memory`` is that of the same network when it reads every segment for itself.
        """
        if not self._held_characters:
            return {}
        tokens, more = len(self._held) - 1, {}
        if self._remembers:
            total = stream_loss(network, self._held, device)
            forgetful = stream_loss(network, self._held, device, forget=True)
            more["perplexity_without_memory"] = _perplexity(forgetful / tokens)
        else:
            total = self._held_loss(network, device)
        return {
            "loss": total / tokens,
            "perplexity": _perplexity(total / tokens),
            **more,
            "bits_per_character": total / math.log(2) / self._held_characters,
        }

    def _held_loss(self, network: nn.Module, device: torch.device) -> float:
        """Nats of all held-out tokens together, sequence by sequence."""
        total = 0.0
        order = range(self._sequences(self._held))
        for start in range(0, len(order), _HELD_BATCH):
            batch = self._batch(self._held, order[start : start + _HELD_BATCH])
            logits, labels = scored_logits(network, {name: tensor.to(device) for name, tensor in batch.items()})
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
        return total

    @property
    def held_out(self) -> Tensor:
        """The held-out text as one run of tokens, (n,) int32; only an end-of-text token where nothing is held out."""
        return self._held

    def unigram_entropy(self) -> float:
        """Nats a token of the held-out text that no model without context can get below.

        The entropy of that text's own token frequencies: 0 without a held-out text.
        """
        shares = torch.bincount(self._held[1:].long()).float() / max(len(self._held) - 1, 1)
        return float(torch.special.entr(shares).sum())

    def save(self, network: nn.Module, folder: Path) -> None:
        save_trained(
            network, self._checkpoint, folder, base=None if self.base == SCRATCH else self.base, new_template=False
        )

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            "tokens": len(self._train) - 1,
            "held-out tokens": len(self._held) - 1,
            "held-out unigram entropy": self.unigram_entropy(),
            "vocabulary": self._checkpoint.tokenizer.get_vocab_size(),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
        }


def _check_memory(base: str | Path, reset_at_documents: bool, max_length: int, segment_length: int) -> None:
    """Whether a Transformer-XL can be trained so.

    Raises:
        ValueError: it cannot, or its memory would never be used.
    """
    if base != SCRATCH:
        raise ValueError(f"a Transformer-XL is trained from scratch: base is {base}, expected {SCRATCH!r}")
    if reset_at_documents:
        raise ValueError("a Transformer-XL remembers across documents: leave out reset_at_documents")
    if max_length <= segment_length:
        raise ValueError(
            f"max_length is {max_length}, one segment of {segment_length} tokens: nothing would be learnt from memory; "
            "expected several segments"
        )


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 100.0))


def _split(texts: Sequence[str], holdout: float, seed: int) -> tuple[list[str], list[str]]:
    """Texts to learn from, in random order, and held-out ones: about that share of all characters."""
    wanted = holdout * sum(map(len, texts))
    if len(texts) == 1:
        text, cut = texts[0], round(len(texts[0]) - wanted)
        cut = text.rfind("\n", max(0, round(cut - wanted)), cut) + 1 or cut  # at the end of a line, if one is near
        return [text[:cut]], [text[cut:]] if text[cut:].strip() else []
    order, held, size = list(texts), list[str](), 0
    random.Random(seed).shuffle(order)  # noqa: S311
    while len(order) > 1 and size < wanted:
        held.append(order.pop())
        size += len(held[-1])
    return order, held
