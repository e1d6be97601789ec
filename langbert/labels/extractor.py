"""Texts → entities and relations: the Extractor links pairs of tokens and reads off what they agree on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models import resolve
from ..models.bert.inference import PreparedBert
from ..models.bert.linking import LinkerCheckpoint, Links, load_linker
from ..models.bert.loading import sequence_length
from ..models.configured import Configured
from ..models.hardware import Precision, planned_threads, resolve_device, resolve_precision
from ..models.runner import Runner, Window, checked_texts
from ..records import Progress
from .pieces import Pieces, pieces
from .tagger import Entity


@dataclass(frozen=True, slots=True)
class Triple:
    """Two entities of a text and how the first stands to the second.

    Attributes:
        score: of the least sure of what it was put together from, in (0, 1): an order, not a probability.
    """

    subject: Entity
    relation: str
    object: Entity
    score: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        subject, object_ = self.subject.to_dict(), self.object.to_dict()
        return {"subject": subject, "relation": self.relation, "object": object_, "score": round(self.score, 4)}


@dataclass(frozen=True, slots=True)
class Extraction:
    """What stands in a text, in order of appearance: ``text[e.start:e.end] == e.text`` for every entity.

    Attributes:
        entities: all of them; those of the triples are among them.
    """

    text: str
    entities: tuple[Entity, ...] = ()
    triples: tuple[Triple, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "text": self.text,
            "entities": [one.to_dict() for one in self.entities],
            "triples": [one.to_dict() for one in self.triples],
        }


class Extractor(Configured):
    """Finds entities and how they are related, in one step: token-pair linking on a BERT (Wang et al. 2020).

    A text is read in windows of as many whole sentences as the texts had that the model was trained on; both entities
    of a triple stand in one window.

    Args:
        model: the folder of a model that ``langbert train relations`` made; or what was loaded of one, whose weights
            are copied.
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the hardware multiplies it.
        device: ``"auto"``, or what torch calls it.
        threads: for one forward pass on the CPU; None takes every core this process may use.
        max_length: tokens of one window, special tokens included; None is what the model was trained with.
        threshold: log-odds by which more is asked than was found best in training; more than 0 finds less, and is
            right more often.
        offline: touch no network; None asks the environment.

    Attributes:
        types: of entities; ``("",)`` where the model tells none apart.
        relations: what may stand between them; empty if the model finds entities only.
        max_sentences: of a window; None is as many as there is room for.
        thresholds: log-odds that an entity and a triple must be over.

    Raises:
        ModelNotFound, DownloadError: the model, or the base it stands on, cannot be had.
        CheckpointError: it cannot be loaded, or is no extractor.
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        model: str | Path | LinkerCheckpoint,
        *,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        threshold: float = 0.0,
        offline: bool | None = None,
    ) -> None:
        loaded = (
            model
            if isinstance(model, LinkerCheckpoint)
            else load_linker(resolve(model, offline=offline), offline=offline)
        )
        self.name = "a checkpoint in memory" if isinstance(model, LinkerCheckpoint) else str(model)
        self.types, self.relations = loaded.types, loaded.relations
        bert = loaded.network.bert
        self.max_length = sequence_length(max_length or loaded.max_length, loaded.tokenizer, bert.config.max_positions)
        self.max_sentences = loaded.max_sentences
        self.thresholds = tuple(one + threshold for one in loaded.thresholds)
        self._least = float(torch.tensor(self.thresholds[1]).sigmoid())
        self._device = resolve_device(device)
        prepared = PreparedBert(bert, dtype=resolve_precision(precision, self._device), device=self._device)
        self._runner = Runner(prepared, self._device, planned_threads(threads))
        self._head = loaded.network.head.to(self._device)
        self._tokenizer = loaded.tokenizer

    def extract(self, text: str) -> Extraction:
        """The entities and triples of one text.

        Raises:
            TypeError: ``text`` is not a string.
        """
        return self.extract_all([text])[0]

    def extract_all(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[Extraction]:
        """Those of each text, in their order; many at a time are quicker.

        Args:
            texts: any number, of any length, in any language the base knows.
            progress: told how many more texts are done.

        Raises:
            TypeError: ``texts`` is not a sequence of strings.
        """
        texts = checked_texts(texts)
        cut = pieces(self._tokenizer, texts, self.max_length, self.max_sentences)
        owners = [(i, window) for i, own in enumerate(cut) for window in own]

        def head(states: Tensor, batch: Sequence[int]) -> list[_Found]:
            windows = [owners[k] for k in batch]
            rows = torch.split(states.float(), [len(window.places) for _, window in windows])
            return [self._found(texts[i], window, own) for (i, window), own in zip(windows, rows, strict=True)]

        found: list[list[_Found]] = [[] for _ in texts]
        done = _Counted([len(own) for own in cut], progress)
        for k, one in self._runner.run([[Window(window.ids, window.places)] for _, window in owners], head):
            i, _ = owners[k]
            found[i].append(one)
            done(i)
        return [_together(text, own) for text, own in zip(texts, found, strict=True)]

    def _found(self, text: str, window: Pieces, states: Tensor) -> _Found:
        """What the three tables of a window agree on (Wang et al. 2020, §3.2, algorithm 1).

        Args:
            states: ``(n, H)`` of its visible tokens.
        """
        links: Links = self._head(states[None], torch.tensor([window.places], device=states.device))
        spans = list(self._spans(text, window, links.entities[0]))
        starting: dict[int, list[_Span]] = defaultdict(list)
        for span in spans:
            starting[span.first].append(span)
        triples = []
        heads, tails = links.heads[0], links.tails[0]  # (n_relations, n, n)
        for r, i, j in (heads > self.thresholds[1]).nonzero().tolist():
            for subject, object_ in product(starting[i], starting[j]):
                linked = torch.minimum(heads[r, i, j], tails[r, subject.last, object_.last])
                one, other = subject.entity, object_.entity
                score = min(float(linked.sigmoid()), one.score, other.score)
                if score > self._least:
                    triples.append(Triple(one, self.relations[r], other, score))
        return [span.entity for span in spans], triples

    def _spans(self, text: str, window: Pieces, logits: Tensor) -> Iterator[_Span]:
        """The entities of a window; one that could be of several types is of the likeliest."""
        best, types = logits.max(dim=0)  # (n, n)
        for first, last in (best > self.thresholds[0]).nonzero().tolist():
            start, end = window.spans[first][0], window.spans[last][1]
            label, score = self.types[types[first, last]], float(best[first, last].sigmoid())
            yield _Span(first, last, Entity(text[start:end], label, start, end, score))

    def __repr__(self) -> str:
        names = list(self.relations or self.types)
        return f"Extractor({self.name!r}, {names!r:.80}, device={str(self._device)!r})"


_Found = tuple[list[Entity], list[Triple]]


class _Span(NamedTuple):
    """An entity by its tokens in a window."""

    first: int
    last: int
    entity: Entity


def _together(text: str, found: Iterable[_Found]) -> Extraction:
    """What stands in any of a text's windows; of what two of them hold, the surer."""
    entities: dict[tuple[int, int], Entity] = {}
    scores: dict[tuple[int, int, int, int, str], float] = {}
    for named, triples in found:
        for one in named:
            if (one.start, one.end) not in entities or entities[one.start, one.end].score < one.score:
                entities[one.start, one.end] = one
        for triple in triples:
            subject, object_ = triple.subject, triple.object
            key = (subject.start, subject.end, object_.start, object_.end, triple.relation)
            scores[key] = max(triple.score, scores.get(key, 0.0))
    said = (Triple(entities[key[:2]], key[4], entities[key[2:4]], scores[key]) for key in sorted(scores))
    return Extraction(text, tuple(entities[key] for key in sorted(entities)), tuple(said))


class _Counted:
    """Tells ``progress`` of a text when all its windows are read."""

    def __init__(self, windows: list[int], progress: Progress | None) -> None:
        self._left, self._progress = windows, progress
        if progress is not None and windows.count(0):
            progress(windows.count(0))

    def __call__(self, text: int) -> None:
        self._left[text] -= 1
        if self._progress is not None and not self._left[text]:
            self._progress(1)
