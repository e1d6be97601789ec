"""What BERT is called in Hugging Face's checkpoints: keys of ``config.json`` and names of tensors, theirs and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import CheckpointError
from ..files.json_files import read_json
from ..files.weights import NameTable, Row, parse_fields, read_tensors, stacked
from .network import BertConfig

__all__ = [
    "PRETRAINING_ROWS",
    "RENAMES",
    "bert_table",
    "headed_table",
    "is_bert",
    "parse_config",
    "read_bert",
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

_ROBERTA = ("roberta", "xlm-roberta", "camembert")
"""BERT's network under another name (Liu et al. 2019, "RoBERTa"): positions are numbered from after the padding token's
id, there is one segment, and the heads are called otherwise."""

_BERT_NAMES = {"roberta.": "bert.", "classifier.dense.": "bert.pooler.dense.", "classifier.out_proj.": "classifier."}
_ROBERTA_NAMES = re.compile("^(" + "|".join(map(re.escape, _BERT_NAMES)) + ")")

_OTHER_HEADS = (r"cls\..*", r"lm_head\..*", r"classifier\..*", r"qa_outputs\..*", r"dropout\..*")
_NOT_LOADED = (r"(.*\.)?position_ids",)
RENAMES = ((".gamma", ".weight"), (".beta", ".bias"))


def is_bert(config: Mapping[str, Any]) -> bool:
    """Whether our own network can run a checkpoint with this ``config.json``: an encoder with absolute positions."""
    return (
        config.get("model_type") in ("bert", *_ROBERTA)
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not config.get("auto_map")
    )


def parse_config(config: Mapping[str, Any], source: str | Path = "config.json") -> BertConfig:
    """A ``config.json``'s object as a :class:`BertConfig`; absent keys have BERT-base's values, as in transformers.

    Raises:
        CheckpointError: a value is of the wrong kind, or the sizes do not fit together.
    """
    if config.get("model_type") in _ROBERTA:
        config = {"pad_token_id": 1, **config}
    parsed = parse_fields(BertConfig, config, _CONFIG_KEYS, source, complete=False)
    unused = _unused_positions(config)
    if parsed.max_positions <= unused:
        raise CheckpointError(f"{source}: {parsed.max_positions} positions, of which {unused} are not used")
    return replace(parsed, max_positions=parsed.max_positions - unused)


def read_bert(folder: Path) -> tuple[BertConfig, dict[str, Tensor]]:
    """Config and tensors of a checkpoint, under BERT's names.

    Raises:
        CheckpointError: a file is unreadable or not whole.
    """
    settings = read_json(folder / "config.json")
    config = parse_config(settings, folder / "config.json")
    tensors = read_tensors(folder)
    if unused := _unused_positions(settings):
        tensors = {_ROBERTA_NAMES.sub(lambda match: _BERT_NAMES[match[0]], name): tensors[name] for name in tensors}
        for name in tensors:
            if name.endswith("embeddings.position_embeddings.weight"):
                tensors[name] = tensors[name][unused:]
    return config, tensors


def _unused_positions(config: Mapping[str, Any]) -> int:
    """How many rows of the position table come before a text's first token."""
    return int(config.get("pad_token_id", 1)) + 1 if config.get("model_type") in _ROBERTA else 0


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
        renames=RENAMES,
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


PRETRAINING_ROWS = (
    *(Row(f"masked_head.dense.{kind}", (f"cls.predictions.transform.dense.{kind}",)) for kind in ("weight", "bias")),
    *(Row(f"masked_head.norm.{kind}", (f"cls.predictions.transform.LayerNorm.{kind}",)) for kind in ("weight", "bias")),
    Row("masked_head.bias", ("cls.predictions.bias",)),
    *(Row(f"next_head.{kind}", (f"cls.seq_relationship.{kind}",)) for kind in ("weight", "bias")),
)
"""The heads of ``BertForPreTraining``; its decoder is the token table and has no tensors of its own."""
