"""A text that others wrote → its claims: the sentences that sources have to hold, and the words of them that do.

:class:`~langbert.answering.grounding.Grounder` lets a decoder's answer through as it comes; this looks at one that is
there, of any length and in Markdown, and changes nothing in it. Headings, rules, code, questions, and what is said to
the reader about the search ("Here is what I found:", "The documents do not say.") claim nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..records import Candidate
from ..text.layout import ITEM
from ..text.scripts import letters
from ..text.sentences import sentences
from .evidence import Evidence
from .grounding import Passages, find_support, is_refusal
from .prompt import not_found

__all__ = ["Claim", "checked", "not_found"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of a text, without its bullet or number: ``text[start:end]``.

    Attributes:
        marker: where its bullet or number begins; ``start`` where it has none.
        evidence: the words that support it, its score being how likely they do; None where nothing does.
    """

    marker: int
    start: int
    end: int
    evidence: Evidence | None


_MARKER = re.compile(rf"(?:>[ \t]*)*(?:{ITEM}[ \t\u00a0\u3000]*)?")
_MARK = re.compile(r"(?:(?<!\s)\s+)?\[(?:\d+(?:\s*,\s*\d+)*|\?)\]")
_LINK = re.compile(r"!?\[([^\]\n]{1,300})\]\([^)\s]{0,2000}\)")
_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_RULE = re.compile(r"[\s:|=-]*\Z")  # also what stands under the header of a table
_HEADING = re.compile(r"#{1,6}[ \t]")
_QUESTION = re.compile(r"[?？][\"'”’)）」』*_]*\Z")
_YES = re.compile(r"\A(?:yes|是的|对的?|對的?)[,，:：]\s*", re.IGNORECASE)
_TALK = re.compile(
    r"(?:(?:sure|certainly|of course|great question|hello|hi|okay|ok|thanks|thank you)"
    r"(?:[,!. ]+(?:there|happy|glad)[^.!?:]*)?[.!,:]?\Z"
    r"|(?:(?:sure|certainly|of course|okay|ok)\W+)?(?:here (?:is|are|['’]s)|here['’]s)\b.{0,60}:\Z"
    r"|(?:i|we)(?: have|['’]ve)? (?:found|searched|looked|checked|hope)\b"
    r"|(?:please )?(?:let me know|feel free)\b|if you (?:need|want|would like|have)\b.{0,60}\b(?:let me|ask|i can)\b"
    r"|(?:好的|当然|您好|你好|谢谢)[^。！]{0,12}[。！，,:：]?\Z|(?:以下|下面)是[^。]{0,30}[:：]\Z|根据[^，。]{0,20}[:：]\Z"
    r"|希望(?:这|以上)|如(?:果您|果你|您|你)?(?:还)?(?:有|需).{0,20}(?:请|可以)|我(?:查|找|搜)(?:到|索|了))",
    re.IGNORECASE,
)


def checked(text: str, candidates: Sequence[Candidate], question: str = "") -> list[Claim]:
    """The claims of ``text``, in order, each with the words of ``candidates`` that support it.

    Args:
        text: an answer, plain or in Markdown.
        candidates: what may be quoted.
        question: what is answered; a sentence that only says it again is supported by nothing.
    """
    passages = Passages(candidates)
    found = []
    for marker, start, end in _claiming(text):
        words = _plain(text[start:end])
        support = find_support(words, passages, question)
        if support is not None or not is_refusal(words):
            found.append(Claim(marker, start, end, support))
    return found


def _claiming(text: str) -> Iterator[tuple[int, int, int]]:
    """The sentences that claim something: where their bullets begin, and they themselves do and end."""
    code = [match.span() for match in _FENCE.finditer(text)]
    spans = sentences(text)
    for number, (marker, end) in enumerate(spans):
        if any(first <= marker < last for first, last in code):
            continue
        following = text[slice(*spans[number + 1])] if number + 1 < len(spans) else ""
        header = "|" in text[marker:end] and "|" in following and _RULE.match(following)
        found = _MARKER.match(text, marker)
        start = found.end() if found is not None and found.end() < end else marker
        while text[start].isspace():  # an empty line of a quotation
            start += 1
        said = text[start:end]
        nothing = _RULE.match(said) or _HEADING.match(said) or _QUESTION.search(said) or _TALK.match(said)
        if letters(said) and not nothing and not header:
            yield marker, start, end


def _plain(markdown: str) -> str:
    """The words alone: no marks of a citation, addresses of links or emphasis, no "Yes," before them."""
    words = re.sub(r"[*`|]+|(?<!\w)_+|_+(?!\w)", " ", _LINK.sub(r"\1", _MARK.sub("", markdown))).strip()
    return _YES.sub("", words)
