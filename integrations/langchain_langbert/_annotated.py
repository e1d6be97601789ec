"""A text with claims in it → the text that is shown, and where in it everything then stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from langchain_core.messages.content import Annotation, TextContentBlock, create_citation

from langbert import Citation
from langbert.answering import claims
from langbert.records import Unsupported

_CELL_END = re.compile(r"[ \t]*\|\Z")
_URL = re.compile(r"https?://\S+\Z")


class _Edit(NamedTuple):
    """``text[start:end]`` becomes ``words``."""

    start: int
    end: int
    words: str


def annotated(block: TextContentBlock, found: Sequence[claims.Claim], unsupported: Unsupported) -> TextContentBlock:
    """A copy of ``block`` with a citation for each claim that has evidence; those it had move along with the text.

    Args:
        found: the claims of ``block["text"]``, in order.
        unsupported: whether the others are followed by ``[?]``, left out, or left as they are.
    """
    text = block["text"]
    wrong = [claim for claim in found if claim.evidence is None]
    edits: list[_Edit] = []
    if unsupported == "mark":
        edits = [_Edit(at, at, " [?]") for claim in wrong for at in [_mark_at(text, claim)]]
    elif unsupported == "drop":
        edits = list(_cuts(text, wrong))
    moved = _Moved(edits)
    cited: list[Annotation] = [
        citation_of(claim.evidence.citation, moved.start(claim.start), moved.end(claim.end))
        for claim in found
        if claim.evidence is not None
    ]
    kept = [each for old in block.get("annotations", []) if (each := _moved(old, moved)) is not None]
    return {**block, "text": moved.applied(text), "annotations": kept + cited}


def citation_of(citation: Citation, start: int, end: int) -> Annotation:
    """LangChain's annotation of the characters ``start`` to ``end`` of an answer; ours whole in its ``extras``."""
    return create_citation(
        url=citation.source if _URL.match(citation.source) else None,
        title=citation.source or None,
        start_index=start,
        end_index=end,
        cited_text=citation.quote,
        **citation.to_dict(),
    )


class _Moved:
    """Where the characters of a text stand after some ``edits``, which are in order and do not overlap."""

    def __init__(self, edits: Sequence[_Edit]) -> None:
        self._edits = edits

    def applied(self, text: str) -> str:
        """The text after them."""
        parts, last = [], 0
        for edit in self._edits:
            parts += [text[last : edit.start], edit.words]
            last = edit.end
        return "".join([*parts, text[last:]])

    def start(self, offset: int) -> int:
        """Where what begins there begins then; where that was cut, what comes after it does."""
        return self._at(offset, [edit for edit in self._edits if edit.start <= offset])

    def end(self, offset: int) -> int:
        """Where what ends there ends then."""
        return self._at(offset, [edit for edit in self._edits if edit.start < offset])

    @staticmethod
    def _at(offset: int, before: Sequence[_Edit]) -> int:
        return offset + sum(len(edit.words) - (min(edit.end, offset) - edit.start) for edit in before)


def _moved(annotation: Annotation, moved: _Moved) -> Annotation | None:
    """What a model's own annotation becomes; None where all that it is about was cut."""
    if annotation["type"] != "citation":
        return annotation
    start, end = annotation.get("start_index"), annotation.get("end_index")
    if start is None or end is None or start >= end:
        return annotation
    first, last = moved.start(start), moved.end(end)
    return {**annotation, "start_index": first, "end_index": last} if first < last else None


def _mark_at(text: str, claim: claims.Claim) -> int:
    """Behind its last character; in a row of a table, in the last cell."""
    cell = _CELL_END.search(text, claim.start, claim.end)
    return cell.start() if cell else claim.end


def _cuts(text: str, wrong: Sequence[claims.Claim]) -> Iterator[_Edit]:
    """Cuts that leave no empty bullets, no lines that were full and no blanks at the ends of others."""
    spans: list[tuple[int, int, int]] = []
    for claim in wrong:
        if spans and not text[spans[-1][2] : claim.start].strip() and "\n" not in text[spans[-1][2] : claim.start]:
            spans[-1] = (*spans[-1][:2], claim.end)
        else:
            spans.append((claim.marker, claim.start, claim.end))
    for marker, start, end in spans:
        line = text.rfind("\n", 0, start) + 1
        line_end = text.find("\n", end)
        line_end = len(text) if line_end < 0 else line_end
        before, after = text[line:start], text[end:line_end]
        if after.strip():
            yield _Edit(start, line_end - len(after.lstrip()), "")
        elif not text[line:marker].strip():
            yield _Edit(line, min(line_end + 1, len(text)), "")
        else:
            yield _Edit(start - len(before) + len(before.rstrip()), line_end, "")
