"""Models that are not in the catalogue: ``owner/name``, ``owner/name@revision`` or ``owner/name/file.gguf`` on the hub.

They live in the Hugging Face cache (``HF_HOME``), shared with every other tool that uses it. A small note in langbert's
own cache remembers which snapshots were fetched whole, so that a second use asks nobody.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import DownloadError, ModelNotFound
from ...files import replacing
from ...records import Progress
from .cache import cache_dir

__all__ = ["HubName", "cached_snapshot", "choose_files", "fetch_snapshot", "parse_hub_name"]

_NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:/(?P<file>[\w./-]+\.gguf))?(?:@(?P<revision>[\w./-]+))?"
)
_TEXT = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".md")
_OTHER_RUNTIMES = ("onnx", "openvino", "coreml", "tflite", "flax", "original")


@dataclass(frozen=True, slots=True)
class HubName:
    """A model on the hub as the user typed it."""

    repo: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo + (f"/{self.file}" if self.file else "") + (f"@{self.revision}" if self.revision else "")


def parse_hub_name(name: str) -> HubName | None:
    """The parts of a hub name; None if it does not look like one."""
    match = _NAME.fullmatch(name)
    return HubName(match["repo"], match["file"], match["revision"]) if match else None


def choose_files(paths: Iterable[str]) -> list[str]:
    """The files of a repository a model needs: configuration, tokenizer and weights for torch, and no code.

    Pickled weights (``.bin``) are taken only from folders that hold no safetensors.
    """
    wanted = [path for path in paths if not PurePosixPath(path).parts[0].startswith(_OTHER_RUNTIMES)]
    safe = {PurePosixPath(path).parent for path in wanted if path.endswith(".safetensors")}
    return [
        path
        for path in wanted
        if path.endswith((*_TEXT, ".safetensors"))
        or (re.search(r"pytorch_model[\w.-]*\.bin$", path) and PurePosixPath(path).parent not in safe)
    ]


def cached_snapshot(name: HubName) -> Path | None:
    """Where the model lies in the Hugging Face cache, if it is there whole. Touches no network."""
    try:
        note = Path(json.loads(_note(name).read_text())["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return _foreign_snapshot(name)
    return note if note.exists() else None


def fetch_snapshot(
    name: HubName, *, progress: Progress | None = None, on_start: Callable[[int], None] | None = None
) -> Path:
    """Fetch the model into the Hugging Face cache; ``on_start`` hears the bytes to come, if there are any.

    Raises:
        ModelNotFound: the hub has no such model, revision or file, or keeps it behind a login.
        DownloadError: the hub cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        info = HfApi(endpoint=endpoint).model_info(name.repo, revision=name.revision, files_metadata=True, timeout=10)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = _files_of(name, sizes)
        if on_start:
            on_start(sum(sizes[file] for file in files))
        folder = snapshot_download(
            name.repo,
            revision=name.revision,
            allow_patterns=[_literal(file) for file in files],
            tqdm_class=_reporting_bar(progress),
            endpoint=endpoint,
            library_name="langbert",
        )
    except GatedRepoError as error:
        raise ModelNotFound(
            f"{name} is behind a licence on the hub: accept it at https://huggingface.co/{name.repo}, "
            "then type `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"{name.repo} on the hub has no revision {name.revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"the hub has no model {name.repo!r} (or it is private: `hf auth login`); check owner and name"
        ) from error
    except (
        httpx.HTTPError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        OSError,
        ValueError,
    ) as error:
        where = endpoint or "https://huggingface.co"
        raise DownloadError(
            f"cannot fetch {name} from {where}: {_first_line(error)}. Behind a firewall, set HF_ENDPOINT to a mirror "
            "or HTTPS_PROXY to a proxy; or download the folder elsewhere and give its path"
        ) from error
    path = Path(folder) / name.file if name.file else Path(folder)
    _remember(name, path)
    return path


def _files_of(name: HubName, sizes: dict[str, int]) -> list[str]:
    ggufs = sorted(path for path in sizes if path.endswith(".gguf"))
    if name.file:
        if name.file not in sizes:
            raise ModelNotFound(f"{name.repo} has no file {name.file}; its .gguf files: {', '.join(ggufs) or 'none'}")
        return [name.file]
    files = choose_files(sizes)
    if not any(file.endswith((".safetensors", ".bin")) for file in files):
        if ggufs:
            raise ModelNotFound(f"{name.repo} holds GGUF files; name one of them: {name.repo}/{ggufs[0]} …")
        raise ModelNotFound(f"{name.repo} holds no weights for torch (safetensors or pytorch_model.bin)")
    return files


def _literal(path: str) -> str:
    """``path`` as a pattern that matches nothing else."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _note(name: HubName) -> Path:
    return cache_dir() / "hub" / (re.sub(r"[/@]", "--", str(name)) + ".json")


def _remember(name: HubName, path: Path) -> None:
    note = _note(name)
    note.parent.mkdir(parents=True, exist_ok=True)
    with replacing(note) as fresh:
        fresh.write_text(json.dumps({"name": str(name), "path": str(path)}))


def _foreign_snapshot(name: HubName) -> Path | None:
    """A snapshot another tool fetched, if what it holds is enough."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name.repo, name.file or "config.json", revision=name.revision)
    if not isinstance(found, str):  # not there, or known not to exist
        return None
    path = Path(found) if name.file else Path(found).parent
    return path if _whole(path) else None


def _whole(path: Path) -> bool:
    """Whether a cached model can be used: files in the cache are complete or absent, so only absence counts."""
    if path.suffix == ".gguf":
        return path.is_file()
    index = path / "model.safetensors.index.json"
    try:
        shards = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    except (OSError, ValueError, KeyError):
        return False
    weights = shards or ({"model.safetensors"} if (path / "model.safetensors").is_file() else {"pytorch_model.bin"})
    tokenizers = ("tokenizer.json", "vocab.txt", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model")
    has_tokenizer = any((path / file).is_file() for file in (*tokenizers, "vocab.json"))
    return (path / "config.json").is_file() and has_tokenizer and all((path / file).is_file() for file in weights)


def _reporting_bar(progress: Progress | None) -> type[Any]:
    """The tqdm class huggingface_hub asks for: draws nothing, hands bytes to ``progress``.

    The hub's client may keep two bars of bytes, received and written; the one ahead is what counts.
    """
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined, unused-ignore]

    lock = threading.Lock()
    ahead = 0

    class Reporting(tqdm):  # type: ignore[misc, type-arg, unused-ignore]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes, self._bytes = kwargs.get("unit") == "B", 0
            kwargs = {key: value for key, value in kwargs.items() if key != "name"}
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call, unused-ignore]

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal ahead
            if progress is None or not self._counts_bytes:
                return None
            with lock:
                self._bytes += int(n or 0)
                grown, ahead = self._bytes - ahead, max(ahead, self._bytes)
            if grown > 0:
                progress(grown)
            return None

    return Reporting


def _first_line(error: BaseException) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
