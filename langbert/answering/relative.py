"""What adds to the sentence before it, and says nothing true without it: "Islands take two days more."

A time relative to another ("two years later") stays alone: the other is that of another event, and would pass for the
answer.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ..text.sentences import sentences
from .evidence import Evidence

__all__ = ["with_its_base"]

_MANY = r"(?:\d[\d.,]*|half|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty)"
_RELATIVE = re.compile(
    rf"\b{_MANY}[ -](?:[^\W\d_]+ )?(?:more|longer|less|fewer|extra|on top)\b(?! than)"
    rf"|\b(?:another|additional|further) {_MANY}\b|\ban (?:additional|extra) \w|\ba further \w"
    r"|(?:另|再|额外|加收|顺延|延长|增加|减少|多|少)(?:加|收|需|等|付)?(?:\d+|[一二两三四五六七八九十百半]+)个?[天日周月年小分元倍]",
    re.IGNORECASE,
)


def with_its_base(evidence: Evidence) -> Evidence:
    """``evidence``; where it is a sentence that adds to the one before it in the paragraph, with that one."""
    text = evidence.candidate.text
    if _RELATIVE.search(evidence.quote) is None:
        return evidence
    before = [start for start, end in sentences(text[: evidence.start]) if "\n" not in text[end : evidence.start]]
    return replace(evidence, start=before[-1], answer=None) if before else evidence
