"""BERTs out of folders and into them: the bare encoder, and each of its heads, as Hugging Face lays them out.

What is saved here, transformers loads; what transformers (or anyone on the hub) saved, is loaded here. Readers and
cross-encoders may also be adapters on a base; a tagger may stand on a recurrent network, which only langbert has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..architectures.recurrent import (
    RecurrentConfig,
    RecurrentEncoder,
    is_recurrent,
    parse_recurrent,
    recurrent_rows,
    unparse_recurrent,
)
from ..files.adapters import base_of
from ..files.json_files import read_json, write_json
from ..files.lora import merge_adapters
from ..files.tokenizer import TextTokenizer
from ..files.weights import NameTable, Row, build_empty, load_strict, read_tensors, save_tensors
from .checkpoint import (
    PRETRAINING_ROWS,
    RENAMES,
    bert_table,
    headed_table,
    is_bert,
    parse_config,
    read_bert,
    unparse_config,
)
from .e5 import E5_WEIGHTS, load_e5
from .heads import CrossEncoder, PreTrainingBert, SequenceClassifier, SpanReader, TokenClassifier
from .network import Bert, BertConfig, Pooler

__all__ = [
    "CALIBRATION",
    "ClassifierCheckpoint",
    "ReaderCheckpoint",
    "TaggerCheckpoint",
    "WordKind",
    "load_bert",
    "load_classifier",
    "load_cross_encoder",
    "load_pretraining",
    "load_span_reader",
    "load_tagger",
    "new_classifier",
    "new_tagger",
    "read_calibration",
    "save_bert",
    "save_classifier",
    "save_pretraining",
    "save_tagger",
    "sequence_length",
]

CALIBRATION = "calibration.json"

Network = TypeVar("Network", bound=nn.Module)

WordKind = Literal["words", "characters"]
"""What a tagger was trained to label: words (of Chinese: characters), or every single character, digits too."""

_CLASSIFIER, _TAGGER = "BertForSequenceClassification", "BertForTokenClassification"
_RECURRENT_TAGGER = "RecurrentTokenClassifier"
_TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
_USUAL_LENGTH = 256  # tokens, where neither network nor tokenizer says anything
_WORD_KIND = "langbert_words"  # our own key in config.json; transformers keeps such keys and does not mind them


class ReaderCheckpoint(NamedTuple):
    """A reader in float32, its tokenizer, and how a margin becomes a probability.

    Attributes:
        calibration: ``(slope, bias)``: a span's score is ``sigmoid(slope · margin + bias)``, its margin being how far
            its logits are above those of "no answer".
    """

    network: SpanReader
    tokenizer: TextTokenizer
    calibration: tuple[float, float] = (1.0, 0.0)


class ClassifierCheckpoint(NamedTuple):
    """A classifier in float32, its tokenizer, and the names of its labels in the order of its logits."""

    network: CrossEncoder
    tokenizer: TextTokenizer
    labels: tuple[str, ...]


class TaggerCheckpoint(NamedTuple):
    """A tagger in float32, its tokenizer, the names of its labels in the order of its logits, and what it labels."""

    network: TokenClassifier
    tokenizer: TextTokenizer
    labels: tuple[str, ...]
    words: WordKind = "words"


def load_bert(folder: str | Path, *, pooler: bool = True, low_bit: bool = False, matrices: bool = True) -> Bert:
    """The encoder in a checkpoint folder, in float32 and evaluation mode; task heads in it are left aside.

    Args:
        pooler: False leaves the pooler aside too, where the checkpoint has one.
        low_bit: leave a word table of few bits as it is, which nothing can train.
        matrices: False, for whoever has those of the layers in 8 bits, leaves them on the meta device where decoding
            them would take time.

    Raises:
        CheckpointError: the folder's files are not one whole BERT.
    """
    folder = Path(folder)
    if (folder / E5_WEIGHTS).is_file():
        config = parse_config(read_json(folder / "config.json"), folder / "config.json")
        return load_e5(folder / E5_WEIGHTS, config, low_bit=low_bit, matrices=matrices)
    config, tensors = read_bert(folder)
    table = bert_table(config)
    has_pooler = "pooler.dense.weight" in table.canonical(tensors)
    bert = _empty(lambda: Bert(config, pooler=has_pooler), folder, config, tensors)
    load_strict(bert, tensors, table, source=folder)
    if not pooler:
        bert.pooler = None
    return bert.eval()


def save_bert(bert: Bert, folder: Path) -> None:
    """``config.json`` and ``model.safetensors`` of a ``BertModel``."""
    write_json(unparse_config(bert.config), folder / "config.json")
    state = {**bert.state_dict(), "embeddings.tokens.weight": bert.embeddings.tokens.weight}
    save_tensors(bert_table(bert.config).to_theirs(state), folder / "model.safetensors")


def load_cross_encoder(folder: str | Path, *, base: str | Path | None = None) -> CrossEncoder:
    """A ``BertForSequenceClassification`` checkpoint, or our adapters, in float32 and evaluation mode.

    Args:
        base: the encoder that the adapters in ``folder`` belong to; None where ``folder`` holds everything.

    Raises:
        CheckpointError: the folder's files are not one whole BERT with pooler and classifier.
    """
    folder = Path(folder)
    if base is not None:
        bert = load_bert(base, pooler=False, low_bit=True)
        with torch.device("meta"):  # drawing an encoder's weights at random takes as long as all the rest
            adapted = CrossEncoder(bert.config)
        adapted.bert = bert
        for head in (adapted.pooler, adapted.classifier):
            head.to_empty(device="cpu")
        merge_adapters(adapted, folder, heads=("pooler", "classifier"))
        return adapted.eval()
    config, tensors = read_bert(folder)
    weight = tensors.get("classifier.weight")
    if weight is None:
        raise CheckpointError(
            f"{folder}: no classifier.weight; expected a cross-encoder (BertForSequenceClassification)"
        )
    network = _empty(lambda: CrossEncoder(config, n_labels=len(weight)), folder, config, tensors)
    load_strict(network, tensors, headed_table(config, "BERT cross-encoder", "classifier.linear"), source=folder)
    return network.eval()


def load_span_reader(folder: Path, *, offline: bool | None = None) -> ReaderCheckpoint:
    """The reader in ``folder``.

    Raises:
        CheckpointError: it is no BERT reader, or not whole.
    """
    base = base_of(folder, offline=offline)
    config = read_json(base / "config.json")
    if not is_bert(config):
        raise CheckpointError(f"{folder}: a reader is a BERT here, not {config.get('model_type')!r}")
    if base != folder:
        network = SpanReader(load_bert(base, pooler=False, low_bit=True))
        merge_adapters(network, folder, heads=("head",))
    else:
        sizes, tensors = read_bert(folder)
        network = _empty(lambda: SpanReader(Bert(sizes, pooler=False)), folder, sizes, tensors)
        table = headed_table(sizes, "BERT reader", "head", theirs="qa_outputs", pooled=False)
        load_strict(network, tensors, table, source=folder)
    slope, bias = read_calibration(folder, slope=1.0, bias=0.0).values()
    return ReaderCheckpoint(network.eval(), TextTokenizer.from_folder(base), (slope, bias))


def read_calibration(folder: Path, **usual: float) -> dict[str, float]:
    """The numbers of these names in a folder's :data:`CALIBRATION`; without the file, those given.

    Raises:
        CheckpointError: one is missing or no number, or there are others.
    """
    file = folder / CALIBRATION
    if not file.is_file():
        return usual
    values = read_json(file)
    if values.keys() != usual.keys() or not all(type(value) in (int, float) for value in values.values()):
        raise CheckpointError(f"{file}: expected a number for each of {', '.join(usual)}, got {values!r:.200}")
    return {name: float(values[name]) for name in usual}


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


def load_classifier(folder: str | Path) -> ClassifierCheckpoint:
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
    network = _empty(lambda: CrossEncoder(sizes, len(labels)), folder, sizes, tensors)
    load_strict(network, tensors, _classifier_table(sizes), source=folder)
    return ClassifierCheckpoint(network.eval(), TextTokenizer.from_folder(folder), labels)


def load_tagger(folder: str | Path) -> TaggerCheckpoint:
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

    def tagger() -> TokenClassifier:
        encoder = Bert(sizes, pooler=False) if isinstance(sizes, BertConfig) else RecurrentEncoder(sizes)
        return TokenClassifier(encoder, len(labels))

    network = _empty(tagger, folder, sizes, tensors)
    load_strict(network, tensors, _tagger_table(network.encoder), source=folder)
    return TaggerCheckpoint(network.eval(), TextTokenizer.from_folder(folder), labels, words)


def load_pretraining(folder: str | Path, *, next_sentence: bool = True) -> PreTrainingBert:
    """A checkpoint to go on pre-training, in float32 and evaluation mode. A head it lacks is a new one.

    Raises:
        CheckpointError: the folder's files are not one whole BERT, or its masked-language head does not share the
            encoder's token table.
    """
    folder = Path(folder)
    network = PreTrainingBert(load_bert(folder), next_sentence=next_sentence)
    tensors = {} if (folder / E5_WEIGHTS).is_file() else read_tensors(folder)
    decoder, table = tensors.get(_TIED[0]), network.bert.embeddings.tokens.weight
    if decoder is not None and not torch.equal(decoder.float(), table):
        raise CheckpointError(f"{folder}: {_TIED[0]} is not the token table; expected a tied head, as BERT has")
    for part, theirs in (("masked_head", "cls.predictions."), ("next_head", "cls.seq_relationship.")):
        found = {name: tensor for name, tensor in tensors.items() if name.startswith(theirs) and name not in _TIED}
        head = getattr(network, part)
        if found and head is not None:
            rows = tuple(
                Row(row.ours.removeprefix(f"{part}."), row.theirs)
                for row in PRETRAINING_ROWS
                if row.ours.startswith(part)
            )
            load_strict(head, found, NameTable(f"BERT {part}", rows, renames=RENAMES), source=folder)
    return network.eval()


def save_pretraining(network: PreTrainingBert, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` as ``transformers.BertForPreTraining`` has them.

    Without a next-sentence head it is a ``BertForMaskedLM``. :func:`load_bert` takes the encoder out of either.
    """
    folder = Path(folder)
    config = network.bert.config
    encoder = bert_table(config).to_theirs(network.bert.state_dict())
    heads = NameTable("BERT", PRETRAINING_ROWS).to_theirs(network.state_dict())
    save_tensors(
        {**{f"bert.{name}": tensor for name, tensor in encoder.items()}, **heads}, folder / "model.safetensors"
    )
    architecture = "BertForMaskedLM" if network.next_head is None else "BertForPreTraining"
    write_json({**unparse_config(config), "architectures": [architecture]}, folder / "config.json")


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


def _empty(
    build: Callable[[], Network], folder: Path, config: BertConfig | RecurrentConfig, tensors: Mapping[str, Tensor]
) -> Network:
    return build_empty(build, folder, n_layers=config.n_layers, n_tensors=len(tensors))


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
