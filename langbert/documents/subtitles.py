"""Subtitles (SubRip, WebVTT): what is said, in paragraphs, each of which stands under the time when it begins.

The text has the words alone, so that a sentence over several cues is one, a line for what each speaker says; a citation
shows the time as its heading.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator

from ..errors import DocumentError
from ..records import Heading
from ..text.scripts import one_line
from .encoding import decode
from .extract import Extract, TextBuilder

_TIMES = re.compile(
    r"^[ \t]*(?:(?P<hours>\d{1,4}):)?(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})[.,]\d{1,3}[ \t]*-->[ \t]*"
    r"(?:(?P<to_hours>\d{1,4}):)?(?P<to_minutes>\d{1,2}):(?P<to_seconds>\d{1,2})[.,]\d{1,3}",
    re.MULTILINE,
)
_SPEAKER = re.compile(r"<v(?:\.[^\s>]{0,99})?[ \t]{1,9}(?![ \t])([^>]{1,99})>")
_STYLING = re.compile(r"</?[a-z][^<>]{0,200}>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,200}\}", re.IGNORECASE)
_NUMBER = re.compile(r"\s*\d+\s*")
_NAMED = re.compile(r"(?P<name>[^\W\d_][^:：\n]{0,40}[:：])(?=\s|[^\x00-\xff])")
_ENDS = re.compile(r"[.!?。！？…][\"'”’」』)）]*$")
_PARAGRAPH = 60  # seconds after which the end of a sentence ends a paragraph
_LONGEST = 180  # seconds after which a paragraph ends wherever it is
_SILENCE = 8  # seconds without a word


def read(data: bytes) -> Extract:
    builder = TextBuilder()
    said: list[str] = []
    begin = end = 0
    speaker = ""
    for at, until, name, text in _spoken([*_cues(decode(data))]):
        long = end - begin
        if said and (at - end >= _SILENCE or long >= _LONGEST or (long >= _PARAGRAPH and _ENDS.search(said[-1]))):
            _write(builder, said, begin, end)
            said = []
        if not said:
            begin = at
        if text not in said[-2:]:  # captions that roll up are said twice
            if name and (name != speaker or not said):  # some programs say it of every cue
                said.append(f"\n{name}")
            said.append(text)
        speaker = name or speaker
        end = max(end, until)
    _write(builder, said, begin, end)
    if not len(builder):
        raise DocumentError(
            "there are no cues in it (00:00:01,000 --> 00:00:04,000); rename it to .txt if it is a text"
        )
    return builder.build()


def _spoken(cues: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str, str]]:
    """The cues, each with who speaks, where that is said: more than once, so that it is no heading."""
    found = [_NAMED.match(text) for _, _, text in cues]
    names = [one["name"] if one else "" for one in found]
    heard = Counter(names)
    for (at, until, text), name in zip(cues, names, strict=True):
        said = name if heard[name] > 1 else ""
        yield at, until, said, text.removeprefix(said).lstrip()


def _write(builder: TextBuilder, said: list[str], begin: int, end: int) -> None:
    turns = " ".join(said).split("\n")
    if text := "\n".join(filter(None, map(one_line, turns))):
        builder.headings.append(Heading(builder.block(text), 2, f"{_clock(begin)}–{_clock(end)}"))


def _cues(text: str) -> Iterator[tuple[int, int, str]]:
    """When each begins and ends, in seconds, and its words; notes, styles and names of cues left out."""
    times = [*_TIMES.finditer(text)]
    for number, found in enumerate(times):
        following = times[number + 1].start() if number + 1 < len(times) else len(text)
        rest = text[text.find("\n", found.end()) + 1 or len(text) : following]
        words, _, more = rest.partition("\n\n")
        if more.strip() and not _is_apart(more):  # an empty line within a cue
            words = f"{words}\n{more}"
        lines = [line for line in words.strip().split("\n") if line.strip()]
        if number + 1 < len(times) and len(lines) > 1 and _NUMBER.fullmatch(lines[-1]):
            lines.pop()  # the next cue's, without an empty line before it
        shown = _STYLING.sub("", _SPEAKER.sub(r"\1: ", "\n".join(lines)))
        yield _seconds(found, ""), _seconds(found, "to_"), one_line(html.unescape(shown))


def _is_apart(more: str) -> bool:
    """Whether what follows a cue is not said: the number or name of the next, a note, a style."""
    return more.startswith(("NOTE", "STYLE", "REGION")) or "\n" not in more.strip()


def _seconds(found: re.Match[str], which: str) -> int:
    hours, minutes, seconds = (int(found[f"{which}{unit}"] or 0) for unit in ("hours", "minutes", "seconds"))
    return 3600 * hours + 60 * minutes + seconds


def _clock(seconds: int) -> str:
    """
    >>> _clock(3725)
    '1:02:05'
    """
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
