"""LoRA while training, by peft; at rest its two files, which :mod:`langbert.models.files.lora` merges."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..errors import CheckpointError, MissingExtra
from ..models import resolve
from ..models.files.adapters import ADAPTER_CONFIG, base_name
from ..models.files.json_files import read_json, write_json
from ..models.files.lora import ADAPTER_TENSORS
from ..models.files.weights import read_tensors, save_tensors
from .settings import LoraSettings

_TRANSFORMERS_TARGETS = (
    *("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo"),  # T5
    *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),  # Marian, BART
)
"""What the encoder–decoders of transformers call the linear layers of their blocks."""


def adapt(
    network: nn.Module, settings: LoraSettings, heads: tuple[str, ...], *, start: Path | None = None
) -> nn.Module:
    """``network`` with its matrices frozen, low-rank adapters beside the targets, and ``heads`` trained whole.

    Args:
        start: a folder of adapters to go on from, of the same rank and targets; None begins anew.

    Raises:
        CheckpointError: those in ``start`` have another shape.
    """
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise MissingExtra("peft", "train", "training adapters") from error
    below = "|".join(str(number) for number in range(settings.first_layer))
    names = [name for name, _ in network.named_modules()]
    for targets in (settings.targets, _TRANSFORMERS_TARGETS):
        pattern = (rf"(?!.*\blayers\.(?:{below})\.)" if below else "") + rf".*\.({'|'.join(map(re.escape, targets))})"
        if any(re.fullmatch(pattern, name) for name in names):
            break
    else:
        raise CheckpointError(
            f"adapters go beside {', '.join(settings.targets)}, and this network has none of them, as recurrent ones "
            "have not: train every weight (lora=None, --lora 0)"
        )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=pattern,
        modules_to_save=list(heads),
        bias="none",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers' networks by names it means to give up
        adapted = get_peft_model(cast(Any, network), config)
    if start is not None:
        then = read_json(start / ADAPTER_CONFIG)
        if (then.get("r"), then.get("lora_alpha")) != (settings.rank, settings.alpha):
            raise CheckpointError(
                f"{start} has adapters of rank {then.get('r')} and alpha {then.get('lora_alpha')}; these settings ask "
                f"for {settings.rank} and {settings.alpha}: train with the same"
            )
        missed: Any = set_peft_model_state_dict(adapted, read_tensors(start / ADAPTER_TENSORS))
        if missed.unexpected_keys:
            raise CheckpointError(f"{start}: no place for {', '.join(missed.unexpected_keys[:3])} in this network")
    return cast(nn.Module, adapted)


def starting_point(base: str) -> tuple[str, Path, Path | None]:
    """What ``base`` names, taken apart: the base model's name, its folder, and the adapters on it, if it has any."""
    folder = resolve(base)
    name = base_name(folder)
    return (base, folder, None) if name is None else (name, resolve(name), folder)


def save_adapters(network: nn.Module, folder: Path, *, base: str, dtype: torch.dtype = torch.float16) -> None:
    """``adapter_config.json`` and ``adapter_model.safetensors``, as peft writes them, in ``dtype``."""
    from peft import get_peft_model_state_dict

    model = cast(Any, network)
    model.save_pretrained(str(folder))  # for its adapter_config.json; the tensors are written again, smaller
    config = read_json(folder / ADAPTER_CONFIG)
    write_json({**config, "base_model_name_or_path": base, "inference_mode": True}, folder / ADAPTER_CONFIG)
    tensors = {name: tensor.to(dtype) for name, tensor in get_peft_model_state_dict(model).items()}
    save_tensors(tensors, folder / ADAPTER_TENSORS)
    (folder / "README.md").unlink(missing_ok=True)  # the loop writes the card


def average_adapters(folders: Sequence[str | Path], output: str | Path, rank: int | None = None) -> None:
    """The mean of several runs that began at the same point, as adapters of the ranks' sum, or of ``rank``.

    What one run learnt too well another did not, so the mean often does better than any of them, at no cost (Wortsman
    et al. 2022, "Model soups", §2). ``output`` is the first folder's copy with the mean of all weights. Of a smaller
    rank it is the nearest (Eckart & Young 1936), which for runs that began at one point loses next to nothing.

    Raises:
        CheckpointError: the adapters have different bases, ranks or tensors.
    """
    first, output = Path(folders[0]), Path(output)
    config = read_json(first / ADAPTER_CONFIG)
    shape = [config.get(key) for key in ("base_model_name_or_path", "r", "lora_alpha")]
    tensors = [read_tensors(Path(folder) / ADAPTER_TENSORS) for folder in folders]
    for folder, found in zip(folders, tensors, strict=True):
        theirs = read_json(Path(folder) / ADAPTER_CONFIG)
        if [theirs.get(key) for key in ("base_model_name_or_path", "r", "lora_alpha")] != shape:
            raise CheckpointError(f"{folder} has another base, rank or alpha than {first}: only like is averaged")
        if found.keys() != tensors[0].keys():
            raise CheckpointError(f"{folder} has other tensors than {first}: only like is averaged")
    n = len(tensors)
    mean: dict[str, torch.Tensor] = {}
    for name, tensor in tensors[0].items():
        values = [found[name].float() for found in tensors]
        if name.endswith(".lora_A.weight"):
            mean[name] = torch.cat(values)  # (n·r, in)
        elif name.endswith(".lora_B.weight"):
            mean[name] = torch.cat(values, dim=1) / n  # (out, n·r): the sum of the products, over n
        else:
            mean[name] = sum(values, torch.zeros(())) / n
        mean[name] = mean[name].to(tensor.dtype)
    shutil.copytree(first, output)
    of_all = n * config["r"]
    rank = min(rank or of_all, of_all)
    if rank < of_all:
        for name in [name for name in mean if name.endswith(".lora_A.weight")]:
            other = name.replace(".lora_A.", ".lora_B.")
            mean[name], mean[other] = _nearest(mean[name], mean[other], rank)
    alpha = rank * config["lora_alpha"] / config["r"]  # over the rank, it is what it was
    write_json({**config, "r": rank, "lora_alpha": alpha}, output / ADAPTER_CONFIG)
    save_tensors(mean, output / ADAPTER_TENSORS)


def _nearest(a: torch.Tensor, b: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``(rank, in)`` and ``(out, rank)`` whose product is nearest to ``b @ a``."""
    left, values, right = torch.linalg.svd(b.float() @ a.float(), full_matrices=False)
    roots = values[:rank].sqrt()
    return (
        (roots[:, None] * right[:rank]).to(a.dtype).contiguous(),
        (left[:, :rank] * roots).to(b.dtype).contiguous(),
    )


def merged(network: nn.Module) -> nn.Module:
    """The plain network; where it has adapters, they are merged into a copy of it."""
    if not hasattr(network, "merge_and_unload"):
        return network
    with warnings.catch_warnings():  # a T5 1.1 has an output layer of its own, whatever transformers writes of it
        warnings.filterwarnings("ignore", "Input and output embeddings are no longer tied")
        return cast(nn.Module, cast(Any, deepcopy(network)).merge_and_unload())
