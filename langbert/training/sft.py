"""Supervised fine-tuning: learn the assistant's turns of conversations, never their prompts.

The loss is next-token prediction where only what the assistant wrote is scored (Radford et al. 2018, §3.2; Ouyang et
al. 2022, "Training language models to follow instructions with human feedback", §3).
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError, DataError
from ..generation.chat import ChatFormat
from .batching import IGNORED, Scored, collated, pack, scored_logits
from .conversations import read_conversations
from .data import held_out
from .decoders import LORA_TARGETS, base_decoder, save_trained
from .settings import Count, Holdout, LoraSettings, Share, TrainSettings
from .task import Batch, Task

log = logging.getLogger("langbert")

_PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}:\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
"""For a base that was never taught to chat: the one control token it knows ends every turn."""


class SftTask(Task):
    """Teach a decoder to answer as the examples do.

    Conversations are written by the base's own chat template. Each assistant's turn is learnt, with the token that
    ends it; system's and users' turns are only read.

    Args:
        data: a JSON-lines file of ``{"messages": [{"role", "content"}, …]}`` or ``{"prompt", "answer"}``, or a SQuAD
            ``.json`` file, whose questions are put as :class:`langbert.Rag` puts them, passages with them. Rows with
            the same ``"group"`` (of SQuAD: article) are all trained on or all held out.
        base: the decoder to go on with.
        max_length: tokens of a sequence; longer conversations are left out.
        packing: put several conversations into one sequence, where they do not see one another. A sequence is then
            what ``batch_size`` counts.
        sources: of SQuAD files: the most passages a question is asked over.
        unanswerable: of SQuAD files: the share of questions whose passage is withheld, so that the right answer is the
            pipeline's refusal.
        holdout: the share of conversations (or groups) kept for evaluation.
    """

    name = "sft"
    metric = "loss"
    higher_is_better = False
    defaults: ClassVar[TrainSettings] = TrainSettings(
        batch_size=2,
        accumulation=4,
        learning_rate=2e-4,
        lora=LoraSettings(rank=16, alpha=32, targets=LORA_TARGETS),
    )

    def __init__(
        self,
        data: str | Path,
        *,
        base: str | Path = "smollm2-135m-instruct",
        max_length: Count = 1024,
        packing: bool = True,
        sources: Count = 4,
        unanswerable: Share = 0.25,
        holdout: Holdout = 0.03,
        seed: int = 0,
    ) -> None:
        self.base = base
        rows = list(read_conversations(data, sources=sources, unanswerable=unanswerable, seed=seed))
        network, checkpoint = base_decoder(base)
        if not 1 <= max_length <= network.config.context_length:
            raise ValueError(f"max_length is {max_length}; {base} reads 1 to {network.config.context_length} tokens")
        self._new_template = checkpoint.chat_template is None
        if self._new_template:
            checkpoint = replace(checkpoint, chat_template=_PLAIN_TEMPLATE)
        self.network: nn.Module = network
        self._checkpoint = checkpoint
        self._name = Path(data).name
        chat = ChatFormat(checkpoint.tokenizer, checkpoint.chat_template, checkpoint.tokens)
        held = held_out((row.group for _, row in rows), holdout, seed)
        self._train: list[Scored] = []
        self._held: list[Scored] = []
        self._left_out = 0
        for number, row in rows:
            try:
                example = _scored(*chat.encode_dialogue(row.messages))
            except CheckpointError as error:
                raise DataError(f"{data}:{number}: {error}") from error
            if len(example.ids) > max_length:
                self._left_out += 1
            else:
                (self._held if row.group in held else self._train).append(example)
        if self._left_out:
            counts = (self._left_out, len(rows), max_length)
            log.warning("%s: %d of %d rows are longer than %d tokens: left out", data, *counts)
        if not self._train:
            raise DataError(f"{data}: no conversation of at most {max_length} tokens is left to train on")
        order = list(range(len(self._train)))
        random.Random(seed).shuffle(order)  # noqa: S311
        self._train = [self._train[i] for i in order]
        sizes = [len(example.ids) for example in self._train]
        self._packs = pack(sizes, max_length) if packing else [[i] for i in range(len(sizes))]

    def lengths(self) -> Sequence[int]:
        return [sum(len(self._train[i].ids) for i in row) for row in self._packs]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        return collated([[self._train[i] for i in self._packs[row]] for row in examples])

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(*scored_logits(network, batch))

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Of the held-out answers: the loss in nats a token, its perplexity, the share of tokens that come first among
        the logits, and the share of conversations where all do: what greedy writing would give word for word.
        """
        if not self._held:
            return {}
        total, tokens, right, exact = 0.0, 0, 0, 0
        for example in self._held:
            batch = {name: tensor.to(device) for name, tensor in collated([[example]]).items()}
            logits, labels = scored_logits(network, batch)
            hits = int((logits.argmax(-1) == labels).sum())
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            tokens, right, exact = tokens + len(labels), right + hits, exact + (hits == len(labels))
        return {
            "loss": total / tokens,
            "perplexity": math.exp(min(total / tokens, 100.0)),
            "accuracy": right / tokens,
            "exact": exact / len(self._held),
        }

    def save(self, network: nn.Module, folder: Path) -> None:
        save_trained(network, self._checkpoint, folder, base=self.base, new_template=self._new_template)

    def facts(self) -> Mapping[str, Any]:
        return {
            "data": self._name,
            "base": self.base,
            "examples": len(self._train),
            "sequences": len(self._packs),
            "held-out examples": len(self._held),
            "left out as too long": self._left_out,
        }


def _scored(ids: Sequence[int], own: Sequence[bool]) -> Scored:
    """Each token with its successor, where the assistant wrote that one; the last is only ever predicted."""
    return Scored(ids[:-1], [ids[i] if own[i] else IGNORED for i in range(1, len(ids))])
