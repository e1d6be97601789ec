"""A Transformer-XL behind the :class:`~langbert.models.gpt.decoder.Decoder` protocol, out of a folder and into one.

Nobody else computes it (transformers 5 has none any more), so its tensors are called what they are called here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..files.weights import NameTable, Row, load_strict, read_tensors
from ..gpt.decoder import Session
from .transformer_xl import TransformerXL, TransformerXLConfig

__all__ = ["MODEL_TYPE", "TransformerXLDecoder", "load_transformer_xl", "transformer_xl_settings"]

MODEL_TYPE = "langbert-transformer-xl"
"""What a ``config.json`` calls it; transformers 4 had another layout of the same idea as ``transfo-xl``."""

_UNLIMITED = 2**31 - 1


class TransformerXLDecoder:
    """:class:`.transformer_xl.TransformerXL` as a decoder: it never runs out of context, it forgets."""

    def __init__(self, model: TransformerXL) -> None:
        self.model = model.eval().requires_grad_(False)

    @property
    def context_length(self) -> int:
        return _UNLIMITED

    def start(self, capacity: int) -> Session:
        return _TransformerXLSession(self.model)


class _TransformerXLSession:
    def __init__(self, model: TransformerXL) -> None:
        self._model = model
        self._memory: Tensor | None = None

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._model.token_embedding.weight.device)  # (1, T)
        hidden, self._memory = self._model.read(new, self._memory)
        return self._model.logits(hidden[0, -1])


def transformer_xl_settings(config: TransformerXLConfig) -> dict[str, Any]:
    """The entries of a ``config.json`` that :func:`load_transformer_xl` reads as ``config``."""
    return {"model_type": MODEL_TYPE, "architectures": ["TransformerXL"], **asdict(config)}


def load_transformer_xl(
    folder: Path, settings: Mapping[str, Any], *, dtype: torch.dtype, device: torch.device
) -> TransformerXLDecoder:
    """The network in ``folder``, whose ``config.json`` is ``settings``.

    Raises:
        CheckpointError: it is damaged: ``settings`` make no sense, or tensors are missing, unexpected or misshapen.
    """
    tensors = read_tensors(folder)
    try:
        config = TransformerXLConfig(**{field.name: settings[field.name] for field in fields(TransformerXLConfig)})
        if config.n_layers > len(tensors):
            raise ValueError(f"it announces {config.n_layers} layers for {len(tensors)} tensors")
        with torch.device("meta"):
            model = TransformerXL(config)
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: does not describe a Transformer-XL: {error!r}") from error
    table = NameTable("Transformer-XL", tuple(Row(name, (name,)) for name in model.state_dict()))
    load_strict(model, tensors, table, source=folder, dtype=dtype)
    return TransformerXLDecoder(model.to(device))
