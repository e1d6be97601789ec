"""A decoder from a GGUF file; dequantised once, then kept in the cache folder for a quick start.

The kept form is a folder named by the file's SHA-256, the number format and the version of this converter:
``config.json`` (network, template, end tokens), ``tokenizer.json``, ``model-*.safetensors`` with the network's own
tensor names, and ``grids.safetensors`` with the few bits of those weights that lie on a grid. Weights are mapped into
memory and not copied; they are several files, so that whoever lays them out anew can let go of one after the other.
Whatever in the folder cannot be read is made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ...errors import CheckpointError
from ...files import install, sha256_of
from ..files.cache import cache_dir, staging
from ..files.gguf import GGUFFile
from ..files.gguf_tokenizer import gguf_tokenizer
from ..files.json_files import read_json, write_json
from ..files.tokenizer import end_token_ids, read_tokenizer
from ..files.weights import build_empty, load_strict, read_tensors, save_tensors
from ..layers.low_bit_linear import Grid
from ..layers.rotary import RotaryConfig
from .checkpoint import gguf_config, gguf_table
from .inference import grids_of
from .network import GPT, GPTConfig

log = logging.getLogger("langbert")

_VERSION = 4
"""To be raised whenever the same file would be converted to something else."""

_LAYERS = 6
"""In a file of the kept form."""


class GGUFDecoder(NamedTuple):
    """What a GGUF file holds.

    Attributes:
        grids: the grids that its linear layers' weights lie on, by module name; None if nobody has looked for them.
        settings: its ``chat_template``, control ``tokens`` and ``end_ids``, as JSON values.
    """

    network: GPT
    grids: Mapping[str, Grid] | None
    tokenizer: Tokenizer
    settings: dict[str, Any]


def load_gguf(path: Path, dtype: torch.dtype) -> GGUFDecoder | None:
    """The decoder in a GGUF file; None if it is none of our networks.

    Raises:
        CheckpointError: the file is damaged.
    """
    kept = cache_dir() / "gguf" / f"{_sha256(path)[:32]}-{str(dtype).removeprefix('torch.')}-v{_VERSION}"
    if kept.is_dir():
        try:
            return _load_kept(kept)
        except (CheckpointError, KeyError, TypeError, ValueError, RuntimeError) as error:
            log.warning("%s is damaged (%s): converting %s anew", kept, error, path)
    file = GGUFFile(path)
    config = _config(file)
    if config is None:
        return None
    tokenizer = gguf_tokenizer(file)
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise CheckpointError(
            f"{path}: its tokenizer has {tokenizer.get_vocab_size()} tokens, its network knows {config.vocab_size}"
        )
    model = _network(file, config, dtype)
    settings = {"network": asdict(config), **gguf_settings(file, tokenizer)}
    try:
        with staging(kept) as folder:
            tokenizer.save(str(folder / "tokenizer.json"))
            write_json(settings, folder / "config.json")
            for i, tensors in enumerate(_shards(model)):
                save_tensors(tensors, folder / f"model-{i:05}.safetensors")
            grids = grids_of(model)
            save_tensors(
                {f"{name}.{part}": tensor for name, grid in grids.items() for part, tensor in grid._asdict().items()},
                folder / "grids.safetensors",
            )
            install(folder, kept)
        # not the network at hand: weights that lie elsewhere in memory round differently, and the first start of a
        # model should answer as every later one
        return _load_kept(kept)
    except OSError as error:
        log.warning("the converted weights of %s cannot be kept (%s): every start will convert them", path, error)
    return GGUFDecoder(model, None, tokenizer, settings)


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def _config(file: GGUFFile) -> GPTConfig | None:
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise CheckpointError(f"{file.path}: has no tensor 'token_embd.weight'; is it a language model?")
    try:
        config = gguf_config(file.metadata, embedding.shape[0], tied_head="output.weight" not in file.tensors)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{file.path}: its metadata does not describe a decoder: {error!r}") from error
    return config


def _network(file: GGUFFile, config: GPTConfig, dtype: torch.dtype) -> GPT:
    model = build_empty(lambda: GPT(config), file.path, n_layers=config.n_layers, n_tensors=len(file.tensors))
    tensors: dict[str, Tensor] = {name: file.tensor(name).to(dtype) for name in file.tensors}
    load_strict(
        model, tensors, gguf_table(config, file.metadata["general.architecture"]), source=file.path, dtype=dtype
    )
    return model


def _shards(model: GPT) -> list[dict[str, Tensor]]:
    """What stands beside the blocks, and then a few blocks each."""
    n_shards = -(-model.config.n_layers // _LAYERS) + 1
    shards: list[dict[str, Tensor]] = [{} for _ in range(n_shards)]
    for name, tensor in model.state_dict().items():
        layer = name.split(".")[1] if name.startswith("blocks.") else None
        shards[0 if layer is None else 1 + int(layer) // _LAYERS][name] = tensor
    return shards


def gguf_settings(file: GGUFFile, tokenizer: Tokenizer) -> dict[str, Any]:
    """What the metadata says beside network and vocabulary, as JSON values."""
    named = {
        key: file.metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "eot", "eom", "unknown")
    }
    tokens = {
        {"unknown": "unk"}.get(key, key) + "_token": token
        for key, index in named.items()
        if isinstance(index, int) and (token := tokenizer.id_to_token(index)) is not None
    }
    template = file.metadata.get("tokenizer.chat_template")
    return {
        "chat_template": template if isinstance(template, str) else None,
        "tokens": tokens,
        "end_ids": sorted(end_token_ids(tokenizer, [named["eos"], named["eot"], named["eom"]])),
    }


def _load_kept(folder: Path) -> GGUFDecoder:
    settings = read_json(folder / "config.json")
    network = dict(settings["network"])
    rotary = network.pop("rotary")
    config = GPTConfig(rotary=RotaryConfig(**rotary) if rotary else None, **network)
    tensors = {name: each for file in folder.glob("model-*.safetensors") for name, each in read_tensors(file).items()}
    model = build_empty(lambda: GPT(config), folder, n_layers=config.n_layers, n_tensors=len(tensors))
    model.load_state_dict(tensors, strict=True, assign=True)
    kept = read_tensors(folder / "grids.safetensors")
    names = [name.removesuffix(".levels") for name in kept if name.endswith(".levels")]
    grids = {name: Grid(kept[f"{name}.levels"], kept[f"{name}.scales"]) for name in names}
    return GGUFDecoder(model, grids, read_tokenizer(folder / "tokenizer.json"), settings)
