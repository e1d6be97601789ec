"""Candidates in a better order: the Reranker, which reads question and passage together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .errors import QuestionError
from .models import resolve
from .models.configured import Configured
from .models.encoder import load_pair_scorer
from .models.files.adapters import base_of
from .models.files.tokenizer import TextTokenizer, windows
from .models.hardware import EncoderPrecision, encoder_dtype, planned_threads, resolve_device
from .models.runner import Runner, Window, checked_texts
from .records import Candidate, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("langbert")


class Reranker(Configured):
    """A cross-encoder: slower than comparing vectors, and better, because the question meets every word of a passage.

    Passages over the limit are read in overlapping windows; the best window counts. A pair has the same score alone
    and in any batch.

    Args:
        model: a catalogue name, a folder, or a name on the hub: a cross-encoder with one label.
        precision: ``"float32"``, ``"bfloat16"``, ``"int8"``, or ``"auto"``: bfloat16 where the hardware multiplies it,
            else int8 for a BERT on a CPU that stays as close as :class:`~langbert.Embedder` asks, else float32.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        max_length: tokens of question and passage together, special tokens included.
        offline: touch no network; None asks the environment.
        trust_remote_code: let transformers run the code a checkpoint brings along. Read that code first.

    Raises:
        ModelNotFound, DownloadError, ChecksumError: the model cannot be had.
        CheckpointError: it cannot be loaded, or is no cross-encoder with one label.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        model: str | Path = "minilm-reranker",
        *,
        precision: EncoderPrecision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        offline: bool | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.name = str(model)
        self._device = resolve_device(device)
        folder = resolve(model, offline=offline)
        base = base_of(folder, offline=offline)
        self._scorer = load_pair_scorer(
            folder,
            base,
            dtype=encoder_dtype(precision, self._device),
            device=self._device,
            trust_remote_code=trust_remote_code,
        )
        self.precision = self._scorer.dtype
        self._runner = Runner(self._scorer.states, self._device, planned_threads(threads))
        self._tokenizer = TextTokenizer.from_folder(base, trust_remote_code=trust_remote_code)
        most = self._scorer.max_length
        limits = [n for n in (self._tokenizer.model_max_length, most) if n is not None]
        self.max_length = max_length if max_length is not None else min(limits, default=512)
        least = self._tokenizer.n_pair_special + 8
        if self.max_length < least or (most is not None and self.max_length > most):
            raise ValueError(
                f"max_length {self.max_length} is out of range: {self.name} takes {least} to "
                f"{most or 'any number of'} tokens"
            )

    def score(self, question: str, passages: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """How well each passage answers the question.

        Args:
            question: not blank. If it fills more than half of ``max_length``, its end is cut, and that is logged.
            passages: any number, of any length.
            progress: called with how many more passages are read.

        Returns:
            ``(n,)`` float32 in [0, 1], in the order of ``passages``.

        Raises:
            QuestionError: the question is blank.
            TypeError: ``passages`` is not a sequence of strings.
        """
        passages = _checked(question, passages)
        pairs = self._pairs(question, passages)

        def head(first_tokens: Tensor, batch: Sequence[int]) -> list[float]:
            scores = torch.sigmoid(self._scorer.logits(first_tokens))
            return [float(own.max()) for own in torch.split(scores, [len(pairs[i]) for i in batch])]

        scores = np.zeros(len(passages), dtype=np.float32)
        for i, score in self._runner.run(pairs, head, progress=progress):
            scores[i] = score
        return scores

    def rerank(
        self,
        question: str,
        candidates: Sequence[Candidate],
        top_n: int | None = None,
        min_score: float | None = None,
    ) -> list[Candidate]:
        """The candidates by how well they answer the question, best first.

        Args:
            question: as in :meth:`score`.
            candidates: whose chunks are read under their heading path; they stay as they are.
            top_n: keep at most so many.
            min_score: keep only those that score at least so much, in [0, 1].

        Returns:
            new candidates: ``score`` is the reranker's, and stands in ``scores["reranker"]`` beside the earlier ones.
        """
        if top_n is not None and top_n < 0:
            raise ValueError(f"top_n must be 0 or more, got {top_n}")
        scores = self.score(question, [candidate.chunk.contextual_text for candidate in candidates]).tolist()
        rescored = [
            replace(candidate, score=score, scores={**candidate.scores, "reranker": score})
            for candidate, score in zip(candidates, scores, strict=True)
            if min_score is None or score >= min_score
        ]
        return sorted(rescored, key=lambda candidate: -candidate.score)[:top_n]

    def __repr__(self) -> str:
        return f"Reranker({self.name!r}, max_length={self.max_length}, device={str(self._device)!r})"

    def _pairs(self, question: str, passages: Sequence[str]) -> list[list[Window]]:
        """Every window of each passage beside the question, for the state of its first token."""
        asked, *read = self._tokenizer.encode([question, *passages])
        space = self.max_length - self._tokenizer.n_pair_special
        question_ids = asked.ids[: space // 2]
        if len(question_ids) < len(asked.ids):
            log.warning("the question has %d tokens; only the first %d are read", len(asked.ids), len(question_ids))
        room = space - len(question_ids)
        return [
            [
                Window.first_token(*self._tokenizer.pair(question_ids, passage.ids[cut]))
                for cut in windows(passage.word_ids, room, overlap=room // 4)
            ]
            for passage in read
        ]


def _checked(question: str, passages: Sequence[str]) -> list[str]:
    if not isinstance(question, str):
        raise QuestionError(f"the question is {type(question).__name__}, expected str")
    if not question.strip():
        raise QuestionError("the question is blank; ask something")
    return checked_texts(passages, "passage")
