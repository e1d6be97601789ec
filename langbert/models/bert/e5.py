"""What BERT is called in an e5 file, and the network in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..files.e5_file import E5File
from ..files.weights import NameTable, Row, Transform, build_empty, load_strict
from ..layers.low_bit_table import BLOCK, LowBitTable
from .network import Bert, BertConfig

__all__ = ["E5_WEIGHTS", "load_e5"]

E5_WEIGHTS = "e5-small-q4.bin"
"""The file's name in a model's folder."""

_LINEAR = {"attention.output": "ao", "up": "fi", "down": "fo"}
_NORMS = {"attention_norm": "aln", "output_norm": "oln"}


def load_e5(path: Path, config: BertConfig, *, low_bit: bool, matrices: bool = True) -> Bert:
    """The encoder in an e5 file, in float32 and evaluation mode.

    Args:
        config: the sizes, which must be those of the file.
        low_bit: whether the word table stays in few bits, which nothing can train.
        matrices: False leaves those of the layers on the meta device.

    Raises:
        CheckpointError: the file is not one whole BERT of this config.
    """
    file = E5File(path)
    if different := [name for name, size in file.sizes._asdict().items() if getattr(config, name) != size]:
        raise CheckpointError(f"{path}: {', '.join(different)} are not those of config.json")
    blocks = file.blocks("emb.word")
    if config.hidden_size % BLOCK or len(blocks) * BLOCK != config.vocab_size * config.hidden_size:
        raise CheckpointError(
            f"{path}: emb.word has {len(blocks)} blocks, expected {config.vocab_size} × {config.hidden_size} numbers"
        )
    table = LowBitTable(blocks.view(config.vocab_size, -1))
    bert = build_empty(lambda: Bert(config, pooler=False), path, n_layers=config.n_layers, n_tensors=len(file.names))
    del bert.embeddings.tokens  # the others are checked by name and shape
    tensors = {name: file.tensor(name, low_bit=matrices) for name in file.names - {"emb.word"}}
    load_strict(bert, tensors, _table(config), source=path)
    bert.embeddings.tokens = table if low_bit else nn.Embedding(*table.shape, _weight=table.weight)  # type: ignore[misc]
    return bert.eval()


def _table(config: BertConfig) -> NameTable:
    square, wide = _matrix(config.hidden_size), _matrix(config.intermediate_size)
    layer = "layers.{layer}."
    rows = [
        Row("embeddings.positions.weight", ("emb.pos",), square),
        Row("embeddings.segments.weight", ("emb.type",), square),
        Row("embeddings.norm.weight", ("emb.ln.w",)),
        Row("embeddings.norm.bias", ("emb.ln.b",)),
        Row(f"{layer}attention.qkv.weight", ("l{layer}.q.w", "l{layer}.k.w", "l{layer}.v.w"), square),
        Row(f"{layer}attention.qkv.bias", ("l{layer}.q.b", "l{layer}.k.b", "l{layer}.v.b"), _FLAT),
    ]
    for ours, theirs in _LINEAR.items():
        rows.append(Row(f"{layer}{ours}.weight", (f"l{{layer}}.{theirs}.w",), wide if ours == "down" else square))
        rows.append(Row(f"{layer}{ours}.bias", (f"l{{layer}}.{theirs}.b",)))
    for ours, theirs in _NORMS.items():
        rows += [Row(f"{layer}{ours}.{kind}", (f"l{{layer}}.{theirs}.{kind[0]}",)) for kind in ("weight", "bias")]
    return NameTable("e5", tuple(rows), config.n_layers)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) > 1 and any(part.is_meta for part in parts):  # ``cat`` would import torch's compiler: a second
        return torch.empty(sum(map(len, parts)), device="meta")
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def _whole(ours: Tensor) -> Sequence[Tensor]:
    return [ours]  # these files are read, never written


_FLAT = Transform(_joined, _whole)


def _matrix(columns: int) -> Transform:
    """Flat tensors, one below the other, as a matrix of so many columns."""
    return Transform(lambda parts: _joined(parts).view(-1, columns), _whole)
