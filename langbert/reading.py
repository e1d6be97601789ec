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

from .models import resolve
from .models.batching import computed
from .models.bert.packed import PackedBert
from .models.bert.span_reader import SpanReader
from .models.bert.span_reader_folder import load_span_reader
from .models.files.tokenizer import TextTokenizer, windows
from .models.hardware import Precision, planned_threads, resolve_device, resolve_precision
from .models.log_odds import sigmoid
from .records import Progress, Span
from .retrieval import checked_question

__all__ = ["ReadSpan", "Reader", "passage_windows"]

_MAX_LENGTH = 384  # tokens of question and passage together (Devlin et al. 2019, §4.2, as released)
_OVERLAP = 128
_LONGEST = 30  # tokens of an answer
_TOP = 20  # starts and ends that are paired


class ReadSpan(NamedTuple):
    """A span of a passage, in characters, and how sure the reader is of it.

    Attributes:
        margin: its logits less those of the first token, which stands for "no answer" (Devlin et al. 2019, §4.3).
        logits: of its start and its end together: what compares spans of different passages best.
    """

    margin: float
    start: int
    end: int
    logits: float


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
            Span(passages[i][start:end], start, end, sigmoid(slope * margin + bias), i)
            for i, (margin, start, end) in enumerate(margins)
            if end > start
        ]
        return sorted(spans, key=lambda span: -span.score)[:top_n]

    def margins(
        self, questions: Sequence[str], passages: Sequence[str], *, progress: Progress | None = None
    ) -> list[tuple[float, int, int]]:
        """For each pair the best span's margin over "no answer", and its character offsets.

        ``-inf, 0, 0`` where a passage has no token.
        """
        found = self.best_spans(questions, passages, 1, progress=progress)
        return [spans[0][:3] if spans else (-math.inf, 0, 0) for spans in found]

    def best_spans(
        self,
        questions: Sequence[str],
        passages: Sequence[str],
        n: int,
        *,
        headings: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> list[list[ReadSpan]]:
        """For each pair the ``n`` spans with the highest margins, best first.

        They may overlap. Of a passage read in several windows the same span counts once, with its best margin. The
        list is empty where a passage has no token.

        Args:
            headings: what each passage stands under: read before every window of it, never answered with.
        """
        asked = self._encoded(questions)
        read = self._encoded(passages)
        above = self._encoded(headings if headings is not None else [""] * len(passages))
        spread = [
            window
            for i, (question, heading, passage) in enumerate(zip(asked, above, read, strict=True))
            for window in self._windows(i, question, heading, passage)
        ]
        best: list[dict[tuple[int, int], ReadSpan]] = [{} for _ in passages]

        def work(batch: Sequence[int]) -> list[list[ReadSpan]]:
            chosen = [spread[i] for i in batch]
            return [_best_spans(logits, window, n) for logits, window in zip(self._logits(chosen), chosen, strict=True)]

        lengths = [len(window.ids) for window in spread]
        for batch, found in computed(work, lengths, self._device.type, self._threads):
            for i, spans in zip(batch, found, strict=True):
                passage = spread[i].passage
                offsets = read[passage].offsets
                for margin, first, last, sum_ in spans:
                    span = ReadSpan(margin, offsets[first][0], offsets[last][1], sum_)
                    known = best[passage].setdefault(span[1:3], span)
                    best[passage][span[1:3]] = max(known, span)
            if progress is not None:
                progress(len({spread[i].passage for i in batch}))
        return [sorted(spans.values(), reverse=True)[:n] for spans in best]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        """Each text tokenised; one that comes up many times (the question, beside each passage) only once."""
        different = list(dict.fromkeys(texts))
        encoded = dict(zip(different, self._tokenizer.encode(different), strict=True))
        return [encoded[text] for text in texts]

    def _windows(self, number: int, question: Encoding, heading: Encoding, passage: Encoding) -> Iterator[_Window]:
        question_ids, heading_ids = question.ids[: _MAX_LENGTH // 2], heading.ids[-_MAX_LENGTH // 4 :]
        room = _MAX_LENGTH - self._tokenizer.n_pair_special - len(question_ids) - len(heading_ids)
        for start, stop in passage_windows(passage, room):
            pair = self._tokenizer.pair(question_ids, heading_ids + passage.ids[start:stop])
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


def _best_spans(logits: NDArray[np.float32], window: _Window, n: int) -> list[ReadSpan]:
    """The ``n`` best spans in a window, in tokens of the passage: the first, and the last itself."""
    n_tokens = window.stop - window.start
    offset = len(window.ids) - 1 - n_tokens  # the passage is followed by one [SEP]
    starts, ends = logits[offset : offset + n_tokens, 0], logits[offset : offset + n_tokens, 1]
    top_starts, top_ends = np.argsort(-starts)[:_TOP], np.argsort(-ends)[:_TOP]
    scores = starts[top_starts][:, None] + ends[top_ends][None, :]  # (≤ 20, ≤ 20)
    lengths = top_ends[None, :] - top_starts[:, None]
    allowed = np.argwhere((lengths >= 0) & (lengths < _LONGEST))
    order = np.argsort(-scores[tuple(allowed.T)], kind="stable")[:n]
    places = [(int(top_starts[i]), int(top_ends[j])) for i, j in allowed[order]]
    # no start before an end among the best: take the best token
    places = places or [(int((starts + ends).argmax()),) * 2]
    none = float(logits[0].sum())
    sums = [float(starts[first]) + float(ends[last]) for first, last in places]
    return [
        ReadSpan(total - none, window.start + first, window.start + last, total)
        for total, (first, last) in zip(sums, places, strict=True)
    ]
