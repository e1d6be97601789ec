"""Weights on disk ↔ a network's parameters: read safely, loaded strictly, named in one table per family.

A family's :class:`NameTable` says, row by row, which of *their* tensors make one of *ours* and how; the same table
read backwards saves. Nothing is ever unpickled: safetensors first, a ``.bin`` is read as data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...errors import CheckpointError
from ...files import replacing
from ..layers.low_bit_table import LowBitTable
from .json_files import read_json
from .torch_file import read_torch_file

__all__ = [
    "SAME",
    "TRANSPOSED",
    "NameTable",
    "Row",
    "Transform",
    "Weight",
    "build_empty",
    "load_strict",
    "parse_fields",
    "read_tensors",
    "save_tensors",
    "stacked",
    "tensors_sha256",
]


Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)
Weight = Tensor | LowBitTable

_BEYOND = 2**48  # no number in a configuration is so large

_KINDS: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}


class Transform(NamedTuple):
    """How their tensors become one of ours, and back: ``split(join(parts)) == parts``."""

    join: Callable[[Sequence[Tensor]], Tensor]
    split: Callable[[Tensor], Sequence[Tensor]]


SAME = Transform(lambda parts: parts[0], lambda ours: [ours])
"""One of theirs is one of ours."""

TRANSPOSED = Transform(lambda parts: parts[0].T.contiguous(), lambda ours: [ours.T.contiguous()])
"""Theirs is ``(in, out)``, as GPT-2's Conv1D keeps it; ours is ``(out, in)``."""


def stacked(*sizes: int) -> Transform:
    """Theirs lie one below the other in ours (query, key and value in one matrix); ``sizes`` are their row counts."""
    return Transform(lambda parts: torch.cat(list(parts)), lambda ours: list(torch.split(ours, list(sizes))))


@dataclass(frozen=True, slots=True)
class Row:
    """One of our tensors and the tensors of theirs it is made from; ``{layer}`` in the names stands for each layer."""

    ours: str
    theirs: tuple[str, ...]
    transform: Transform = SAME


@dataclass(frozen=True, slots=True)
class NameTable:
    """The names of one family of checkpoints.

    Attributes:
        family: what an error message calls it.
        rows: one per tensor, ``{layer}`` not yet filled in.
        n_layers: how often a row with ``{layer}`` is repeated.
        prefixes: what some exporters put before every name (``"bert."``); the first that occurs is taken off.
        renames: (old, new) endings, for names that changed over the years.
        ignored: regular expressions of names that may be there and are not wanted: buffers, other heads.
    """

    family: str
    rows: tuple[Row, ...]
    n_layers: int = 0
    prefixes: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    def filled(self) -> list[Row]:
        """The rows with every layer's number in place."""
        rows = []
        for row in self.rows:
            layers: Iterable[int] = range(self.n_layers) if "{layer}" in row.ours else (0,)
            for i in layers:
                names = tuple(name.replace("{layer}", str(i)) for name in row.theirs)
                rows.append(Row(row.ours.replace("{layer}", str(i)), names, row.transform))
        return rows

    def canonical(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under today's names: prefix off, renames done, ignored ones left out."""
        found: dict[str, Tensor] = {}
        prefix = next((p for p in self.prefixes if any(name.startswith(p) for name in tensors)), "")
        for full_name, tensor in tensors.items():
            name = full_name.removeprefix(prefix)
            for old, new in self.renames:
                if name.endswith(old):
                    name = name.removesuffix(old) + new
            if not any(re.fullmatch(pattern, name) for pattern in self.ignored):
                found[name] = tensor
        return found

    def to_theirs(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state dict under their names: what ``save`` writes. Rows the state does not have are left out."""
        tensors: dict[str, Tensor] = {}
        for row in self.filled():
            if row.ours in state:
                tensors.update(zip(row.theirs, row.transform.split(state[row.ours]), strict=True))
        return tensors


def build_empty(build: Callable[[], Network], source: str | Path, *, n_layers: int, n_tensors: int) -> Network:
    """What ``build`` makes, without memory for its weights, to be filled by :func:`load_strict`.

    Args:
        source: what an error message calls the checkpoint.
        n_layers: how many layers its configuration announces: never more than there are tensors (``n_tensors``), or
            making them would take for ever.

    Raises:
        CheckpointError: there are fewer tensors than layers, or sizes beyond what a tensor can have.
    """
    if n_layers > n_tensors:
        raise CheckpointError(
            f"{source}: its configuration announces {n_layers} layers for {n_tensors} tensors; is the checkpoint whole?"
        )
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, ArithmeticError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{source}: describes a network that cannot be built: {reason}") from error


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    table: NameTable,
    *,
    source: str | Path = "checkpoint",
    dtype: torch.dtype | None = torch.float32,
) -> None:
    """Fill ``module`` with ``tensors``: every parameter exactly once, nothing left over, or an error naming the key.

    The module may stand on the meta device; its parameters are replaced, not copied into.

    Args:
        module: a network whose state dict has exactly the table's names (rows for parts it lacks are errors
            unless their tensors are absent too).
        tensors: theirs, as :func:`read_tensors` gives them.
        source: what an error message calls the checkpoint.
        dtype: what floating tensors become; None keeps what the file has.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape, or not floating point.
    """
    theirs = table.canonical(tensors)
    wanted = {name: parameter.shape for name, parameter in module.state_dict().items()}
    rows = table.filled()
    unnamed = sorted(wanted.keys() - {row.ours for row in rows})
    if unnamed:
        raise CheckpointError(f"the {table.family} name table has no row for {_listed(unnamed)}")
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    missing: list[str] = []
    for row in rows:
        if row.ours not in wanted:
            continue
        absent = [name for name in row.theirs if name not in theirs]
        missing += absent
        used.update(row.theirs)
        if not absent:
            state[row.ours] = _joined(row, theirs, wanted[row.ours], source, dtype)
    if missing:
        raise CheckpointError(
            f"{source}: missing {_listed(missing)}; is this a whole {table.family} checkpoint, and does "
            f"its config.json belong to it?"
        )
    unexpected = sorted(theirs.keys() - used)
    if unexpected:
        raise CheckpointError(
            f"{source}: unexpected {_listed(unexpected)}; a {table.family} with this config has no such"
        )
    module.load_state_dict(state, strict=True, assign=True)


def _joined(
    row: Row, theirs: Mapping[str, Tensor], shape: torch.Size, source: str | Path, dtype: torch.dtype | None
) -> Tensor:
    parts = [theirs[name] for name in row.theirs]
    for name, part in zip(row.theirs, parts, strict=True):
        if not part.is_floating_point():
            raise CheckpointError(f"{source}: {name} has dtype {part.dtype}, expected a floating-point tensor")
    try:
        ours = row.transform.join(parts)
    except (RuntimeError, IndexError) as error:
        shapes = ", ".join(f"{name} {tuple(theirs[name].shape)}" for name in row.theirs)
        raise CheckpointError(f"{source}: cannot make {row.ours} {tuple(shape)} of {shapes}: {error}") from error
    if ours.shape != shape:
        names = " + ".join(row.theirs)
        raise CheckpointError(f"{source}: {names} has shape {tuple(ours.shape)}, the config asks for {tuple(shape)}")
    return ours if dtype is None else ours.to(dtype)


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, on the CPU, under its own name and dtype.

    Args:
        path: a ``.safetensors`` or ``.bin`` file, or a folder: ``model.safetensors``, else its sharded form, else
            ``pytorch_model.bin``, else its sharded form.

    Raises:
        CheckpointError: there are no weights, a file is cut off, a shard is missing, or a ``.bin`` holds more
            than tensors.
    """
    path = Path(path)
    if path.is_file():
        return _read_file(path)
    for name in (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ):
        file = path / name
        if not file.is_file():
            continue
        return _read_shards(file) if name.endswith(".json") else _read_file(file)
    raise CheckpointError(f"no weights in {path}: expected model.safetensors or pytorch_model.bin (whole or sharded)")


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index}: expected an object 'weight_map'")
    tensors: dict[str, Tensor] = {}
    if not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index}: expected the name of a file for each tensor")
    for shard in sorted(set(weight_map.values())):
        if len(PurePosixPath(shard).parts) != 1 or not (index.parent / shard).is_file():
            raise CheckpointError(f"{index}: names the shard {shard!r}, which is not in that folder")
        tensors.update(_read_file(index.parent / shard))
    missing = sorted(weight_map.keys() - tensors.keys())
    if missing:
        raise CheckpointError(f"{index}: its shards lack {_listed(missing)}")
    return tensors


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".safetensors":
        return read_torch_file(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError, LookupError) as error:
        raise CheckpointError(f"{file}: cannot be read as weights ({error}); is the download complete?") from error


def save_tensors(tensors: Mapping[str, Tensor], file: str | Path) -> None:
    """Write one ``.safetensors`` file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    # clone: tensors split from one matrix share memory, which safetensors refuses
    owned = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with replacing(Path(file)) as fresh:
        try:
            save_file(owned, fresh, metadata={"format": "pt"})
        except SafetensorError as error:  # so it calls a full disk, too
            raise OSError(f"{file}: cannot be written: {error}") from error


def tensors_sha256(tensors: Mapping[str, Weight]) -> str:
    """SHA-256 over names, shapes and float32 values in order of name: the same whatever file the weights lie in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        weight = tensors[name]
        parts = weight.decoded() if isinstance(weight, LowBitTable) else (weight.detach(),)
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        for part in parts:
            digest.update(part.to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def parse_fields(
    kind: type[Config], settings: Mapping[str, Any], keys: Mapping[str, str], source: str | Path, *, complete: bool
) -> Config:
    """A dataclass of numbers, flags and strings from a ``config.json``'s object.

    Args:
        keys: field → key of the object.
        complete: whether every key must be there; otherwise the dataclass's own values stand for those that are not.

    Raises:
        CheckpointError: a value is missing or of the wrong kind, or the values do not fit together.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        key = keys[field.name]
        value, kinds = settings.get(key), _KINDS.get(str(field.type), (str,))
        if value is None and not complete:
            continue
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise CheckpointError(f"{source}: {key} is {value!r:.80}, expected {kinds[-1].__name__}")
        if not abs(value if isinstance(value, int | float) else 0) < _BEYOND:  # as are infinity and what is no number
            raise CheckpointError(f"{source}: {key} is beyond what any network has")
        values[field.name] = value
    try:
        return kind(**values)
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
