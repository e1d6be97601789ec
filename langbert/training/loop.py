"""The loop, one for every objective: batches, loss, gradient, step; measured, saved, resumable.

Everything random is a function of the seed and the step, or is saved with the state, so a run that was killed goes on
from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..errors import DataError, LangbertError, MissingExtra
from ..files import install, replacing, sweep
from ..models.files.json_files import read_json, write_json
from ..models.hardware import resolve_precision
from .adapters import adapt
from .batching import batches_from, epoch_batches
from .recording import CARD, Recorder, write_card, write_curve
from .settings import Step, TrainReport, TrainSettings
from .task import Batch, Task

_KEPT = 2  # checkpoints to resume from
_RUN = "run.json"  # of a checkpoint, and of a finished run: how it stands, and with what settings


def run(
    task: Task,
    output: str | Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
    watch: Callable[[Step], None] | None = None,
) -> TrainReport:
    """Train ``task`` and leave the best model in ``output/model``.

    Beside it: ``metrics.csv``, ``tensorboard/``, ``learning-curve.png``, and ``checkpoints/`` to resume from.

    Args:
        resume: go on from the newest checkpoint in ``output``, or, where the run is finished, only report what it
            came to; settings must be the same.
        watch: hears of every step.

    Raises:
        DataError: there is nothing to train on.
        LangbertError: the loss is no longer a number (the last good checkpoint is kept), ``output`` is in use
            by another run, or the settings are not those of the run.
    """
    return _Run(task, Path(output), settings, watch or (lambda step: None)).go(resume)


class _Run:
    def __init__(self, task: Task, output: Path, settings: TrainSettings, watch: Callable[[Step], None]) -> None:
        try:
            from accelerate import Accelerator
            from accelerate.state import AcceleratorState
            from accelerate.utils import set_seed
        except ImportError as error:
            raise MissingExtra("accelerate", "train", "training") from error
        if len(task) == 0:
            raise DataError("there are no training examples")
        set_seed(settings.seed)
        self.task, self.output, self.settings, self.watch = task, output, settings, watch
        self.checkpoints = output / "checkpoints"
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        bfloat16 = resolve_precision(settings.precision, device) == torch.bfloat16
        AcceleratorState._reset_state()  # else a process could train in one precision only, ever
        self.accelerator: Any = Accelerator(mixed_precision="bf16" if bfloat16 else "no")
        network = task.network
        if settings.dropout is not None:
            _set_dropout(network, settings.dropout)
        if settings.gradient_checkpointing:
            _recompute_layers(network)
        if settings.lora is None and task.start is not None:
            raise LangbertError(f"{task.start} holds adapters: train them further with lora settings (--lora)")
        if settings.lora is not None:
            network = adapt(network, settings.lora, task.heads, start=task.start)
        self.optimizer: Any = torch.optim.AdamW(_groups(network, settings.weight_decay), lr=settings.learning_rate)
        self.network: Any
        self.network, self.optimizer = self.accelerator.prepare(network, self.optimizer)
        self.lengths = task.lengths()
        per_epoch = len(epoch_batches(self.lengths, settings.batch_size, settings.seed, 0))
        world = self.accelerator.num_processes * settings.accumulation
        steps = max(1, math.ceil(settings.epochs * per_epoch / world))
        self.total = min(steps, settings.max_steps or steps)
        self.step = 0
        self.best: dict[str, float] = {}
        self.loss = math.nan

    def go(self, resume: bool) -> TrainReport:
        self.output.mkdir(parents=True, exist_ok=True)
        newest = self._newest()
        done = (self.output / _RUN).is_file() or (newest is None and (self.output / "model" / CARD).is_file())
        if (done or newest is not None) and not resume:
            raise LangbertError(
                f"{self.output} holds a run already; resume it (resume=True, --resume) or name another folder"
            )
        if done:
            return self._finished()
        if newest is not None:
            self._restore(newest)
        if self.accelerator.is_main_process:
            sweep(self.output, idle=0)
        started = time.perf_counter()
        with Recorder(self.output, self.step) if self.accelerator.is_main_process else nullcontext() as recorder:
            for step in self._steps(started):
                if recorder is not None:
                    recorder.write(step)
                    self.watch(step)
        seconds = time.perf_counter() - started
        report = TrainReport(self.output / "model", self.step, self.loss, self.best, seconds)
        if self.accelerator.is_main_process:
            write_curve(self.output, self.task.metric)
            write_card(self.task, self.settings, report)
            state = {**asdict(report), "folder": None, "settings": self.settings.to_dict()}
            with replacing(self.output / _RUN) as file:
                write_json(state, file)
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        return report

    def _finished(self) -> TrainReport:
        """The report of the run that ``output`` holds to its end: there is nothing left to do."""
        if not (self.output / _RUN).is_file():
            raise LangbertError(f"{self.output} holds a finished run: to train anew, name another folder")
        state = read_json(self.output / _RUN)
        self._require_same(state.pop("settings"), self.output)
        return TrainReport(**{**state, "folder": self.output / "model"})

    def _steps(self, started: float) -> Iterator[Step]:
        """Optimise, measure, save; a step is told of when all that is due at it is done."""
        tokens = 0
        self.network.train()
        batches = self._batches()
        while self.step < self.total:
            rate = self.settings.learning_rate_at(self.step, self.total)
            loss, seen = self._optimise(batches, rate)
            tokens += seen
            self.step += 1
            metrics = self._measure() if self._due(self.settings.eval_every) or self.step == self.total else {}
            if self._due(self.settings.save_every) and self.step < self.total:
                self._save()
            yield Step(self.step, self.total, loss, rate, tokens, time.perf_counter() - started, metrics)

    def _batches(self) -> Any:
        """This process's share of the batches, from where the run stands."""
        ours, world = self.accelerator.process_index, self.accelerator.num_processes
        first = self.step * self.settings.accumulation * world
        numbered = batches_from(self.lengths, self.settings.batch_size, self.settings.seed, first)
        return ((number, batch) for number, batch in numbered if number % world == ours)

    def _optimise(self, batches: Any, rate: float) -> tuple[float, int]:
        """One optimiser step: the mean loss and the number of tokens."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, tokens = 0.0, 0
        for _ in range(self.settings.accumulation):
            number, examples = next(batches)
            batch = self.task.collate(examples, seed=hash((self.settings.seed, number)))
            tokens += int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["token_ids"].numel()
            loss = self._loss({name: tensor.to(self.accelerator.device) for name, tensor in batch.items()})
            self.accelerator.backward(loss / self.settings.accumulation)
            total += float(loss.detach()) / self.settings.accumulation
        if not math.isfinite(total):
            kept = self._newest()
            where = f"the checkpoint of {kept.name} is kept" if kept else "no checkpoint was due yet"
            raise LangbertError(
                f"the loss is {total} at step {self.step + 1}; {where}. "
                "A lower learning rate, more warm-up or float32 usually helps"
            )
        self.accelerator.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.loss = total
        return total, tokens

    def _loss(self, batch: Batch) -> torch.Tensor:
        with self.accelerator.autocast():
            return self.task.loss(self.network, batch)

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _measure(self) -> dict[str, float]:
        """Evaluate; keep the model if it is the best so far."""
        network: nn.Module = self.accelerator.unwrap_model(self.network)
        network.eval()
        with torch.no_grad():
            metrics = self.task.evaluate(network, self.accelerator.device)
        sign = 1 if self.task.higher_is_better else -1
        name = self.task.metric
        if not self.best or not metrics or sign * metrics[name] > sign * self.best[name]:
            self.best = metrics
            if self.accelerator.is_main_process:
                with replacing(self.output / "model") as fresh:
                    fresh.mkdir()
                    self.task.save(network, fresh)
        self.network.train()
        return metrics

    def _save(self) -> None:
        """A checkpoint, whole or not at all; every process adds its own random state to it."""
        main, wait = self.accelerator.is_main_process, self.accelerator.wait_for_everyone
        target = self.checkpoints / f"step-{self.step:08d}"
        fresh = target.with_name(f".{target.name}.new")
        if main:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
        wait()
        self.accelerator.save_state(str(fresh))
        wait()
        if main:
            write_json({"step": self.step, "best": self.best, "settings": self.settings.to_dict()}, fresh / _RUN)
            install(fresh, target)
            for old in sorted(self.checkpoints.glob("step-*"))[:-_KEPT]:
                shutil.rmtree(old)
        wait()

    def _newest(self) -> Path | None:
        return max(self.checkpoints.glob("step-????????"), default=None)

    def _restore(self, checkpoint: Path) -> None:
        state = read_json(checkpoint / _RUN)
        self._require_same(state["settings"], checkpoint)
        self.accelerator.load_state(str(checkpoint))
        self.step, self.best = state["step"], state["best"]

    def _require_same(self, then: dict[str, Any], where: Path) -> None:
        now = self.settings.to_dict()
        changed = [key for key in now if key != "save_every" and _plain(now[key]) != _plain(then.get(key))]
        if changed:
            raise LangbertError(f"{where} was made with other settings ({', '.join(changed)}): resume with the same")


def _plain(value: Any) -> Any:
    """As it comes back from JSON: tuples are lists there."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _set_dropout(network: nn.Module, chance: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = chance
        elif isinstance(getattr(module, "dropout", None), float):  # attention drops weights, not activations
            setattr(module, "dropout", chance)  # noqa: B010 - the type checker knows submodules only


def _recompute_layers(network: nn.Module) -> None:
    for layers in (module for module in network.modules() if isinstance(module, nn.ModuleList)):
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors (biases and norms) do not (Devlin et al. 2019, released code)."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
