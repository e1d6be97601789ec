"""How to train, which is everything that is not the data and not the network, and how a run goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from ..models.hardware import Precision


class Bounds(NamedTuple):
    """The least and the most a number may be; None where there is no such bound."""

    least: float
    most: float | None = None


Count = Annotated[int, Bounds(1)]
Share = Annotated[float, Bounds(0, 1)]
Holdout = Annotated[float, Bounds(0, 0.5)]


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adaptation (Hu et al. 2021, "LoRA", §4.1): ``W + (alpha / rank) B A`` with W frozen.

    Attributes:
        targets: endings of the names of the linear layers to adapt.
        first_layer: layers below it stay as they are, and nothing is computed backwards through them.
    """

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.05
    targets: tuple[str, ...] = ("attention.qkv", "attention.output", "up", "down")
    first_layer: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be 1 or more, got {self.rank}")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings of one run; they go into its model card.

    Attributes:
        epochs: passes over the data; may be a fraction.
        batch_size: examples per optimiser step and process, before ``accumulation``.
        accumulation: forward passes summed into one optimiser step.
        learning_rate: at its peak; from there it falls linearly to 0.
        warmup: the share of all steps in which the learning rate rises linearly to its peak.
        weight_decay: of matrices; biases and norms are never decayed.
        clip: the largest norm of the gradient.
        precision: of the forward pass; ``auto`` is bfloat16 autocast where the hardware multiplies it.
        seed: of weights, order, masks and dropout.
        eval_every: steps between evaluations; 0 evaluates at the end only.
        save_every: steps between checkpoints to resume from; 0 keeps none.
        max_steps: stop after so many steps, whatever ``epochs`` says.
        gradient_checkpointing: keep only each layer's input and compute the rest again on the way back (Chen et al.
            2016): a third more time, memory for one layer instead of all.
        dropout: everywhere in the network; None leaves it as its configuration has it. 0 trains about twice as fast
            on a CPU, and one pass over much data needs no more.
        lora: train adapters and heads only; None trains every weight.
    """

    epochs: float = 1.0
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 5e-5
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: Precision = "auto"
    seed: int = 0
    eval_every: int = 0
    save_every: int = 200
    max_steps: int | None = None
    gradient_checkpointing: bool = False
    dropout: float | None = None
    lora: LoraSettings | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "learning_rate", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        for name in ("warmup", "weight_decay", "eval_every", "save_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """For the model card and for comparing a resumed run with its checkpoint."""
        return asdict(self)

    def learning_rate_at(self, step: int, total: int) -> float:
        """The learning rate of step ``step`` (from 0) of ``total``."""
        rising = max(1, round(self.warmup * total))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * max(0.0, (total - step) / max(1, total - rising))


@dataclass(frozen=True, slots=True)
class Step:
    """Where a run stands after an optimiser step; tokens and seconds since the run (re)started."""

    number: int
    total: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """How a run ended: ``metrics`` are those of the kept (best) model, which lies in ``folder``."""

    folder: Path
    steps: int
    loss: float
    metrics: dict[str, float]
    seconds: float
