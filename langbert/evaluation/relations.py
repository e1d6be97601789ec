"""How good is an extractor: precision, recall and F1 of whole entities and of whole triples, over all texts together.

Strict, as Taillé et al. 2020 ("Let's Stop Incorrect Comparisons in End-to-end Relation Extraction!", §3) have it: an
entity is right if its boundaries and its type are; a triple if both of its entities and the relation are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, NamedTuple

from ..labels.extractor import Extraction, Extractor
from ..labels.tagger import Entity
from ..records import Progress


class Overlap(NamedTuple):
    """What was found against what is there.

    Attributes:
        right: how many were found that are there.
        found, there: how many in all.
    """

    right: int
    found: int
    there: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.there if self.there else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.found + self.there) if self.right else 0.0

    def to_dict(self) -> dict[str, float]:
        """As JSON."""
        return {**{name: round(getattr(self, name), 4) for name in ("precision", "recall", "f1")}, **self._asdict()}


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """How an extractor did on a data set.

    Attributes:
        texts: how many there were.
        entities: of all types.
        triples: of all relations; None where the data has none.
        by_label: the entities of each type, then the triples of each relation.
    """

    texts: int
    entities: Overlap
    triples: Overlap | None
    by_label: Mapping[str, Overlap]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "texts": self.texts,
            "entities": self.entities.to_dict(),
            "triples": self.triples and self.triples.to_dict(),
            "by_label": {name: overlap.to_dict() for name, overlap in self.by_label.items()},
        }


def evaluate_extraction(
    extractor: Extractor, there: Sequence[Extraction], *, located: bool, progress: Progress | None = None
) -> ExtractionReport:
    """Let an extractor read the texts, and compare.

    Args:
        there: the texts with what is to be found in them.
        located: whether that says where; else entities are compared by their words, each once a text.
        progress: told how many more texts are done.
    """
    found = extractor.extract_all([one.text for one in there], progress=progress)
    return compare_extractions(found, there, located=located)


def compare_extractions(found: Sequence[Extraction], there: Sequence[Extraction], *, located: bool) -> ExtractionReport:
    """What was found in some texts against what is there."""

    def entity(one: Entity) -> Hashable:
        return (one.start, one.end, one.label) if located else (one.text, one.label)

    pairs = list(zip(found, there, strict=True))
    types = _counted([({(one.label, entity(one)) for one in side.entities} for side in pair) for pair in pairs])
    relations = _counted(
        [
            ({(one.relation, (entity(one.subject), entity(one.object))) for one in side.triples} for side in pair)
            for pair in pairs
        ]
    )
    says = any(one.triples for one in there)
    return ExtractionReport(len(there), _all(types), _all(relations) if says else None, {**types, **relations})


def best_thresholds(
    extractor: Extractor, there: Sequence[Extraction], *, located: bool
) -> tuple[tuple[float, float], ExtractionReport]:
    """The log-odds that entities, and then triples, must be over for the best F1 on these texts, and how good that is.

    Args:
        extractor: one that finds rather too much; only higher thresholds than its own are tried.
        there, located: as for :func:`evaluate_extraction`.
    """
    found = extractor.extract_all([one.text for one in there])
    chosen = [0.0, 0.0]
    report = compare_extractions([_over(one, *chosen) for one in found], there, located=located)
    for i in range(2 if report.triples else 1):
        best = -1.0
        for tried in sorted((0.5 * step for step in range(-6, 7)), key=abs):  # of equals, the nearest to 0
            thresholds = [*chosen[:i], tried, *chosen[i + 1 :]]
            now = compare_extractions([_over(one, *thresholds) for one in found], there, located=located)
            f1 = (now.triples or now.entities).f1 if i else now.entities.f1
            if f1 > best:
                best, chosen, report = f1, thresholds, now
    return (chosen[0], chosen[1]), report


def _over(found: Extraction, entities: float, triples: float) -> Extraction:
    """What is left of it with these thresholds."""

    def kept(one: Entity) -> bool:
        return one.score > 1 / (1 + exp(-entities))

    said = (one for one in found.triples if kept(one.subject) and kept(one.object))
    least = 1 / (1 + exp(-triples))
    return Extraction(found.text, tuple(filter(kept, found.entities)), tuple(one for one in said if one.score > least))


def _counted(pairs: Iterable[Iterable[set[tuple[str, Hashable]]]]) -> dict[str, Overlap]:
    """For each label what was found and what is there; every pair holds both, of one text, as (label, what)."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for found, there in pairs:
        for i, some in enumerate((found & there, found, there)):
            for label, _ in some:
                counts[label][i] += 1
    return {label: Overlap(*counts[label]) for label in sorted(counts)}


def _all(overlaps: Mapping[str, Overlap]) -> Overlap:
    return Overlap(*(sum(overlap[i] for overlap in overlaps.values()) for i in range(3)))
