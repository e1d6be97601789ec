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
_BARE = re.compile(
    r"(?<![\w.])(?P<label>\d{1,2}(?:\.\d{1,2}){1,4})(?P<inner>(?:\s?\([a-z\d]{1,3}\))*)(?![\w.(]*\d)", re.IGNORECASE
)
_HAN_NUMBER = r"[一二三四五六七八九十百零\d]{1,5}"
_CHINESE = re.compile(
    rf"第(?P<number>{_HAN_NUMBER})(?P<kind>[条章节款])"
    rf"(?:第?[（(](?P<inner>{_HAN_NUMBER})[）)][款项目]?|第(?P<counted>{_HAN_NUMBER})[款项目])?"
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = re.compile(
    rf"\b(?P<word>{'|'.join(_ORDINALS)}|last|\d{{1,2}}(?:st|nd|rd|th))\s+(?:{_ITEMS})\b"
    rf"|\b(?:{_ITEMS})\s+(?:no\.?\s*)?(?P<figure>\d{{1,2}})\b"
    r"|第(?P<chinese>[一二三四五六七八九十\d]{1,3})(?:个?步骤?|点|项|个?要求|个?条件)|步骤(?P<after>[一二三四五六七八九十\d]{1,3})"
    r"|(?P<final>最后一(?:个?步骤?|点|项))",
    re.IGNORECASE,
)
_SAYING = frozenset(
    content_terms(
        "say state stipulate contain provide regulate read content text word quote cite show tell please"
        " 规定 内容 说 写"
    )
)
_MOST_WORDS = 1  # beside a section's number: who asks more of it asks for something in it


@dataclass(frozen=True, slots=True)
class AskedPlace:
    """A numbered place.

    Attributes:
        heading: what the line at which it begins looks like; None for an item of a list.
        inner: the labels of items within it, outermost first, as patterns.
        sibling: what the next one looks like, where its kind tells; else it ends with its paragraph, or at a heading.
        item: which item of a list, from 0; -1 is the last.
        subject: the words that say of which list, as terms.
    """

    heading: re.Pattern[str] | None
    inner: tuple[str, ...] = ()
    sibling: re.Pattern[str] | None = None
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
            within = re.compile(rf"^[ \t]*{label}", re.MULTILINE | re.IGNORECASE).search(text, start, end)
            if within is None:
                return None
            start = within.start()
            following = re.compile(rf"^[ \t]*{ITEM}", re.MULTILINE).search(text, within.end(), end)
            end = following.start() if following else end
        return stripped(text, start, end)

    def _end(self, document: Document, start: int) -> int:
        """Where the section ends: at the next heading that is not below it, or with its paragraph."""
        own = next((heading for heading in document.headings if heading.start == start), None)
        if own is None and self.sibling is not None:
            following = self.sibling.search(document.text, document.text.find("\n", start) + 1 or len(document.text))
            return following.start() if following else len(document.text)
        if own is None:
            end = document.text.find("\n\n", start)
            return end if end >= 0 else len(document.text)
        return min(
            (heading.start for heading in document.headings if heading.start > start and heading.level <= own.level),
            default=len(document.text),
        )


def asked_place(question: str, names: frozenset[str] = frozenset()) -> AskedPlace | None:
    """The place that ``question`` names; None where it names none, or asks for something else in it.

    Args:
        names: terms of what documents are called, which say no more than in which one it stands.
    """
    ordinal = _ORDINAL.search(question)
    if ordinal is not None and not _NEXT_TO.search(question):
        subject = frozenset(content_terms(_ORDINAL.sub(" ", question)))
        return AskedPlace(None, item=_item(ordinal), subject=subject - _SAYING)
    for pattern in (_LABEL, _BARE):
        label = pattern.search(question)
        if label is None or (
            pattern is _BARE and not (label["inner"] or _SAYING.intersection(content_terms(question)))
        ):
            continue  # a bare number may be a version's
        if _says_no_more(pattern.sub(" ", question), names):
            outer = label["outer"] or "" if pattern is _LABEL else ""
            inner = re.findall(r"\([a-z\d]+\)", (label["inner"] + outer).lower())
            heading = _line(rf"(?:(?:{_SECTIONS})\s+|§+\s*)?{re.escape(label['label'])}(?![.\d]*\d)")
            return AskedPlace(heading, tuple(map(re.escape, inner)))
    chinese = _CHINESE.search(question)
    if chinese is not None and _says_no_more(_CHINESE.sub(" ", question), names):
        counted = chinese["inner"] or chinese["counted"]
        inner = [rf"[（(]?(?:{'|'.join(_written(counted))})[）)、.．]"] if counted else []
        sibling = _line(f"第{_HAN_NUMBER}{chinese['kind']}")
        return AskedPlace(
            _line(f"第(?:{'|'.join(_written(chinese['number']))}){chinese['kind']}"), tuple(inner), sibling
        )
    return None


def _line(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t#*]*{pattern}[.):：、\s]", re.MULTILINE | re.IGNORECASE)


def _says_no_more(rest: str, names: frozenset[str]) -> bool:
    return len({*content_terms(rest)} - _SAYING - names) <= _MOST_WORDS


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
