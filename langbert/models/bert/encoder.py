"""The seam behind the Embedder: token ids in, packed hidden states out, whichever library holds the weights.

BERT and recurrent networks are our own; every other family runs through ``transformers``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..architectures.recurrent_folder import RecurrentTextEncoder, is_recurrent, load_recurrent
from ..files.tokenizer import TextTokenizer
from ..files.weights import read_json, save_tensors, write_json
from ..layers.pooling import pack
from .checkpoint import bert_table, is_bert, load_bert, unparse_config
from .int8 import calibration_sequences
from .network import Bert
from .packed import PackedBert

__all__ = ["BertEncoder", "Encoder", "TransformersEncoder", "code_hint", "load_encoder", "usable_positions"]


class Encoder(Protocol):
    """A network that gives every token a vector.

    Attributes:
        hidden_size: H.
        max_length: the longest sequence, special tokens included; None if the network has no limit.
        pooler: the trained layer over the first token, if the checkpoint has one.
    """

    hidden_size: int
    max_length: int | None
    pooler: nn.Module | None

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Token ids with their special tokens, shortest first → ``(total, H)`` hidden states, in the same order."""
        ...

    def weights(self) -> Mapping[str, Tensor]:
        """The tensors the hidden states depend on, by a name that stays the same however they are stored."""
        ...

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` for transformers."""
        ...


class BertEncoder:
    """Our BERT, run packed."""

    def __init__(
        self, bert: Bert, *, dtype: torch.dtype, device: torch.device, calibration: Sequence[Sequence[int]] = ()
    ) -> None:
        self.bert = bert
        self.packed = PackedBert(bert, dtype=dtype, device=device, calibration=calibration)
        self.hidden_size = bert.config.hidden_size
        self.max_length: int | None = bert.config.max_positions
        self.pooler: nn.Module | None = None if bert.pooler is None else bert.pooler.to(device)

    def __call__(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        return self.packed(sequences)

    def weights(self) -> Mapping[str, Tensor]:
        return {name: tensor for name, tensor in self.bert.state_dict().items() if not name.startswith("pooler.")}

    def save(self, folder: Path) -> None:
        write_json(unparse_config(self.bert.config), folder / "config.json")
        save_tensors(bert_table(self.bert.config).to_theirs(self.bert.state_dict()), folder / "model.safetensors")


class TransformersEncoder:
    """Any encoder that ``transformers.AutoModel`` knows, run padded."""

    def __init__(
        self, folder: Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
    ) -> None:
        from transformers import AutoModel

        try:
            model, report = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            raise CheckpointError(f"{folder}: transformers cannot load it: {error}{code_hint(error)}") from error
        missing = sorted(report["missing_keys"])
        if any("pooler" not in name for name in missing):
            raise CheckpointError(f"{folder}: missing {', '.join(missing[:5])}; is this a whole checkpoint?")
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        self.model: Any = model.eval()
        converts = dtype != torch.float32 or device.type != "cpu"
        self._running: Any = deepcopy(model).to(device, dtype) if converts else model
        self._device = device
        self.hidden_size = int(model.config.hidden_size)
        self.max_length = usable_positions(model.config)
        dense = getattr(getattr(model, "pooler", None), "dense", None)
        self.pooler: nn.Module | None = None if missing or dense is None else _FirstTokenPooler(dense).to(device)

    @torch.inference_mode()
    def __call__(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        longest = max(map(len, sequences))
        token_ids = torch.full((len(sequences), longest), self.model.config.pad_token_id or 0, dtype=torch.int64)
        mask = torch.zeros_like(token_ids)
        for i, sequence in enumerate(sequences):
            token_ids[i, : len(sequence)] = torch.tensor(sequence)
            mask[i, : len(sequence)] = 1
        mask = mask.to(self._device)
        output = self._running(input_ids=token_ids.to(self._device), attention_mask=mask)
        return pack(output.last_hidden_state, mask)[0]

    def weights(self) -> Mapping[str, Tensor]:
        tensors: Mapping[str, Tensor] = self.model.state_dict()
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler.")}

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)


class _FirstTokenPooler(nn.Module):
    """The layer of a transformers pooler, which itself takes all hidden states, on first tokens alone."""

    def __init__(self, dense: nn.Module) -> None:
        super().__init__()
        self.dense = deepcopy(dense)

    def forward(self, first_tokens: Tensor) -> Tensor:
        """``(n, H)`` → ``(n, H)``."""
        return torch.tanh(self.dense(first_tokens))


def load_encoder(
    folder: str | Path, *, dtype: torch.dtype, device: torch.device, trust_remote_code: bool = False
) -> Encoder:
    """The network in a checkpoint folder.

    Raises:
        CheckpointError: the folder is not one whole checkpoint, or only runs with code of its own, or is to compute in
            int8 and is no BERT.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if is_bert(config):
        bert = load_bert(folder).eval()
        calibration: Sequence[Sequence[int]] = ()
        if dtype == torch.int8:
            calibration = calibration_sequences(TextTokenizer.from_folder(folder), bert.config.max_positions)
        return BertEncoder(bert, dtype=dtype, device=device, calibration=calibration)
    if dtype == torch.int8:
        raise CheckpointError(f"{folder}: precision 'int8' is for BERT checkpoints; choose 'auto' for others")
    if is_recurrent(config):
        return RecurrentTextEncoder(load_recurrent(folder), dtype=dtype, device=device)
    return TransformersEncoder(folder, dtype=dtype, device=device, trust_remote_code=trust_remote_code)


def usable_positions(config: Any) -> int | None:
    """How many tokens a transformers config has positions for; None if it sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    # RoBERTa's descendants number positions from after the padding token's id
    shifted = any(kin in config.model_type for kin in ("roberta", "camembert", "mpnet", "xmod", "longformer"))
    return positions - (config.pad_token_id + 1 if shifted else 0)


def code_hint(error: Exception) -> str:
    """What to tell a user whose checkpoint would have to run its own code; nothing for other errors."""
    if "trust_remote_code" not in str(error):
        return ""
    return " (it brings code of its own; read that code, then allow it with trust_remote_code=True)"
