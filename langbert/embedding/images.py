"""Pictures and texts → vectors of one space."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..documents.image import frames
from ..errors import MissingExtra
from ..models import resolve
from ..models.configured import Configured
from ..models.files.digests import remembered
from ..models.files.weights import tensors_sha256
from ..models.hardware import resolve_device
from ..models.transformers_models import TransformersTwoTowers
from ..records import EmbeddingSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 16
_PREPARED = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "preprocessor_config.json")


class ImageEmbedder(Configured):
    """Turns pictures, and the words they are looked for with, into vectors that lie close where they mean the same.

    Args:
        model: a folder, or a name on the hub: CLIP (``"openai/clip-vit-base-patch32"``), Chinese-CLIP
            (``"OFA-Sys/chinese-clip-vit-base-patch16"``), SigLIP, or another that ``transformers`` knows.
        device: ``"auto"``, or what torch calls it.
        offline: touch no network; None asks the environment.

    Raises:
        MissingExtra: Pillow is not installed.
        ModelNotFound, DownloadError: the model cannot be had.
        CheckpointError: it cannot be loaded, or has no vectors for pictures.
    """

    def __init__(self, model: str | Path, *, device: str | torch.device = "auto", offline: bool | None = None) -> None:
        if find_spec("PIL") is None:
            raise MissingExtra("pillow", "images", "reading pictures")
        self.name = str(model)
        self._path = resolve(model, offline=offline)
        self._towers = TransformersTwoTowers(self._path, device=resolve_device(device))

    @cached_property
    def space(self) -> EmbeddingSpace:
        """What decides whether vectors may be compared."""
        return EmbeddingSpace(
            model=self.name,
            weights=remembered("weights of both towers", self._path, lambda: tensors_sha256(self._towers.weights())),
            tokenizer=remembered("what prepares texts and pictures", self._path, self._prepared_sha256),
            pooling="image",
            normalize=True,
            dimension=self.embed_texts(["a"]).shape[1],
        )

    def _prepared_sha256(self) -> str:
        found = [self._path / name for name in _PREPARED]
        return hashlib.sha256(b"".join(file.read_bytes() for file in found if file.is_file())).hexdigest()

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``(n, dimension)`` float32, of length 1."""
        return self._embedded(self._towers.texts, texts)

    def embed_images(self, pictures: Sequence[bytes]) -> NDArray[np.float32]:
        """``(n, dimension)`` float32, of length 1, of PNG, JPEG, WebP or TIFF files: their bytes, their first pages.

        Raises:
            DocumentError: one is no picture, or has too many pixels.
        """
        return self._embedded(lambda some: self._towers.images([next(frames(data)) for data in some]), pictures)

    def _embedded(self, embed: Callable[[list[Any]], Tensor], things: Sequence[Any]) -> NDArray[np.float32]:
        waiting = iter(things)
        parts = []
        while some := list(islice(waiting, _BATCH)):
            parts.append(torch.nn.functional.normalize(embed(some), dim=1).numpy())
        return np.concatenate(parts) if parts else np.empty((0, self.space.dimension), np.float32)
