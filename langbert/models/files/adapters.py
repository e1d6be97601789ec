"""Folders of adapters, and the models that they are for: known without loading either."""

from __future__ import annotations

from pathlib import Path

from ...errors import CheckpointError
from .json_files import read_json
from .resolution import resolve

__all__ = ["ADAPTER_CONFIG", "base_name", "base_of", "is_adapter"]

ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds adapters for another model."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_of(folder: Path, *, offline: bool | None = None) -> Path:
    """Where the base model's config, weights and tokenizer lie: ``folder`` itself unless it holds adapters."""
    name = base_name(folder)
    return folder if name is None else resolve(name, offline=offline)


def base_name(folder: Path) -> str | None:
    """The model that the adapters in ``folder`` belong to; None if it holds no adapters."""
    if not is_adapter(folder):
        return None
    name = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(name, str):
        raise CheckpointError(f"{folder / ADAPTER_CONFIG}: base_model_name_or_path is {name!r}, expected a name")
    if name.startswith(("//", "\\\\")):  # asking a machine for it would tell that machine who asks
        raise CheckpointError(f"{folder / ADAPTER_CONFIG}: the base {name!r} lies on another machine; copy it here")
    return name
