"""Span readers on disk: our adapters on a BERT, or a whole ``BertForQuestionAnswering``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from ...errors import CheckpointError
from ..files.lora import base_of, merge_adapters
from ..files.weights import load_strict, read_json, read_tensors
from .checkpoint import headed_table, is_bert, load_bert, parse_config
from .network import Bert
from .span_reader import SpanReader

__all__ = ["LoadedReader", "load_span_reader"]

CALIBRATION = "calibration.json"


class LoadedReader(NamedTuple):
    """A reader in float32, the folder its tokenizer lies in, and how a margin becomes a probability.

    Attributes:
        calibration: ``(slope, bias)``: a span's score is ``sigmoid(slope · margin + bias)``, its margin being how far
            its logits are above those of "no answer".
    """

    network: SpanReader
    tokenizer: Path
    calibration: tuple[float, float]


def load_span_reader(folder: Path, *, offline: bool | None = None) -> LoadedReader:
    """The reader in ``folder``.

    Raises:
        CheckpointError: it is no BERT reader, or not whole.
    """
    base = base_of(folder, offline=offline)
    config = read_json(base / "config.json")
    if not is_bert(config):
        raise CheckpointError(f"{folder}: a reader is a BERT here, not {config.get('model_type')!r}")
    if base != folder:
        network = SpanReader(load_bert(base, pooler=False))
        merge_adapters(network, folder, heads=("head",))
    else:
        sizes = parse_config(config, base / "config.json")
        with torch.device("meta"):
            network = SpanReader(Bert(sizes, pooler=False))
        table = headed_table(sizes, "BERT reader", "head", theirs="qa_outputs", pooled=False)
        load_strict(network, read_tensors(folder), table, source=folder)
    file = folder / CALIBRATION
    values = read_json(file) if file.is_file() else {"slope": 1.0, "bias": 0.0}
    return LoadedReader(network.eval(), base, (float(values["slope"]), float(values["bias"])))
