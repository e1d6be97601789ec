"""The sentence-transformers folder: what stands around an encoder to make vectors of texts, read and written.

``modules.json`` lists the stages (encoder, pooling, perhaps dense layers, perhaps normalising), each with a folder of
its own; prompts are in ``config_sentence_transformers.json``, the length limit in ``sentence_bert_config.json``.
Written in its oldest form, which every version of sentence-transformers reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ..layers.pooling import AttentionPooling, Pooling
from .json_files import read_json, read_json_value, write_json
from .weights import NameTable, Row, build_empty, load_strict, read_tensors, save_tensors

__all__ = ["Dense", "SentenceFolder", "read_sentence_folder", "write_sentence_folder"]

_POOLING_NAMES = {
    Pooling.CLS: "cls",
    Pooling.MAX: "max",
    Pooling.MEAN: "mean",
    Pooling.MEAN_SQRT_LEN: "mean_sqrt_len_tokens",
    Pooling.WEIGHTED_MEAN: "weightedmean",
    Pooling.LAST: "lasttoken",
    Pooling.ATTENTION: "attention",  # ours alone: sentence-transformers refuses it by name
}
"""Our pooling → sentence-transformers' (since version 6) ``pooling_mode``."""

_OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_max_tokens": Pooling.MAX,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": Pooling.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": Pooling.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": Pooling.LAST,
}
"""sentence-transformers' flags before version 6 → our pooling."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    f"torch.nn.modules.{module}.{kind.__name__}": kind
    for module, kind in (
        ("linear", nn.Identity),
        ("activation", nn.Tanh),
        ("activation", nn.ReLU),
        ("activation", nn.GELU),
        ("activation", nn.SiLU),
        ("activation", nn.Sigmoid),
    )
}
"""The activations a dense layer may name. A closed list: no import path from a checkpoint is ever followed."""

_Kind = TypeVar("_Kind")
_KINDS: dict[type, str] = {str: "a text", int: "a whole number from 1", list: "a list", dict: "an object"}

_DENSE_TABLE = NameTable("dense layer", tuple(Row(f"linear.{k}", (f"linear.{k}",)) for k in ("weight", "bias")))
_ATTENTION_TABLE = NameTable(
    "attention pooling", tuple(Row(name, (name,)) for name in ("dense.weight", "dense.bias", "score.weight"))
)


class Dense(nn.Module):
    """A linear layer and an activation on the text's vector."""

    def __init__(self, in_features: int, out_features: int, activation: str, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation_name = activation
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, vectors: Tensor) -> Tensor:
        """``(n, in_features)`` → ``(n, out_features)``."""
        activated: Tensor = self.activation(self.linear(vectors))
        return activated


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """What a checkpoint says about making vectors; None where it says nothing.

    Attributes:
        encoder: the folder with ``config.json`` and the weights.
        include_prompt: whether the prompt's tokens take part in pooling.
        attention: the trained weights of attention pooling.
        dense: layers between pooling and normalising.
        lowercase: whether the text's case is lowered before the tokenizer sees it.
    """

    encoder: Path
    pooling: Pooling | None = None
    include_prompt: bool = True
    attention: AttentionPooling | None = None
    dense: tuple[Dense, ...] = ()
    normalize: bool | None = None
    max_length: int | None = None
    dimensions: int | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    lowercase: bool = False


def read_sentence_folder(folder: str | Path, *, pooling_needed: bool = True) -> SentenceFolder:
    """Read a checkpoint folder; a plain Hugging Face one, without ``modules.json``, says nothing but where it is.

    Args:
        folder: where the checkpoint lies.
        pooling_needed: whether a pooling that is not ours is an error; otherwise it reads as None.

    Raises:
        CheckpointError: a file is unreadable, or names a stage or a pooling that is not ours to run.
    """
    folder = Path(folder)
    if not (folder / "modules.json").is_file():
        return SentenceFolder(folder)
    encoder, pooling_config, attention = folder, {}, None
    dense: list[Dense] = []
    normalize = False
    settings_file, limits_name = folder / "config_sentence_transformers.json", "sentence_bert_config.json"
    settings = _optional_json(settings_file)
    ours = _of_kind(settings, "langbert", dict, settings_file) or {}
    stand_ins = _of_kind(ours, "stand_ins", list, settings_file) or []
    for module in _read_modules(folder / "modules.json"):
        kind, path = str(module.get("type", "")).rsplit(".", 1)[-1], folder / _inside(folder, module.get("path", ""))
        if kind == "Transformer":
            encoder = path
        elif kind == "Pooling":
            pooling_config = read_json(path / "config.json")
            attention = _read_attention(path, pooling_config)
        elif kind == "Dense":
            if path.name not in stand_ins:
                dense.append(_read_dense(path))
        elif kind == "Normalize":  # often an empty folder, which archives lose: the entry alone counts
            normalize = True
        else:
            raise CheckpointError(
                f"{folder / 'modules.json'}: stage {module.get('type')!r} is not one langbert runs "
                f"(Transformer, Pooling, Dense, Normalize)"
            )
    try:
        pooling = Pooling(ours["pooling"]) if "pooling" in ours else _read_pooling(pooling_config)
    except ValueError as error:
        if pooling_needed:
            raise CheckpointError(f"{folder}: {error}; choose another with pooling=") from error
        pooling = None
    limits = _optional_json(encoder / limits_name)
    named = _of_kind(settings, "prompts", dict, settings_file) or {}
    prompts = {name: _of_kind(named, name, str, settings_file) or "" for name in named}
    default = prompts.get(_of_kind(settings, "default_prompt_name", str, settings_file) or "", "")
    documents = [prompts[name] for name in ("document", "passage", "corpus") if name in prompts]
    return SentenceFolder(
        encoder,
        pooling=pooling,
        include_prompt=bool(pooling_config.get("include_prompt", True)),
        attention=attention,
        dense=tuple(dense),
        normalize=normalize,
        max_length=_of_kind(limits, "max_seq_length", int, encoder / limits_name),
        dimensions=_of_kind(ours, "dimensions", int, settings_file),
        query_prompt=prompts.get("query", default),
        document_prompt=documents[0] if documents else default,
        prompts=prompts,
        lowercase=bool(limits.get("do_lower_case")),
    )


def _inside(folder: Path, path: object) -> str:
    """The path of a stage, which lies in the checkpoint's own folder."""
    parts = str(path).replace("\\", "/").split("/")
    if ".." in parts or (parts[0] == "" and len(parts) > 1) or ":" in parts[0]:
        raise CheckpointError(
            f"{folder / 'modules.json'}: the path {path!r} leads out of the folder; stages lie in folders of their own"
        )
    return str(path)


def write_sentence_folder(
    folder: str | Path,
    *,
    hidden_size: int,
    pooling: Pooling,
    include_prompt: bool,
    attention: AttentionPooling | None,
    pooler: nn.Module | None,
    dense: Sequence[Dense],
    dimensions: int | None,
    normalize: bool,
    max_length: int,
    prompts: Mapping[str, str],
) -> None:
    """Write everything but encoder and tokenizer, so that sentence-transformers makes the same vectors.

    What it has no stage for is spelled in the stages it has (stand-ins, which reading leaves aside): the pooler is
    ``cls`` and a dense tanh layer, cut dimensions are a dense layer that picks the first ones. Attention pooling has no
    such spelling: only langbert reads that.
    """
    folder = Path(folder)
    modules = [("", "Transformer")]
    stand_ins: list[str] = []

    def add(kind: str, *, stand_in: bool = False) -> Path:
        path = f"{len(modules)}_{kind}"
        modules.append((path, kind))
        if stand_in:
            stand_ins.append(path)
        (folder / path).mkdir(exist_ok=True)
        return folder / path

    _write_pooling(add("Pooling"), pooling, hidden_size, include_prompt, attention)
    if pooling is Pooling.POOLER and pooler is not None:
        stand_in = Dense(hidden_size, hidden_size, "torch.nn.modules.activation.Tanh")
        stand_in.linear.load_state_dict(pooler.get_submodule("dense").state_dict())
        _write_dense(add("Dense", stand_in=True), stand_in)
    for layer in dense:
        _write_dense(add("Dense"), layer)
    width = dense[-1].linear.out_features if dense else hidden_size
    if dimensions is not None:
        stand_in = Dense(width, dimensions, "torch.nn.modules.linear.Identity", bias=False)
        stand_in.linear.weight = nn.Parameter(torch.eye(dimensions, width))
        _write_dense(add("Dense", stand_in=True), stand_in)
    if normalize:
        add("Normalize")
    ours = {"pooling": pooling.value, "dimensions": dimensions, "stand_ins": stand_ins}
    settings = {"prompts": dict(prompts), "default_prompt_name": None, "similarity_fn_name": "cosine", "langbert": ours}
    write_json(settings, folder / "config_sentence_transformers.json")
    write_json({"max_seq_length": max_length, "do_lower_case": False}, folder / "sentence_bert_config.json")
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    write_json(listed, folder / "modules.json")


def _read_modules(file: Path) -> list[dict[str, Any]]:
    modules = read_json_value(file)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{file}: expected a list of stages")
    return modules


def _optional_json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _of_kind(settings: Mapping[str, Any], key: str, kind: type[_Kind], file: Path) -> _Kind | None:
    """What ``settings`` have under ``key``, if anything; numbers count from 1."""
    value = settings.get(key)
    if value is None:
        return None
    if type(value) is not kind or (isinstance(value, int) and value < 1):
        raise CheckpointError(f"{file}: {key} is {value!r:.80}, expected {_KINDS[kind]}")
    return value


def _read_pooling(config: Mapping[str, Any]) -> Pooling | None:
    if not config:
        return None
    named = config.get("pooling_mode")
    if named is None:
        modes: list[Any] = [pooling for key, pooling in _OLD_POOLING_KEYS.items() if config.get(key)] or [Pooling.MEAN]
    else:
        ours = {theirs: pooling for pooling, theirs in _POOLING_NAMES.items()}
        modes = [ours.get(str(name), str(name)) for name in (named if isinstance(named, list) else [named])]
    if len(modes) == 1 and isinstance(modes[0], Pooling):
        return modes[0]
    raise ValueError(f"it pools by {' + '.join(map(str, modes))}, langbert by one of {', '.join(Pooling)}")


def _read_attention(path: Path, config: Mapping[str, Any]) -> AttentionPooling | None:
    if config.get("pooling_mode") != _POOLING_NAMES[Pooling.ATTENTION]:
        return None
    size, tensors = _size(config, "embedding_dimension", path), read_tensors(path)
    attention = build_empty(lambda: AttentionPooling(size), path, n_layers=1, n_tensors=len(tensors))
    load_strict(attention, tensors, _ATTENTION_TABLE, source=path)
    return attention.eval()


def _write_pooling(
    path: Path, pooling: Pooling, hidden_size: int, include_prompt: bool, attention: AttentionPooling | None
) -> None:
    if pooling is Pooling.ATTENTION:
        if attention is not None:
            save_tensors(attention.state_dict(), path / "model.safetensors")
        mode: dict[str, Any] = {"embedding_dimension": hidden_size, "pooling_mode": _POOLING_NAMES[pooling]}
    else:
        spelled = Pooling.CLS if pooling is Pooling.POOLER else pooling
        flags = {key: flag is spelled for key, flag in _OLD_POOLING_KEYS.items()}
        mode = {"word_embedding_dimension": hidden_size, **flags}
    write_json({**mode, "include_prompt": include_prompt}, path / "config.json")


def _read_dense(path: Path) -> Dense:
    config = read_json(path / "config.json")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"{path}: activation {activation!r} is not one of {', '.join(_ACTIVATIONS)}")
    if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise CheckpointError(f"{path}: a dense layer with a residual or on token vectors is not one langbert runs")
    sizes = (_size(config, "in_features", path), _size(config, "out_features", path))
    tensors, bias = read_tensors(path), bool(config.get("bias", True))
    dense = build_empty(lambda: Dense(*sizes, activation, bias=bias), path, n_layers=1, n_tensors=len(tensors))
    load_strict(dense, tensors, _DENSE_TABLE, source=path)
    return dense.eval()


def _write_dense(path: Path, dense: Dense) -> None:
    config = {
        "in_features": dense.linear.in_features,
        "out_features": dense.linear.out_features,
        "bias": dense.linear.bias is not None,
        "activation_function": dense.activation_name,
    }
    write_json(config, path / "config.json")
    save_tensors(dense.state_dict(), path / "model.safetensors")


def _size(config: Mapping[str, Any], key: str, path: Path) -> int:
    value = _of_kind(config, key, int, path / "config.json")
    if value is None:
        raise CheckpointError(f"{path / 'config.json'}: {key} is missing, expected a whole number from 1")
    return value
