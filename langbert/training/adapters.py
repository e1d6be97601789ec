"""LoRA while training, by peft; at rest its two files, which :mod:`langbert.models.lora` merges."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..errors import MissingExtra
from ..models.checkpoint import read_json, save_tensors, write_json
from .settings import LoraSettings

__all__ = ["adapt", "merged", "save_adapters"]


def adapt(network: nn.Module, settings: LoraSettings, heads: tuple[str, ...]) -> nn.Module:
    """``network`` with its matrices frozen, low-rank adapters beside the targets, and ``heads`` trained whole."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtra("peft", "train", "training adapters") from error
    endings = "|".join(target.replace(".", r"\.") for target in settings.targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=rf".*\.({endings})",
        modules_to_save=list(heads),
        bias="none",
    )
    return cast(nn.Module, get_peft_model(cast(Any, network), config))


def save_adapters(network: nn.Module, folder: Path, *, base: str, dtype: torch.dtype = torch.float16) -> None:
    """``adapter_config.json`` and ``adapter_model.safetensors``, as peft writes them, in ``dtype``."""
    from peft import get_peft_model_state_dict

    model = cast(Any, network)
    model.save_pretrained(str(folder))  # for its adapter_config.json; the tensors are written again, smaller
    config = read_json(folder / "adapter_config.json")
    write_json({**config, "base_model_name_or_path": base, "inference_mode": True}, folder / "adapter_config.json")
    tensors = {name: tensor.to(dtype) for name, tensor in get_peft_model_state_dict(model).items()}
    save_tensors(tensors, folder / "adapter_model.safetensors")
    (folder / "README.md").unlink(missing_ok=True)  # the loop writes the card


def merged(network: nn.Module) -> nn.Module:
    """The plain network; where it has adapters, they are merged into a copy of it."""
    if not hasattr(network, "merge_and_unload"):
        return network
    return cast(nn.Module, cast(Any, deepcopy(network)).merge_and_unload())
