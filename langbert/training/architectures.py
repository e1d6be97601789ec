"""New encoders to train: which network, and whose words it begins with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, require_choice
from ..models import resolve
from ..models.architectures.recurrent import (
    Cell,
    RecurrentConfig,
    RecurrentEncoder,
    RecurrentTextEncoder,
    is_recurrent,
    load_recurrent,
)
from ..models.bert.checkpoint import is_bert
from ..models.bert.loading import load_bert, save_bert
from ..models.bert.network import Bert, BertConfig
from ..models.files.json_files import read_json
from ..models.files.sentence_folder import read_sentence_folder
from ..models.files.tokenizer import TextTokenizer
from .settings import TrainSettings
from .task import SCRATCH, seeded
from .vocabulary import train_vocabulary, wordpiece_tokenizer

Architecture = Literal["lstm", "gru", "rnn", "transformer"]
"""A network made anew: recurrent, in both directions, or a BERT that nobody has pre-trained."""

TextEncoder = Bert | RecurrentEncoder

_LAYERS = {"lstm": 1, "gru": 1, "rnn": 1, "transformer": 2}
_WIDTH = 256
_POSITIONS = 512  # of a Transformer
_LEARNING_RATE = 1e-3  # of fresh weights: there is nothing yet to be kept

NEW_LENGTH = 256
"""Tokens a new encoder reads at once in training, unless something else is asked for."""


class Sizes(NamedTuple):
    """How large a new encoder is.

    Attributes:
        n_layers: None is one for recurrent networks, two for a Transformer.
        hidden_size: of a token's vector; None is 256, or the base's for a Transformer that takes its word vectors.
        n_heads: of a Transformer.
        vocab_size: of a vocabulary made of the texts.
        lowercase: whether that vocabulary knows no capital letters.
    """

    n_layers: int | None = None
    hidden_size: int | None = None
    n_heads: int = 4
    vocab_size: int = 8000
    lowercase: bool = True


def new_encoder(
    architecture: str,
    base: str | Path,
    texts: Callable[[], Iterable[str]],
    sizes: Sizes,
    *,
    max_length: int | None,
    seed: int,
) -> tuple[TextEncoder, TextTokenizer]:
    """An encoder with fresh weights that depend on ``seed`` alone, and its tokenizer.

    Args:
        architecture: one of :data:`Architecture`.
        base: whose tokenizer and word vectors it begins with; ``"scratch"`` makes a vocabulary of ``texts()``.
        max_length: the longest sequence a Transformer will read, if not 512.

    Raises:
        ValueError: the architecture is unknown, or the sizes do not fit together.
        CheckpointError: the base has no word vectors to begin with.
        DataError: the texts are empty.
    """
    require_choice("architecture", architecture, get_args(Architecture))
    words: Tensor | None = None
    if base == SCRATCH:
        tokenizer = wordpiece_tokenizer(
            train_vocabulary(texts(), sizes.vocab_size, lowercase=sizes.lowercase), lowercase=sizes.lowercase
        )
    else:
        encoder, tokenizer = base_encoder(base)
        words = _table(encoder).weight.detach()
    n_layers = sizes.n_layers or _LAYERS[architecture]
    vocab_size, embedding_size = (tokenizer.vocab_size, None) if words is None else words.shape
    network: TextEncoder
    with seeded(seed):
        if architecture == "transformer":
            width = sizes.hidden_size or embedding_size or _WIDTH
            if embedding_size not in (None, width):
                raise ValueError(
                    f"hidden_size is {width}, but {base}'s word vectors have {embedding_size} dimensions, and a "
                    f"Transformer is as wide as its word vectors: leave hidden_size out, or start from {SCRATCH!r}"
                )
            config = BertConfig(
                vocab_size=vocab_size,
                hidden_size=width,
                n_layers=n_layers,
                n_heads=sizes.n_heads,
                intermediate_size=4 * width,
                max_positions=max(max_length or 0, _POSITIONS),
            )
            network = Bert(config, pooler=False)
        else:
            width = sizes.hidden_size or _WIDTH
            cell = cast(Cell, architecture)
            network = RecurrentEncoder(RecurrentConfig(vocab_size, cell, embedding_size or width, width, n_layers))
    if words is not None:
        _table(network).weight = nn.Parameter(words.clone())
    return network, tokenizer


def base_encoder(base: str | Path) -> tuple[TextEncoder, TextTokenizer]:
    """The encoder and the tokenizer of a base, to go on with.

    Raises:
        CheckpointError: it is neither a BERT nor a recurrent network of ours.
    """
    said = read_sentence_folder(resolve(base), pooling_needed=False)
    settings = read_json(said.encoder / "config.json")
    if is_recurrent(settings):
        encoder: TextEncoder = load_recurrent(said.encoder)
    elif is_bert(settings):
        encoder = load_bert(said.encoder)
    else:
        raise CheckpointError(
            f"{base} is a {settings.get('model_type')!r}; langbert trains BERTs and recurrent networks"
        )
    return encoder, TextTokenizer.from_folder(said.encoder, lowercase=said.lowercase)


def _table(encoder: TextEncoder) -> nn.Embedding:
    table = encoder.tokens if isinstance(encoder, RecurrentEncoder) else encoder.embeddings.tokens
    return cast(nn.Embedding, table)  # `base_encoder` decodes one of few bits


def save_encoder(encoder: TextEncoder, folder: Path) -> None:
    """``config.json`` and ``model.safetensors``."""
    if isinstance(encoder, RecurrentEncoder):
        RecurrentTextEncoder(encoder, dtype=torch.float32, device=torch.device("cpu")).save(folder)
    else:
        save_bert(encoder, folder)


def settings_for(options: Mapping[str, Any], defaults: TrainSettings) -> TrainSettings:
    """A task's ``defaults`` as a new encoder, or a recurrent one, needs them: every weight is trained.

    Args:
        options: the keywords of the task.
    """
    if options.get("architecture") is not None:
        return replace(defaults, learning_rate=_LEARNING_RATE, lora=None)
    config = Path(options.get("base", "")) / "config.json"
    return replace(defaults, lora=None) if config.is_file() and is_recurrent(read_json(config)) else defaults
