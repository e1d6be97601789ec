"""What a document says of itself: title, author, status, dates, in the fields at its top.

"When was PEP 572 accepted?" is answered by the header of one document, which shares hardly a word with the question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..records import Document
from ..text.blocks import Block, blocks
from ..text.layout import FIELD_NAMES

__all__ = ["AskedFields", "asked_fields", "head_fields"]

_TOP = 4000  # characters in which the fields stand

_ASKED: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        r"\bwho (?:wrote|sent|is the (?:author|editor|sender)|are the authors)|\bauthors?\b|\bwritten by\b"
        "|作者|谁写|誰寫|谁发|发件人|谁编",
        ("authors",),
        "",
    ),
    (
        r"\bwhen (?:is|was|were|did)\b|, when\b|\band when\b|\b(?:what|which|on what) (?:date|day|year)\b"
        "|什么时候|什麼時候|何时|哪一?年|哪一?天|日期",
        ("created", "modified", "decided"),
        ".{0,2}(?:日期|时间)",
    ),
    (
        r"\bstatus\b|\b(?:accepted|rejected|deferred|withdrawn|approved|superseded)\b|\bhappened to\b"
        "|状态|狀態|通过|批准|被拒|接受|废弃",
        ("status",),
        "",
    ),
    (r"\b(?:which|what) (?:\w+ )?versions?\b|哪个 ?\w* ?版本|哪個版本|什么版本", (), r"[\w-]*version|版本"),
    (r"\bsubject\b|主题", ("title",), ""),
    (r"\bto whom\b|\brecipients?\b|收件人|发给谁", ("recipients",), ""),
)
"""How a question asks for fields, which ones, and a pattern for others."""
_KEY = re.compile(r":?(?P<key>[^:：\n]{1,40})[:：]")


@dataclass(frozen=True, slots=True)
class AskedFields:
    """Which fields a question asks for."""

    keys: re.Pattern[str]

    def holds(self, unit: str) -> bool:
        """Whether a line is such a field."""
        found = _KEY.match(unit)
        return found is not None and self.keys.fullmatch(found["key"].strip()) is not None


def asked_fields(question: str) -> AskedFields | None:
    """The fields that may answer ``question``; None where it asks for something else."""
    keys: list[str] = []
    for asking, names, others in _ASKED:
        if re.search(asking, question, re.IGNORECASE):
            keys += [re.escape(key) for name in names for key in FIELD_NAMES[name]] + [others] * bool(others)
    return AskedFields(re.compile("|".join(keys), re.IGNORECASE)) if keys else None


def head_fields(document: Document) -> Block | None:
    """The fields at the top of a document, if it has any."""
    end = document.text.find("\n\n", 0, _TOP)
    found = blocks(document.text, document.headings, 0, end if end > 0 else min(_TOP, len(document.text)))
    return next((block for block in found[:2] if block.kind == "fields"), None)
