"""Recurrent encoders on disk: our own layout, since nobody else has one.

``config.json`` with our ``model_type``, ``model.safetensors`` under the names the tensors have here, and beside them a
tokenizer as every checkpoint has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..files.weights import NameTable, Row, load_strict, parse_fields, read_json, read_tensors, save_tensors, write_json
from .recurrent import PackedRecurrent, RecurrentConfig, RecurrentEncoder

__all__ = [
    "RecurrentTextEncoder",
    "is_recurrent",
    "load_recurrent",
    "parse_recurrent",
    "recurrent_rows",
    "unparse_recurrent",
]

_MODEL_TYPE = "langbert-recurrent"


class RecurrentTextEncoder:
    """A recurrent network as :class:`~langbert.models.bert.encoder.Encoder` has it: texts may be of any length."""

    def __init__(self, network: RecurrentEncoder, *, dtype: torch.dtype, device: torch.device) -> None:
        self.network = network
        self.packed = PackedRecurrent(network, dtype=dtype, device=device)
        self.hidden_size = network.config.hidden_size
        self.max_length: int | None = None
        self.pooler: nn.Module | None = None

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        return self.packed(sequences)

    def weights(self) -> Mapping[str, Tensor]:
        return self.network.state_dict()

    def save(self, folder: Path) -> None:
        write_json(unparse_recurrent(self.network.config), folder / "config.json")
        save_tensors(self.network.state_dict(), folder / "model.safetensors")


def is_recurrent(settings: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a recurrent network of ours."""
    return settings.get("model_type") == _MODEL_TYPE


def parse_recurrent(settings: Mapping[str, Any], source: str | Path = "config.json") -> RecurrentConfig:
    """A ``config.json``'s object as a :class:`RecurrentConfig`.

    Raises:
        CheckpointError: a value is missing or of the wrong kind, or makes no sense.
    """
    names = {field.name: field.name for field in fields(RecurrentConfig)}
    return parse_fields(RecurrentConfig, settings, names, source, complete=True)


def unparse_recurrent(config: RecurrentConfig) -> dict[str, Any]:
    """The ``config.json`` object that :func:`parse_recurrent` reads as ``config``."""
    return {"model_type": _MODEL_TYPE, "architectures": ["RecurrentEncoder"], **asdict(config)}


def recurrent_rows(network: RecurrentEncoder, prefix: str = "") -> list[Row]:
    """Rows of a name table: what the network's tensors are called here, they are called on disk."""
    return [Row(f"{prefix}{name}", (f"{prefix}{name}",)) for name in network.state_dict()]


def load_recurrent(folder: str | Path) -> RecurrentEncoder:
    """The encoder in a folder, in float32 and evaluation mode.

    Raises:
        CheckpointError: ``config.json`` makes no sense, or tensors are missing, unexpected or misshapen.
    """
    folder = Path(folder)
    config = parse_recurrent(read_json(folder / "config.json"), folder / "config.json")
    tensors = read_tensors(folder)
    if config.n_layers > len(tensors):  # before as many are made
        raise CheckpointError(f"{folder}: config.json announces {config.n_layers} layers for {len(tensors)} tensors")
    with torch.device("meta"):
        network = RecurrentEncoder(config)
    load_strict(network, tensors, NameTable("recurrent encoder", tuple(recurrent_rows(network))), source=folder)
    return network.eval()
