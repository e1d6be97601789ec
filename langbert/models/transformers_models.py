"""Every family that is not ours, run by ``transformers``: encoders, cross-encoders and decoders, padded and one by one.

What makes them ours to use is the contract they are put behind; code of a checkpoint's own runs only where the user
has allowed it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .layers.pooling import pack

__all__ = ["TransformersCrossEncoder", "TransformersEncoder", "usable_positions"]


class TransformersEncoder:
    """Any encoder that ``transformers.AutoModel`` knows, behind :class:`~langbert.models.encoder.Encoder`.

    Raises:
        CheckpointError: transformers cannot load it, or weights are missing.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
    ) -> None:
        # float32 first: what identifies an embedding space is the weights as they were published
        model, missing = _loaded("AutoModel", folder, torch.float32, trust_remote_code)
        if any("pooler" not in name for name in missing):
            raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a whole checkpoint?")
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        self._model = model.eval()
        converts = dtype != torch.float32 or device.type != "cpu"
        self._running: Any = deepcopy(model).to(device, dtype) if converts else model
        self._device = device
        self.hidden_size = int(model.config.hidden_size)
        self.max_length = usable_positions(model.config)
        dense = getattr(getattr(model, "pooler", None), "dense", None)
        self.pooler: nn.Module | None = None if missing or dense is None else _FirstTokenPooler(dense).to(device)

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        inputs = _padded(sequences, segments, self._model.config, self._device)
        return pack(self._running(**inputs).last_hidden_state, inputs["attention_mask"])[0]

    def weights(self) -> Mapping[str, Tensor]:
        tensors: Mapping[str, Tensor] = self._model.state_dict()
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}

    def save(self, folder: Path) -> None:
        self._model.save_pretrained(folder)


class TransformersCrossEncoder:
    """Any cross-encoder that ``transformers.AutoModelForSequenceClassification`` knows.

    Raises:
        CheckpointError: transformers cannot load it, or weights are missing.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool) -> None:
        model, missing = _loaded("AutoModelForSequenceClassification", folder, dtype, trust_remote_code)
        if missing:
            raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a trained cross-encoder?")
        self._model = model.eval().to(device)
        self._device = device
        self.n_labels = int(model.config.num_labels)
        self.max_length = usable_positions(model.config)

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]], segments: Sequence[Sequence[int]] | None = None) -> Tensor:
        """``(total, n_labels)`` float32: a sequence's logits in the row of its first token, zeros in the others."""
        inputs = _padded(sequences, segments, self._model.config, self._device)
        logits: Tensor = self._model(**inputs).logits.float()
        rows = logits.new_zeros(*inputs["input_ids"].shape, self.n_labels)
        rows[:, 0] = logits
        return pack(rows, inputs["attention_mask"])[0]


class _FirstTokenPooler(nn.Module):
    """The layer of a transformers pooler, which itself takes all hidden states, on first tokens alone."""

    def __init__(self, dense: nn.Module) -> None:
        super().__init__()
        self.dense = deepcopy(dense)

    def forward(self, first_tokens: Tensor) -> Tensor:
        """``(n, H)`` → ``(n, H)``."""
        return torch.tanh(self.dense(first_tokens))


def usable_positions(config: Any) -> int | None:
    """How many tokens a transformers config has positions for; None if it sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    # RoBERTa's descendants number positions from after the padding token's id
    shifted = any(kin in config.model_type for kin in ("roberta", "camembert", "mpnet", "xmod", "longformer"))
    return positions - (config.pad_token_id + 1 if shifted else 0)


def _loaded(kind: str, folder: Path, dtype: torch.dtype, trust_remote_code: bool) -> tuple[Any, list[str]]:
    """A model of one of transformers' ``Auto`` classes, and the weights that its checkpoint lacks."""
    import transformers

    try:
        model, report = getattr(transformers, kind).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            dtype=dtype,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        hint = ""
        if "trust_remote_code" in str(error):
            hint = " (it brings code of its own; read that code, then allow it with trust_remote_code=True)"
        raise CheckpointError(f"{folder}: transformers cannot load it: {error}{hint}") from error
    return model, sorted(report["missing_keys"])


def _padded(
    sequences: Sequence[Sequence[int]],
    segments: Sequence[Sequence[int]] | None,
    config: Any,
    device: torch.device,
) -> dict[str, Tensor]:
    """What a transformers model is called with, padded on the right; segments only where it tells them apart."""
    longest = max(map(len, sequences))
    token_ids = torch.full((len(sequences), longest), config.pad_token_id or 0, dtype=torch.int64)
    mask, types = torch.zeros_like(token_ids), torch.zeros_like(token_ids)
    for i, sequence in enumerate(sequences):
        token_ids[i, : len(sequence)] = torch.tensor(sequence)
        mask[i, : len(sequence)] = 1
        if segments is not None:
            types[i, : len(sequence)] = torch.tensor(segments[i])
    inputs = {"input_ids": token_ids, "attention_mask": mask}
    if segments is not None and getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = types
    return {name: tensor.to(device) for name, tensor in inputs.items()}
