"""Adapters at rest → a plain network: peft's two files read and merged, so that inference needs no peft.

``W + (alpha / r) B A`` (Hu et al. 2021, "LoRA", §4.1) is computed once, at load.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from .adapters import ADAPTER_CONFIG
from .json_files import read_json
from .weights import read_tensors

__all__ = ["ADAPTER_TENSORS", "merge_adapters"]

ADAPTER_TENSORS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MOST = 2**20  # of rank and alpha


def merge_adapters(network: nn.Module, folder: str | Path, *, heads: Sequence[str] = ()) -> None:
    """Add the adapters of ``folder`` to ``network``'s matrices, and put its fully trained heads in place.

    Args:
        network: the base network in float32 with the heads it was trained with; changed in place. Matrices that are on
            the meta device stay there.
        heads: submodules of ``network`` that the base does not have: they must be in ``folder``.

    Raises:
        CheckpointError: a file is damaged, is no LoRA, or has a tensor that does not fit the network.
    """
    folder = Path(folder)
    config = read_json(folder / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("fan_in_fan_out"):
        raise CheckpointError(f"{folder}: expected plain LoRA adapters, got {config.get('peft_type')}")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or not (1 <= rank < _MOST > abs(alpha)):
        raise CheckpointError(
            f"{folder}: adapter_config.json needs r >= 1 and lora_alpha, got {rank!r:.20} and {alpha!r:.20}"
        )
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in read_tensors(_file(folder)).items()}
    parameters = dict(network.named_parameters())
    for name in parameters:
        if name.startswith(tuple(f"{head}." for head in heads)):
            _get(tensors, name, folder)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith(".lora_B.weight"):
                continue  # taken along with its A
            if name.endswith(".lora_A.weight"):
                path = name.removesuffix(".lora_A.weight")
                up = _get(tensors, f"{path}.lora_B.weight", folder)
                if up.ndim != 2 or tensor.ndim != 2 or up.shape[1] != len(tensor):
                    raise CheckpointError(
                        f"{folder}: the adapters of {path} have shapes {tuple(up.shape)} and {tuple(tensor.shape)}"
                    )
                weight = _fitting(parameters, f"{path}.weight", (len(up), tensor.shape[1]), folder)
                if not weight.is_meta:
                    weight.add_(scale * (up.float() @ tensor.float()))  # (out, r) (r, in)
            else:
                _fitting(parameters, name, tuple(tensor.shape), folder).copy_(tensor)


def _file(folder: Path) -> Path:
    file = folder / ADAPTER_TENSORS
    if not file.is_file():
        raise CheckpointError(f"{folder}: {ADAPTER_TENSORS} is missing; is the folder whole?")
    return file


def _get(tensors: dict[str, Tensor], name: str, folder: Path) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"{folder}: missing {name}")
    return tensors[name]


def _fitting(parameters: dict[str, nn.Parameter], name: str, shape: tuple[int, ...], folder: Path) -> nn.Parameter:
    """The parameter that something of this shape is for; asked before a product that need not fit memory is made."""
    if name not in parameters:
        raise CheckpointError(f"{folder}: unexpected {name}; the network has no such parameter")
    if parameters[name].shape != shape:
        raise CheckpointError(
            f"{folder}: {name} has shape {shape}, the network asks for {tuple(parameters[name].shape)}"
        )
    return parameters[name]
