"""Texts → Entities: the Tagger labels every word and joins those that name one thing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import require_choice
from ..models import resolve
from ..models.architectures.recurrent import PreparedRecurrent, RecurrentEncoder
from ..models.bert.inference import PreparedBert
from ..models.bert.loading import TaggerCheckpoint, WordKind, load_tagger, sequence_length
from ..models.configured import Configured
from ..models.files.tokenizer import TextTokenizer, windows
from ..models.hardware import Precision, planned_threads, resolve_device, resolve_precision
from ..models.runner import Runner, Window, checked_texts
from ..records import Progress
from ..text.scripts import HAN

_OUTSIDE = "O"
_TAG = re.compile(r"([BIMESLU])-(.+)", re.DOTALL)

_LETTERS = rf"(?:[^\W{HAN}]|[\u0300-\u036f])+"  # digits too, and accents that stand by themselves
_CLITIC = r"['’](?:s|S)\b"  # John's is two words in the corpora
_WORDS: Mapping[WordKind, re.Pattern[str]] = {
    "words": re.compile(
        rf"[{HAN}]"
        rf"|(?:[^\W\d_{HAN}]\.){{2,}}"  # U.S.
        rf"|{_LETTERS}(?:(?:(?<=\d)[.,:/](?=\d)|(?!{_CLITIC})['’&-]){_LETTERS})*"  # 3,000 O'Brien well-known
        rf"|{_CLITIC}"
        r"|\S"
    ),
    "characters": re.compile(r"\S"),
}


@dataclass(frozen=True, slots=True)
class Entity:
    """Words that name one thing: ``given_text[start:end] == text``.

    Attributes:
        label: its type (``"PER"``); where tags are no entity tags, a word's tag (``"NOUN"``).
        score: the mean probability of its words' tags.
    """

    text: str
    label: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON, the score to four places; without a label where there is none."""
        return {key: value for key, value in {**asdict(self), "score": round(self.score, 4)}.items() if value != ""}


class Tagger(Configured):
    """A BERT (Devlin et al. 2019, §5.3) or a recurrent network (Huang et al. 2015) that labels words: names of people
    and places, parts of speech.

    A word is labelled at its first piece. Long texts are read in overlapping windows, each word where it has the most
    around it.

    Args:
        model: a folder, or a name on the hub: what :class:`~langbert.training.tagger.TaggerTask` saved, or any
            ``BertForTokenClassification``; or what was loaded of one, whose weights are copied.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware multiplies it.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        max_length: tokens of one window, special tokens included; None is what the model was trained with.
        words: what is labelled; None is what the model was trained with.
        offline: touch no network; None asks the environment.

    Attributes:
        labels: the tags, in the order of the logits.

    Raises:
        ModelNotFound, DownloadError: the model cannot be had.
        CheckpointError: it cannot be loaded, or is no tagger.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        model: str | Path | TaggerCheckpoint,
        *,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        words: WordKind | None = None,
        offline: bool | None = None,
    ) -> None:
        if words is not None:
            require_choice("words", words, _WORDS)
        loaded = model if isinstance(model, TaggerCheckpoint) else load_tagger(resolve(model, offline=offline))
        self.name = "a checkpoint in memory" if isinstance(model, TaggerCheckpoint) else str(model)
        self.labels = loaded.labels
        self.words: WordKind = words or loaded.words
        encoder = loaded.network.encoder
        self.max_length = sequence_length(max_length, loaded.tokenizer, encoder.config.max_positions)
        self._device = resolve_device(device)
        dtype = resolve_precision(precision, self._device)
        prepared: PreparedBert | PreparedRecurrent = (
            PreparedRecurrent(encoder, dtype=dtype, device=self._device)
            if isinstance(encoder, RecurrentEncoder)
            else PreparedBert(encoder, dtype=dtype, device=self._device)
        )
        self._runner = Runner(prepared, self._device, planned_threads(threads))
        self._weight = loaded.network.head.weight.detach().to(self._device, torch.float32)  # (n_labels, H)
        self._bias = loaded.network.head.bias.detach().to(self._device, torch.float32)
        self._tokenizer = loaded.tokenizer

    def predict(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[list[Entity]]:
        """The entities of each text, in order of appearance.

        Where the tags are no entity tags (``B-…``, ``I-…``), every word is one, except those tagged ``O``.

        Args:
            texts: any number, of any length, in any language.
            progress: told how many more texts are done.

        Raises:
            TypeError: ``texts`` is not a sequence of strings.
        """
        texts = checked_texts(texts)
        spans = [word_spans(text, self.words) for text in texts]
        pieces = word_pieces(
            self._tokenizer, [[text[a:b] for a, b in places] for text, places in zip(texts, spans, strict=True)]
        )
        # what leaves no piece (control characters) is no word
        spans = [[span for span, ids in zip(*both, strict=True) if ids] for both in zip(spans, pieces, strict=True)]
        tagged = self._tagged([[ids for ids in words if ids] for words in pieces], progress)
        return [
            list(self._entities(text, places, tags, scores))
            for text, places, (tags, scores) in zip(texts, spans, tagged, strict=True)
        ]

    def tag(self, sentences: Sequence[Sequence[str]], *, progress: Progress | None = None) -> list[list[str]]:
        """One tag for every word of sentences that are cut into words already."""
        return [tags for tags, _ in self._tagged(word_pieces(self._tokenizer, sentences), progress)]

    def _entities(
        self, text: str, places: Sequence[tuple[int, int]], tags: Sequence[str], scores: Sequence[float]
    ) -> Iterator[Entity]:
        for label, first, stop in entity_spans(tags, whole=not is_entity_scheme(self.labels)):
            start, end = places[first][0], places[stop - 1][1]
            yield Entity(text[start:end], label, start, end, float(np.mean(scores[first:stop])))

    def _tagged(
        self, sentences: Sequence[Sequence[Sequence[int]]], progress: Progress | None
    ) -> list[tuple[list[str], list[float]]]:
        """For each sentence, given as pieces of words, each word's tag and the probability of it."""
        outside = self.labels.index(_OUTSIDE) if _OUTSIDE in self.labels else 0  # for words without a piece
        best = [np.full(len(words), outside) for words in sentences]
        scores = [np.ones(len(words)) for words in sentences]
        room = self.max_length - self._tokenizer.n_special
        found = [word_windows(words, room) for words in sentences]
        prefix, suffix = self._tokenizer.prefix, self._tokenizer.suffix

        def framed(window: WordWindow) -> Window:
            return Window([*prefix, *window.ids, *suffix], [len(prefix) + place for place in window.places])

        def head(states: Tensor, batch: Sequence[int]) -> list[NDArray[np.float32]]:
            probabilities = F.linear(states.float(), self._weight, self._bias).softmax(dim=1).cpu().numpy()
            ends = accumulate(sum(len(window.words) for window in found[i]) for i in batch)
            return np.split(probabilities, list(ends)[:-1])

        read = [[framed(window) for window in own] for own in found]
        for i, rows in self._runner.run(read, head, progress=progress):
            words = [word for window in found[i] for word in window.words]
            best[i][words], scores[i][words] = rows.argmax(axis=1), rows.max(axis=1)
        return [
            ([self.labels[k] for k in tags], probable.tolist()) for tags, probable in zip(best, scores, strict=True)
        ]

    def __repr__(self) -> str:
        return f"Tagger({self.name!r}, labels={list(self.labels)!r:.80}, device={str(self._device)!r})"


class WordWindow(NamedTuple):
    """A stretch of a sentence's pieces, without special tokens: for each word read in it, where its first piece is."""

    ids: list[int]
    words: list[int]
    places: list[int]


def word_windows(sentence: Sequence[Sequence[int]], room: int) -> list[WordWindow]:
    """A sentence in windows of at most ``room`` pieces; every word that has pieces is read in exactly one of them.

    Args:
        sentence: the pieces of each word.
    """
    ids = [piece for word in sentence for piece in word]
    owners = [i for i, word in enumerate(sentence) for _ in word]
    if not ids:
        return []
    cuts = [(cut.start, cut.stop) for cut in windows(owners, room, overlap=room // 4)]
    chosen: list[WordWindow] = [WordWindow(ids[start:stop], [], []) for start, stop in cuts]
    for place, word in enumerate(owners):
        if place and owners[place - 1] == word:
            continue
        inside = [i for i, (start, stop) in enumerate(cuts) if start <= place < stop]
        best = max(inside, key=lambda i: min(place - cuts[i][0], cuts[i][1] - 1 - place))
        chosen[best].words.append(word)
        chosen[best].places.append(place - cuts[best][0])
    return [window for window in chosen if window.words]


def word_pieces(tokenizer: TextTokenizer, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """The pieces of every word; each different word is cut once."""
    encodings = iter(tokenizer.encode_repeated([word for words in sentences for word in words]))
    return [[next(encodings).ids for _ in words] for words in sentences]


def word_spans(text: str, kind: WordKind = "words") -> list[tuple[int, int]]:
    """Where the words of ``text`` stand, cut as corpora do: ``John | 's``, ``3,000``, Chinese by character."""
    return [match.span() for match in _WORDS[kind].finditer(text)]


def tag_parts(tag: str) -> tuple[str, str] | None:
    """``"B-PER"`` → ``("B", "PER")``, of BIO and of BIOES, BMES and BILOU; None if it is no entity tag."""
    match = _TAG.fullmatch(tag)
    return (match[1], match[2]) if match else None


def is_entity_scheme(tags: Sequence[str]) -> bool:
    """Whether all tags are entity tags or ``O``."""
    return all(tag == _OUTSIDE or tag_parts(tag) for tag in tags)


def entity_spans(tags: Sequence[str], *, whole: bool = False) -> list[tuple[str, int, int]]:
    """``(label, first, stop)`` for every entity; an ``I-`` that continues nothing begins one, as conlleval has it.

    Args:
        whole: the tags are labels of single words.
    """
    if whole:
        return [(tag, i, i + 1) for i, tag in enumerate(tags) if tag != _OUTSIDE]
    spans: list[tuple[str, int, int]] = []
    is_open = False
    for i, tag in enumerate(tags):
        prefix, label = tag_parts(tag) or ("", "")
        if is_open and prefix in ("I", "M", "E", "L") and spans[-1][0] == label:
            spans[-1] = (label, spans[-1][1], i + 1)
        elif prefix:
            spans.append((label, i, i + 1))
        is_open = prefix in ("B", "I", "M")
    return spans
