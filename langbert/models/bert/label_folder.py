"""Classifiers and taggers on disk: whole ``BertForSequenceClassification`` and ``BertForTokenClassification`` folders.

What is saved here, transformers loads; what transformers (or anyone on the hub) saved, is loaded here. A tagger may
also stand on a recurrent network, which only langbert has.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..architectures.recurrent import RecurrentEncoder
from ..architectures.recurrent_folder import is_recurrent, parse_recurrent, recurrent_rows, unparse_recurrent
from ..files.tokenizer import TextTokenizer
from ..files.weights import NameTable, Row, load_strict, read_json, read_tensors, save_tensors, write_json
from .checkpoint import headed_table, is_bert, parse_config, unparse_config
from .cross_encoder import CrossEncoder
from .heads import Pooler, SequenceClassifier
from .network import Bert, BertConfig
from .token_classifier import TokenClassifier

__all__ = [
    "LoadedClassifier",
    "LoadedTagger",
    "WordKind",
    "load_classifier",
    "load_tagger",
    "new_classifier",
    "new_tagger",
    "save_classifier",
    "save_tagger",
    "sequence_length",
]

WordKind = Literal["words", "characters"]
"""What a tagger was trained to label: words (of Chinese: characters), or every single character, digits too."""

_CLASSIFIER, _TAGGER = "BertForSequenceClassification", "BertForTokenClassification"
_RECURRENT_TAGGER = "RecurrentTokenClassifier"
_USUAL_LENGTH = 256  # tokens, where neither network nor tokenizer says anything
_WORD_KIND = "langbert_words"  # our own key in config.json; transformers keeps such keys and does not mind them


class LoadedClassifier(NamedTuple):
    """A classifier in float32 and the names of its labels, in the order of its logits."""

    network: CrossEncoder
    labels: tuple[str, ...]


class LoadedTagger(NamedTuple):
    """A tagger in float32, the names of its labels in the order of its logits, and what it labels."""

    network: TokenClassifier
    labels: tuple[str, ...]
    words: WordKind


def new_classifier(bert: Bert, n_labels: int) -> CrossEncoder:
    """``bert``, whose pooler moves into the network if it has one, under a fresh classification layer."""
    with torch.device("meta"):
        network = CrossEncoder(bert.config, n_labels)
    network.pooler = bert.pooler or _fresh(Pooler(bert.config.hidden_size), bert.config)
    head = SequenceClassifier(bert.config.hidden_size, n_labels, bert.config.dropout)
    network.classifier = _fresh(head, bert.config)
    network.bert, bert.pooler = bert, None
    return network


def new_tagger(encoder: Bert | RecurrentEncoder, n_labels: int) -> TokenClassifier:
    """``encoder``, without its pooler if it has one, under a fresh layer that labels tokens."""
    if isinstance(encoder, RecurrentEncoder):
        return TokenClassifier(encoder, n_labels)
    encoder.pooler = None
    network = TokenClassifier(encoder, n_labels)
    network.head = _fresh(network.head, encoder.config)
    return network


def load_classifier(folder: str | Path) -> LoadedClassifier:
    """The classifier in ``folder``.

    Raises:
        CheckpointError: it is no BERT that chooses one of several labels, or not whole.
    """
    folder = Path(folder)
    config, tensors, labels = _read(folder, _CLASSIFIER)
    sizes = parse_config(config, folder / "config.json")
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise CheckpointError(f"{folder}: problem_type is {problem!r}; a classifier here chooses one label of several")
    if len(labels) < 2:
        raise CheckpointError(f"{folder}: has one label; a classifier needs two, a Reranker has one")
    with torch.device("meta"):
        network = CrossEncoder(sizes, len(labels))
    load_strict(network, tensors, _classifier_table(sizes), source=folder)
    return LoadedClassifier(network.eval(), labels)


def load_tagger(folder: str | Path) -> LoadedTagger:
    """The tagger in ``folder``.

    Raises:
        CheckpointError: it is no BERT and no recurrent network that labels tokens, or not whole.
    """
    folder = Path(folder)
    recurrent = is_recurrent(read_json(folder / "config.json"))
    config, tensors, labels = _read(folder, _RECURRENT_TAGGER if recurrent else _TAGGER)
    words = config.get(_WORD_KIND, "words")
    if words not in get_args(WordKind):
        raise CheckpointError(
            f"{folder / 'config.json'}: {_WORD_KIND} is {words!r}, expected {' or '.join(get_args(WordKind))}"
        )
    parse = parse_recurrent if recurrent else parse_config
    sizes = parse(config, folder / "config.json")
    if sizes.n_layers > len(tensors):  # before as many are made
        raise CheckpointError(f"{folder}: config.json announces {sizes.n_layers} layers for {len(tensors)} tensors")
    with torch.device("meta"):
        encoder = Bert(sizes, pooler=False) if isinstance(sizes, BertConfig) else RecurrentEncoder(sizes)
        network = TokenClassifier(encoder, len(labels))
    load_strict(network, tensors, _tagger_table(network.encoder), source=folder)
    return LoadedTagger(network.eval(), labels, words)


def save_classifier(network: CrossEncoder, labels: Sequence[str], folder: Path) -> None:
    """``config.json`` and ``model.safetensors`` of a ``BertForSequenceClassification``."""
    table = _classifier_table(network.bert.config)
    settings = {**unparse_config(network.bert.config), "problem_type": "single_label_classification"}
    _write(network, settings, table, _CLASSIFIER, labels, folder)


def save_tagger(network: TokenClassifier, labels: Sequence[str], folder: Path, *, words: WordKind = "words") -> None:
    """``config.json`` and ``model.safetensors``, of a ``BertForTokenClassification`` if the encoder is a BERT."""
    sizes = network.encoder.config
    architecture, settings = (
        (_TAGGER, unparse_config(sizes))
        if isinstance(sizes, BertConfig)
        else (_RECURRENT_TAGGER, unparse_recurrent(sizes))
    )
    table = _tagger_table(network.encoder)
    _write(network, {**settings, _WORD_KIND: words}, table, architecture, labels, folder)


def sequence_length(asked: int | None, tokenizer: TextTokenizer, positions: int | None) -> int:
    """How many tokens are read at once: as asked, else as the tokenizer says, within what there are positions for.

    Args:
        positions: None if there is no limit.

    Raises:
        ValueError: what is asked is more than that, or hardly more than the special tokens.
    """
    most = sys.maxsize if positions is None else positions
    length = asked if asked is not None else min(tokenizer.model_max_length or positions or _USUAL_LENGTH, most)
    least = tokenizer.n_pair_special + 8
    if not least <= length <= most:
        takes = f"{least} or more" if positions is None else f"{least} to {positions}"
        raise ValueError(f"max_length {length} is out of range: this model takes {takes} tokens")
    return length


def _fresh(module: Any, config: BertConfig) -> Any:
    """As BERT begins (the paper's released code): narrow normal weights, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=config.initializer_range)
            nn.init.zeros_(layer.bias)
    return module


def _read(folder: Path, expected: str) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """The folder's ``config.json``, its tensors and the names of its labels."""
    file = folder / "config.json"
    config = read_json(file)
    if expected != _RECURRENT_TAGGER and not is_bert(config):
        raise CheckpointError(f"{folder}: is a {config.get('model_type')!r}; expected a BERT, as {expected} is")
    architectures = config.get("architectures") or [expected]
    if architectures != [expected]:
        raise CheckpointError(f"{folder}: is a {architectures[0]}, expected a {expected}")
    tensors = read_tensors(folder)
    if "classifier.weight" not in tensors:
        raise CheckpointError(f"{folder}: no classifier.weight; expected a whole {expected}")
    labels = _labels(config, len(tensors["classifier.weight"]), file)
    return config, tensors, labels


def _labels(config: Mapping[str, Any], n_labels: int, file: Path) -> tuple[str, ...]:
    """``id2label``, which transformers leaves out where labels have no names."""
    names = config.get("id2label")
    if names is None:
        return tuple(f"LABEL_{i}" for i in range(n_labels))
    wanted = [str(i) for i in range(n_labels)]
    if not isinstance(names, dict) or sorted(names) != sorted(wanted):
        raise CheckpointError(f"{file}: id2label names {names!r:.80}, expected one name for each of {n_labels} labels")
    return tuple(str(names[i]) for i in wanted)


def _write(
    network: nn.Module,
    settings: Mapping[str, Any],
    table: NameTable,
    architecture: str,
    labels: Sequence[str],
    folder: Path,
) -> None:
    names = {
        "architectures": [architecture],
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    write_json({**settings, **names}, folder / "config.json")
    save_tensors(table.to_theirs(network.state_dict()), folder / "model.safetensors")


def _classifier_table(config: BertConfig) -> NameTable:
    return headed_table(config, "BERT classifier", "classifier.linear")


def _tagger_table(encoder: Bert | RecurrentEncoder) -> NameTable:
    if isinstance(encoder, RecurrentEncoder):
        head = [Row(f"head.{kind}", (f"classifier.{kind}",)) for kind in ("weight", "bias")]
        return NameTable("recurrent tagger", (*recurrent_rows(encoder, "encoder."), *head))
    return headed_table(encoder.config, "BERT tagger", "head", encoder="encoder", pooled=False)
