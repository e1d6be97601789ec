"""Evidence → what other documents say instead of it: where two disagree both are shown, the newer first.

"Leave is 24 days." stands in the policy of 2022, "Leave is 28 days." in that of 2024. Their scores do not tell which
holds. Sentences are versions of each other that differ in figures, names, or little else, and have as much of the
question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ..records import Candidate, Document
from ..text.names import dates
from ..text.scripts import cjk_words
from ..text.sentences import sentences
from ..text.terms import content_terms
from .conditions import NUMBER, YEAR
from .evidence import Evidence
from .pieces import Piece

__all__ = ["newest_first", "versions"]

_ALIKE = 0.6  # of the words of both, without figures and names
_FEWEST = 2  # of them; less is like anything
_MOST = 3
_HEAD = 400  # characters of a document in which it says of when it is
_VALUE = re.compile(rf"{NUMBER.pattern}|(?<=[\w,] )[A-Z][\w'’-]*|[零〇一二两三四五六七八九十百千万半]")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def versions(
    question: str, evidence: Evidence, pieces: Sequence[Piece], documents: Mapping[str, Document | None]
) -> list[Evidence]:
    """``evidence`` and its versions in other documents, the newest first.

    Args:
        pieces: among which they are looked for, but for those of another year or thing than the question's.
        documents: those of the pieces, as far as they are to be had.
    """
    asked = frozenset(content_terms(question))
    said = [evidence.quote[start:end] for start, end in sentences(evidence.quote)]
    said = [sentence for sentence in said if not asked.isdisjoint(content_terms(sentence))] or said
    found = {evidence.candidate.document_id: evidence}
    for piece in pieces:
        document = piece.source.document_id
        known = found.get(document)
        if known is evidence or piece.told < 0 or piece.kind == "table":
            continue
        if known is not None and known.candidate.chunk.start != piece.source.chunk.start:
            continue
        spans = [
            (piece.start + start, piece.start + end)
            for start, end in sentences(piece.text)
            if any(_is_version(piece.text[start:end], other) for other in said)
        ]
        if known is not None:
            spans = sorted([*spans, (known.start, known.end)])
        if spans:
            found[document] = replace(
                evidence,
                candidate=piece.source,
                start=spans[0][0],
                end=max(end for _, end in spans),
                answer=None,
                heading=piece.heading,
            )
    fits = [len(asked & _around(version, documents)) for version in found.values()]
    best = [version for version, fit in zip(found.values(), fits, strict=True) if fit == max(fits)]
    return newest_first(best[:_MOST], documents)


def newest_first(chosen: Sequence[Evidence], documents: Mapping[str, Document | None]) -> list[Evidence]:
    """The same by the day that their documents are of, as far as they say."""
    if len({evidence.candidate.document_id for evidence in chosen}) < 2:
        return list(chosen)
    return sorted(
        chosen,
        key=lambda evidence: _day(evidence.candidate, documents.get(evidence.candidate.document_id)),
        reverse=True,
    )


def _is_version(one: str, other: str) -> bool:
    ours, theirs = _skeleton(one), _skeleton(other)
    alike = min(len(ours), len(theirs)) >= _FEWEST and len(ours & theirs) >= _ALIKE * len(ours | theirs)
    return alike and cjk_words(one.lower()) != cjk_words(other.lower())


def _skeleton(sentence: str) -> frozenset[str]:
    return frozenset(cjk_words(_VALUE.sub(" ", sentence).lower()))


def _around(evidence: Evidence, documents: Mapping[str, Document | None]) -> frozenset[str]:
    """Words of what is quoted and of what it stands under."""
    top = _top(evidence.candidate, documents.get(evidence.candidate.document_id))
    return frozenset(content_terms(" ".join((evidence.quote, evidence.heading, top))))


def _top(candidate: Candidate, document: Document | None) -> str:
    chunk = candidate.chunk
    return " ".join((chunk.title, chunk.source, *chunk.headings, document.text[:_HEAD] if document is not None else ""))


def _day(candidate: Candidate, document: Document | None) -> tuple[int, ...]:
    """The last day, month or year until now that a document names at its top, in its name or of itself; else when its
    file changed."""
    metadata = document.metadata if document is not None else candidate.chunk.metadata
    top = _top(candidate, document)
    today = datetime.now(UTC).timetuple()[:3]
    named = [*dates(top), *YEAR.findall(top)]
    named += [day for key in ("date", "created") for day in _DAY.findall(str(metadata.get(key, "")))]
    days = [tuple(int(part) for part in day.split("-")) for day in named]
    changed = _DAY.findall(str(metadata.get("modified", "")))
    known = [day for day in days if day <= today]
    return max(known, default=tuple(int(part) for part in changed[0].split("-")) if changed else ())
