"""Question → Place: the section, clause, article or step that a question names by its number.

"What does clause 2.2(a) say?", "the third step of restoring a backup", 第五条: what stands there is the answer, and no
model could know from the number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..records import Document
from ..text.layout import ITEM
from ..text.numerals import from_han, in_han
from ..text.sentences import stripped
from ..text.terms import content_terms

__all__ = ["AskedPlace", "asked_place"]

_SECTIONS = "section|clause|article|paragraph|chapter|appendix|annex|rule|part"
_ITEMS = "step|point|item|rule|requirement|reason|condition|rung|task"
_LABEL = re.compile(
    r"(?:(?P<outer>\([a-z\d]{1,3}\))\s+(?:of|in|under)\s+)?"
    rf"(?:\b(?:{_SECTIONS})\s+|(?<!§)§+\s*|条款 ?|章节 ?|第(?=\d+\.))(?P<label>\d+(?:\.\d+)*|[A-Z](?:\.\d+)*|[IVXivx]+)"
    r"(?P<inner>(?:\s?\([a-z\d]{1,3}\))*)"
    r"(?:[条节款]|(?![a-z\d_(]))",
    re.IGNORECASE,
)
_NEXT_TO = re.compile(
    r"\b(?:after|before|following|follows|next|until)\b|之后|之前|以后|以前|下一|接下来", re.IGNORECASE
)
_CHINESE = re.compile(r"第(?P<number>[一二三四五六七八九十百零\d]{1,5})(?P<kind>[条章节款])")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = re.compile(
    rf"\b(?P<word>{'|'.join(_ORDINALS)}|last|\d{{1,2}}(?:st|nd|rd|th))\s+(?:{_ITEMS})\b"
    rf"|\b(?:{_ITEMS})\s+(?:no\.?\s*)?(?P<figure>\d{{1,2}})\b"
    r"|第(?P<chinese>[一二三四五六七八九十\d]{1,3})(?:个?步骤?|点|项|个?要求|个?条件)|步骤(?P<after>[一二三四五六七八九十\d]{1,3})"
    r"|(?P<final>最后一(?:个?步骤?|点|项))",
    re.IGNORECASE,
)
_SAYING = frozenset(
    {"say", "state", "stipul", "contain", "provid", "regul", "read", "content", "规定", "内容", "说", "写"}
)
_MOST_WORDS = 1  # beside a section's number: who asks more of it asks for something in it


@dataclass(frozen=True, slots=True)
class AskedPlace:
    """A numbered place.

    Attributes:
        heading: what the line at which it begins looks like; None for an item of a list.
        inner: the labels of items within it, outermost first.
        item: which item of a list, from 0; -1 is the last.
        subject: the words that say of which list, as terms.
    """

    heading: re.Pattern[str] | None
    inner: tuple[str, ...] = ()
    item: int = 0
    subject: frozenset[str] = frozenset()

    def found_in(self, document: Document) -> tuple[int, int] | None:
        """The offsets of the section in ``document``; None where it has none of that number."""
        if self.heading is None:
            return None
        text = document.text
        starts = {heading.start for heading in document.headings}
        lines = [found for found in self.heading.finditer(text) if found.start() < found.end()]
        if not lines:
            return None
        begin = next((line for line in lines if _line_start(text, line.start()) in starts), lines[-1])
        start = _line_start(text, begin.start())
        end = self._end(document, start)
        for label in self.inner:
            within = re.compile(rf"^[ \t]*{re.escape(label)}", re.MULTILINE).search(text, start, end)
            if within is None:
                return None
            start = within.start()
            following = re.compile(rf"^[ \t]*{ITEM}", re.MULTILINE).search(text, within.end(), end)
            end = following.start() if following else end
        return stripped(text, start, end)

    def _end(self, document: Document, start: int) -> int:
        """Where the section ends: at the next heading that is not below it, or with its paragraph."""
        own = next((heading for heading in document.headings if heading.start == start), None)
        if own is None:
            end = document.text.find("\n\n", start)
            return end if end >= 0 else len(document.text)
        return min(
            (heading.start for heading in document.headings if heading.start > start and heading.level <= own.level),
            default=len(document.text),
        )


def asked_place(question: str) -> AskedPlace | None:
    """The place that ``question`` names; None where it names none, or asks for something else in it."""
    ordinal = _ORDINAL.search(question)
    if ordinal is not None and not _NEXT_TO.search(question):
        subject = frozenset(content_terms(_ORDINAL.sub(" ", question)))
        return AskedPlace(None, item=_item(ordinal), subject=subject - _SAYING)
    label = _LABEL.search(question)
    if label is not None and _says_no_more(_LABEL.sub(" ", question)):
        inner = tuple(re.findall(r"\([a-z\d]+\)", (label["inner"] + (label["outer"] or "")).lower()))
        return AskedPlace(_line(rf"(?:(?:{_SECTIONS})\s+|§+\s*)?{re.escape(label['label'])}(?![.\d]*\d)"), inner)
    chinese = _CHINESE.search(question)
    if chinese is not None and _says_no_more(_CHINESE.sub(" ", question)):
        return AskedPlace(_line(f"第(?:{'|'.join(_written(chinese['number']))}){chinese['kind']}"))
    return None


def _line(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t#*]*{pattern}[.):：、\s]", re.MULTILINE | re.IGNORECASE)


def _says_no_more(rest: str) -> bool:
    return len({*content_terms(rest)} - _SAYING) <= _MOST_WORDS


def _item(found: re.Match[str]) -> int:
    said = (found["word"] or found["figure"] or found["chinese"] or found["after"] or "last").lower()
    if said == "last":
        return -1
    if said in _ORDINALS:
        return _ORDINALS.index(said)
    digits = re.sub(r"\D", "", said)
    return int(digits) - 1 if digits else from_han(said) - 1


def _written(number: str) -> tuple[str, str]:
    """A number as it is written in figures and in characters."""
    value = from_han(number)
    return str(value), in_han(value)


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1
