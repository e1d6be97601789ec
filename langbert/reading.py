"""Passages → Spans: the Reader points at the words that answer a question."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding

from .batching import computed
from .hardware import Precision, planned_threads, resolve_device, resolve_precision
from .models import resolve
from .models.span_reader import load_span_reader
from .models.tokenizer import TextTokenizer, windows
from .nn.packed import PackedBert
from .nn.span_reader import SpanReader
from .records import Progress, Span
from .retrieval import checked_question

__all__ = ["Reader", "passage_windows"]

_MAX_LENGTH = 384  # tokens of question and passage together (Devlin et al. 2019, §4.2, as released)
_OVERLAP = 128
_LONGEST = 30  # tokens of an answer
_TOP = 20  # starts and ends that are paired


class _Window(NamedTuple):
    """A stretch of a passage beside the question: tokens ``[start, stop)`` of passage ``passage``."""

    passage: int
    start: int
    stop: int
    ids: list[int]
    segments: list[int]


class Reader:
    """A BERT with a start and an end head: it answers in the passage's own words, or says how sure it is that it can't.

    Args:
        model: a catalogue name, a folder, or a name on the hub: our adapters, or a ``BertForQuestionAnswering``.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware multiplies it.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        offline: touch no network; None asks the environment.

    Raises:
        ModelNotFound, DownloadError, ChecksumError: the model cannot be had.
        CheckpointError: it cannot be loaded, or is no reader.
    """

    def __init__(
        self,
        model: str | Path = "minilm-reader",
        *,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        offline: bool | None = None,
    ) -> None:
        loaded = load_span_reader(resolve(model, offline=offline), offline=offline)
        tokenizer = TextTokenizer.from_folder(loaded.tokenizer)
        target = resolve_device(device)
        self._prepare(loaded.network, tokenizer, resolve_precision(precision, target), target, planned_threads(threads))
        self.name = str(model)
        self.calibration = loaded.calibration

    @classmethod
    def of(cls, network: SpanReader, tokenizer: TextTokenizer, device: torch.device) -> Reader:
        """A reader over a network that is being trained, in float32; later changes of the network do not reach it."""
        reader = cls.__new__(cls)
        reader._prepare(network, tokenizer, torch.float32, device, planned_threads(None))
        reader.name, reader.calibration = "in training", (1.0, 0.0)
        return reader

    def _prepare(
        self, network: SpanReader, tokenizer: TextTokenizer, dtype: torch.dtype, device: torch.device, threads: int
    ) -> None:
        self._packed = PackedBert(network.bert, dtype=dtype, device=device)
        self._weight = network.head.weight.detach().to(device, torch.float32)  # (2, H)
        self._bias = network.head.bias.detach().to(device, torch.float32)
        self._tokenizer = tokenizer
        self._device, self._threads = device, threads

    def read(
        self, question: str, passages: Sequence[str], *, top_n: int = 5, progress: Progress | None = None
    ) -> list[Span]:
        """The best span of each passage, best first, at most ``top_n``.

        Args:
            question: not blank.
            passages: any number, of any length: long ones are read in overlapping windows.
            progress: told how many more passages are read.

        Returns:
            spans with ``passages[span.passage][span.start:span.end] == span.text`` and a score in [0, 1]: how likely
            the span answers the question.

        Raises:
            QuestionError: the question is blank or not text.
        """
        question = checked_question(question)
        passages = [passages] if isinstance(passages, str) else list(passages)
        margins = self.margins([question] * len(passages), passages, progress=progress)
        slope, bias = self.calibration
        spans = [
            Span(passages[i][start:end], start, end, _sigmoid(slope * margin + bias), i)
            for i, (margin, start, end) in enumerate(margins)
            if end > start
        ]
        return sorted(spans, key=lambda span: -span.score)[:top_n]

    def margins(
        self, questions: Sequence[str], passages: Sequence[str], *, progress: Progress | None = None
    ) -> list[tuple[float, int, int]]:
        """For each pair the best span's margin over "no answer", and its character offsets.

        The margin is ``start + end`` logits of the span less those of the first token (§4.3); ``-inf, 0, 0`` where a
        passage has no token.
        """
        asked = self._tokenizer.encode(list(questions))
        read = self._tokenizer.encode(list(passages))
        spread = [
            window
            for i, (question, passage) in enumerate(zip(asked, read, strict=True))
            for window in self._windows(i, question, passage)
        ]
        best = [(-math.inf, 0, 0)] * len(passages)

        def work(batch: Sequence[int]) -> list[tuple[float, int, int]]:
            chosen = [spread[i] for i in batch]
            return [_best_span(logits, window) for logits, window in zip(self._logits(chosen), chosen, strict=True)]

        lengths = [len(window.ids) for window in spread]
        for batch, found in computed(work, lengths, self._device.type, self._threads):
            for i, (margin, first, last) in zip(batch, found, strict=True):
                passage = spread[i].passage
                if margin > best[passage][0]:
                    offsets = read[passage].offsets
                    best[passage] = (margin, offsets[first][0], offsets[last][1])
            if progress is not None:
                progress(len({spread[i].passage for i in batch}))
        return best

    def _windows(self, number: int, question: Encoding, passage: Encoding) -> Iterator[_Window]:
        question_ids = question.ids[: _MAX_LENGTH // 2]
        for start, stop in passage_windows(passage, _MAX_LENGTH - self._tokenizer.n_pair_special - len(question_ids)):
            pair = self._tokenizer.pair(question_ids, passage.ids[start:stop])
            yield _Window(number, start, stop, pair.ids, pair.segments)

    def _logits(self, batch: Sequence[_Window]) -> list[NDArray[np.float32]]:
        """``(T, 2)`` for each window."""
        hidden = self._packed([window.ids for window in batch], [window.segments for window in batch])
        logits = torch.nn.functional.linear(hidden.float(), self._weight, self._bias).cpu().numpy()
        return np.split(logits, np.cumsum([len(window.ids) for window in batch])[:-1])

    def __repr__(self) -> str:
        return f"Reader({self.name!r}, device={str(self._device)!r})"


def passage_windows(passage: Encoding, room: int) -> Iterator[tuple[int, int]]:
    """Where a passage is cut into windows of at most ``room`` tokens: token offsets, overlapping."""
    if not passage.ids:
        return
    overlap = min(_OVERLAP, room // 3)
    for window in windows(range(len(passage.ids)), passage.word_ids, room, overlap=overlap):
        yield window[0], window[-1] + 1


def _best_span(logits: NDArray[np.float32], window: _Window) -> tuple[float, int, int]:
    """The best span in a window, as passage tokens ``first`` and ``last``, and its margin over "no answer"."""
    n_tokens = window.stop - window.start
    offset = len(window.ids) - 1 - n_tokens  # the passage is followed by one [SEP]
    starts, ends = logits[offset : offset + n_tokens, 0], logits[offset : offset + n_tokens, 1]
    top_starts, top_ends = np.argsort(-starts)[:_TOP], np.argsort(-ends)[:_TOP]
    scores = starts[top_starts][:, None] + ends[top_ends][None, :]  # (≤ 20, ≤ 20)
    lengths = top_ends[None, :] - top_starts[:, None]
    scores = np.where((lengths >= 0) & (lengths < _LONGEST), scores, -np.inf)
    i, j = np.unravel_index(int(scores.argmax()), scores.shape)
    margin = float(scores[i, j]) - float(logits[0].sum())
    if not math.isfinite(margin):  # no start before an end among the best: take the best token
        token = int((starts + ends).argmax())
        return float(starts[token] + ends[token] - logits[0].sum()), window.start + token, window.start + token
    return margin, window.start + int(top_starts[i]), window.start + int(top_ends[j])


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
