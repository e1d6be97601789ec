"""Passages → Spans: the Reader points at the words that answer a question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor

from .log_odds import sigmoid
from .models import resolve
from .models.bert.loading import ReaderCheckpoint
from .models.configured import Configured
from .models.encoder import load_span_scorer
from .models.files.tokenizer import windows
from .models.hardware import EncoderPrecision, encoder_dtype, planned_threads, resolve_device
from .models.runner import Runner, Window
from .records import Progress, Span
from .text.question import checked_question

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


class Reader(Configured):
    """A BERT with a start and an end head: it answers in the passage's own words, or says how sure it is that it can't.

    Args:
        model: a catalogue name, a folder, or a name on the hub: our adapters, or a ``BertForQuestionAnswering``; or
            what was loaded of one, whose weights are copied.
        precision: ``"float32"``, ``"bfloat16"``, ``"int8"``, or ``"auto"``: bfloat16 where the hardware multiplies it,
            else int8 for a BERT on a CPU that stays as close as :class:`~langbert.Embedder` asks, else float32.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        offline: touch no network; None asks the environment.

    Raises:
        ModelNotFound, DownloadError, ChecksumError: the model cannot be had.
        CheckpointError: it cannot be loaded, or is no reader.
    """

    def __init__(
        self,
        model: str | Path | ReaderCheckpoint = "minilm-reader",
        *,
        precision: EncoderPrecision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        offline: bool | None = None,
    ) -> None:
        self.name = "a checkpoint in memory" if isinstance(model, ReaderCheckpoint) else str(model)
        self._device = resolve_device(device)
        self._scorer = load_span_scorer(
            model if isinstance(model, ReaderCheckpoint) else resolve(model, offline=offline),
            dtype=encoder_dtype(precision, self._device),
            device=self._device,
            offline=offline,
        )
        self.calibration = self._scorer.calibration
        self._runner = Runner(self._scorer.states, self._device, planned_threads(threads))
        self._tokenizer = self._scorer.tokenizer

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
        encode = self._tokenizer.encode_repeated
        asked, read = encode(questions), encode(passages)
        above = encode(headings if headings is not None else [""] * len(passages))
        cut = [list(self._windows(*texts)) for texts in zip(asked, above, read, strict=True)]

        def head(states: Tensor, batch: Sequence[int]) -> list[list[ReadSpan]]:
            logits = self._scorer.logits(states).cpu().numpy()
            ends = accumulate(len(window.ids) for i in batch for _, window in cut[i])
            parts = iter(np.split(logits, list(ends)[:-1]))
            return [_best_of(((next(parts), place) for place, _ in cut[i]), n) for i in batch]

        best: list[list[ReadSpan]] = [[] for _ in passages]
        for i, spans in self._runner.run([[window for _, window in own] for own in cut], head, progress=progress):
            offsets = read[i].offsets
            best[i] = [_in_characters(span, offsets, passages[i]) for span in spans]
        return best

    def _windows(self, question: Encoding, heading: Encoding, passage: Encoding) -> Iterator[tuple[slice, Window]]:
        """A passage's windows, each with the question before it, and which of its tokens they hold."""
        question_ids, heading_ids = question.ids[: _MAX_LENGTH // 2], heading.ids[-_MAX_LENGTH // 4 :]
        room = _MAX_LENGTH - self._tokenizer.n_pair_special - len(question_ids) - len(heading_ids)
        for cut in passage_windows(passage, room):
            yield cut, Window.whole(*self._tokenizer.pair(question_ids, heading_ids + passage.ids[cut]))

    def __repr__(self) -> str:
        return f"Reader({self.name!r}, device={str(self._device)!r})"


def _in_characters(span: ReadSpan, offsets: Sequence[tuple[int, int]], passage: str) -> ReadSpan:
    """A span of tokens in characters, without blanks at its ends: SentencePiece counts the blank before a word as its
    own."""
    start, end = offsets[span.start][0], offsets[span.end][1]
    words = passage[start:end]
    start += len(words) - len(words.lstrip())
    return span._replace(start=start, end=max(start, end - len(words) + len(words.rstrip())))


def passage_windows(passage: Encoding, room: int) -> Iterator[slice]:
    """The tokens of each window of at most ``room`` that a passage is cut into; they overlap. None of no tokens."""
    return windows(passage.word_ids, room, min(_OVERLAP, room // 3)) if passage.ids else iter(())


def _best_of(read: Iterable[tuple[NDArray[np.float32], slice]], n: int) -> list[ReadSpan]:
    """The ``n`` best spans of a passage, whose windows were read, in its tokens: the first, and the last itself.

    The same span in several windows counts once, with its best margin.
    """
    best: dict[tuple[int, int], ReadSpan] = {}
    for logits, place in read:
        for span in _best_spans(logits, place, n):
            best[span[1:3]] = max(best.get(span[1:3], span), span)
    return sorted(best.values(), reverse=True)[:n]


def _best_spans(logits: NDArray[np.float32], place: slice, n: int) -> list[ReadSpan]:
    """The ``n`` best spans in a window ``(T, 2)`` that holds the tokens ``place`` of a passage."""
    n_tokens = place.stop - place.start
    offset = len(logits) - 1 - n_tokens  # the passage is followed by one [SEP]
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
        ReadSpan(total - none, place.start + first, place.start + last, total)
        for total, (first, last) in zip(sums, places, strict=True)
    ]
