"""An encoder–decoder behind the :class:`~langbert.models.gpt.decoder.Decoder` protocol, out of a folder and into one.

What a session reads first is the source: the encoder reads it once, and from there on the decoder writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import CheckpointError
from ..files.weights import NameTable, load_strict, read_tensors, save_tensors, write_json
from ..gpt.decoder import DecoderCheckpoint, Session
from ..layers.kv_cache import KVCache
from .encoder_decoder import Seq2Seq, Seq2SeqConfig, Source
from .marian import marian_config, marian_settings, marian_table
from .t5 import t5_config, t5_settings, t5_table

__all__ = ["SEQ2SEQ_FAMILIES", "Seq2SeqDecoder", "load_seq2seq", "save_seq2seq"]

_UNLIMITED = 2**31 - 1


class Family(NamedTuple):
    """How one family of checkpoints is read and written."""

    config: Callable[..., Seq2SeqConfig | None]
    settings: Callable[[Seq2SeqConfig], dict[str, Any]]
    table: Callable[[Seq2SeqConfig], NameTable]
    prefix: str  # of the names of all tensors but the head's


_T5 = Family(t5_config, t5_settings, t5_table, "")
_MARIAN = Family(marian_config, marian_settings, marian_table, "model.")
SEQ2SEQ_FAMILIES = {"t5": _T5, "mt5": _T5, "marian": _MARIAN}
"""By the ``model_type`` of a ``config.json``."""


class Seq2SeqDecoder:
    """:class:`.encoder_decoder.Seq2Seq` as a decoder: the prompt is its source, the answer its target."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model = model.eval().requires_grad_(False)

    @property
    def context_length(self) -> int:
        return self.model.config.context_length or _UNLIMITED

    def start(self, capacity: int) -> Session:
        return _Seq2SeqSession(self.model, capacity)


class _Seq2SeqSession:
    def __init__(self, model: Seq2Seq, capacity: int) -> None:
        self._model, self._capacity = model, capacity
        self._read: tuple[Source, KVCache] | None = None

    @torch.inference_mode()
    def read(self, token_ids: Sequence[int]) -> Tensor:
        new = torch.tensor([token_ids], device=self._model.token_embedding.weight.device)  # (1, T)
        if self._read is None:
            room = self._capacity - len(token_ids) + 1  # for the start token and what is written
            self._read = self._model.read(new), self._model.new_cache(room)
            new = torch.full_like(new[:, :1], self._model.config.start_id)
        source, cache = self._read
        hidden = self._model.decode(new, source, cache=cache)
        return self._model.logits(hidden[0, -1])


def load_seq2seq(
    folder: Path, config: Mapping[str, Any], *, dtype: torch.dtype, device: torch.device
) -> Seq2SeqDecoder:
    """The network in ``folder``, whose ``config.json`` names one of :data:`SEQ2SEQ_FAMILIES`.

    Raises:
        CheckpointError: it is damaged, or a variant that is not computed here.
    """
    family = SEQ2SEQ_FAMILIES[config["model_type"]]
    tensors = read_tensors(folder)
    try:
        ours = family.config(config, tied_head="lm_head.weight" not in tensors)
        if ours is None:
            raise ValueError("a variant of this architecture that langbert does not compute")
        if max(ours.n_layers, ours.n_decoder_layers) > len(tensors):
            raise ValueError(f"it announces more layers than there are tensors ({len(tensors)})")
        with torch.device("meta"):
            model = Seq2Seq(ours)
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: does not describe an encoder–decoder: {error!r}") from error
    load_strict(model, tensors, family.table(ours), source=folder, dtype=dtype)
    return Seq2SeqDecoder(model.to(device))


def save_seq2seq(network: Seq2Seq, checkpoint: DecoderCheckpoint, folder: Path) -> None:
    """``config.json``, ``model.safetensors`` and tokenizer, as :func:`load_seq2seq` and transformers load them.

    Args:
        checkpoint: tokenizer, control tokens and end tokens; its own decoder is not looked at.

    Raises:
        ValueError: neither T5 nor Marian computes what ``network`` does.
    """
    config, tokenizer = network.config, checkpoint.tokenizer
    family = _T5 if config.positions == "relative" else _MARIAN
    settings = family.settings(config)
    if family.config(settings, tied_head=config.tied_head) != config:
        raise ValueError(f"neither T5 nor Marian computes {config}")
    ends = sorted(checkpoint.end_ids)
    special = {
        "decoder_start_token_id": config.start_id,
        "pad_token_id": config.start_id,
        "eos_token_id": ends[0] if len(ends) == 1 else ends,
    }
    write_json({**settings, **special, "dtype": "float32"}, folder / "config.json")
    write_json(special, folder / "generation_config.json")
    tensors = family.table(config).to_theirs(network.state_dict())
    named = {name if name.startswith("lm_head.") else family.prefix + name: part for name, part in tensors.items()}
    save_tensors(named, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", **checkpoint.tokens, "clean_up_tokenization_spaces": False}
    write_json(about, folder / "tokenizer_config.json")
