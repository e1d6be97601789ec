"""BERT checkpoints in Hugging Face's layout: their ``config.json`` and tensor names, ours, and the way between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import CheckpointError
from ..files.lora import merge_adapters
from ..files.weights import (
    NameTable,
    Row,
    load_strict,
    parse_fields,
    read_json,
    read_tensors,
    save_tensors,
    stacked,
    write_json,
)
from .cross_encoder import CrossEncoder
from .network import Bert, BertConfig
from .pretraining import PreTrainingBert

__all__ = [
    "bert_table",
    "headed_table",
    "is_bert",
    "load_bert",
    "load_cross_encoder",
    "load_pretraining",
    "parse_config",
    "save_pretraining",
    "unparse_config",
]

_CONFIG_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "n_segments": "type_vocab_size",
    "activation": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
    "pad_token_id": "pad_token_id",
}
"""Field of :class:`BertConfig` → key of ``config.json``."""

_OTHER_HEADS = (r"cls\..*", r"classifier\..*", r"qa_outputs\..*", r"dropout\..*")
_NOT_LOADED = (r"(.*\.)?position_ids",)
_RENAMES = ((".gamma", ".weight"), (".beta", ".bias"))


def is_bert(config: Mapping[str, Any]) -> bool:
    """Whether our own network can run a checkpoint with this ``config.json``: an encoder with absolute positions."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not config.get("auto_map")
    )


def parse_config(config: Mapping[str, Any], source: str | Path = "config.json") -> BertConfig:
    """A ``config.json``'s object as a :class:`BertConfig`; absent keys have BERT-base's values, as in transformers.

    Raises:
        CheckpointError: a value is of the wrong kind, or the sizes do not fit together.
    """
    return parse_fields(BertConfig, config, _CONFIG_KEYS, source, complete=False)


def unparse_config(config: BertConfig) -> dict[str, Any]:
    """The ``config.json`` object that transformers reads as the same network."""
    values = {key: getattr(config, name) for name, key in _CONFIG_KEYS.items()}
    return {"architectures": ["BertModel"], "model_type": "bert", "position_embedding_type": "absolute", **values}


def bert_table(config: BertConfig) -> NameTable:
    """Which of Hugging Face's BERT tensors make which of ours."""
    layer = "encoder.layer.{layer}."
    qkv = stacked(*[config.hidden_size] * 3)
    rows = [
        Row("embeddings.tokens.weight", ("embeddings.word_embeddings.weight",)),
        Row("embeddings.positions.weight", ("embeddings.position_embeddings.weight",)),
        Row("embeddings.segments.weight", ("embeddings.token_type_embeddings.weight",)),
    ]
    for kind in ("weight", "bias"):
        rows += [
            Row(
                f"layers.{{layer}}.attention.qkv.{kind}",
                tuple(f"{layer}attention.self.{part}.{kind}" for part in ("query", "key", "value")),
                qkv,
            ),
            Row(f"layers.{{layer}}.attention.output.{kind}", (f"{layer}attention.output.dense.{kind}",)),
            Row(f"layers.{{layer}}.attention_norm.{kind}", (f"{layer}attention.output.LayerNorm.{kind}",)),
            Row(f"layers.{{layer}}.up.{kind}", (f"{layer}intermediate.dense.{kind}",)),
            Row(f"layers.{{layer}}.down.{kind}", (f"{layer}output.dense.{kind}",)),
            Row(f"layers.{{layer}}.output_norm.{kind}", (f"{layer}output.LayerNorm.{kind}",)),
            Row(f"embeddings.norm.{kind}", (f"embeddings.LayerNorm.{kind}",)),
            Row(f"pooler.dense.{kind}", (f"pooler.dense.{kind}",)),
        ]
    return NameTable(
        family="BERT",
        rows=tuple(rows),
        n_layers=config.n_layers,
        prefixes=("bert.",),
        renames=_RENAMES,
        ignored=_NOT_LOADED + _OTHER_HEADS,
    )


def headed_table(
    config: BertConfig,
    family: str,
    head: str,
    *,
    theirs: str = "classifier",
    encoder: str = "bert",
    pooled: bool = True,
) -> NameTable:
    """The table of a BERT under one linear layer: ``encoder`` and ``head`` are what we call them, ``theirs`` is what
    Hugging Face calls the head.

    Theirs keep the pooler inside the encoder; ours stands beside it, so that adapters can train it whole. Unless the
    head is ``pooled`` it has no use for one.
    """
    table = bert_table(config)
    rows = [
        Row(
            row.ours if pooled and row.ours.startswith("pooler.") else f"{encoder}.{row.ours}",
            tuple(f"bert.{name}" for name in row.theirs),
            row.transform,
        )
        for row in table.rows
    ]
    rows += [Row(f"{head}.{kind}", (f"{theirs}.{kind}",)) for kind in ("weight", "bias")]
    ignored = (*_NOT_LOADED, r"cls\..*", *(() if pooled else (r"bert\.pooler\..*",)))
    return NameTable(family, tuple(rows), table.n_layers, renames=table.renames, ignored=ignored)


def load_bert(folder: str | Path, *, pooler: bool = True) -> Bert:
    """The encoder in a checkpoint folder, in float32 and evaluation mode; task heads in it are left aside.

    Args:
        pooler: False leaves the pooler aside too, where the checkpoint has one.

    Raises:
        CheckpointError: the folder's files are not one whole BERT.
    """
    folder = Path(folder)
    config = parse_config(read_json(folder / "config.json"), folder / "config.json")
    tensors = read_tensors(folder)
    table = bert_table(config)
    has_pooler = "pooler.dense.weight" in table.canonical(tensors)
    with torch.device("meta"):
        bert = Bert(config, pooler=has_pooler)
    load_strict(bert, tensors, table, source=folder)
    if not pooler:
        bert.pooler = None
    return bert.eval()


def load_cross_encoder(folder: str | Path, *, base: str | Path | None = None) -> CrossEncoder:
    """A ``BertForSequenceClassification`` checkpoint, or our adapters, in float32 and evaluation mode.

    Args:
        base: the encoder that the adapters in ``folder`` belong to; None where ``folder`` holds everything.

    Raises:
        CheckpointError: the folder's files are not one whole BERT with pooler and classifier.
    """
    folder = Path(folder)
    if base is not None:
        bert = load_bert(base, pooler=False)
        with torch.device("meta"):  # drawing an encoder's weights at random takes as long as all the rest
            adapted = CrossEncoder(bert.config)
        adapted.bert = bert
        for head in (adapted.pooler, adapted.classifier):
            head.to_empty(device="cpu")
        merge_adapters(adapted, folder, heads=("pooler", "classifier"))
        return adapted.eval()
    config = parse_config(read_json(folder / "config.json"), folder / "config.json")
    tensors = read_tensors(folder)
    weight = tensors.get("classifier.weight")
    if weight is None:
        raise CheckpointError(
            f"{folder}: no classifier.weight; expected a cross-encoder (BertForSequenceClassification)"
        )
    with torch.device("meta"):
        network = CrossEncoder(config, n_labels=len(weight))
    load_strict(network, tensors, headed_table(config, "BERT cross-encoder", "classifier.linear"), source=folder)
    return network.eval()


_PRETRAINING_ROWS = (
    *(Row(f"masked_head.dense.{kind}", (f"cls.predictions.transform.dense.{kind}",)) for kind in ("weight", "bias")),
    *(Row(f"masked_head.norm.{kind}", (f"cls.predictions.transform.LayerNorm.{kind}",)) for kind in ("weight", "bias")),
    Row("masked_head.bias", ("cls.predictions.bias",)),
    *(Row(f"next_head.{kind}", (f"cls.seq_relationship.{kind}",)) for kind in ("weight", "bias")),
)
"""The heads of ``BertForPreTraining``; its decoder is the token table and has no tensors of its own."""

_TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")


def load_pretraining(folder: str | Path, *, next_sentence: bool = True) -> PreTrainingBert:
    """A checkpoint to go on pre-training, in float32 and evaluation mode. A head it lacks is a new one.

    Raises:
        CheckpointError: the folder's files are not one whole BERT, or its masked-language head does not share the
            encoder's token table.
    """
    folder = Path(folder)
    network = PreTrainingBert(load_bert(folder), next_sentence=next_sentence)
    tensors = read_tensors(folder)
    decoder, table = tensors.get(_TIED[0]), network.bert.embeddings.tokens.weight
    if decoder is not None and not torch.equal(decoder.float(), table):
        raise CheckpointError(f"{folder}: {_TIED[0]} is not the token table; expected a tied head, as BERT has")
    for part, theirs in (("masked_head", "cls.predictions."), ("next_head", "cls.seq_relationship.")):
        found = {name: tensor for name, tensor in tensors.items() if name.startswith(theirs) and name not in _TIED}
        head = getattr(network, part)
        if found and head is not None:
            rows = tuple(
                Row(row.ours.removeprefix(f"{part}."), row.theirs)
                for row in _PRETRAINING_ROWS
                if row.ours.startswith(part)
            )
            load_strict(head, found, NameTable(f"BERT {part}", rows, renames=_RENAMES), source=folder)
    return network.eval()


def save_pretraining(network: PreTrainingBert, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` as ``transformers.BertForPreTraining`` has them.

    Without a next-sentence head it is a ``BertForMaskedLM``. :func:`load_bert` takes the encoder out of either.
    """
    folder = Path(folder)
    config = network.bert.config
    encoder = bert_table(config).to_theirs(network.bert.state_dict())
    heads = NameTable("BERT", _PRETRAINING_ROWS).to_theirs(network.state_dict())
    save_tensors(
        {**{f"bert.{name}": tensor for name, tensor in encoder.items()}, **heads}, folder / "model.safetensors"
    )
    architecture = "BertForMaskedLM" if network.next_head is None else "BertForPreTraining"
    write_json({**unparse_config(config), "architectures": [architecture]}, folder / "config.json")
