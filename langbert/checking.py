"""A claim against a text: the Checker says whether it follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError
from .models import resolve
from .models.bert.evidence import ROWS, is_evidence
from .models.configured import Configured
from .models.encoder import load_evidence
from .models.files.adapters import base_of
from .models.files.tokenizer import TextTokenizer, windows
from .models.hardware import EncoderPrecision, encoder_dtype, planned_threads, resolve_device
from .models.runner import Runner, Window
from .records import Entailment, Progress


class Checker(Configured):
    """A BERT over pairs of texts (Devlin et al. 2019, §4.1): does the hypothesis follow from the premise?

    A premise over the limit is read in overlapping windows, of which the one that speaks loudest counts: the least
    neutral.

    Args:
        model: a catalogue name or a folder with adapters that have an entailment head.
        precision: ``"float32"``, ``"bfloat16"``, ``"int8"``, or ``"auto"``: bfloat16 where the hardware multiplies it,
            else int8 for a BERT on a CPU that stays as close as :class:`~langbert.Embedder` asks, else float32.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        offline: touch no network; None asks the environment.

    Raises:
        ModelNotFound, DownloadError, ChecksumError: the model cannot be had.
        CheckpointError: it cannot be loaded, or has no entailment head.
    """

    def __init__(
        self,
        model: str | Path = "e5-checker",
        *,
        precision: EncoderPrecision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        offline: bool | None = None,
    ) -> None:
        self.name = str(model)
        target = resolve_device(device)
        folder = resolve(model, offline=offline)
        if not is_evidence(folder):
            raise CheckpointError(f"{folder}: has no entailment head; expected what `langbert train evidence` makes")
        base = base_of(folder, offline=offline)
        states = load_evidence(folder, base, dtype=encoder_dtype(precision, target), device=target)
        self.max_length = states.max_length
        self._runner = Runner(states, target, planned_threads(threads))
        self._tokenizer = TextTokenizer.from_folder(base)

    def check(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> list[Entailment]:
        """How each hypothesis stands to its premise.

        Args:
            pairs: premise and hypothesis, each of any length; of a hypothesis over half of ``max_length`` the end is
                not read.
            progress: told how many more pairs are read.

        Returns:
            one for each pair, in order.
        """
        encode = self._tokenizer.encode_repeated
        premises, hypotheses = encode([premise for premise, _ in pairs]), encode([claim for _, claim in pairs])
        space = self.max_length - self._tokenizer.n_pair_special
        cut: list[list[Window]] = []
        for premise, hypothesis in zip(premises, hypotheses, strict=True):
            claim = hypothesis.ids[: space // 2]
            room = space - len(claim)
            places = windows(premise.word_ids, room, overlap=room // 4)
            cut.append([Window.first_token(*self._tokenizer.pair(premise.ids[place], claim)) for place in places])

        def head(rows: Tensor, batch: Sequence[int]) -> list[Entailment]:
            chances = torch.softmax(rows[:, ROWS.ENTAILMENT], dim=1)
            own = torch.split(chances, [len(cut[i]) for i in batch])
            return [Entailment(*some[some[:, 1].argmin()].tolist()) for some in own]

        checked: dict[int, Entailment] = dict(self._runner.run(cut, head, progress=progress))
        return [checked[i] for i in range(len(pairs))]

    def __repr__(self) -> str:
        return f"Checker({self.name!r}, max_length={self.max_length})"
