"""A decoder from wherever it lies: a GGUF file, a Hugging Face folder of ours or of any other architecture, or a folder
of adapters for one of these."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ...errors import CheckpointError
from ..architectures.encoder_decoder_folder import SEQ2SEQ_FAMILIES, load_seq2seq
from ..architectures.transformer_xl import MODEL_TYPE as TRANSFORMER_XL
from ..architectures.transformer_xl import load_transformer_xl
from ..files.lora import base_of, is_adapter, merge_adapters
from ..files.weights import load_strict, read_json, read_tensors
from .checkpoint import hf_config, hf_table
from .decoder import (
    Decoder,
    DecoderCheckpoint,
    GPTDecoder,
    TransformersDecoder,
    empty_network,
    end_token_ids,
    read_tokenizer,
    transformers_tokenizer,
)
from .gguf_decoder import load_gguf
from .network import GPT, GPTConfig

__all__ = ["load_decoder"]

log = logging.getLogger("langbert")


def load_decoder(
    path: str | Path, *, dtype: torch.dtype, device: torch.device, offline: bool | None = None
) -> DecoderCheckpoint:
    """The decoder at ``path``: a ``.gguf`` file, or a folder with ``config.json``, weights and tokenizer, or with
    adapters, whose base is then found as :func:`langbert.models.resolve` finds it.

    Raises:
        CheckpointError: something in it is missing, damaged, or not a decoder.
    """
    path = Path(path)
    if path.is_file():
        return load_gguf(path, dtype=dtype, device=device)
    if is_adapter(path):
        return _adapted(path, dtype, device, offline)
    config = read_json(path / "config.json")
    file = path / "tokenizer.json"
    tokenizer = read_tokenizer(file) if file.is_file() else transformers_tokenizer(path)
    decoder = _decoder(path, config, dtype, device)
    settings = read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
    tokens = {
        name: text for name in ("bos_token", "eos_token", "unk_token", "pad_token") if (text := _text(settings, name))
    }
    return DecoderCheckpoint(
        decoder, tokenizer, _chat_template(path, settings), tokens, _end_ids(path, config, tokens, tokenizer)
    )


def _adapted(folder: Path, dtype: torch.dtype, device: torch.device, offline: bool | None) -> DecoderCheckpoint:
    """Adapters merged into their base in float32; a chat template beside them goes before the base's own."""
    layers = [folder.absolute()]  # adapters may stand on adapters
    while is_adapter(base := base_of(layers[0], offline=offline)):
        if base in layers:
            raise CheckpointError(f"{folder}: its adapters are said to be their own base ({base})")
        layers.insert(0, base)
    checkpoint = load_decoder(base, dtype=torch.float32, device=torch.device("cpu"))
    if not isinstance(checkpoint.decoder, GPTDecoder):
        raise CheckpointError(f"{folder}: its base {base} is not a GPT-2 or Llama that adapters could be merged into")
    model = checkpoint.decoder.model
    template = checkpoint.chat_template
    for layer in layers:
        merge_adapters(model, layer)
        template = _chat_template(layer, {}) or template
    return replace(checkpoint, decoder=GPTDecoder(model.to(device, dtype)), chat_template=template)


def _decoder(folder: Path, config: dict[str, Any], dtype: torch.dtype, device: torch.device) -> Decoder:
    if str(config.get("model_type")) in SEQ2SEQ_FAMILIES:
        return load_seq2seq(folder, config, dtype=dtype, device=device)
    if config.get("model_type") == TRANSFORMER_XL:
        return load_transformer_xl(folder, config, dtype=dtype, device=device)
    try:
        ours = hf_config(config)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: does not describe a decoder: {error!r}") from error
    if ours is None:
        log.info("%s holds a %s network: loading it through transformers", folder, config.get("model_type"))
        return TransformersDecoder(folder, dtype=dtype, device=device)
    return GPTDecoder(_network(folder, ours, dtype).to(device))


def _network(folder: Path, config: GPTConfig, dtype: torch.dtype) -> GPT:
    tensors = read_tensors(folder)
    if config.n_layers > len(tensors):
        raise CheckpointError(f"{folder}: config.json announces {config.n_layers} layers for {len(tensors)} tensors")
    model = empty_network(config, folder)
    load_strict(model, tensors, hf_table(config), source=folder, dtype=dtype)
    return model


def _text(settings: dict[str, Any], name: str) -> str | None:
    """A token of ``tokenizer_config.json``: a string, or an object that has it as ``content``."""
    value = settings.get(name)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _chat_template(folder: Path, settings: dict[str, Any]) -> str | None:
    """``chat_template.jinja`` where there is one, else the (default) template of ``tokenizer_config.json``."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error})") from error
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _end_ids(folder: Path, config: dict[str, Any], tokens: dict[str, str], tokenizer: Tokenizer) -> frozenset[int]:
    """What ``generation_config.json``, ``config.json`` and the tokenizer call the end."""
    file = folder / "generation_config.json"
    named: list[object] = [tokenizer.token_to_id(tokens.get("eos_token", ""))]
    for source in (config, read_json(file) if file.is_file() else {}):
        value = source.get("eos_token_id")
        named += value if isinstance(value, list) else [value]
    return end_token_ids(tokenizer, named)
