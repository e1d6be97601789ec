"""Decoders to train: from a base or from scratch, and into a folder again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar, cast

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import nn

from ..errors import CheckpointError
from ..models import resolve
from ..models.architectures.transformer_xl import TransformerXL, TransformerXLConfig, TransformerXLDecoder
from ..models.decoder import CHAT_TEMPLATE, DecoderCheckpoint, load_decoder, save_decoder
from ..models.files.tokenizer import end_token_ids
from ..models.gpt.decoder import GPTDecoder
from ..models.gpt.network import GPT, GPTConfig
from .adapters import merged, save_adapters
from .task import seeded

END_OF_TEXT = "<|endoftext|>"
LORA_TARGETS = ("attention.qkv", "attention.output", "feed_forward.gate_up", "feed_forward.up", "feed_forward.down")
"""Every matrix of a block, as :mod:`langbert.models.gpt.network` calls them."""

Network = TypeVar("Network", bound=nn.Module)

_PIECE = 1 << 16  # characters tokenized at once: a tokenizer's notes take a hundred times the memory of the text


def base_decoder(base: str | Path) -> tuple[GPT, DecoderCheckpoint]:
    """A decoder to go on with: its network, float32 and trainable, and everything else of it.

    Raises:
        ModelError: it cannot be found or loaded, or is no architecture that langbert computes itself.
    """
    checkpoint = load_decoder(resolve(base), dtype=torch.float32, device=torch.device("cpu"))
    if not isinstance(checkpoint.decoder, GPTDecoder):
        raise CheckpointError(f"{base}: only GPTs and Llama-like decoders (Llama, Mistral, Qwen2) can be trained here")
    return trainable(checkpoint.decoder.model), checkpoint


def fresh_decoder(
    config: GPTConfig | TransformerXLConfig, tokenizer: Tokenizer, seed: int
) -> tuple[GPT | TransformerXL, DecoderCheckpoint]:
    """A decoder with random weights that depend on ``seed`` alone."""
    decoder: GPTDecoder | TransformerXLDecoder
    with seeded(seed):
        if isinstance(config, TransformerXLConfig):
            decoder = TransformerXLDecoder(TransformerXL(config))
        else:
            decoder = GPTDecoder(GPT(config))
    tokens = dict.fromkeys(("bos_token", "eos_token"), END_OF_TEXT)
    checkpoint = DecoderCheckpoint(decoder, tokenizer, None, tokens, end_token_ids(tokenizer, []))
    return trainable(decoder.model), checkpoint


def trainable(network: Network) -> Network:
    """``network`` to be trained, every weight of it: a :class:`Decoder` froze it."""
    return network.requires_grad_(True).train()


def byte_pairs(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE vocabulary (Radford et al. 2019, §2.2): any text, in any language, has tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
    return tokenizer


def pieces(text: str) -> Iterator[str]:
    """``text`` cut, behind the end of a line where there is one, into parts that are tokenized one by one."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end


def save_trained(
    network: nn.Module, checkpoint: DecoderCheckpoint, folder: Path, *, base: str | Path | None, new_template: bool
) -> None:
    """A whole model where every weight was trained, adapters for ``base`` where those were.

    Args:
        network: a :class:`GPT` or :class:`TransformerXL`, or peft's wrapping of one.
        base: None for a model from scratch; adapters are then merged, since there is nothing they could stand on.
        new_template: the chat template is not the base's own, so adapters bring it along.
    """
    if isinstance(network, GPT) or not base:
        save_decoder(cast("GPT | TransformerXL", merged(network)), checkpoint, folder)
    else:
        # a folder is found again from wherever one stands
        save_adapters(network, folder, base=str(Path(base).absolute() if Path(base).exists() else base))
        if new_template and checkpoint.chat_template is not None:
            (folder / CHAT_TEMPLATE).write_text(checkpoint.chat_template, encoding="utf-8")
