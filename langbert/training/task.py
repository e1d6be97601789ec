"""What the loop needs to know of an objective: a Task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .settings import TrainSettings

SCRATCH = "scratch"
"""The ``base`` that stands for none: a new network."""

Batch = dict[str, Tensor]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fresh weights made in here are a function of ``seed``; torch's own random state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class Task(ABC):
    """Examples, a network and a loss. The loop decides when; the task decides what.

    Attributes:
        name: as in ``langbert train NAME``.
        metric: the key of :meth:`evaluate` by which the best checkpoint is chosen.
        higher_is_better: of that metric.
        heads: names of submodules that are trained whole even when the rest is adapted by LoRA.
        start: a folder of adapters and heads from which training with LoRA goes on; None begins anew.
        defaults: what to train with where the user says nothing.
    """

    name: ClassVar[str]
    metric: str
    higher_is_better: bool = True
    heads: ClassVar[tuple[str, ...]] = ()
    start: Path | None = None
    defaults: ClassVar[TrainSettings] = TrainSettings()
    network: nn.Module

    def __len__(self) -> int:
        """How many training examples there are."""
        return len(self.lengths())

    @abstractmethod
    def lengths(self) -> Sequence[int]:
        """Tokens in each example; batches are made of examples of like length."""

    @abstractmethod
    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        """One batch. Whatever is random in it comes from ``seed`` alone, so that a resumed run sees the same."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of a batch, a scalar."""

    @abstractmethod
    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Metrics on the held-out part; empty if there is none."""

    @abstractmethod
    def save(self, network: nn.Module, folder: Path) -> None:
        """Write the trained model into the empty ``folder``, so that langbert (and others) can load it."""

    @classmethod
    def settings_for(cls, options: Mapping[str, Any]) -> TrainSettings:
        """What to train with where the user says nothing, given the keywords of the task."""
        return cls.defaults

    def facts(self) -> Mapping[str, Any]:
        """What the model card says of data and network."""
        return {}
